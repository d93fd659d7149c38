//! The control queue: commands, one after the other (virtio 1.2, 5.1.6.5).
use super::send::enable;
use crate::request::wait::until;
use crate::virtio::VirtioError;
use crate::virtio::ring::{Piece, Ring};
use crate::virtio::transport::{NO_VECTOR, Transport};
use crate::{DmaMemory, Kernel};
use alloc::sync::Arc;
use core::time::Duration;
use spin::Mutex;

/// Longest that a command takes.
const COMMAND: Duration = Duration::from_secs(1);

/// Where a command lies: class and command, its data, what the device says of it.
const DATA: usize = 8;
const ACK: usize = 16;

const OK: u8 = 0;
const NO_ACK: u8 = 0xff;

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Whether all frames are wanted (5.1.6.5.1).
    Promiscuous(bool),
    /// Whether all frames to groups are.
    AllGroups(bool),
    /// How many pairs of queues are used (5.1.6.5.6).
    Pairs(u16),
}

impl Command {
    /// Class, command and data.
    fn parts(self) -> ([u8; 2], [u8; 2], u32) {
        match self {
            Self::Promiscuous(on) => ([0, 0], [on.into(), 0], 1),
            Self::AllGroups(on) => ([0, 1], [on.into(), 0], 1),
            Self::Pairs(count) => ([4, 0], count.to_le_bytes(), 2),
        }
    }
}

/// The queue. It has no interrupt: commands are few, and one task gives them.
pub(super) struct Control {
    number: u16,
    transport: Arc<Transport>,
    kernel: Arc<dyn Kernel>,
    memory: DmaMemory,
    state: Mutex<State>,
}

struct State {
    ring: Ring,
    notify: u64,
}

impl Control {
    /// `None` where there is no memory.
    pub fn new(
        number: u16,
        kernel: &Arc<dyn Kernel>,
        transport: &Arc<Transport>,
        ring: Ring,
    ) -> Option<Self> {
        let memory = kernel.allocate_dma(ACK + 1, false)?;
        let state = Mutex::new(State { ring, notify: 0 });
        Some(Self { number, transport: transport.clone(), kernel: kernel.clone(), memory, state })
    }

    /// Names the queue to the device, with an empty ring.
    pub fn enable(&self) -> Result<(), VirtioError> {
        let mut state = self.state.lock();
        state.ring.restart();
        state.notify = enable(&self.transport, self.number, &state.ring, NO_VECTOR)?;
        Ok(())
    }

    /// Gives a command. Whether the device does it.
    ///
    /// # Errors
    /// It does not answer, or not to this: it is to be reset.
    pub async fn give(&self, command: Command) -> Result<bool, VirtioError> {
        let (command, data, bytes) = command.parts();
        self.memory.copy_in(0, &command);
        self.memory.copy_in(DATA, &data);
        self.memory.write(ACK, NO_ACK);
        let piece = |at, bytes, written| Piece { address: self.memory.address() + at as u64, bytes, written };
        {
            let mut state = self.state.lock();
            if state.ring.room() < 3 {
                return Err(VirtioError::Unanswered);
            }
            state.ring.push([piece(0, 2, false), piece(DATA, bytes, false), piece(ACK, 1, true)].into_iter());
            if state.ring.publish() {
                self.transport.notify(state.notify, self.number);
            }
        }
        let answered = || self.state.lock().ring.has_used();
        let answered = until(&*self.kernel, COMMAND, answered).await;
        if !answered || !matches!(self.state.lock().ring.next(), Some(Ok(_))) {
            return Err(VirtioError::Unanswered);
        }
        Ok(self.memory.read::<u8>(ACK) == OK)
    }
}
