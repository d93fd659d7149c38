//! A controller in software, for tests: it executes real commands from the test's memory, strictly by the
//! specification, and misbehaves only as it is told.
//!
//! What the driver must not do fails the test: a doorbell beyond its queue, a PRP list that is not as it should
//! be, data beyond MDTS, a queue that overflows, memory that the controller was not given (`test_kernel`).
mod data;

use super::command::{Command, Opcode};
use super::registers::PAGE_BYTES;
use crate::pci::MessageInterrupts;
use crate::test_kernel::TestKernel;
use crate::{MsiMessage, Registers};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use mm::Hpa;
use spin::Mutex;

/// What becomes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is executed.
    Execute,
    /// It fails with this status field, unexecuted.
    Fail(u16),
    /// It is executed, and fails nevertheless.
    ExecuteAndFail(u16),
    /// It is never completed, unless aborted.
    Hang,
    /// It is executed, and never completed, not even if aborted.
    Lose,
    /// It is completed twice.
    Twice,
    /// Completions of others come first: another identifier, queue, or head.
    Garbled { cid: u16, queue: u16, head: u16 },
    /// It is executed and completed without an interrupt.
    Quiet,
}

/// A command as the model sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub queue: u16,
    pub command: Command,
}

impl Seen {
    pub fn opcode(&self) -> Opcode {
        Opcode(self.command.0[0] as u8)
    }
    pub fn cid(&self) -> u16 {
        (self.command.0[0] >> 16) as u16
    }
    pub fn namespace(&self) -> u32 {
        (self.command.0[0] >> 32) as u32
    }
    fn dword(&self, n: usize) -> u32 {
        (self.command.0[n / 2] >> (32 * (n % 2))) as u32
    }
    pub fn block(&self) -> u64 {
        self.command.0[5]
    }
    pub fn is_io(&self) -> bool {
        self.queue != 0
    }
}

struct Submission {
    base: u64,
    entries: u16,
    head: u16,
    tail: u16,
    completion: u16,
    /// Looks at its doorbell in memory, if it has one; else it waits to be rung for.
    awake: bool,
}

struct CompletionQueue {
    base: u64,
    entries: u16,
    head: u16,
    tail: u16,
    phase: bool,
    vector: u16,
}

pub(super) struct Disk {
    pub data: Vec<u8>,
    pub identify: Vec<u8>,
    shift: u8,
}

type Decide = Box<dyn FnMut(&Seen) -> Fate + Send>;

pub(super) struct State {
    pub cap: u64,
    pub window: u64,
    cc: u32,
    csts: u32,
    admin: (u32, u64, u64),
    submissions: BTreeMap<u16, Submission>,
    completions: BTreeMap<u16, CompletionQueue>,
    messages: Vec<Option<MsiMessage>>,
    pub controller: Vec<u8>,
    pub nvm: Vec<u8>,
    pub active: Vec<u8>,
    pub health: Vec<u8>,
    pub disks: BTreeMap<u32, Disk>,
    /// Most pairs that it gives.
    pub pairs: u16,
    pub decide: Decide,
    /// CSTS.RDY stays as it is, from now on.
    pub stuck: bool,
    /// Reads all ones and does nothing.
    pub gone: bool,
    /// Bus mastering was taken.
    pub dma_stopped: bool,
    /// Answers to everything that is read of registers, if some.
    pub noise: Option<Box<dyn FnMut() -> u64 + Send>>,
    /// Commands complete in an order of this seed's.
    pub shuffle: Option<u64>,
    inside: VecDeque<Seen>,
    hanging: Vec<(Seen, bool)>,
    events: Vec<u16>,
    /// Executed commands, by queue and opcode.
    pub executed: BTreeMap<(u16, u8), u64>,
    /// Doorbell writes: submission, completion.
    pub doorbells: (u64, u64),
    pub enabled_times: u32,
    pub aborts: u32,
    pub sgl_commands: u64,
    /// Doorbells in memory and the values to ring at: Doorbell Buffer Config.
    shadow: Option<(u64, u64)>,
    /// Never asks to be rung for again: a controller that forgets.
    pub forgets_to_ask: bool,
    features: BTreeMap<u8, u32>,
}

pub(super) struct Model {
    kernel: Arc<TestKernel>,
    pub state: Mutex<State>,
}

/// Bytes of a namespace of the model.
pub(super) const DISK_BYTES: usize = 4 << 20;

