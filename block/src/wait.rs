//! Waiting for a request in a task.
use crate::{BlockDevice, BlockError, Completion, Done, Operation, Request, Segment};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use spin::Mutex;

enum State {
    Waiting(Option<Waker>),
    Done(Result<(), BlockError>),
}

struct Slot {
    state: Mutex<State>,
    /// Owner of the segments.
    _memory: Box<dyn Any + Send + Sync>,
}

impl Completion for Slot {
    fn complete(&self, _tag: u64, result: Result<(), BlockError>) {
        let before = core::mem::replace(&mut *self.state.lock(), State::Done(result));
        if let State::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }
}

/// A request on its way. Dropped, the request still goes on, and keeps its memory until it is done.
pub struct Transfer(Arc<Slot>);

impl Future for Transfer {
    type Output = Result<(), BlockError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.state.lock();
        match &mut *state {
            State::Done(result) => Poll::Ready(*result),
            State::Waiting(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Submits a request and starts it. `memory` owns what the segments name, until the request is done.
pub fn transfer(
    device: &dyn BlockDevice,
    operation: Operation,
    block: u64,
    blocks: u64,
    segments: &[Segment],
    memory: Box<dyn Any + Send + Sync>,
) -> Transfer {
    let slot = Arc::new(Slot { state: Mutex::new(State::Waiting(None)), _memory: memory });
    let done = Done { to: slot.clone(), tag: 0 };
    device.submit(Request { operation, block, blocks, segments, done });
    device.start();
    Transfer(slot)
}
