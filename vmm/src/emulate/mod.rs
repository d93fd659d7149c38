//! Instruction emulation: what the hardware left to us because it touched a device.
//!
//! # How data flows
//!
//! ```text
//!  exit ──► emulate ──► plain_move      the MOV forms that drivers use, decoded by hand
//!                 └───► code::decode ──► execute ──► one file per instruction group
//!                                           │
//!                              address ──► access ──► guest memory, or the Bus
//! ```
//!
//! - `code` fetches bytes through the guest's page tables and decodes them.
//! - `address` and `access` find all bytes of an operand before anything happens to any of them.
//! - `arithmetic`, `shift`, `multiply` and `bit` compute results and flags without touching anything.
//! - [`length`] tells how long an instruction is that the hardware named without its length.
//!
//! # What it promises
//!
//! One call carries out one instruction, or a bounded run of a repeated string instruction, or nothing:
//! an exception leaves registers and memory as a CPU leaves them. The guest may change code and page
//! tables under our hands: every byte is read once, every access is checked with the rights of the
//! vCPU, and no privileged instruction is carried out here.
//!
//! # What it does not do
//!
//! x87, MMX, arithmetic on vectors, vectors of more than 128 bits, far transfers, loads of segment
//! registers, PUSHA, PUSHF and their opposites: [`Outcome::Unsupported`]. Data breakpoints on the accesses
//! that it makes, and XCR0, are not looked at. Bit scans are those of a CPU with BMI1 and LZCNT. Code is
//! executed from RAM only.
mod access;
mod address;
mod arithmetic;
mod bit;
mod code;
mod execute;
pub mod length;
mod machine;
mod multiply;
mod plain_move;
mod shift;
mod stack;
mod string;
#[cfg(test)]
mod tests;
mod vector;

use crate::cpu::{Exception, Registers, Rflags, SegmentAttributes, SegmentRegister};
use crate::exit::{MemoryFault, PortAccess};
use crate::memory::{GuestMemory, NotRam, WalkFault};
pub use code::Code;
use core::fmt;
use iced_x86::{Decoder, DecoderOptions, Instruction};
use mm::addr::Gpa;

/// The devices, as an instruction reaches them. Sizes are in bytes. What a device makes of an access
/// beyond its answer (a stopped VM, a changed interrupt line) is the implementer's to keep.
pub trait Bus {
    /// Reads 1, 2, 4 or 8 bytes; bits above them are ignored.
    fn mmio_read(&mut self, gpa: Gpa, size: u8) -> u64;
    /// Writes 1, 2, 4 or 8 bytes; bits above them are 0.
    fn mmio_write(&mut self, gpa: Gpa, size: u8, value: u64);
    /// Reads 1, 2 or 4 bytes from a port; bits above them are ignored.
    fn port_read(&mut self, port: u16, size: u8) -> u32;
    /// Writes 1, 2 or 4 bytes to a port; bits above them are 0.
    fn port_write(&mut self, port: u16, size: u8, value: u32);
}

/// An instruction that can't be carried out; the VM is stopped with this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// What about it.
    pub reason: &'static str,
    /// Its bytes, as far as they were fetched.
    pub code: Code,
    /// Where it is: RIP.
    pub rip: u64,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot emulate the instruction at {:#x} ({}): {}", self.rip, self.code, self.reason)
    }
}

/// What became of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Carried out; RIP is behind it and RF is clear. The caller ends an interrupt shadow, and raises
    /// #DB with DR6.BS where `single_step` (TF was set).
    Done {
        /// TF was set.
        single_step: bool,
    },
    /// A repeated string instruction has done some of its work; registers tell how far, RIP stays.
    /// Interrupts may be taken, then the guest runs on.
    Repeat {
        /// TF was set: #DB after this iteration.
        single_step: bool,
    },
    /// Raises this; RIP stays.
    Exception(Exception),
    /// The instruction is not the one that the hardware stopped at, or its operands moved: the guest
    /// runs again from where it is.
    Retry,
    /// Stops the VM.
    Unsupported(Unsupported),
}

/// Why an instruction ended before it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Exception(Exception),
    Retry,
    Unsupported(&'static str),
}

impl Stop {
    const TOO_WIDE: Self = Self::Unsupported("an operand of more than 16 bytes");
    const OPERAND: Self = Self::Unsupported("an operand of a kind that the emulator does not know");
}

impl From<WalkFault> for Stop {
    fn from(fault: WalkFault) -> Self {
        match fault {
            WalkFault::Exception(exception) => Self::Exception(exception),
            WalkFault::TableNotRam(_) => Self::Unsupported("its page tables are not in RAM"),
        }
    }
}

impl From<NotRam> for Stop {
    /// RAM does not cease to be RAM between finding an operand and using it.
    fn from(_: NotRam) -> Self {
        Self::Retry
    }
}

/// What code the vCPU executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Bits16,
    Bits32,
    Bits64,
}

impl Mode {
    #[inline]
    fn of<R: Registers>(registers: &R) -> Self {
        if registers.in_64_bit_code() {
            return Self::Bits64;
        }
        let cs = registers.segment(SegmentRegister::Cs);
        let virtual_8086 = registers.rflags().contains(Rflags::VM);
        if cs.attributes.has(SegmentAttributes::DEFAULT_BIG) && !virtual_8086 {
            Self::Bits32
        } else {
            Self::Bits16
        }
    }

