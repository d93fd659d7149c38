//! A pair of queues in memory, and the slots of the commands that are in them.
//!
//! A command has a slot until its completion; its identifier (CID) is the slot's number and, in the high byte,
//! a count of the slot's commands, so that a completion that comes twice or much too late names nothing. There is
//! one slot less than entries, so neither queue can ever be full: a controller reads entries in order, and those
//! that it has not read yet are commands without completion.
use super::command::{COMMAND_BYTES, Command};
use super::completion::{COMPLETION_BYTES, Entry};
use super::registers::{DOORBELLS, Window};
use super::shadow::Shadow;
use crate::{DmaMemory, Kernel};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use mm::Hpa;

/// Most entries: a slot's number is the low byte of its commands' identifiers, and 0xff is never one, so that
/// no identifier is 0xffff, which stands for none (NVMe 2.0, 3.3.3.1).
pub(super) const MOST_ENTRIES: u16 = 256;

/// Queues and slots; `T` is what the driver keeps with a command.
pub(super) struct Ring<T> {
    number: u16,
    submission: DmaMemory,
    completion: Arc<DmaMemory>,
    entries: u16,
    /// Doorbells: submission, completion.
    doorbells: (u64, u64),
    /// The same in memory.
    shadow: Option<Arc<Shadow>>,
    /// Up to where the controller was told that completions were taken.
    taken: u16,
    /// Where the next command goes, and up to where the controller has been told.
    tail: u16,
    rung: u16,
    /// Where the next completion will be, with which phase tag.
    head: u16,
    phase: bool,
    slots: Box<[Slot<T>]>,
    /// Those without a command, the latest used on top.
    free: Vec<u8>,
}

struct Slot<T> {
    count: u8,
    /// Ticks since it was given to the controller.
    age: u8,
    command: Command,
    owner: Option<T>,
}

/// A completion that no command of ours has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nonsense(pub Entry);

impl fmt::Display for Nonsense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(entry) = self;
        write!(f, "command {:#06x} of queue {}, head {}", entry.cid(), entry.queue(), entry.head())
    }
}

impl<T> Ring<T> {
    /// Empty queues of `entries`, 2 to [`MOST_ENTRIES`]. `None` where there is no memory.
    pub fn new(
        kernel: &dyn Kernel,
        window: &Window,
        shadow: Option<Arc<Shadow>>,
        number: u16,
        entries: u16,
    ) -> Option<Self> {
        let entries = entries.clamp(2, MOST_ENTRIES);
        let submission = kernel.allocate_dma(usize::from(entries) * COMMAND_BYTES, false)?;
        let completion = Arc::new(kernel.allocate_dma(usize::from(entries) * COMPLETION_BYTES, false)?);
        let blank = |_| Slot { count: 0, age: 0, command: Command([0; 8]), owner: None };
        Some(Self {
            number,
            submission,
            completion,
            entries,
            doorbells: window.doorbells(number),
            shadow,
            taken: 0,
            tail: 0,
            rung: 0,
            head: 0,
            phase: true,
            slots: (1..entries).map(blank).collect(),
            free: (0..(entries - 1) as u8).rev().collect(),
        })
    }

    pub fn number(&self) -> u16 {
        self.number
    }

    pub fn entries(&self) -> u16 {
        self.entries
    }

    pub fn submission_address(&self) -> Hpa {
        self.submission.address()
    }

    pub fn completion_address(&self) -> Hpa {
        self.completion.address()
    }

    /// Takes a slot, if one is free.
    #[inline]
    pub fn take(&mut self) -> Option<u8> {
        self.free.pop()
    }

    /// Gives a slot back that has no command.
    pub fn give_back(&mut self, slot: u8) {
        self.free.push(slot);
    }

    /// Writes a command into the queue, for `owner`. The controller sees it with the next doorbell.
    #[inline]
    pub fn send(&mut self, slot: u8, command: Command, owner: T) {
        let place = &mut self.slots[usize::from(slot)];
        (place.command, place.owner) = (command, Some(owner));
        self.resend(slot);
    }

    /// Writes the command of a slot once more, under a new identifier: its old one is forgotten.
    #[inline]
    pub fn resend(&mut self, slot: u8) {
        let place = &mut self.slots[usize::from(slot)];
        place.count = place.count.wrapping_add(1);
        place.age = 0;
        let command = place.command.identifier(u16::from(slot) | u16::from(place.count) << 8);
        self.submission.write_all(usize::from(self.tail) * COMMAND_BYTES, &command.0);
        self.tail = if self.tail + 1 == self.entries { 0 } else { self.tail + 1 };
    }

    /// Keeps a command that is to be sent later: the identifier that it had means nothing any more.
    pub fn hold(&mut self, slot: u8) {
        let place = &mut self.slots[usize::from(slot)];
        place.count = place.count.wrapping_add(1);
    }

