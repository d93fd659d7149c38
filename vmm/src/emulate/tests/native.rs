//! The same instruction on the CPU that runs the test and in the emulator, over random operands.
#![allow(unsafe_code)] // Instructions are executed by inline assembly, on a buffer of their own.
use super::rig::{CODE, DEVICE, Random, Rig};
use crate::cpu::Rflags;
use crate::emulate::Outcome;
use core::arch::asm;
use std::vec::Vec;

/// Memory around the operand, which RSI points into the middle of.
const BYTES: usize = 64;
const MIDDLE: usize = 32;

/// What an instruction works on.
#[derive(Clone, Debug, PartialEq)]
#[repr(C, align(16))]
struct State {
    memory: [u8; BYTES],
    xmm: [u8; 16],
    rax: u64,
    rbx: u64,
    rcx: u64,
    rdx: u64,
    rflags: u64,
}

/// An instruction as text and as a function that executes it and tells its bytes.
struct Native {
    text: &'static str,
    run: fn(&mut State) -> &'static [u8],
    /// Flags that the manuals leave undefined.
    undefined: Rflags,
}

macro_rules! native {
    ($undefined:expr; $($text:literal),* $(,)?) => {
        vec![$(Native {
            text: $text,
            run: |state| {
                let (start, end): (*const u8, *const u8);
                let pointer = state.memory.as_mut_ptr();
                // SAFETY: the instruction reads and writes the registers named here, flags and
                // `state.memory`; RBX, which can't be named, is restored, DF cleared. Its own bytes are
                // code, which is readable and never changes.
                unsafe {
                    asm!(
                        "movups xmm0, [{x}]",
                        "xchg rbx, {b}",
                        "push {f}",
                        "popfq",
                        "2:",
                        $text,
                        "3:",
                        "pushfq",
                        "pop {f}",
                        "cld",
                        "xchg rbx, {b}",
                        "movups [{x}], xmm0",
                        "lea {x}, [rip + 2b]",
                        "lea {f2}, [rip + 3b]",
                        x = inout(reg) state.xmm.as_mut_ptr() => start,
                        b = inout(reg) state.rbx,
                        f = inout(reg) state.rflags,
                        f2 = out(reg) end,
                        inout("rax") state.rax,
                        inout("rcx") state.rcx,
                        inout("rdx") state.rdx,
                        in("rsi") pointer.add(MIDDLE),
                        out("xmm0") _,
                    );
                    std::slice::from_raw_parts(start, end.offset_from(start) as usize)
                }
            },
            undefined: $undefined,
        }),*]
    };
}

const STATUS: Rflags = crate::emulate::arithmetic::STATUS;

fn emulated(rig: &mut Rig, state: &State, code: &[u8]) -> Option<State> {
    let at = DEVICE + 0x100;
    rig.device.put(0x100, &state.memory);
    rig.device.seen.clear();
    let r = &mut rig.registers;
    r.rip = CODE;
    r.gprs[0] = state.rax;
    r.gprs[1] = state.rcx;
    r.gprs[2] = state.rdx;
    r.gprs[3] = state.rbx;
    r.gprs[6] = at + MIDDLE as u64;
    r.xmm[0] = u128::from_le_bytes(state.xmm);
    r.rflags = Rflags::from_bits_retain(state.rflags);
    rig.code(code);
    match rig.step() {
        Outcome::Done { .. } => {}
        Outcome::Exception(_) => return None,
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.registers.rip, CODE + code.len() as u64);
    assert_eq!(rig.registers.gprs[6], at + MIDDLE as u64);
    let r = &rig.registers;
    Some(State {
        memory: rig.device.get(0x100, BYTES as u64).try_into().unwrap(),
        xmm: r.xmm[0].to_le_bytes(),
        rax: r.gprs[0],
        rcx: r.gprs[1],
        rdx: r.gprs[2],
        rbx: r.gprs[3],
        rflags: r.rflags.bits(),
    })
}

