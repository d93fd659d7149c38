//! The drivers, by what they drive.
use super::services::Services;
use super::{ahci, disks, e1000, nvme, virtio};
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Poll;
use drivers::Kernel;
use drivers::pci::{Bar, Class, Config, Device, Found, PciError};
use executor::Signal;
use spin::Mutex;

/// Why a driver does not drive its device.
pub type Why = String;

/// What a driver runs as: from taking its device until it lets go of it.
pub type Driving = Pin<Box<dyn Future<Output = Result<(), Why>> + Send>>;

/// A driver of ours.
struct Driver {
    name: &'static str,
    /// Whether a function is one of its.
    drives: fn(&Found) -> bool,
    drive: fn(Function) -> Driving,
}

/// All drivers.
static DRIVERS: &[Driver] = &[
    Driver { name: "nvme", drives: |found| found.class == Class::NVME, drive: nvme::drive },
    Driver { name: "ahci", drives: |found| found.class == Class::AHCI, drive: ahci::drive },
    Driver { name: "e1000", drives: e1000::drives, drive: e1000::drive },
    Driver { name: "virtio", drives: virtio::drives, drive: virtio::drive },
    Driver { name: "virtio-net", drives: virtio::drives_net, drive: virtio::drive_net },
];

/// A function, as its driver gets it.
pub struct Function {
    /// What the kernel does for drivers.
    pub kernel: Arc<dyn Kernel>,
    /// Its configuration space.
    pub config: Config,
    /// What it is.
    pub found: Found,
    /// By which it is told to let go.
    pub attachment: Arc<Attachment>,
}

impl Function {
    /// Takes the device for the driver.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn take(&self) -> Result<Device, PciError> {
        let device = Device::take(self.kernel.clone(), self.config.clone(), &self.found).await?;
        *self.attachment.bars.lock() = device.bars().to_vec();
        Ok(device)
    }
}

/// A driver at its device.
pub struct Attachment {
    /// The driver.
    pub driver: &'static str,
    /// The function, as long as it is there.
    config: Config,
    bars: Mutex<Vec<Bar>>,
    state: Mutex<String>,
    /// The device is still being started.
    starting: AtomicBool,
    /// The driver is to let go.
    leave: AtomicBool,
    /// The device is out already.
    gone: AtomicBool,
    ended: AtomicBool,
    signal: Signal,
}

impl Attachment {
    /// Where its registers are, once it was taken.
    pub fn bars(&self) -> Vec<Bar> {
        self.bars.lock().clone()
    }

    /// What it is doing, in a few words.
    pub fn state(&self) -> String {
        self.state.lock().clone()
    }

    /// The driver is to let go of its device, which is still there.
    pub fn stop(&self) {
        self.leave.store(true, Ordering::Release);
        self.signal.raise();
    }

    /// The device is gone, or nobody can say what it does: it may do no DMA, and its driver does not reach its place
    /// on the bus any more.
    pub fn remove(&self) {
        self.config.cut_off();
        self.gone.store(true, Ordering::Release);
        self.stop();
    }

    /// Whether the driver has let go.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether the device is gone.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Waits until the driver is to let go, or `device` has come to its end. For the driver's task alone.
    pub async fn leaves(&self, device: impl Future<Output = ()>) {
        let told = async {
            while !self.leave.load(Ordering::Acquire) {
                self.signal.wait().await;
            }
        };
        let (mut told, mut device) = (pin!(told), pin!(device));
        poll_fn(|context| {
            let over = told.as_mut().poll(context).is_ready() || device.as_mut().poll(context).is_ready();
            if over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The device works, in this state; nobody needs to wait for it any more.
    pub fn works(&self, state: String) {
        *self.state.lock() = state;
        self.started();
    }

    fn started(&self) {
        if self.starting.swap(false, Ordering::AcqRel) {
            disks::driver_started();
        }
    }
}

/// Starts the driver of a function, if there is one for it.
pub fn attach(kernel: Arc<Services>, config: &Config, found: &Found) -> Option<Arc<Attachment>> {
    let driver = DRIVERS.iter().find(|driver| (driver.drives)(found))?;
    let attachment = Arc::new(Attachment {
        driver: driver.name,
        config: config.clone(),
        bars: Mutex::default(),
        state: Mutex::new("starts".to_string()),
        starting: AtomicBool::new(true),
        leave: AtomicBool::new(false),
        gone: AtomicBool::new(false),
        ended: AtomicBool::new(false),
        signal: Signal::new(),
    });
    disks::driver_starts();
    let function = Function {
        kernel: kernel.clone(),
        config: config.clone(),
        found: found.clone(),
        attachment: attachment.clone(),
    };
    let (address, ended, driving) = (found.address, attachment.clone(), (driver.drive)(function));
    let task = Box::pin(async move {
        let state = match driving.await {
            Ok(()) => "let go".to_string(),
            Err(why) => {
                log::error!("pci: {address} ({}): {why}", ended.driver);
                why
            }
        };
        *ended.state.lock() = state;
        ended.started();
        ended.ended.store(true, Ordering::Release);
    });
    kernel.spawn(kernel.this_cpu(), driver.name, task);
    Some(attachment)
}