impl Model {
    /// A controller with `messages` messages and namespace 1 of 512-byte blocks.
    pub fn new(kernel: &Arc<TestKernel>, messages: usize) -> Arc<Self> {
        let mut controller = vec![0; 4096];
        controller[4..11].copy_from_slice(b"SN 42  ");
        controller[24..34].copy_from_slice(b"Model\x1b[2J1");
        controller[64..67].copy_from_slice(b"1.0");
        controller[77] = 5;
        controller[80..84].copy_from_slice(&0x2_0000u32.to_le_bytes());
        controller[92..96].copy_from_slice(&(1u32 << 8).to_le_bytes());
        controller[122] = 2;
        controller[512] = 0x66;
        controller[513] = 0x44;
        controller[516] = 4;
        controller[520] = 0x0c;
        controller[525] = 1;
        let state = State {
            // 1024 entries, 20 * 500 ms, NVM command set, pages of 4 KiB.
            cap: 1023 | 20 << 24 | 1 << 37,
            window: 0x4000,
            cc: 0,
            csts: 0,
            admin: (0, 0, 0),
            submissions: BTreeMap::new(),
            completions: BTreeMap::new(),
            messages: vec![None; messages],
            controller,
            nvm: vec![0; 4096],
            active: vec![0; 4096],
            health: vec![0; 512],
            disks: BTreeMap::new(),
            pairs: 64,
            decide: Box::new(|_| Fate::Execute),
            stuck: false,
            gone: false,
            dma_stopped: false,
            noise: None,
            shuffle: None,
            inside: VecDeque::new(),
            hanging: Vec::new(),
            events: Vec::new(),
            executed: BTreeMap::new(),
            doorbells: (0, 0),
            enabled_times: 0,
            aborts: 0,
            sgl_commands: 0,
            shadow: None,
            forgets_to_ask: false,
            features: BTreeMap::new(),
        };
        let model = Arc::new(Self { kernel: kernel.clone(), state: Mutex::new(state) });
        model.add_namespace(1, 9);
        model
    }

    pub fn add_namespace(&self, id: u32, shift: u8) {
        let mut identify = vec![0; 4096];
        identify[..8].copy_from_slice(&((DISK_BYTES >> shift) as u64).to_le_bytes());
        identify[33] = 9;
        identify[130] = shift;
        let mut state = self.state.lock();
        state.disks.insert(id, Disk { data: vec![0; DISK_BYTES], identify, shift });
        let ids: Vec<u32> = state.disks.keys().copied().collect();
        state.active.fill(0);
        for (place, id) in state.active.chunks_exact_mut(4).zip(ids) {
            place.copy_from_slice(&id.to_le_bytes());
        }
    }

    pub fn registers(self: &Arc<Self>) -> Box<dyn Registers> {
        Box::new(Window(self.clone()))
    }

    pub fn interrupts(self: &Arc<Self>) -> Box<dyn MessageInterrupts> {
        Box::new(Messages(self.clone()))
    }

    pub fn stop_dma(self: &Arc<Self>) -> Box<dyn Fn() + Send + Sync> {
        let model = self.clone();
        Box::new(move || model.state.lock().dma_stopped = true)
    }

    /// Reports an event, if it was asked for.
    pub fn report(&self, event: u32) -> bool {
        let mut state = self.state.lock();
        match state.events.pop() {
            Some(cid) => {
                self.complete(&mut state, 0, cid, 0, event, true);
                true
            }
            None => false,
        }
    }

    /// Sets CSTS.CFS.
    pub fn fail(&self) {
        self.state.lock().csts |= 2;
    }

    /// A step of its life. Whether it did anything.
    pub fn step(&self) -> bool {
        let mut state = self.state.lock();
        if state.gone || state.dma_stopped || state.csts & 3 != 1 {
            return false;
        }
        let mut acted = false;
        let numbers: Vec<u16> = state.submissions.keys().copied().collect();
        for number in numbers {
            self.look_at_doorbell(&mut state, number);
            while let Some(queue) = state.submissions.get_mut(&number)
                && queue.head != queue.tail
            {
                let mut bytes = [0; 64];
                self.kernel.device_read(Hpa::new(queue.base + 64 * u64::from(queue.head)), &mut bytes);
                queue.head = (queue.head + 1) % queue.entries;
                let word = |i: usize| u64::from_le_bytes(bytes[8 * i..8 * i + 8].try_into().unwrap());
                let command = Command(core::array::from_fn(word));
                state.inside.push_back(Seen { queue: number, command });
                acted = true;
            }
        }
        if let Some(seed) = &mut state.shuffle {
            // Some of those inside, in any order.
            let mut next = || {
                *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (*seed >> 33) as usize
            };
            let draws: Vec<usize> = (0..3).map(|_| next()).collect();
            for draw in draws {
                let len = state.inside.len().max(1);
                if let Some(seen) = state.inside.remove(draw % len) {
                    self.perform(&mut state, seen);
                    acted = true;
                }
            }
            return acted;
        }
        while let Some(seen) = state.inside.pop_front() {
            self.perform(&mut state, seen);
        }
        acted
    }

