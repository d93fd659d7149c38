//! The world switch (SDM vol. 3C, chapters 26 and 27).
#![allow(unsafe_code)] // VMLAUNCH and VMRESUME exist only as instructions.

use super::field::Field;
use core::arch::naked_asm;

/// The entry did not take place, and there was no current VMCS.
#[expect(dead_code, reason = "named for the reader: it can't happen between `arrive` and `leave`")]
pub const FAIL_INVALID: u64 = 1;
/// The entry did not take place; the VMCS has an error number.
#[expect(dead_code, reason = "likewise")]
pub const FAIL_VALID: u64 = 2;

/// Enters the guest of the current VMCS, and comes back at its next exit with 0. Comes back with another value
/// where the instruction failed before it looked at the guest's state.
///
/// Interrupts are disabled throughout: what is pending ends the guest's run, and is the caller's to let in.
///
/// `gprs` holds the guest's general registers by number; RSP is in the VMCS. `host_stack` is where the value of
/// HOST_RSP is remembered, which is written only where it changes.
///
/// # Safety
/// The current VMCS describes a guest whose memory and bitmaps are its own, its host state is this CPU's, its
/// HOST_RIP is [`exit_point`], and it is launched if and only if `launched`.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn run_guest(gprs: *mut [u64; 16], launched: bool, host_stack: *mut u64) -> u64 {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdi",
        "cmp rsp, [rdx]",
        "je 2f",
        "mov [rdx], rsp",
        "mov eax, {host_rsp}",
        "vmwrite rax, rsp",
        "2:",
        "test sil, sil",
        // MOV leaves the flags alone.
        "mov rax, [rdi]",
        "mov rcx, [rdi + 8*1]",
        "mov rdx, [rdi + 8*2]",
        "mov rbx, [rdi + 8*3]",
        "mov rbp, [rdi + 8*5]",
        "mov rsi, [rdi + 8*6]",
        "mov r8,  [rdi + 8*8]",
        "mov r9,  [rdi + 8*9]",
        "mov r10, [rdi + 8*10]",
        "mov r11, [rdi + 8*11]",
        "mov r12, [rdi + 8*12]",
        "mov r13, [rdi + 8*13]",
        "mov r14, [rdi + 8*14]",
        "mov r15, [rdi + 8*15]",
        "mov rdi, [rdi + 8*7]",
        "jz 3f",
        "vmresume",
        "jmp 4f",
        "3:",
        "vmlaunch",
        "4:",
        // CF: no current VMCS. ZF: it has an error number.
        "setz al",
        "movzx eax, al",
        "inc eax",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        host_rsp = const Field::HOST_RSP.0,
    )
}

/// Where exits go, with the stack as [`run_guest`] left it: the end of that function.
///
/// # Safety
/// Not to be called.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn exit_point() {
    naked_asm!(
        "push rdi",
        "mov rdi, [rsp + 8]",
        "mov [rdi], rax",
        "mov [rdi + 8*1], rcx",
        "mov [rdi + 8*2], rdx",
        "mov [rdi + 8*3], rbx",
        "mov [rdi + 8*5], rbp",
        "mov [rdi + 8*6], rsi",
        "pop qword ptr [rdi + 8*7]",
        "mov [rdi + 8*8], r8",
        "mov [rdi + 8*9], r9",
        "mov [rdi + 8*10], r10",
        "mov [rdi + 8*11], r11",
        "mov [rdi + 8*12], r12",
        "mov [rdi + 8*13], r13",
        "mov [rdi + 8*14], r14",
        "mov [rdi + 8*15], r15",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "xor eax, eax",
        "ret",
    )
}