/// Runs each instruction on both, `prepare` having adjusted the random operands.
fn compare(instructions: Vec<Native>, prepare: impl Fn(&mut State, &mut Random)) {
    let mut random = Random(0x5eed);
    let mut rig = Rig::long_mode();
    for native in instructions {
        for round in 0..200 {
            let mut state = State {
                memory: [0; BYTES],
                xmm: [0; 16],
                rax: random.operand(),
                rbx: random.operand(),
                rcx: random.operand(),
                rdx: random.operand(),
                rflags: 0x202 | random.next() & STATUS.bits(),
            };
            for chunk in state.memory.chunks_mut(8) {
                chunk.copy_from_slice(&random.operand().to_le_bytes());
            }
            state.xmm[..8].copy_from_slice(&random.next().to_le_bytes());
            state.xmm[8..].copy_from_slice(&random.next().to_le_bytes());
            prepare(&mut state, &mut random);
            // The bytes are not known before the first native run; a harmless state gets them.
            let code = {
                let mut harmless = state.clone();
                (harmless.rax, harmless.rdx, harmless.rcx) = (1, 0, 1);
                harmless.memory[MIDDLE..MIDDLE + 8].copy_from_slice(&[1; 8]);
                (native.run)(&mut harmless)
            };
            let Some(ours) = emulated(&mut rig, &state, code) else {
                // Only divisions raise anything here, and the CPU's own #DE would end the test.
                assert!(native.text.contains("div"), "{} raised an exception", native.text);
                continue;
            };
            let mut theirs = state.clone();
            (native.run)(&mut theirs);
            let cut = |mut s: State| {
                s.rflags &= (STATUS - native.undefined).bits();
                s
            };
            assert_eq!(
                cut(ours),
                cut(theirs),
                "{} ({code:02x?}), round {round}, from {state:x?}",
                native.text
            );
        }
    }
}

fn as_is(_: &mut State, _: &mut Random) {}

/// Makes the comparison of CMPXCHG succeed every other time.
fn equal_at_times(state: &mut State, random: &mut Random) {
    let memory = &state.memory[MIDDLE..MIDDLE + 16];
    if random.below(2) == 0 {
        state.rax = u64::from_le_bytes(memory[..8].try_into().unwrap());
        state.rdx = u64::from_le_bytes(memory[8..].try_into().unwrap());
    }
}

/// CMPXCHG8B compares EDX:EAX with eight bytes.
fn equal_halves_at_times(state: &mut State, random: &mut Random) {
    let memory = &state.memory[MIDDLE..MIDDLE + 8];
    if random.below(2) == 0 {
        state.rax = u64::from(u32::from_le_bytes(memory[..4].try_into().unwrap()));
        state.rdx = u64::from(u32::from_le_bytes(memory[4..].try_into().unwrap()));
    }
}

/// Bit offsets that stay within the buffer.
fn near_bits(state: &mut State, random: &mut Random) {
    let offset = random.below(384) as i64 - 192;
    state.rcx = state.rcx & !0xffff | offset as u64 & 0xffff;
    state.rdx = offset as u64;
}

/// Dividends whose quotient fits every other time.
fn small_dividends(state: &mut State, random: &mut Random) {
    if random.below(2) == 0 {
        state.rdx = 0;
        state.rax &= 0xff;
    } else {
        state.rdx = (state.rax as i64 >> 63) as u64;
    }
}

