//! Something changes again and again, and each who waits waits for something else of it.

use crate::wait_list::{Place, WaitList};
use core::future::poll_fn;
use core::task::Poll;

/// Tells tasks on any CPU to look again at what they wait for. For tasks only.
pub struct Changes {
    waiters: WaitList,
}

impl Changes {
    /// Nobody waits yet.
    pub const fn new() -> Self {
        Changes { waiters: WaitList::new() }
    }

    /// Something has changed: all who wait look again.
    pub fn announce(&self) {
        self.waiters.wake_all();
    }

    /// Waits until `look` finds something. It is called at once, and again after each change.
    pub async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        let mut place = Place::new(&self.waiters);
        poll_fn(|cx| {
            if let Some(found) = look() {
                return Poll::Ready(found);
            }
            place.register(cx.waker());
            look().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

impl Default for Changes {
    fn default() -> Self {
        Self::new()
    }
}
