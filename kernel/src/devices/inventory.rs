//! All functions that were found, and who has them.
use super::attach::Attachment;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use drivers::pci::{Address, Bar, CapabilityId, Config, Found};
use mgmt::shell::node::{PciBar, PciInfo};
use spin::Mutex;

/// A function.
struct Entry {
    config: Config,
    found: Found,
    attachment: Option<Arc<Attachment>>,
}

static ALL: Mutex<BTreeMap<Address, Entry>> = Mutex::new(BTreeMap::new());

/// Notes a function, in the place of what was there before.
pub fn add(config: Config, found: Found, attachment: Option<Arc<Attachment>>) {
    ALL.lock().insert(found.address, Entry { config, found, attachment });
}

/// Forgets what was at the place of device `at` (all its functions). Who had it.
pub fn remove(at: Address) -> Vec<Arc<Attachment>> {
    let mut all = ALL.lock();
    let gone = (0..8).filter_map(|function| all.remove(&at.with_function(function)));
    gone.filter_map(|entry| entry.attachment).collect()
}

/// Who has the functions of device `at`.
pub fn attachments(at: Address) -> Vec<Arc<Attachment>> {
    let all = ALL.lock();
    (0..8).filter_map(|function| all.get(&at.with_function(function))?.attachment.clone()).collect()
}

/// Lets all drivers finish and let go, before the machine's power goes off. Whether all have.
pub fn stop_all() -> bool {
    let all: Vec<Arc<Attachment>> =
        ALL.lock().values().filter_map(|entry| entry.attachment.clone()).collect();
    all.iter().for_each(|attachment| attachment.stop());
    all.iter().all(|attachment| attachment.has_ended())
}

/// All functions, by address.
pub fn functions() -> Vec<PciInfo> {
    let all = ALL.lock();
    all.values().map(describe).collect()
}

fn describe(entry: &Entry) -> PciInfo {
    let Entry { config, found, attachment } = entry;
    let taken = attachment.as_ref().map(|a| a.bars()).unwrap_or_default();
    // What nobody has taken was never sized.
    let bars = if taken.is_empty() { unsized_bars(config) } else { taken };
    PciInfo {
        address: found.address.to_string(),
        vendor: found.vendor,
        device: found.device,
        class: found.class.0,
        class_name: found.class.name(),
        driver: attachment.as_ref().map(|a| (a.driver, a.state())),
        bars: bars.iter().map(bar).collect(),
        interrupts: interrupts(config),
        behind: found.bridge.as_ref().map(|b| (b.secondary, b.subordinate)),
    }
}

fn unsized_bars(config: &Config) -> Vec<Bar> {
    Bar::read_all(config).into_iter().filter(|bar| bar.address != 0).collect()
}

fn bar(bar: &Bar) -> PciBar {
    use drivers::pci::BarSpace;
    PciBar {
        index: bar.index,
        is_io: bar.space == BarSpace::Io,
        prefetchable: matches!(bar.space, BarSpace::Memory { prefetchable: true, .. }),
        address: bar.address,
        bytes: bar.bytes,
    }
}

/// Which messages the function can send.
fn interrupts(config: &Config) -> String {
    if let Some(capability) = config.capability(CapabilityId::MSI_X) {
        let control = config.read16(capability.offset + 2);
        let state = if control >> 15 == 1 { "on" } else { "off" };
        return alloc::format!("MSI-X {}, {state}", (control & 0x7ff) + 1);
    }
    match config.capability(CapabilityId::MSI) {
        Some(capability) if config.read16(capability.offset + 2) & 1 != 0 => "MSI, on".to_string(),
        Some(_) => "MSI, off".to_string(),
        None => String::new(),
    }
}