    /// Tells the controller of commands that it does not know of yet.
    #[inline]
    pub fn ring_submissions(&mut self, window: &Window) {
        let (old, new) = (self.rung, self.tail);
        if old != new {
            self.rung = new;
            self.ring(window, self.doorbells.0, old, new);
        }
    }

    /// Tells the controller how far completions were taken.
    #[inline]
    pub fn ring_completions(&mut self, window: &Window) {
        let (old, new) = (self.taken, self.head);
        if old != new {
            self.taken = new;
            self.ring(window, self.doorbells.1, old, new);
        }
    }

    #[inline]
    fn ring(&self, window: &Window, doorbell: u64, old: u16, new: u16) {
        if self.shadow.as_ref().is_none_or(|shadow| shadow.tell(doorbell - DOORBELLS, old, new)) {
            window.ring(doorbell, new);
        }
    }

    /// Rings both doorbells of a controller that may have missed something.
    pub fn ring_again(&self, window: &Window) {
        if self.shadow.is_some() {
            window.ring(self.doorbells.0, self.rung);
            window.ring(self.doorbells.1, self.taken);
        }
    }

    /// The completion queue, for [`peek`].
    pub fn completion(&self) -> Arc<DmaMemory> {
        self.completion.clone()
    }

    /// Where the next completion will be and with which phase, for [`peek`].
    #[inline]
    pub fn expected(&self) -> u32 {
        u32::from(self.head) | u32::from(self.phase) << 16
    }

    /// Takes the next completion: the slot of its command, which the caller ends by [`Self::release`] or goes on
    /// with. `None` where there is none.
    #[inline]
    pub fn next(&mut self) -> Option<Result<(u8, Entry), Nonsense>> {
        let at = usize::from(self.head) * COMPLETION_BYTES;
        if Entry::phase(self.completion.read(at + 8)) != self.phase {
            return None;
        }
        // Read again: what the phase tag vouches for is there only after the tag was seen.
        let entry = Entry { result: self.completion.read(at), word: self.completion.read(at + 8) };
        self.head += 1;
        if self.head == self.entries {
            (self.head, self.phase) = (0, !self.phase);
        }
        let slot = entry.cid() as u8;
        let known = self
            .slots
            .get(usize::from(slot))
            .is_some_and(|s| s.owner.is_some() && s.count == (entry.cid() >> 8) as u8);
        if known && entry.queue() == self.number && entry.head() < self.entries {
            Some(Ok((slot, entry)))
        } else {
            Some(Err(Nonsense(entry)))
        }
    }

    /// Whose command a slot has.
    #[inline]
    pub fn owner(&mut self, slot: u8) -> Option<&mut T> {
        self.slots.get_mut(usize::from(slot))?.owner.as_mut()
    }

    /// The command of a slot.
    pub fn command(&self, slot: u8) -> Command {
        self.slots[usize::from(slot)].command
    }

    /// The identifier of a slot's command.
    pub fn cid(&self, slot: u8) -> u16 {
        u16::from(slot) | u16::from(self.slots[usize::from(slot)].count) << 8
    }

    /// Ends a slot's command.
    #[inline]
    pub fn release(&mut self, slot: u8) -> Option<T> {
        let owner = self.slots[usize::from(slot)].owner.take()?;
        self.free.push(slot);
        Some(owner)
    }

    /// The slots that have a command.
    pub fn busy(&self) -> Vec<u8> {
        (0..self.slots.len() as u8).filter(|&s| self.slots[usize::from(s)].owner.is_some()).collect()
    }

    /// How many slots have a command.
    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Lets a tick go by for a command; its age.
    pub fn grow_older(&mut self, slot: u8) -> u8 {
        let age = &mut self.slots[usize::from(slot)].age;
        *age = age.saturating_add(1);
        *age
    }

    /// Empties both queues, as a controller does that was reset. Commands keep their slots, unsent.
    pub fn restart(&mut self) {
        for at in (8..usize::from(self.entries) * COMPLETION_BYTES).step_by(COMPLETION_BYTES) {
            self.completion.write(at, 0u64);
        }
        (self.tail, self.rung, self.head, self.taken, self.phase) = (0, 0, 0, 0, true);
    }
}

/// Whether there is a completion at the place that [`Ring::expected`] has told. Takes no lock: who asks at the
/// wrong time is told what was true a moment ago.
#[inline]
pub(super) fn peek(completion: &DmaMemory, expected: u32) -> bool {
    let word: u64 = completion.read((expected & 0xffff) as usize * COMPLETION_BYTES + 8);
    Entry::phase(word) == (expected >> 16 != 0)
}
