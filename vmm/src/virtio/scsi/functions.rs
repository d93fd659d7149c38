//! The control queue: task management functions (virtio 1.2, 5.6.6.2; SAM-5, 7).
//!
//! What a disk has been given it does; nothing calls it back. So a function that aborts tasks waits until each of those
//! that were there is done and answered, and is answered then. Drivers see to it that a request ends.
use super::Shared;
use super::header::{self, Response};
use super::requests::{self, Requests};
use super::sense::Code;
use crate::memory::Room;
use crate::virtio::channel::Channel;
use crate::virtio::queue::{Broken, Chain, Service, Token, Virtqueue};
use alloc::sync::{Arc, Weak};
use spin::Mutex;

/// Types of requests.
mod kind {
    pub const FUNCTION: u32 = 0;
    pub const QUERY_EVENTS: u32 = 1;
    pub const SUBSCRIBE_EVENTS: u32 = 2;
}

/// Functions.
mod function {
    pub const ABORT_TASK: u32 = 0;
    pub const ABORT_TASK_SET: u32 = 1;
    pub const CLEAR_TASK_SET: u32 = 3;
    pub const I_T_NEXUS_RESET: u32 = 4;
    pub const LOGICAL_UNIT_RESET: u32 = 5;
    pub const QUERY_TASK: u32 = 6;
    pub const QUERY_TASK_SET: u32 = 7;
}

/// A function that waits for tasks to end.
struct Pending {
    queue: Weak<Virtqueue>,
    token: Token,
    room: Room,
    /// How many they are.
    tasks: u32,
}

/// The functions that wait. Tasks know them by their numbers: as many as a word has bits.
pub struct Waiting(Mutex<[Option<Pending>; u64::BITS as usize]>);

impl Default for Waiting {
    /// None.
    fn default() -> Self {
        Self(Mutex::new([const { None }; _]))
    }
}

impl Waiting {
    /// A task has ended and was answered, for which these functions wait.
    #[cold]
    pub fn task_ended(&self, mut functions: u64) {
        let mut list = self.0.lock();
        while functions != 0 {
            if let Some(entry) = list.get_mut(functions.trailing_zeros() as usize)
                && let Some(pending) = entry
            {
                pending.tasks = pending.tasks.saturating_sub(1);
                if pending.tasks == 0 {
                    if let Some(queue) = pending.queue.upgrade() {
                        answer(&queue, pending.token, &pending.room, &[Response::OK.0]);
                    }
                    *entry = None;
                }
            }
            functions &= functions - 1;
        }
    }

    /// The device is reset: nobody is told any more. The tasks that are under way end before it is used again.
    pub fn forget(&self) {
        self.0.lock().fill_with(|| None);
    }
}

/// Gives a request of the control queue back.
fn answer(queue: &Virtqueue, token: Token, room: &Room, bytes: &[u8]) {
    queue.give_back(token, bytes.len() as u32, |memory| room.write(memory, bytes));
}

/// The device while it serves the control queue.
pub struct Functions<'a> {
    pub shared: &'a Shared,
    pub queue: &'a Arc<Virtqueue>,
    pub channels: &'a [Arc<Channel<Requests>>],
}

/// A function, as the guest asks for it.
struct Asked {
    function: u32,
    unit: [u8; 8],
    id: u64,
}