    const fn bits(self) -> u32 {
        match self {
            Self::Bits16 => 16,
            Self::Bits32 => 32,
            Self::Bits64 => 64,
        }
    }
}

/// A stopped vCPU with all that an instruction can reach.
struct Machine<'a, R, B> {
    registers: &'a mut R,
    memory: &'a GuestMemory,
    bus: &'a mut B,
    mode: Mode,
}

/// Builds the decoder's tables, which otherwise happens within the first instruction that needs them:
/// some 200 KiB on the heap, and 1.6 million instructions.
pub fn prepare() {
    let mut nop = Instruction::default();
    if let Ok(mut decoder) = Decoder::try_with_ip(64, &[0x90], 0, DecoderOptions::NONE) {
        decoder.decode_out(&mut nop);
    }
}

/// Fetches up to 15 bytes at CS:RIP for a report: both pages if both can be read, else the first.
///
/// # Errors
/// The exception that fetching the first byte raises; `None` where it does not lie in RAM.
pub fn fetch<R: Registers>(registers: &R, memory: &GuestMemory) -> Result<Code, Option<Exception>> {
    code::fetch(registers, memory).map_err(|stop| match stop {
        Stop::Exception(exception) => Some(exception),
        Stop::Retry | Stop::Unsupported(_) => None,
    })
}

/// Carries out the instruction at CS:RIP, whose access the hardware refused with `fault`.
///
/// `fault` only helps: bytes and address that it brings are used where they are whole. An instruction
/// that reaches a port here, and not by way of [`emulate_port_string`], is left to the hardware unless
/// the vCPU may reach all ports, since nobody has checked the I/O permission bitmap.
pub fn emulate<R: Registers, B: Bus>(
    registers: &mut R,
    memory: &GuestMemory,
    bus: &mut B,
    fault: &MemoryFault,
) -> Outcome {
    let mode = Mode::of(registers);
    let hinted = usize::from(fault.instruction_len).min(fault.instruction.len());
    let mut code = Code::from_slice(&fault.instruction[..hinted]);
    if mode == Mode::Bits64 {
        if hinted == 0 {
            match code::fetch_page(registers, memory, mode) {
                Ok(fetched) => code = fetched,
                Err(stop) => return finish(stop, Code::NONE, registers.rip()),
            }
        }
        if let Some(outcome) = plain_move::try_move(registers, memory, bus, fault, &code) {
            return outcome;
        }
    }
    decode_and_execute(Machine { registers, memory, bus, mode }, code, |instruction, registers: &R| {
        let privileged = registers.cpl() <= ((registers.rflags() & Rflags::IOPL).bits() >> 12) as u8;
        let any_port = privileged && !registers.rflags().contains(Rflags::VM);
        string::port_access(instruction).is_none() || any_port
    })
}

/// Carries out the INS or OUTS at CS:RIP for which the hardware reported `access`.
///
/// The hardware has checked IOPL and the I/O permission bitmap for just this port, size and direction
/// (APM vol. 2, 15.10): anything else found at RIP is left to it again.
pub fn emulate_port_string<R: Registers, B: Bus>(
    registers: &mut R,
    memory: &GuestMemory,
    bus: &mut B,
    access: &PortAccess,
) -> Outcome {
    let mode = Mode::of(registers);
    decode_and_execute(Machine { registers, memory, bus, mode }, Code::NONE, |instruction, registers| {
        string::port_access(instruction) == Some((access.direction, access.size))
            && registers.gpr(crate::cpu::Gpr::Rdx) as u16 == access.port
    })
}

/// Kept out of line: the way that most exits do not take.
#[inline(never)]
fn decode_and_execute<R: Registers, B: Bus>(
    mut machine: Machine<'_, R, B>,
    mut code: Code,
    may_execute: impl Fn(&Instruction, &R) -> bool,
) -> Outcome {
    let rip = machine.registers.rip();
    let instruction = match code::decode(machine.registers, machine.memory, machine.mode, &mut code) {
        Ok(instruction) => instruction,
        Err(stop) => return finish(stop, code, rip),
    };
    if !may_execute(&instruction, machine.registers) {
        return Outcome::Retry;
    }
    let single_step = machine.registers.rflags().contains(Rflags::TF);
    match machine.execute(&instruction) {
        Ok(execute::Flow::Next) => {
            let next = rip.wrapping_add(instruction.len() as u64) & address::linear_mask(machine.mode);
            machine.registers.set_rip(next);
            clear_resume_flag(machine.registers);
            Outcome::Done { single_step }
        }
        Ok(execute::Flow::Jumped) => {
            clear_resume_flag(machine.registers);
            Outcome::Done { single_step }
        }
        Ok(execute::Flow::Again) => Outcome::Repeat { single_step },
        Err(stop) => finish(stop, code, rip),
    }
}

/// RF ends with the instruction that it was set for (APM vol. 2, 3.1.6).
#[inline(always)]
fn clear_resume_flag<R: Registers>(registers: &mut R) {
    let flags = registers.rflags();
    if flags.contains(Rflags::RF) {
        registers.set_rflags(flags - Rflags::RF);
    }
}

fn finish(stop: Stop, code: Code, rip: u64) -> Outcome {
    match stop {
        Stop::Exception(exception) => Outcome::Exception(exception),
        Stop::Retry => Outcome::Retry,
        Stop::Unsupported(reason) => Outcome::Unsupported(Unsupported { reason, code, rip }),
    }
}
