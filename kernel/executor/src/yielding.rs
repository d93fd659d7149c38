//! Giving other tasks a turn.

use core::future::{Future, poll_fn};
use core::task::Poll;

/// Lets every task that is ready now run first. A loop that may go on for long awaits this often
/// enough to stay under [`LONGEST_POLL_NS`](crate::LONGEST_POLL_NS).
pub fn yield_now() -> impl Future<Output = ()> + Send {
    let mut yielded = false;
    poll_fn(move |cx| {
        if core::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}