impl Functions<'_> {
    /// Has the disks take all that the guest has asked of them before. Whether that was possible.
    fn catch_up(&self) -> bool {
        // What of it is in a ring still would else be done after it was aborted.
        let behind = self.channels.iter().filter(|channel| !channel.queue().serve_all(*channel));
        behind.count() == 0
    }

    /// Calls `each` with all tasks that disks have, of `unit` or of all, with this ID or any. How many there are.
    fn tasks(&self, unit: Option<usize>, id: Option<u64>, each: impl Fn(&mut requests::Pending)) -> u32 {
        let mut count = 0;
        for (_, slot) in self.channels.iter().flat_map(|channel| channel.in_flight().iter()) {
            let mut task = slot.lock();
            if task.is(unit, id) {
                each(&mut task);
                count += 1;
            }
        }
        count
    }

    /// Answers when the tasks that are there now are done: at once, if there are none.
    fn wait(&self, token: Token, room: Room, unit: Option<usize>, id: Option<u64>) -> Result<(), Broken> {
        if !self.catch_up() {
            answer(self.queue, token, &room, &[Response::FAILURE.0]);
            return Ok(());
        }
        let mut list = self.shared.functions.0.lock();
        let number = list.iter().position(Option::is_none).ok_or(Broken::InFlight)?;
        match self.tasks(unit, id, |task| task.await_by(number)) {
            0 => answer(self.queue, token, &room, &[Response::OK.0]),
            tasks => list[number] = Some(Pending { queue: Arc::downgrade(self.queue), token, room, tasks }),
        }
        Ok(())
    }

    fn function(&self, asked: &Asked, token: Token, room: Room) -> Result<(), Broken> {
        let now = |response: Response| {
            answer(self.queue, token, &room, &[response.0]);
            Ok(())
        };
        let is_there = |id| {
            // Not looked for in vain: what the guest has put into a queue is a task.
            self.catch_up();
            let there = self.tasks(header::unit(&asked.unit), id, |_| ()) != 0;
            now(if there { Response::FUNCTION_SUCCEEDED } else { Response::OK })
        };
        if let Err(response) = header::target(&asked.unit) {
            return now(response);
        }
        let number = header::unit(&asked.unit);
        if asked.function == function::I_T_NEXUS_RESET {
            self.shared.units.iter().for_each(|unit| unit.reset(Code::I_T_NEXUS_LOSS_OCCURRED));
            return self.wait(token, room, None, None);
        }
        let Some((number, unit)) = number.and_then(|n| Some((n, self.shared.units.get(n)?))) else {
            return now(Response::INCORRECT_LUN);
        };
        match asked.function {
            function::ABORT_TASK => self.wait(token, room, Some(number), Some(asked.id)),
            function::ABORT_TASK_SET | function::CLEAR_TASK_SET => self.wait(token, room, Some(number), None),
            function::LOGICAL_UNIT_RESET => {
                unit.reset(Code::BUS_DEVICE_RESET_FUNCTION_OCCURRED);
                self.wait(token, room, Some(number), None)
            }
            function::QUERY_TASK => is_there(Some(asked.id)),
            function::QUERY_TASK_SET => is_there(None),
            // CLEAR ACA among them: there is no ACA.
            _ => now(Response::FUNCTION_REJECTED),
        }
    }
}

impl Service for Functions<'_> {
    fn take(&self, chain: &mut Chain) -> Result<u32, Broken> {
        let mut kind = [0; 4];
        let Chain { readable, writable, token, .. } = chain;
        if !readable.take_front(&mut kind) {
            return Err(Broken::Request);
        }
        match u32::from_le_bytes(kind) {
            kind::FUNCTION => {
                let mut rest = [0; 20];
                if !readable.take_front(&mut rest) {
                    return Err(Broken::Request);
                }
                let [a, b, c, d, unit @ .., i, j, k, l, m, n, o, p] = rest;
                let asked = Asked {
                    function: u32::from_le_bytes([a, b, c, d]),
                    unit,
                    id: u64::from_le_bytes([i, j, k, l, m, n, o, p]),
                };
                let room = writable.take_room(1).ok_or(Broken::Request)?;
                self.function(&asked, *token, room)?;
            }
            kind::QUERY_EVENTS | kind::SUBSCRIBE_EVENTS => {
                let mut unit = [0; 8];
                if !readable.take_front(&mut unit) || !readable.take_front(&mut [0; 4]) {
                    return Err(Broken::Request);
                }
                let room = writable.take_room(5).ok_or(Broken::Request)?;
                let known = header::unit(&unit).is_some_and(|number| number < self.shared.units.len());
                let response = match header::target(&unit) {
                    Err(response) => response,
                    Ok(()) if known => Response::OK,
                    Ok(()) => Response::INCORRECT_LUN,
                };
                // Of the events that were asked for there are none.
                answer(self.queue, *token, &room, &[0, 0, 0, 0, response.0]);
            }
            _ => return Err(Broken::Request),
        }
        // It may have gone through all tasks.
        let slots: u32 = self.channels.iter().map(|channel| u32::from(channel.queue().max_size())).sum();
        Ok(slots / 16)
    }
}
