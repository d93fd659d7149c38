//! A VM on the host: memory with guards, a board, and vCPUs on the fake back end.
#![allow(unsafe_code)] // Guest memory on the heap.

use super::fake::{Fake, TestHost};
use crate::cpu::plain::PlainRegisters;
use crate::exit::{Event, Exit};
use crate::extended::SaveFormat;
use crate::memory::GuestMemory;
use crate::memory::on_heap::{HeapMemory, Lender};
use crate::platform::apic::{ApicFabric, DeliveryMode, InterruptMessage, Wake};
use crate::platform::{Board, BoardConfig, ConsoleOutput};
use crate::policy::cpuid::Facts;
use crate::policy::paravirtual::Features;
use crate::time::{Nanos, SECOND};
use crate::vcpu::{Leave, Vcpu};
use crate::vm::{Clock, Shared};
use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use mm::addr::{Gpa, Hpa, Hva, LARGE_PAGE};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// Where the guest's code is, and its page tables; the first 4 GiB are mapped one to one.
pub const CODE: u64 = 0x1_0000;
const TABLES: u64 = 0x1000;
/// Ticks of the time-stamp counter a second: two for each nanosecond.
pub const TSC_HZ: u64 = 2 * SECOND;
/// The host's counter when the VM was powered on.
pub const POWER_ON: u64 = 1 << 40;
pub const WALL_CLOCK: Nanos = 1_795_305_600 * SECOND;

/// 2 MiB chunks of RAM with one before and one behind that must stay as they are.
pub struct Block {
    pointer: *mut u8,
    layout: Layout,
}

const GUARD: u8 = 0xa5;

impl Block {
    fn new(chunks: usize) -> (Self, GuestMemory) {
        let chunk = LARGE_PAGE as usize;
        let layout = Layout::from_size_align((chunks + 2) * chunk, chunk).unwrap();
        // SAFETY: the size is not 0.
        let pointer = unsafe { alloc_zeroed(layout) };
        assert!(!pointer.is_null());
        // SAFETY: the first and the last chunk of the block.
        unsafe {
            pointer.write_bytes(GUARD, chunk);
            pointer.add((chunks + 1) * chunk).write_bytes(GUARD, chunk);
        }
        let list = (1..=chunks as u64).map(|i| Hpa::new(i * LARGE_PAGE)).collect();
        // SAFETY: the chunks are in the block, which is freed after the VM.
        let memory = unsafe { GuestMemory::new(Hva::from_ptr(pointer), list) };
        (Self { pointer, layout }, memory)
    }

    /// Fails if the guest has reached something beside its memory.
    pub fn check(&self) {
        // SAFETY: the whole block; the guest does not run.
        let bytes = unsafe { std::slice::from_raw_parts(self.pointer, self.layout.size()) };
        let chunk = LARGE_PAGE as usize;
        for guard in [&bytes[..chunk], &bytes[bytes.len() - chunk..]] {
            let whole = guard.chunks(4096).all(|page| page == [GUARD; 4096]);
            assert!(whole, "memory beside the guest's was written");
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.pointer, self.layout) }
    }
}

/// The doorbells of a VM.
#[derive(Clone, Default)]
pub struct Bells(pub Arc<Mutex<Vec<usize>>>);

impl Wake for Bells {
    fn wake(&self, vcpu: usize) {
        self.0.lock().unwrap().push(vcpu);
    }
}

/// A vCPU and its host CPU.
pub struct Seat {
    pub vcpu: Vcpu<Fake>,
    pub host: TestHost,
}

/// A VM whose first vCPU is in 64-bit mode at [`CODE`], its local APIC enabled; the others wait to be
/// started.
pub struct Rig {
    pub seats: Vec<Seat>,
    pub shared: Arc<Shared>,
    pub bells: Bells,
    pub block: Block,
}

/// A host of AMD with every feature.
pub fn host_cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let word = |at: usize| u32::from_le_bytes(b"AuthenticAMD"[at..at + 4].try_into().unwrap());
    match (leaf, subleaf) {
        (0, _) => [0x10, word(0), word(8), word(4)],
        (0x8000_0000, _) => [0x8000_0021, word(0), word(8), word(4)],
        (0x8000_0008, _) => [48, u32::MAX, 0, 0],
        (0xd, 2) => [256, 576, 0, 0],
        (0xd, _) => [0; 4],
        _ => [u32::MAX; 4],
    }
}

/// What the vCPU with this index is told of its VM.
pub fn facts(index: usize, vcpus: usize) -> Facts {
    Facts {
        vcpus: vcpus as u32,
        apic_id: index as u32,
        xcr0: 7,
        tsc_hz: TSC_HZ,
        apic_timer_hz: SECOND,
        invariant_tsc: true,
        patch_level: 0x0a20_1016 << 32,
        paravirtual: Features::CLOCK | Features::PV_SEND_IPI | Features::PV_EOI,
    }
}

/// The extended state of a host with AVX.
pub fn format() -> SaveFormat {
    SaveFormat { xcr0: 7, bytes: 832, tsc_aux: true, x87_pointers: true }
}