    /// What the driver has told in memory (NVMe 2.0, 5.8), as long as it keeps a queue busy.
    fn look_at_doorbell(&self, state: &mut State, number: u16) {
        let (Some((doorbells, events)), forgets) = (state.shadow, state.forgets_to_ask) else { return };
        let Some(queue) = state.submissions.get_mut(&number) else { return };
        if number == 0 || !queue.awake {
            return;
        }
        let at = 8 * u64::from(number);
        if !forgets {
            self.kernel.device_write(Hpa::new(events + at), &u32::from(queue.tail).to_le_bytes());
        }
        let tail = self.word(doorbells + at) as u16;
        assert!(tail < queue.entries);
        queue.awake = tail != queue.tail;
        queue.tail = tail;
    }

    fn perform(&self, state: &mut State, seen: Seen) {
        let fate = (state.decide)(&seen);
        let (queue, cid) = (seen.queue, seen.cid());
        match fate {
            Fate::Hang => return state.hanging.push((seen, true)),
            Fate::Fail(status) => return self.complete(state, queue, cid, status, 0, true),
            Fate::Garbled { cid: other, queue: wrong, head } => {
                self.post(state, queue, other, wrong, head, 0, 0, true);
            }
            _ => {}
        }
        let answer =
            if seen.is_io() { self.io(state, &seen).map(|()| Some(0)) } else { self.admin(state, &seen) };
        *state.executed.entry((queue, seen.opcode().0)).or_default() += 1;
        let (status, result) = match answer {
            Ok(Some(result)) => (0, result),
            Ok(None) => return,
            Err(status) => (status, 0),
        };
        match fate {
            Fate::Lose => state.hanging.push((seen, false)),
            Fate::ExecuteAndFail(status) => self.complete(state, queue, cid, status, 0, true),
            Fate::Twice => {
                self.complete(state, queue, cid, status, result, true);
                self.complete(state, queue, cid, status, result, true);
            }
            Fate::Quiet => self.complete(state, queue, cid, status, result, false),
            _ => self.complete(state, queue, cid, status, result, true),
        }
    }

    fn complete(&self, state: &mut State, queue: u16, cid: u16, status: u16, result: u32, tell: bool) {
        let Some(head) = state.submissions.get(&queue).map(|s| s.head) else { return };
        self.post(state, queue, cid, queue, head, status, result, tell);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of an entry")]
    fn post(
        &self,
        state: &mut State,
        queue: u16,
        cid: u16,
        queue_told: u16,
        head: u16,
        status: u16,
        result: u32,
        tell: bool,
    ) {
        let Some(number) = state.submissions.get(&queue).map(|s| s.completion) else { return };
        let Some(ring) = state.completions.get_mut(&number) else { return };
        let next = (ring.tail + 1) % ring.entries;
        if let Some((doorbells, events)) = state.shadow.filter(|_| number != 0) {
            let at = 8 * u64::from(number) + 4;
            self.kernel.device_write(Hpa::new(events + at), &u32::from(ring.head).to_le_bytes());
            let mut bytes = [0; 4];
            self.kernel.device_read(Hpa::new(doorbells + at), &mut bytes);
            ring.head = u32::from_le_bytes(bytes) as u16;
            assert!(ring.head < ring.entries);
        }
        if next == ring.head {
            // With completions for nothing, the driver can't keep it from overflowing.
            return;
        }
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&result.to_le_bytes());
        bytes[8..10].copy_from_slice(&head.to_le_bytes());
        bytes[10..12].copy_from_slice(&queue_told.to_le_bytes());
        bytes[12..14].copy_from_slice(&cid.to_le_bytes());
        bytes[14..].copy_from_slice(&(status << 1 | u16::from(ring.phase)).to_le_bytes());
        self.kernel.device_write(Hpa::new(ring.base + 16 * u64::from(ring.tail)), &bytes);
        ring.tail = next;
        if next == 0 {
            ring.phase = !ring.phase;
        }
        let vector = usize::from(ring.vector);
        if tell && let Some(Some(message)) = state.messages.get(vector) {
            self.kernel.take_message(*message);
        }
    }

