//! How a device is taken: reset, then features that both sides know (virtio 1.2, 3.1.1).
use super::error::VirtioError;
use super::transport::{Transport, status};
use crate::Kernel;
use crate::request::wait::until;
use core::time::Duration;

/// Longest that a reset takes.
const RESET: Duration = Duration::from_secs(1);

/// Features of every kind of device (6).
pub(super) mod feature {
    pub const EVENT_INDEX: u64 = 1 << 29;
    pub const VERSION_1: u64 = 1 << 32;
}

/// Resets the device: it knows no memory then.
pub(super) async fn reset(kernel: &dyn Kernel, transport: &Transport) -> Result<(), VirtioError> {
    if transport.status() == u8::MAX {
        return Err(VirtioError::Gone);
    }
    transport.set_status(0);
    if until(kernel, RESET, || transport.status() == 0).await {
        Ok(())
    } else {
        Err(if transport.status() == u8::MAX { VirtioError::Gone } else { VirtioError::HungReset })
    }
}

/// Agrees with a device that was just reset on those of its features that `choose` wants.
pub(super) fn negotiate(
    transport: &Transport,
    choose: impl FnOnce(u64) -> Result<u64, VirtioError>,
) -> Result<u64, VirtioError> {
    transport.set_status(status::ACKNOWLEDGE);
    transport.set_status(status::ACKNOWLEDGE | status::DRIVER);
    let offered = transport.features();
    if offered & feature::VERSION_1 == 0 {
        return Err(VirtioError::Legacy);
    }
    let features = choose(offered)?;
    transport.set_features(features);
    transport.set_status(status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK);
    if transport.status() & status::FEATURES_OK == 0 {
        return Err(VirtioError::Features);
    }
    Ok(features)
}

/// Lets a device go whose queues are set up.
pub(super) fn let_go(transport: &Transport) {
    transport.set_status(status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK);
}