impl Rig {
    pub fn new(vcpus: usize) -> Self {
        Self::on(vcpus, false)
    }

    /// As [`Self::new`], on hardware that delivers interrupts.
    pub fn delivering(vcpus: usize) -> Self {
        Self::on(vcpus, true)
    }

    /// With one vCPU and 2 chunks of RAM that can go and come, of a host that has so many more.
    pub fn lent(more: usize) -> (Self, HeapMemory, Arc<Lender>) {
        let (heap, host) = HeapMemory::lent(4, more, 0);
        (Self::with(Block::new(1).0, heap.share(), 1, false), heap, host)
    }

    fn on(vcpus: usize, delivers: bool) -> Self {
        let (block, memory) = Block::new(1);
        Self::with(block, Arc::new(memory), vcpus, delivers)
    }

    fn with(block: Block, memory: Arc<GuestMemory>, vcpus: usize, delivers: bool) -> Self {
        let put = |at: u64, entry: u64| memory.write(Gpa::new(at), &entry.to_le_bytes()).unwrap();
        put(TABLES, TABLES + 0x1027);
        for gib in 0..4 {
            put(TABLES + 0x1000 + 8 * gib, gib << 30 | 0xe7);
        }
        let bells = Bells::default();
        let fabric = Arc::new(ApicFabric::new(vcpus, Box::new(bells.clone())));
        let board = Board::new(
            BoardConfig {
                fabric: fabric.clone(),
                console: Arc::new(ConsoleOutput::new(None)),
                layout: memory.layout(),
                wall_clock: WALL_CLOCK,
            },
            0,
        );
        let clock = Clock::new(TSC_HZ, POWER_ON, WALL_CLOCK);
        let shared = Arc::new(Shared::new(memory, board, fabric, clock));
        let seats = (0..vcpus).map(|index| Seat::new(&shared, index, vcpus, delivers)).collect();
        let mut rig = Self { seats, shared, bells, block };
        rig.take_bells();
        rig
    }

    pub fn vcpu(&mut self) -> &mut Vcpu<Fake> {
        &mut self.seats[0].vcpu
    }

    pub fn back_end(&mut self) -> &mut Fake {
        &mut self.seats[0].vcpu.backend
    }

    pub fn registers(&mut self) -> &mut PlainRegisters {
        &mut self.back_end().registers
    }

    pub fn host(&self) -> &TestHost {
        &self.seats[0].host
    }

    /// Puts `bytes` where the first vCPU is.
    pub fn code(&mut self, bytes: &[u8]) {
        let rip = self.registers().rip;
        self.shared.memory.write(Gpa::new(rip), bytes).unwrap();
    }

    /// The first vCPU runs through these exits, then its host wants the CPU.
    pub fn play(&mut self, exits: &[Exit]) -> Leave {
        self.seats[0].play(exits)
    }

    /// What was injected after the exit that was played last.
    pub fn injected(&mut self) -> Option<Event> {
        self.back_end().entries.last().and_then(|entry| entry.injected)
    }

    /// Who was woken since this was asked last.
    pub fn take_bells(&mut self) -> Vec<usize> {
        std::mem::take(&mut *self.bells.0.lock().unwrap())
    }

    pub fn word(&self, at: u64, size: usize) -> u64 {
        self.shared.memory.read_uint(Gpa::new(at), size).unwrap()
    }
}

impl Seat {
    fn new(shared: &Arc<Shared>, index: usize, vcpus: usize, delivers: bool) -> Self {
        let host = TestHost::new();
        let mut fake = Fake::new(&host);
        fake.delivers = delivers;
        let mut vcpu = Vcpu::new(fake, shared.clone(), format(), &host_cpuid, &facts(index, vcpus));
        if index == 0 {
            vcpu.backend.registers = PlainRegisters::long_mode(TABLES);
            vcpu.backend.registers.rip = CODE;
            vcpu.apic.mmio_write(0xf0, 4, 0x1ff, 0);
        }
        vcpu.backend.entries.clear();
        Self { vcpu, host }
    }

    pub fn play(&mut self, exits: &[Exit]) -> Leave {
        for &exit in exits {
            self.vcpu.backend.then(move |_| exit);
        }
        self.run()
    }

    /// Runs through the script.
    pub fn run(&mut self) -> Leave {
        self.host.attention.store(false, Ordering::SeqCst);
        self.host.looks.set(0);
        let leave = self.vcpu.run(&mut (), &self.host);
        assert!(!self.host.closed.load(Ordering::SeqCst), "left with host interrupts closed");
        leave
    }

    /// Makes it one that its guest has started, and brought to where the first one is.
    pub fn start(&mut self) {
        let index = self.vcpu.index() as u32;
        let start_up = InterruptMessage { mode: DeliveryMode::StartUp, ..InterruptMessage::fixed(index, 0) };
        self.vcpu.shared().fabric.deliver(start_up);
        self.vcpu.apic.pull();
        self.vcpu.backend.registers = PlainRegisters::long_mode(TABLES);
        self.vcpu.backend.registers.rip = CODE;
        self.vcpu.apic.mmio_write(0xf0, 4, 0x1ff, 0);
    }
}
