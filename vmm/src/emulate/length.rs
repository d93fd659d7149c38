//! How long an instruction is that the hardware named, but whose length it did not give (SVM without
//! nRIP save), and what a control-register access says.
//!
//! The guest may have changed the code since: an answer is given only for the named instruction.
use super::code::{decode, fetch_page, is_canonical};
use super::{Mode, Stop};
use crate::cpu::{Exception, Gpr, Registers};
use crate::memory::{GuestMemory, translate_code};
use iced_x86::{Instruction, Mnemonic, OpKind, Register};
use mm::addr::Gva;

/// Instructions that cause an exit of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The names are the documentation.
pub enum Named {
    Cpuid,
    Rdmsr,
    Wrmsr,
    Hlt,
    /// VMMCALL or VMCALL.
    Hypercall,
    Invd,
    Wbinvd,
    Xsetbv,
    Rdpmc,
    Pause,
    Rdtsc,
    Rdtscp,
    Monitor,
    Mwait,
    Clts,
    /// Opcode F1, also called ICEBP.
    Int1,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// Something else is there now: the guest runs again from where it is.
    Changed,
    /// Fetching the instruction raises this.
    Exception(Exception),
    /// The VM can't go on, for this reason.
    Unsupported(&'static str),
}

impl From<Stop> for Miss {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Exception(exception) => Self::Exception(exception),
            Stop::Retry => Self::Changed,
            Stop::Unsupported(reason) => Self::Unsupported(reason),
        }
    }
}

impl Named {
    /// Its bytes without prefixes, the first one lowest, and how many they are.
    #[inline(always)]
    const fn plain(self) -> (u32, u8) {
        match self {
            Self::Cpuid => (0xa2_0f, 2),
            Self::Rdmsr => (0x32_0f, 2),
            Self::Wrmsr => (0x30_0f, 2),
            Self::Hlt => (0xf4, 1),
            Self::Hypercall => (0xd9_01_0f, 3),
            Self::Invd => (0x08_0f, 2),
            Self::Wbinvd => (0x09_0f, 2),
            Self::Xsetbv => (0xd1_01_0f, 3),
            Self::Rdpmc => (0x33_0f, 2),
            Self::Pause => (0x90_f3, 2),
            Self::Rdtsc => (0x31_0f, 2),
            Self::Rdtscp => (0xf9_01_0f, 3),
            Self::Monitor => (0xc8_01_0f, 3),
            Self::Mwait => (0xc9_01_0f, 3),
            Self::Clts => (0x06_0f, 2),
            Self::Int1 => (0xf1, 1),
        }
    }

    fn is(self, mnemonic: Mnemonic) -> bool {
        match self {
            Self::Cpuid => mnemonic == Mnemonic::Cpuid,
            Self::Rdmsr => mnemonic == Mnemonic::Rdmsr,
            Self::Wrmsr => mnemonic == Mnemonic::Wrmsr,
            Self::Hlt => mnemonic == Mnemonic::Hlt,
            Self::Hypercall => matches!(mnemonic, Mnemonic::Vmmcall | Mnemonic::Vmcall),
            Self::Invd => mnemonic == Mnemonic::Invd,
            // WBNOINVD is WBINVD with a prefix, and intercepted with it.
            Self::Wbinvd => matches!(mnemonic, Mnemonic::Wbinvd | Mnemonic::Wbnoinvd),
            Self::Xsetbv => mnemonic == Mnemonic::Xsetbv,
            Self::Rdpmc => mnemonic == Mnemonic::Rdpmc,
            Self::Pause => mnemonic == Mnemonic::Pause,
            Self::Rdtsc => mnemonic == Mnemonic::Rdtsc,
            Self::Rdtscp => mnemonic == Mnemonic::Rdtscp,
            Self::Monitor => matches!(mnemonic, Mnemonic::Monitor | Mnemonic::Monitorx),
            Self::Mwait => matches!(mnemonic, Mnemonic::Mwait | Mnemonic::Mwaitx),
            Self::Clts => mnemonic == Mnemonic::Clts,
            Self::Int1 => mnemonic == Mnemonic::Int1,
        }
    }
}

