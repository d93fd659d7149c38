//! Waiting for a point in time.

use crate::timers::{Timer, Timers};
use alloc::sync::Arc;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

impl Timers {
    /// A future that is ready when [`expire`](Self::expire) has been called with `deadline` or later.
    /// `Send`, but meant for tasks of the CPU whose timers these are. Dropping it cancels the timer.
    pub fn sleep_until(self: &Arc<Self>, deadline: u64) -> Sleep {
        Sleep { timers: self.clone(), deadline, armed: None }
    }
}

/// See [`Timers::sleep_until`].
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    timers: Arc<Timers>,
    deadline: u64,
    armed: Option<Timer>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.armed {
            None => {
                self.armed = Some(self.timers.arm_waker(cx.waker().clone(), self.deadline));
                Poll::Pending
            }
            Some(timer) if self.timers.renew_waker(timer, cx.waker()) => Poll::Pending,
            Some(_) => Poll::Ready(()),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.armed {
            self.timers.disarm(timer);
        }
    }
}
