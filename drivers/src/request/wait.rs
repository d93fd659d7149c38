//! Waiting with a limit.
use crate::Kernel;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use executor::Signal;

/// How often a register is looked at while something is awaited of it.
const LOOK: Duration = Duration::from_millis(1);

/// Waits for a signal, until `deadline` at the latest. Whether it was raised.
pub(crate) async fn signal_or(kernel: &dyn Kernel, signal: &Signal, deadline: u64) -> bool {
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
pub(crate) async fn pause(kernel: &dyn Kernel, time: Duration) {
    kernel.timers().sleep_until(after(kernel, time)).await;
}

/// Waits until something is so, for `limit` at most. Whether it is.
pub(crate) async fn until(kernel: &dyn Kernel, limit: Duration, is_so: impl Fn() -> bool) -> bool {
    let deadline = after(kernel, limit);
    loop {
        // The time before the look: a task that was kept from running still looks once after the limit.
        let late = kernel.now() >= deadline;
        if is_so() {
            return true;
        }
        if late {
            return false;
        }
        pause(kernel, LOOK).await;
    }
}

/// The moment `time` from now.
pub(crate) fn after(kernel: &dyn Kernel, time: Duration) -> u64 {
    kernel.now().saturating_add(nanos(time))
}

/// Nanoseconds of a time, of 584 years at most.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