/// The length in bytes of the instruction at CS:RIP, which the hardware says is `named`.
///
/// # Errors
/// See [`Miss`].
#[inline]
pub fn instruction_length<R: Registers>(
    registers: &R,
    memory: &GuestMemory,
    named: Named,
) -> Result<u8, Miss> {
    let (bytes, len) = named.plain();
    if registers.in_64_bit_code()
        && let Ok(gpa) = translate_code(registers, memory, Gva::new(registers.rip()))
        && let Some([a, b, c, ..]) = memory.fetch_16(gpa)
        && u32::from_le_bytes([a, b, c, 0]) & ((1 << (8 * len)) - 1) == bytes
        && is_canonical(registers, registers.rip())
    {
        return Ok(len);
    }
    decoded_length(registers, memory, named)
}

/// In another mode, with prefixes, near the end of a page, or not there any more.
#[inline(never)]
#[cold]
fn decoded_length<R: Registers>(registers: &R, memory: &GuestMemory, named: Named) -> Result<u8, Miss> {
    let instruction = decoded(registers, memory)?;
    if named.is(instruction.mnemonic()) { Ok(instruction.len() as u8) } else { Err(Miss::Changed) }
}

/// Bytes that are no instruction are not the one that the hardware named.
fn decoded<R: Registers>(registers: &R, memory: &GuestMemory) -> Result<Instruction, Miss> {
    let mode = Mode::of(registers);
    let mut code = fetch_page(registers, memory, mode)?;
    match decode(registers, memory, mode, &mut code) {
        Ok(instruction) => Ok(instruction),
        Err(Stop::Unsupported(_)) => Err(Miss::Changed),
        Err(stop) => Err(stop.into()),
    }
}

/// An instruction that accesses a control register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlAccess {
    /// MOV to CR0, CR2, CR3, CR4 or CR8.
    Write {
        /// Which one.
        cr: u8,
        /// Where the value comes from; 32 bits of it outside of 64-bit mode.
        source: Gpr,
    },
    /// MOV from a control register.
    Read {
        /// Which one.
        cr: u8,
        /// Where the value goes; 32 bits of it outside of 64-bit mode.
        target: Gpr,
    },
    /// CLTS.
    Clts,
    /// LMSW from a register: the low four bits of CR0, of which PE can't be cleared.
    Lmsw {
        /// Where the value comes from.
        source: Gpr,
    },
}

/// The access to a control register at CS:RIP, and the instruction's length in bytes.
///
/// # Errors
/// See [`Miss`].
pub fn control_access<R: Registers>(
    registers: &R,
    memory: &GuestMemory,
) -> Result<(ControlAccess, u8), Miss> {
    let i = decoded(registers, memory)?;
    let access = match i.mnemonic() {
        Mnemonic::Clts => ControlAccess::Clts,
        Mnemonic::Lmsw if i.op_kind(0) == OpKind::Register => {
            ControlAccess::Lmsw { source: general(i.op_register(0)).ok_or(Miss::Changed)? }
        }
        Mnemonic::Lmsw => return Err(Miss::Unsupported("LMSW from memory")),
        Mnemonic::Mov if i.op_count() == 2 => {
            let (first, second) = (i.op_register(0), i.op_register(1));
            match (control(first), general(first), control(second), general(second)) {
                (Some(cr), _, _, Some(source)) => ControlAccess::Write { cr, source },
                (_, Some(target), Some(cr), _) => ControlAccess::Read { cr, target },
                _ => return Err(Miss::Changed),
            }
        }
        _ => return Err(Miss::Changed),
    };
    Ok((access, i.len() as u8))
}

fn general(register: Register) -> Option<Gpr> {
    super::machine::View::of(register).map(|view| view.gpr)
}

fn control(register: Register) -> Option<u8> {
    match register {
        Register::CR0 => Some(0),
        Register::CR2 => Some(2),
        Register::CR3 => Some(3),
        Register::CR4 => Some(4),
        Register::CR8 => Some(8),
        _ => None,
    }
}