#[test]
fn sums_differences_and_logic_are_those_of_the_cpu() {
    let all = native!(Rflags::empty();
        "add byte ptr [rsi], cl", "add word ptr [rsi], cx", "add dword ptr [rsi], ecx",
        "add qword ptr [rsi], rcx", "add cl, [rsi]", "add cx, [rsi]", "add ecx, [rsi]", "add rcx, [rsi]",
        "adc byte ptr [rsi], cl", "adc word ptr [rsi], cx", "adc dword ptr [rsi], ecx",
        "adc qword ptr [rsi], rcx", "adc rax, [rsi]", "sbb byte ptr [rsi], cl", "sbb word ptr [rsi], cx",
        "sbb dword ptr [rsi], ecx", "sbb qword ptr [rsi], rcx", "sbb dl, [rsi]", "sub byte ptr [rsi], ch",
        "sub word ptr [rsi], cx", "sub dword ptr [rsi], ecx", "sub qword ptr [rsi], rcx", "sub eax, [rsi]",
        "cmp byte ptr [rsi], dh", "cmp word ptr [rsi], cx", "cmp dword ptr [rsi], ecx",
        "cmp qword ptr [rsi], rcx", "cmp rcx, [rsi]", "cmp cl, [rsi]", "cmp dword ptr [rsi], -3",
        "cmp byte ptr [rsi], 0x80", "add qword ptr [rsi], -5", "sub word ptr [rsi], 0x1234",
        "add dword ptr [rsi], 0x7ffffff0", "lock add dword ptr [rsi], ecx", "lock sub qword ptr [rsi], 1",
        "inc byte ptr [rsi]", "inc dword ptr [rsi]", "inc qword ptr [rsi]", "dec word ptr [rsi]",
        "lock dec dword ptr [rsi]", "neg byte ptr [rsi]", "neg dword ptr [rsi]", "neg qword ptr [rsi]",
        "not byte ptr [rsi]", "not qword ptr [rsi]", "lock not dword ptr [rsi]",
        "xadd byte ptr [rsi], cl", "xadd dword ptr [rsi], ecx", "lock xadd qword ptr [rsi], rcx",
        "xchg byte ptr [rsi], ch", "xchg word ptr [rsi], cx", "xchg dword ptr [rsi], ecx",
        "xchg qword ptr [rsi], rcx");
    compare(all, as_is);
    let logic = native!(Rflags::AF;
        "and byte ptr [rsi], cl", "and word ptr [rsi], cx", "and dword ptr [rsi], ecx",
        "and qword ptr [rsi], rcx", "and ecx, [rsi]", "or byte ptr [rsi], cl", "or word ptr [rsi], cx",
        "or dword ptr [rsi], ecx", "or qword ptr [rsi], rcx", "or rcx, [rsi]", "xor byte ptr [rsi], cl",
        "xor word ptr [rsi], cx", "xor dword ptr [rsi], ecx", "xor qword ptr [rsi], rcx",
        "test byte ptr [rsi], cl", "test dword ptr [rsi], ecx", "test qword ptr [rsi], rcx",
        "test dword ptr [rsi], 0x80000001", "test byte ptr [rsi], 0x81", "lock or dword ptr [rsi], 0x100",
        "lock and qword ptr [rsi], -2");
    compare(logic, as_is);
}

#[test]
fn compare_and_exchange_is_that_of_the_cpu() {
    let all = native!(Rflags::empty();
        "cmpxchg byte ptr [rsi], cl", "cmpxchg word ptr [rsi], cx", "cmpxchg dword ptr [rsi], ecx",
        "cmpxchg qword ptr [rsi], rcx", "lock cmpxchg dword ptr [rsi], ecx",
        "lock cmpxchg16b xmmword ptr [rsi]", "cmpxchg16b xmmword ptr [rsi]");
    compare(all, equal_at_times);
    let halves = native!(Rflags::empty(); "cmpxchg8b qword ptr [rsi]", "lock cmpxchg8b qword ptr [rsi]");
    compare(halves, equal_halves_at_times);
}

#[test]
fn shifts_and_rotations_are_those_of_the_cpu() {
    let once = native!(Rflags::AF;
        "shl byte ptr [rsi], 1", "shl qword ptr [rsi], 1", "shr word ptr [rsi], 1", "shr dword ptr [rsi], 1",
        "sar byte ptr [rsi], 1", "sar qword ptr [rsi], 1", "shld word ptr [rsi], cx, 1",
        "shld dword ptr [rsi], ecx, 1", "shld qword ptr [rsi], rcx, 1", "shrd word ptr [rsi], cx, 1",
        "shrd dword ptr [rsi], ecx, 1", "shrd qword ptr [rsi], rcx, 1");
    compare(once, as_is);
    let rotated_once = native!(Rflags::empty();
        "rol byte ptr [rsi], 1", "rol word ptr [rsi], 1", "rol qword ptr [rsi], 1", "ror byte ptr [rsi], 1",
        "ror dword ptr [rsi], 1", "rcl byte ptr [rsi], 1", "rcl dword ptr [rsi], 1",
        "rcr byte ptr [rsi], 1", "rcr word ptr [rsi], 1", "rcr qword ptr [rsi], 1");
    compare(rotated_once, as_is);
    // For other counts OF is undefined, and for a count that pushes all bits out CF as well.
    let many = native!(Rflags::AF | Rflags::OF;
        "shl dword ptr [rsi], cl", "shl qword ptr [rsi], cl", "shr dword ptr [rsi], cl",
        "shr qword ptr [rsi], cl", "sar byte ptr [rsi], cl", "sar word ptr [rsi], cl",
        "sar dword ptr [rsi], cl", "sar qword ptr [rsi], cl", "shld dword ptr [rsi], edx, cl",
        "shld qword ptr [rsi], rdx, cl", "shrd dword ptr [rsi], edx, cl", "shrd qword ptr [rsi], rdx, cl",
        "shld word ptr [rsi], dx, 11", "shrd word ptr [rsi], dx, 15");
    compare(many, as_is);
    let narrow = native!(Rflags::AF | Rflags::OF | Rflags::CF;
        "shl byte ptr [rsi], cl", "shl word ptr [rsi], cl", "shr byte ptr [rsi], cl",
        "shr word ptr [rsi], cl");
    compare(narrow, as_is);
    let rotated = native!(Rflags::OF;
        "rol byte ptr [rsi], cl", "rol word ptr [rsi], cl", "rol dword ptr [rsi], cl",
        "rol qword ptr [rsi], cl", "ror byte ptr [rsi], cl", "ror word ptr [rsi], cl",
        "ror dword ptr [rsi], cl", "ror qword ptr [rsi], cl", "rcl byte ptr [rsi], cl",
        "rcl word ptr [rsi], cl", "rcl dword ptr [rsi], cl", "rcl qword ptr [rsi], cl",
        "rcr byte ptr [rsi], cl", "rcr word ptr [rsi], cl", "rcr dword ptr [rsi], cl",
        "rcr qword ptr [rsi], cl", "rol word ptr [rsi], 16", "ror byte ptr [rsi], 24");
    compare(rotated, as_is);
}

