//! A vCPU with RAM, page tables and a device, on which tests run one instruction.
use crate::cpu::plain::PlainRegisters;
use crate::cpu::{Registers, Rflags};
use crate::emulate::{Bus, Outcome, emulate};
use crate::exit::MemoryFault;
use crate::memory::on_heap::HeapMemory;
use mm::addr::Gpa;
use std::collections::BTreeMap;
use std::vec::Vec;

/// Code lies here, the same in linear and physical addresses.
pub const CODE: u64 = 0x4000;
/// RAM for data.
pub const DATA: u64 = 0x6000;
/// Linear address of the device's three pages, which a page of RAM at [`AROUND`] precedes and another
/// one follows.
pub const DEVICE: u64 = 0x1_1000;
/// Linear address of the RAM page before the device's.
pub const AROUND: u64 = 0x1_0000;
/// Guest-physical address of the device's first page.
pub const DEVICE_GPA: u64 = 0xfee0_0000;

const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const PD: u64 = 0x3000;
const PT: u64 = 0x8000;
/// Present, writable, user.
const RIGHTS: u64 = 7;

/// One access that reached the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Read(u64, u8),
    Write(u64, u8, u64),
    In(u16, u8),
    Out(u16, u8, u32),
}

/// A device that is memory, and notes what it sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    pub bytes: BTreeMap<u64, u8>,
    pub seen: Vec<Seen>,
    /// What a port reads as, counted up by each read.
    pub port_value: u32,
}

impl Device {
    pub fn put(&mut self, offset: u64, bytes: &[u8]) {
        for (i, byte) in bytes.iter().enumerate() {
            self.bytes.insert(DEVICE_GPA + offset + i as u64, *byte);
        }
    }

    pub fn get(&self, offset: u64, len: u64) -> Vec<u8> {
        (0..len).map(|i| self.bytes.get(&(DEVICE_GPA + offset + i)).copied().unwrap_or(0)).collect()
    }
}

impl Bus for Device {
    fn mmio_read(&mut self, gpa: Gpa, size: u8) -> u64 {
        assert!(matches!(size, 1 | 2 | 4 | 8));
        self.seen.push(Seen::Read(gpa.get(), size));
        let byte = |i| u64::from(self.bytes.get(&(gpa.get() + i)).copied().unwrap_or(0)) << (8 * i);
        (0..u64::from(size)).map(byte).sum()
    }
    fn mmio_write(&mut self, gpa: Gpa, size: u8, value: u64) {
        assert!(matches!(size, 1 | 2 | 4 | 8));
        assert!(size == 8 || value >> (8 * size) == 0, "bits above a write's size");
        self.seen.push(Seen::Write(gpa.get(), size, value));
        for i in 0..u64::from(size) {
            self.bytes.insert(gpa.get() + i, (value >> (8 * i)) as u8);
        }
    }
    fn port_read(&mut self, port: u16, size: u8) -> u32 {
        assert!(matches!(size, 1 | 2 | 4));
        self.seen.push(Seen::In(port, size));
        self.port_value += 1;
        self.port_value
    }
    fn port_write(&mut self, port: u16, size: u8, value: u32) {
        assert!(matches!(size, 1 | 2 | 4));
        self.seen.push(Seen::Out(port, size, value));
    }
}

/// All that an instruction can reach.
pub struct Rig {
    pub registers: PlainRegisters,
    pub memory: HeapMemory,
    pub device: Device,
}

impl Rig {
    /// 64-bit mode. The low 2 MiB are mapped to themselves by 4 KiB pages, except for the device.
    pub fn long_mode() -> Self {
        let memory = HeapMemory::new(2);
        let put = |at: u64, value: u64| memory.write(Gpa::new(at), &value.to_le_bytes()).unwrap();
        put(PML4, PDPT | RIGHTS);
        put(PDPT, PD | RIGHTS);
        put(PD, PT | RIGHTS);
        for page in 0..512 {
            put(PT + page * 8, page << 12 | RIGHTS);
        }
        for page in 0..3 {
            put(PT + (DEVICE / 4096 + page) * 8, (DEVICE_GPA + page * 4096) | RIGHTS);
        }
        let mut registers = PlainRegisters::long_mode(PML4);
        registers.rip = CODE;
        registers.gprs[4] = DATA + 0x800;
        Self { registers, memory, device: Device::default() }
    }

    /// Protected mode without paging, where linear addresses are physical: the device is at its own.
    pub fn unpaged(mut registers: PlainRegisters) -> Self {
        registers.rip = CODE;
        registers.gprs[4] = DATA + 0x800;
        Self { registers, memory: HeapMemory::new(2), device: Device::default() }
    }

    /// Replaces the entry of the page that a linear address below 2 MiB lies in.
    pub fn map(&self, linear: u64, entry: u64) {
        self.memory.write(Gpa::new(PT + (linear >> 12) * 8), &entry.to_le_bytes()).unwrap();
    }

    /// The entry of the page that a linear address below 2 MiB lies in.
    pub fn entry(&self, linear: u64) -> u64 {
        self.memory.read_uint(Gpa::new(PT + (linear >> 12) * 8), 8).unwrap()
    }

    pub fn code(&self, bytes: &[u8]) {
        self.memory.write(Gpa::new(self.registers.rip), bytes).unwrap();
    }

    pub fn ram(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read(Gpa::new(at), &mut bytes).unwrap();
        bytes
    }

    pub fn put_ram(&self, at: u64, bytes: &[u8]) {
        self.memory.write(Gpa::new(at), bytes).unwrap();
    }

    /// Runs what is at RIP, without hints from hardware.
    pub fn step(&mut self) -> Outcome {
        emulate(&mut self.registers, &self.memory, &mut self.device, &no_hint())
    }

    /// Runs `bytes` at RIP, which must be carried out.
    pub fn run(&mut self, bytes: &[u8]) {
        self.code(bytes);
        let rip = self.registers.rip;
        assert_eq!(self.step(), Outcome::Done { single_step: false }, "{bytes:02x?}");
        assert_eq!(self.registers.rip, rip + bytes.len() as u64, "{bytes:02x?}");
    }

    pub fn flag(&self, flag: Rflags) -> bool {
        self.registers.rflags().contains(flag)
    }
}

/// A fault that says nothing that the emulator could use: its address never matches.
pub fn no_hint() -> MemoryFault {
    MemoryFault {
        gpa: Gpa::new(0),
        write: false,
        fetch: true,
        page_walk: false,
        instruction: [0; 15],
        instruction_len: 0,
    }
}

/// A small random generator (xorshift64*).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }

    /// Numbers near the ends of their range as often as others.
    pub fn operand(&mut self) -> u64 {
        let value = self.next();
        let edge = match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => 0x8080_8080_8080_8080,
            3 => 0x7fff_7fff_7fff_7f7f,
            4 => 1,
            _ => value,
        };
        if self.below(4) == 0 { edge.wrapping_add(self.below(3)).wrapping_sub(1) } else { edge }
    }
}
