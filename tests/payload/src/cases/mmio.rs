//! Memory-mapped I/O: where nothing is, at the edges of RAM, and as code.
#![allow(unsafe_code)] // Instructions as they are.
use crate::catch::{Came, GP, UD, catch, raises};
use crate::instructions::{discard, inb, inl, inw, outb, outl, outw};
use crate::{Outcome, ensure, random, start_info, wrong};
use bare::memory::{load, store};
use core::arch::asm;

/// In the PCI window, where no device is.
pub const NOTHING: u64 = 0xd000_0000;

pub fn nothing() -> Outcome {
    for offset in [0u64, 1, 3, 7, 0xffc, 0xffd, 0xfff, 0xff9] {
        let at = NOTHING + offset;
        store(at, 0x11u8);
        store(at, 0x2222u16);
        store(at, 0x3333_3333u32);
        store(at, 0x4444_4444_4444_4444u64);
        ensure!(load::<u8>(at) == u8::MAX, "a byte at {at:#x}: {:#x}", load::<u8>(at));
        let (two, four, eight): (u64, u64, u64);
        // SAFETY: loads.
        unsafe {
            asm!(
                "movzx {two}, word ptr [{at}]", "mov {four:e}, [{at}]", "mov {eight}, [{at}]",
                two = out(reg) two, four = out(reg) four, eight = out(reg) eight, at = in(reg) at, options(nostack)
            );
        }
        ensure!(
            (two, four, eight) == (0xffff, 0xffff_ffff, u64::MAX),
            "{two:#x} {four:#x} {eight:#x} at {at:#x}"
        );
        let extended: u64;
        // SAFETY: a load.
        unsafe { asm!("movsx {}, byte ptr [{}]", out(reg) extended, in(reg) at, options(nostack)) };
        ensure!(extended == u64::MAX, "sign-extended: {extended:#x}");
        // A load into part of a register keeps the rest, of 32 bits clears it.
        let (low, high): (u64, u64);
        // SAFETY: loads; RBX is put back.
        unsafe {
            asm!(
                "mov rax, 0x1122334455667788", "mov r8, rbx", "mov rbx, rax",
                "mov al, [{at}]", "mov bh, [{at}]", "mov {high}, rbx", "mov rbx, r8",
                at = in(reg) at, out("rax") low, high = out(reg) high, out("r8") _, options(nostack)
            );
        }
        ensure!(low == 0x1122_3344_5566_77ff && high == 0x1122_3344_5566_ff88, "AL: {low:#x}, BH: {high:#x}");
    }
    Ok(())
}

pub fn fetch() -> Outcome {
    for at in [NOTHING, NOTHING + 0xfff, NOTHING + 0xffe] {
        // SAFETY: all ones are no instruction.
        let came = catch(|| unsafe { asm!("call {}", in(reg) at) });
        match came {
            Err(caught) if caught.vector == UD && caught.rip == at => {}
            came => wrong!("code at {at:#x}: {}, expected #UD there", Came(came)),
        }
    }
    Ok(())
}

pub fn boundary() -> Outcome {
    let video = 0xa_0000;
    let end = start_info::low_ram_end();
    ensure!(end >= 16 << 20, "the memory map has no end of RAM");
    for edge in [video, end] {
        let was: u64 = load(edge - 8);
        store(edge - 8, 0x1111_1111_1111_1111u64);
        for before in 1..8u64 {
            let bytes: u64 = load(edge - before);
            let expected = u64::MAX << (8 * before) | 0x1111_1111_1111_1111 >> (64 - 8 * before);
            ensure!(bytes == expected, "{bytes:#x} from {before} before {edge:#x}, expected {expected:#x}");
        }
        // Of a write the part that is RAM stays.
        for before in 1..8u64 {
            store(edge - 8, 0u64);
            store(edge - before, 0x8877_6655_4433_2211u64);
            let kept: u64 = load(edge - 8);
            let expected = 0x8877_6655_4433_2211u64 << (64 - 8 * before);
            ensure!(
                kept == expected,
                "{kept:#x} of a write {before} before {edge:#x}, expected {expected:#x}"
            );
            let lost: u64 = load(edge);
            ensure!(lost == u64::MAX, "{lost:#x} behind {edge:#x}");
        }
        // Added to, across: all ones and something with a carry out of the RAM part.
        store(edge - 8, 0u64);
        store(edge - 4, 0xffff_ffffu32);
        // SAFETY: a store beside the program, to the last RAM or the last before the video memory.
        unsafe { asm!("add qword ptr [{}], 1", in(reg) edge - 4, options(nostack)) };
        let kept: u64 = load(edge - 8);
        ensure!(kept == 0, "{kept:#x} after an addition across {edge:#x}");
        store(edge - 8, was);
    }
    Ok(())
}

/// The flags ZF, CF, SF after an instruction on all ones, and the operand afterwards.
macro_rules! flags_of {
    ($($code:literal),+; $rax:expr, $rcx:expr) => {{
        let (mut rax, mut rcx, flags): (u64, u64, u64) = ($rax, $rcx, 0);
        let mut flags_out = flags;
        // SAFETY: RAX, RCX, and where no device is; the stack is put back.
        unsafe {
            asm!(
                $($code,)+ "pushfq", "pop {flags}",
                flags = inout(reg) flags_out, inout("rax") rax, inout("rcx") rcx, in("rdx") NOTHING
            );
        }
        let _ = (&mut rax, &mut rcx, &mut flags_out);
        (rax, rcx, flags_out & 0x8d5)
    }};
}

/// RAX, RCX and the flags.
type After = (u64, u64, u64);

