//! The world switch (APM vol. 2, 15.5 and 15.17).
#![allow(unsafe_code)] // VMRUN and its kin exist only as instructions.

use core::arch::naked_asm;

/// Runs the guest of the VMCB at physical address `vmcb` until its next #VMEXIT.
///
/// The global interrupt flag is clear from before the guest's state is loaded until after the host's is
/// back, so that no interrupt or NMI handler runs with a guest's GS or TR. Interrupts are enabled (IF)
/// throughout, which makes a pending one end the guest's run at once (15.21.1), and returns with both
/// flags set: what was pending has then been taken.
///
/// `gprs` holds the guest's general registers by number; RAX and RSP are in the VMCB. `host` is a page
/// that VMSAVE has filled on this CPU.
///
/// # Safety
/// SVM is enabled on this CPU with its host save area, the VMCB describes a guest whose memory and
/// permission maps are its own, `host` was filled on this CPU and the CPU's FS, GS, TR and system-call
/// registers have not changed since.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn run_guest(vmcb: u64, gprs: *mut [u64; 16], host: u64) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdx",
        "push rsi",
        "clgi",
        "sti",
        "mov rax, rdi",
        "vmload rax",
        "mov rcx, [rsi + 8*1]",
        "mov rdx, [rsi + 8*2]",
        "mov rbx, [rsi + 8*3]",
        "mov rbp, [rsi + 8*5]",
        "mov rdi, [rsi + 8*7]",
        "mov r8,  [rsi + 8*8]",
        "mov r9,  [rsi + 8*9]",
        "mov r10, [rsi + 8*10]",
        "mov r11, [rsi + 8*11]",
        "mov r12, [rsi + 8*12]",
        "mov r13, [rsi + 8*13]",
        "mov r14, [rsi + 8*14]",
        "mov r15, [rsi + 8*15]",
        "mov rsi, [rsi + 8*6]",
        "vmrun rax",
        // The host's RAX is back: the VMCB.
        "vmsave rax",
        "mov rax, [rsp]",
        "mov [rax + 8*1], rcx",
        "mov [rax + 8*2], rdx",
        "mov [rax + 8*3], rbx",
        "mov [rax + 8*5], rbp",
        "mov [rax + 8*6], rsi",
        "mov [rax + 8*7], rdi",
        "mov [rax + 8*8], r8",
        "mov [rax + 8*9], r9",
        "mov [rax + 8*10], r10",
        "mov [rax + 8*11], r11",
        "mov [rax + 8*12], r12",
        "mov [rax + 8*13], r13",
        "mov [rax + 8*14], r14",
        "mov [rax + 8*15], r15",
        "mov rax, [rsp + 8]",
        "vmload rax",
        "stgi",
        "add rsp, 16",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}
