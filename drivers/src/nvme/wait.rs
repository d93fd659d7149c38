//! Waiting with a limit.
use crate::Kernel;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use executor::Signal;

/// Waits for a signal, until `deadline` at the latest. Whether it was raised.
pub(super) async fn signal_or(kernel: &dyn Kernel, signal: &Signal, deadline: u64) -> bool {
    let mut raised = pin!(signal.wait());
    let mut late = pin!(kernel.timers().sleep_until(deadline));
    poll_fn(|context| {
        if raised.as_mut().poll(context).is_ready() {
            return Poll::Ready(true);
        }
        late.as_mut().poll(context).map(|()| false)
    })
    .await
}

/// Waits.
pub(super) async fn pause(kernel: &dyn Kernel, time: Duration) {
    kernel.timers().sleep_until(after(kernel, time)).await;
}

/// The moment `time` from now.
pub(super) fn after(kernel: &dyn Kernel, time: Duration) -> u64 {
    kernel.now().saturating_add(nanos(time))
}

/// Nanoseconds of a time, of 584 years at most.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