pub fn operations() -> Outcome {
    const CF: u64 = 1;
    const PF: u64 = 4;
    const AF: u64 = 0x10;
    const ZF: u64 = 0x40;
    const SF: u64 = 0x80;
    // The operand at RDX is all ones, whatever is written.
    let tests: [(&str, After, After); 14] = [
        ("ADD m32, 1", flags_of!("add dword ptr [rdx], 1"; 0, 0), (0, 0, CF | PF | AF | ZF)),
        ("INC m64", flags_of!("clc", "inc qword ptr [rdx]"; 0, 0), (0, 0, PF | AF | ZF)),
        ("CMP m8, -1", flags_of!("cmp byte ptr [rdx], -1"; 0, 0), (0, 0, PF | ZF)),
        ("AND EAX, m32", flags_of!("and eax, [rdx]"; 0x1_8000_0001, 0), (0x8000_0001, 0, SF)),
        ("SUB RCX, m64", flags_of!("sub rcx, [rdx]"; 0, 0), (0, 1, CF | AF)),
        ("XCHG m32, ECX", flags_of!("xor eax, eax", "xchg [rdx], ecx"; 0, 7), (0, 0xffff_ffff, PF | ZF)),
        ("NOT m16", flags_of!("xor eax, eax", "not word ptr [rdx]"; 0, 0), (0, 0, PF | ZF)),
        ("NEG m32", flags_of!("neg dword ptr [rdx]"; 0, 0), (0, 0, CF | AF)),
        ("LOCK XADD m32, ECX", flags_of!("lock xadd [rdx], ecx"; 0, 1), (0, 0xffff_ffff, CF | PF | AF | ZF)),
        ("CMPXCHG equal", flags_of!("lock cmpxchg [rdx], ecx"; 0xffff_ffff, 5), (0xffff_ffff, 5, PF | ZF)),
        ("CMPXCHG unequal", flags_of!("lock cmpxchg [rdx], ecx"; 0, 5), (0xffff_ffff, 5, CF | AF)),
        ("BT m32, 31", flags_of!("xor eax, eax", "bt dword ptr [rdx], 31"; 0, 0), (0, 0, CF)),
        ("TEST m32, imm", flags_of!("test dword ptr [rdx], 0x80000000"; 0, 0), (0, 0, PF | SF)),
        (
            "MOVBE-like BSWAP",
            flags_of!("xor eax, eax", "mov ecx, [rdx]", "bswap ecx"; 0, 0),
            (0, 0xffff_ffff, PF | ZF),
        ),
    ];
    for (name, got, expected) in tests {
        // BT leaves all flags but CF undefined.
        let mask = if name.starts_with("BT") { CF } else { u64::MAX };
        ensure!(
            (got.0, got.1, got.2 & mask) == expected,
            "{name}: RAX {:#x} RCX {:#x} flags {:#x}, expected {:#x} {:#x} {:#x}",
            got.0,
            got.1,
            got.2,
            expected.0,
            expected.1,
            expected.2
        );
    }
    // Non-canonical addresses are #GP before anything is accessed.
    if let Err(came) = raises(GP, || discard(load::<u32>(0x8000_0000_0000_0000))) {
        wrong!("a non-canonical address: {came}, expected #GP");
    }
    // A division by all ones is one; of more than fits, #DE.
    let (quotient, remainder): (u32, u32);
    // SAFETY: arithmetic.
    unsafe {
        asm!("div dword ptr [{}]", in(reg) NOTHING, inout("eax") 0xffff_ffffu32 => quotient,
            inout("edx") 0u32 => remainder, options(nostack));
    }
    ensure!((quotient, remainder) == (1, 0), "DIV m32: {quotient:#x} remainder {remainder:#x}");
    let overflow = || {
        // SAFETY: arithmetic.
        unsafe {
            asm!("div dword ptr [{}]", in(reg) NOTHING, inout("eax") 0u32 => _,
                inout("edx") 0xffff_ffffu32 => _, options(nostack));
        }
    };
    if let Err(came) = raises(crate::catch::DE, overflow) {
        wrong!("DIV m32 that overflows: {came}, expected #DE");
    }
    Ok(())
}

pub fn random() -> Outcome {
    let end = start_info::low_ram_end().max(0xc000_0000);
    for _ in 0..4000 {
        let at = match random::below(4) {
            // PCI configuration space by memory.
            0 => 0xe000_0000 + (random::below(0x1000_0000) & !3),
            1 => 0xe000_0000 + random::below(0x10_0000),
            2 => 0xa_0000 + random::below(0x2_0000),
            _ => end + random::below((1 << 32) - 8 - end),
        };
        // The interrupt controllers have cases of their own.
        if (0xfec0_0000..0xfec0_1008).contains(&(at + 8)) || (0xfee0_0000..0xfee0_1008).contains(&(at + 8)) {
            continue;
        }
        let value = random::nasty();
        match random::below(8) {
            0 => store(at, value as u8),
            1 => store(at, value as u16),
            2 => store(at, value as u32),
            3 => store(at, value),
            4 => discard(load::<u8>(at)),
            5 => discard(load::<u16>(at)),
            6 => discard(load::<u32>(at)),
            _ => discard(load::<u64>(at)),
        }
    }
    // The old way to configuration space.
    for _ in 0..4000 {
        outl(0xcf8, 0x8000_0000 | random::nasty() as u32);
        // Not 0xcf9 itself, which resets the machine.
        let port = 0xcfc + random::below(4) as u16;
        match random::below(6) {
            0 => discard(inb(port)),
            1 => discard(inw(port)),
            2 => discard(inl(port)),
            3 => outb(port, random::nasty() as u8),
            4 => outw(port, random::nasty() as u16),
            _ => outl(port, random::nasty() as u32),
        }
    }
    Ok(())
}