#[test]
fn products_and_quotients_are_those_of_the_cpu() {
    let products = native!(Rflags::SF | Rflags::ZF | Rflags::AF | Rflags::PF;
        "mul byte ptr [rsi]", "mul word ptr [rsi]", "mul dword ptr [rsi]", "mul qword ptr [rsi]",
        "imul byte ptr [rsi]", "imul word ptr [rsi]", "imul dword ptr [rsi]", "imul qword ptr [rsi]",
        "imul cx, [rsi]", "imul ecx, [rsi]", "imul rcx, [rsi]", "imul ecx, dword ptr [rsi], -7",
        "imul rcx, qword ptr [rsi], 0x12345", "imul cx, word ptr [rsi], 0x1234");
    compare(products, as_is);
    let quotients = native!(STATUS;
        "div byte ptr [rsi]", "div word ptr [rsi]", "div dword ptr [rsi]", "div qword ptr [rsi]",
        "idiv byte ptr [rsi]", "idiv word ptr [rsi]", "idiv dword ptr [rsi]", "idiv qword ptr [rsi]");
    compare(quotients, small_dividends);
}

#[test]
fn bits_and_scans_are_those_of_the_cpu() {
    let undefined = STATUS - Rflags::CF - Rflags::ZF;
    let tests = native!(undefined;
        "bt word ptr [rsi], cx", "bt dword ptr [rsi], edx", "bt qword ptr [rsi], rdx",
        "bts word ptr [rsi], cx", "bts dword ptr [rsi], edx", "bts qword ptr [rsi], rdx",
        "btr word ptr [rsi], cx", "btr dword ptr [rsi], edx", "btc qword ptr [rsi], rdx",
        "bt dword ptr [rsi], 37", "bts qword ptr [rsi], 63", "lock btr dword ptr [rsi], 31",
        "lock btc word ptr [rsi], 9");
    compare(tests, near_bits);
    let scans = native!(STATUS - Rflags::ZF;
        "bsf cx, [rsi]", "bsf rcx, [rsi]", "bsr cx, [rsi]", "bsr rcx, [rsi]");
    compare(scans, as_is);
    let counts = native!(STATUS - Rflags::ZF - Rflags::CF;
        "tzcnt cx, [rsi]", "tzcnt ecx, [rsi]", "tzcnt rcx, [rsi]", "lzcnt cx, [rsi]", "lzcnt ecx, [rsi]",
        "lzcnt rcx, [rsi]");
    if std::is_x86_feature_detected!("bmi1") && std::is_x86_feature_detected!("lzcnt") {
        compare(counts, as_is);
    }
    let population = native!(Rflags::empty(); "popcnt cx, [rsi]", "popcnt ecx, [rsi]", "popcnt rcx, [rsi]");
    if std::is_x86_feature_detected!("popcnt") {
        compare(population, as_is);
    }
    let crc = native!(Rflags::empty();
        "crc32 ecx, byte ptr [rsi]", "crc32 ecx, word ptr [rsi]", "crc32 ecx, dword ptr [rsi]",
        "crc32 rcx, qword ptr [rsi]", "crc32 rcx, byte ptr [rsi]");
    if std::is_x86_feature_detected!("sse4.2") {
        compare(crc, as_is);
    }
}