    fn admin(&self, state: &mut State, seen: &Seen) -> Result<Option<u32>, u16> {
        let (ten, eleven) = (seen.dword(10), seen.dword(11));
        let to = Hpa::new(seen.command.0[3] & mm::addr::PHYSICAL_MASK);
        match seen.opcode() {
            Opcode::IDENTIFY => {
                assert!(to.is_aligned(PAGE_BYTES), "identify data in one page");
                let page = match ten & 0xff {
                    0 => &state.disks.get(&seen.namespace()).ok_or(0x400b_u16)?.identify,
                    1 => &state.controller,
                    2 => &state.active,
                    6 => &state.nvm,
                    _ => return Err(0x4002),
                };
                self.kernel.device_write(to, page);
            }
            Opcode::SET_FEATURES => {
                state.features.insert(ten as u8, eleven);
                if ten & 0xff == 7 {
                    assert!(state.completions.len() == 1, "before any I/O queue is there");
                    let pairs = u32::from(state.pairs - 1);
                    return Ok(Some(pairs | pairs << 16));
                }
            }
            Opcode::CREATE_COMPLETION_QUEUE => {
                let (number, entries) = (ten as u16, (ten >> 16) as u16 + 1);
                assert!(
                    eleven & 3 == 3 && !state.completions.contains_key(&number) && to.is_aligned(PAGE_BYTES)
                );
                assert!(u32::from(entries) <= (state.cap as u32 & 0xffff) + 1 && number <= state.pairs);
                let vector = (eleven >> 16) as u16;
                assert!(usize::from(vector) < state.messages.len());
                let ring = CompletionQueue { base: to.get(), entries, head: 0, tail: 0, phase: true, vector };
                state.completions.insert(number, ring);
            }
            Opcode::CREATE_SUBMISSION_QUEUE => {
                let (number, entries) = (ten as u16, (ten >> 16) as u16 + 1);
                let completion = (eleven >> 16) as u16;
                assert!(
                    eleven & 1 == 1 && !state.submissions.contains_key(&number) && to.is_aligned(PAGE_BYTES)
                );
                assert!(state.completions.contains_key(&completion));
                let ring = Submission { base: to.get(), entries, head: 0, tail: 0, completion, awake: false };
                state.submissions.insert(number, ring);
            }
            Opcode::GET_LOG_PAGE => {
                let bytes = ((ten >> 16) as usize + 1) * 4;
                let page = match ten & 0xff {
                    2 => state.health.clone(),
                    _ => vec![0; bytes],
                };
                self.kernel.device_write(to, &page[..bytes.min(page.len())]);
            }
            Opcode::ABORT => {
                state.aborts += 1;
                let (queue, cid) = (ten as u16, (ten >> 16) as u16);
                let found =
                    state.hanging.iter().position(|(s, can)| *can && s.queue == queue && s.cid() == cid);
                let Some(index) = found else { return Ok(Some(1)) };
                state.hanging.remove(index);
                self.complete(state, queue, cid, 7, 0, true);
            }
            Opcode::DOORBELL_BUFFER_CONFIG => {
                assert!(state.controller[257] & 1 != 0 && state.cap >> 32 & 0xf == 0);
                let events = seen.command.0[4];
                assert!(to.is_aligned(PAGE_BYTES) && events.is_multiple_of(PAGE_BYTES) && events != to.get());
                state.shadow = Some((to.get(), events));
            }
            Opcode::ASYNCHRONOUS_EVENT => {
                state.events.push(seen.cid());
                return Ok(None);
            }
            _ => return Err(0x4001),
        }
        Ok(Some(0))
    }

    fn read(&self, offset: u64) -> u32 {
        let mut state = self.state.lock();
        if state.gone {
            return u32::MAX;
        }
        if let Some(noise) = &mut state.noise {
            return noise() as u32;
        }
        match offset {
            0x00 => state.cap as u32,
            0x04 => (state.cap >> 32) as u32,
            0x14 => state.cc,
            0x1c => state.csts,
            _ => 0,
        }
    }

