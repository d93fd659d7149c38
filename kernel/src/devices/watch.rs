//! The task that finds devices: all of them once, and then what comes and goes.
use super::attach::{self, Attachment};
use super::services::Services;
use super::{disks, inventory};
use crate::cpu::percpu;
use crate::time;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use drivers::pci::{Address, Config, ConfigSpace, Found, Scan, Slot, SlotEvent, Step};
use executor::{Timers, yield_now};

/// How often slots are looked at, in nanoseconds.
const PERIOD: u64 = 1_000_000_000;
/// How many periods a device that is wanted back may take to come to rest.
const PATIENCE: u32 = 10;

/// Looks for devices, for ever.
pub async fn run(space: Arc<dyn ConfigSpace>, timers: Arc<Timers>) {
    // Drivers start tasks on all CPUs, which are about to begin their loops.
    while percpu::online().any(|cpu| cpu.spawner().is_none()) {
        yield_now().await;
    }
    let services = Services::new();
    let mut slots = Vec::new();
    let mut scan = Scan::new(space.clone());
    let mut found_all = 0;
    loop {
        match scan.step() {
            Step::Found(found) => {
                found_all += 1;
                let config = Config::new(space.clone(), found.address);
                slots.extend(Slot::of(config.clone(), &found));
                add(&services, config, found);
            }
            Step::Nothing => {}
            Step::Done => break,
        }
        yield_now().await;
    }
    log::info!("pci: {found_all} functions, {} slots", slots.len());
    disks::scanned();
    let mut leaving: BTreeMap<Address, Leaving> = BTreeMap::new();
    let mut gone = Gone::new();
    while !slots.is_empty() {
        timers.sleep_until(time::now().0 + PERIOD).await;
        for slot in &mut slots {
            look(slot, &services, &space, &mut leaving, &mut gone);
        }
    }
}

/// Who had the device that was in a slot last. Whoever comes next waits for them to come to their end: they may
/// still access its registers, where the next one's will be.
type Gone = BTreeMap<Address, Vec<Arc<Attachment>>>;

/// A device that somebody wants to take out.
struct Leaving {
    attachments: Vec<Arc<Attachment>>,
    periods: u32,
}

fn add(services: &Arc<Services>, config: Config, found: Found) {
    let attachment = attach::attach(services.clone(), &config, &found);
    inventory::add(config, found, attachment);
}

fn look(
    slot: &mut Slot,
    services: &Arc<Services>,
    space: &Arc<dyn ConfigSpace>,
    leaving: &mut BTreeMap<Address, Leaving>,
    gone: &mut Gone,
) {
    let place = slot.place();
    if gone.get(&place).is_some_and(|before| before.iter().any(|a| !a.has_ended())) {
        return;
    }
    match slot.poll() {
        Some(SlotEvent::Came) => {
            let path = Vec::from([slot.port()]);
            for function in 0..8 {
                let config = Config::new(space.clone(), place.with_function(function));
                if let Some(found) = Found::read(&config, path.clone()) {
                    log::info!("pci: {} was plugged in: {}", found.address, found.class.name());
                    add(services, config, found);
                }
            }
        }
        Some(SlotEvent::Gone) => {
            leaving.remove(&place);
            log::warn!("pci: {place} was pulled out");
            gone.insert(place, take_away(place));
        }
        Some(SlotEvent::Wanted) => {
            log::info!("pci: somebody wants to take {place} out");
            let attachments = inventory::attachments(place);
            attachments.iter().for_each(|a| a.stop());
            leaving.insert(place, Leaving { attachments, periods: 0 });
        }
        None => {}
    }
    if let Some(wanted) = leaving.get_mut(&place) {
        wanted.periods += 1;
        let rests = wanted.attachments.iter().all(|a| a.has_ended());
        if rests || wanted.periods > PATIENCE {
            if !rests {
                log::warn!("pci: {place} does not come to rest: its power goes off now");
            }
            leaving.remove(&place);
            gone.insert(place, take_away(place));
            slot.release();
            log::info!("pci: {place} can be taken out");
        }
    }
}

/// Takes what was at a place away from its drivers. Who they are.
fn take_away(place: Address) -> Vec<Arc<Attachment>> {
    let before = inventory::remove(place);
    before.iter().for_each(|attachment| attachment.remove());
    before
}