#[test]
fn moves_and_conditions_are_those_of_the_cpu() {
    let all = native!(Rflags::empty();
        "mov [rsi], cl", "mov [rsi], ch", "mov [rsi], cx", "mov [rsi], ecx", "mov [rsi], rcx", "mov ch, [rsi]",
        "mov cl, [rsi]", "mov cx, [rsi]", "mov ecx, [rsi]", "mov rcx, [rsi]", "mov byte ptr [rsi], 0x81",
        "mov word ptr [rsi], 0x8182", "mov dword ptr [rsi], 0x81828384", "mov qword ptr [rsi], -2",
        "movzx ecx, byte ptr [rsi]", "movzx cx, byte ptr [rsi]", "movzx rcx, word ptr [rsi]",
        "movsx ecx, byte ptr [rsi]", "movsx cx, byte ptr [rsi]", "movsx rcx, word ptr [rsi]",
        "movsxd rcx, dword ptr [rsi]", "movnti [rsi], ecx", "movnti [rsi], rcx",
        "seto [rsi]", "setno [rsi]", "setb [rsi]", "setae [rsi]", "sete [rsi]", "setne [rsi]", "setbe [rsi]",
        "seta [rsi]", "sets [rsi]", "setns [rsi]", "setp [rsi]", "setnp [rsi]", "setl [rsi]", "setge [rsi]",
        "setle [rsi]", "setg [rsi]", "cmovo ecx, [rsi]", "cmovno rcx, [rsi]", "cmovb cx, [rsi]",
        "cmovae ecx, [rsi]", "cmove ecx, [rsi]", "cmovne ecx, [rsi]", "cmovbe ecx, [rsi]",
        "cmova ecx, [rsi]", "cmovs ecx, [rsi]", "cmovns ecx, [rsi]", "cmovp ecx, [rsi]",
        "cmovnp ecx, [rsi]", "cmovl ecx, [rsi]", "cmovge ecx, [rsi]", "cmovle ecx, [rsi]",
        "cmovg ecx, [rsi]", "mov [rsi + 5], rcx", "mov ecx, [rsi - 3]", "nop dword ptr [rsi]",
        "prefetcht0 [rsi]");
    compare(all, as_is);
    let swapped = native!(Rflags::empty();
        "movbe [rsi], cx", "movbe [rsi], ecx", "movbe rcx, [rsi]", "movbe cx, [rsi]");
    if std::is_x86_feature_detected!("movbe") {
        compare(swapped, as_is);
    }
}

#[test]
fn vector_moves_are_those_of_the_cpu() {
    let all = native!(Rflags::empty();
        "movups [rsi], xmm0", "movups xmm0, [rsi]", "movaps [rsi], xmm0", "movapd xmm0, [rsi]",
        "movdqa xmm0, [rsi]", "movdqu [rsi + 3], xmm0", "movdqu xmm0, [rsi - 5]", "movd [rsi], xmm0",
        "movd xmm0, dword ptr [rsi]", "movq [rsi], xmm0", "movq xmm0, qword ptr [rsi]",
        "movss xmm0, [rsi]", "movss [rsi], xmm0", "movsd xmm0, [rsi]", "movsd [rsi], xmm0",
        "movlps [rsi], xmm0", "movhps [rsi], xmm0", "movlps xmm0, [rsi]", "movhps xmm0, [rsi]",
        "movlpd xmm0, [rsi]", "movhpd [rsi], xmm0", "movntps [rsi], xmm0", "movntdq [rsi], xmm0");
    compare(all, as_is);
    let vex = native!(Rflags::empty();
        "vmovups [rsi], xmm0", "vmovdqu xmm0, [rsi]", "vmovdqa xmm0, [rsi]", "vmovd [rsi], xmm0",
        "vmovq xmm0, qword ptr [rsi]", "vmovhps xmm0, xmm0, [rsi]", "vmovlps [rsi], xmm0");
    if std::is_x86_feature_detected!("avx") {
        compare(vex, as_is);
    }
}