    fn write(&self, offset: u64, value: u32) {
        let mut state = self.state.lock();
        if state.gone {
            return;
        }
        let put = |place: &mut u64, high: bool| {
            let shift = if high { 32 } else { 0 };
            *place = *place & !(0xffff_ffff << shift) | u64::from(value) << shift;
        };
        match offset {
            0x14 => self.configure(&mut state, value),
            0x24 => state.admin.0 = value,
            0x28 | 0x2c => put(&mut state.admin.1, offset == 0x2c),
            0x30 | 0x34 => put(&mut state.admin.2, offset == 0x34),
            0x1000.. => {
                let stride = 4 << (state.cap >> 32 & 0xf);
                assert!((offset - 0x1000).is_multiple_of(stride), "a doorbell at {offset:#x}");
                let index = (offset - 0x1000) / stride;
                let (number, value) = ((index / 2) as u16, value as u16);
                if index.is_multiple_of(2) {
                    state.doorbells.0 += 1;
                    let shadow = state.shadow.is_some();
                    if let Some(queue) = state.submissions.get_mut(&number) {
                        let news = value != queue.tail || shadow;
                        assert!(value < queue.entries && news, "doorbell of {number}: {value}");
                        (queue.tail, queue.awake) = (value, true);
                    }
                } else {
                    state.doorbells.1 += 1;
                    if let Some(queue) = state.completions.get_mut(&number) {
                        assert!(value < queue.entries);
                        queue.head = value;
                    }
                }
            }
            _ => panic!("a write of {value:#x} to register {offset:#x}"),
        }
    }

    fn configure(&self, state: &mut State, value: u32) {
        let was = state.cc & 1;
        state.cc = value;
        if was == 0 && value & 1 != 0 {
            assert_eq!(value >> 16 & 0xff, 0x46, "entries of 64 and 16 bytes");
            state.enabled_times += 1;
            let (aqa, submission, completion) = state.admin;
            let (entries, completions) = ((aqa & 0xfff) as u16 + 1, (aqa >> 16 & 0xfff) as u16 + 1);
            let ring =
                Submission { base: submission, entries, head: 0, tail: 0, completion: 0, awake: false };
            state.submissions.insert(0, ring);
            let (base, entries) = (completion, completions);
            let ring = CompletionQueue { base, entries, head: 0, tail: 0, phase: true, vector: 0 };
            state.completions.insert(0, ring);
        }
        if was != 0 && value & 1 == 0 && !state.stuck {
            state.submissions.clear();
            state.completions.clear();
            state.inside.clear();
            state.hanging.clear();
            state.events.clear();
            state.shadow = None;
            state.csts = 0;
        }
        if !state.stuck {
            state.csts = state.csts & !1 | value & 1;
            if value >> 14 & 3 != 0 {
                state.csts = state.csts & !0xc | 0x8;
            }
        }
    }

    /// Whether the machine may be switched off: it was told, and is disabled.
    pub fn is_enabled(&self) -> bool {
        self.state.lock().cc & 1 != 0
    }
}

struct Window(Arc<Model>);

impl Registers for Window {
    fn bytes(&self) -> u64 {
        self.0.state.lock().window
    }
    fn read8(&self, _offset: u64) -> u8 {
        panic!("no register has 8 bits");
    }
    fn read16(&self, _offset: u64) -> u16 {
        panic!("no register has 16 bits");
    }
    fn read32(&self, offset: u64) -> u32 {
        if offset + 4 > self.bytes() { u32::MAX } else { self.0.read(offset) }
    }
    fn read64(&self, offset: u64) -> u64 {
        u64::from(self.read32(offset)) | u64::from(self.read32(offset + 4)) << 32
    }
    fn write8(&self, _offset: u64, _value: u8) {
        panic!("no register has 8 bits");
    }
    fn write16(&self, _offset: u64, _value: u16) {
        panic!("no register has 16 bits");
    }
    fn write32(&self, offset: u64, value: u32) {
        assert!(offset + 4 <= self.bytes(), "a write beyond the window");
        self.0.write(offset, value);
    }
    fn write64(&self, offset: u64, value: u64) {
        self.write32(offset, value as u32);
        self.write32(offset + 4, (value >> 32) as u32);
    }
}

struct Messages(Arc<Model>);

impl MessageInterrupts for Messages {
    fn vectors(&self) -> usize {
        self.0.state.lock().messages.len()
    }
    fn connect(&self, vector: usize, message: Option<MsiMessage>) {
        if let Some(place) = self.0.state.lock().messages.get_mut(vector) {
            *place = message;
        }
    }
}
