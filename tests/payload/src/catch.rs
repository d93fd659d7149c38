//! Exceptions and interrupts: a fault ends an attempt instead of the program.
#![allow(unsafe_code)] // A second way out of a call, and the handlers.
use crate::instructions::cr2;
use crate::{apic, cpu, say};
use bare::idt::{self, Gate};
use bare::power;
use core::arch::{global_asm, naked_asm};
use core::fmt;
use core::sync::atomic::Ordering;

/// Vectors of exceptions.
pub const DE: u8 = 0;
pub const DB: u8 = 1;
pub const NMI: u8 = 2;
pub const UD: u8 = 6;
pub const GP: u8 = 13;
pub const PF: u8 = 14;

/// What the stub pushed, and the CPU before it.
#[repr(C)]
pub struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// An exception that ended an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caught {
    pub vector: u8,
    pub error: u32,
    pub rip: u64,
    /// CR2 at that time.
    pub address: u64,
    /// The counter register at that time, for string instructions.
    pub rcx: u64,
    pub rsi: u64,
    pub rdi: u64,
}

impl Caught {
    pub const NONE: Self = Self { vector: 0, error: 0, rip: 0, address: 0, rcx: 0, rsi: 0, rdi: 0 };
}

impl fmt::Display for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exception {} error {:#x} at {:#x}", self.vector, self.error, self.rip)?;
        if self.vector == PF { write!(f, " CR2 {:#x}", self.address) } else { Ok(()) }
    }
}

/// What an attempt came to, for messages.
pub struct Came(pub Result<(), Caught>);

impl fmt::Display for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(()) => f.write_str("no fault"),
            Err(caught) => caught.fmt(f),
        }
    }
}

/// Does something that may fault; the first exception ends it. What it had begun stays so.
pub fn catch(mut attempt: impl FnMut()) -> Result<(), Caught> {
    extern "sysv64" fn call<F: FnMut()>(f: *mut F) {
        // SAFETY: `attempt`, which is there until `try_call` is left.
        unsafe { (*f)() }
    }
    fn of<F: FnMut()>(_: &F) -> extern "sysv64" fn(*mut F) {
        call::<F>
    }
    let call = of(&attempt);
    // SAFETY: a function and the argument that it takes. Where an exception ends it, what was called is
    // forgotten: none of it holds anything whose end must be seen.
    let faulted = unsafe { try_call(call as *const (), (&raw mut attempt).cast()) };
    if faulted { Err(cpu::this().caught.get()) } else { Ok(()) }
}

/// Whether an attempt raised this exception and no other.
pub fn raises(vector: u8, attempt: impl FnMut()) -> Result<(), Came> {
    match catch(attempt) {
        Err(caught) if caught.vector == vector => Ok(()),
        came => Err(Came(came)),
    }
}

/// Looks at an exception before anybody else; true if the interrupted code is to go on with what is in the
/// frame.
pub type Hook = fn(&mut Frame) -> bool;

/// Lets `hook` see every exception first while `f` runs.
pub fn hook<T>(hook: Hook, f: impl FnOnce() -> T) -> T {
    cpu::this().hook.set(Some(hook));
    let result = f();
    cpu::this().hook.set(None);
    result
}

/// Calls `f(argument)`. True if an exception ended it. [`resume_here`] is its second half.
///
/// # Safety
/// `f` is an `extern "sysv64" fn(*mut T)`, and `argument` what it may be called with. The frames between this
/// one and an exception can be left as they are.
#[unsafe(naked)]
unsafe extern "sysv64" fn try_call(f: *const (), argument: *mut ()) -> bool {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "pushfq",
        // Those around this one wait.
        "mov rax, rsp",
        "and rax, -65536",
        "push [rax]",
        "mov [rax], rsp",
        "sub rsp, 8",
        "mov rax, rdi",
        "mov rdi, rsi",
        "call rax",
        "add rsp, 8",
        "xor eax, eax",
        "jmp {out}",
        out = sym resume_here,
    )
}

/// Where a caught exception returns to, with the stack pointer that `try_call` noted, and RAX 1.
///
/// # Safety
/// Not to be called.
#[unsafe(naked)]
unsafe extern "sysv64" fn resume_here() {
    naked_asm!(
        "mov rcx, rsp",
        "and rcx, -65536",
        "pop [rcx]",
        "popfq",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

global_asm!(
    r#"
    .section .text.stubs, "ax"
    .balign 16
    .global exception_stubs
exception_stubs:
    vector = 0
    .rept 256
    .balign 16
    .if (vector != 8) && ((vector < 10) || (vector > 14)) && (vector != 17) && (vector != 21) && (vector != 29) && (vector != 30)
    .byte 0x6a, 0
    .endif
    .byte 0x68
    .long vector
    jmp exception_stub_end
    vector = vector + 1
    .endr
exception_stub_end:
    push rax
    push rcx
    push rdx
    push rbx
    push rbp
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
    mov rdi, rsp
    mov rbx, rsp
    and rsp, -16
    call {handler}
    mov rsp, rbx
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rbp
    pop rbx
    pop rdx
    pop rcx
    pop rax
    add rsp, 16
    iretq
    "#,
    handler = sym on_exception,
);

unsafe extern "C" {
    static exception_stubs: u8;
}

/// Where the handler of a vector begins.
pub fn stub(vector: u8) -> u64 {
    &raw const exception_stubs as u64 + 16 * u64::from(vector)
}

/// Fills the interrupt table: each vector has its stub and the stack for exceptions.
pub fn fill_idt() {
    for vector in 0..=255u8 {
        let stack = match vector {
            2 => 2,
            8 => 3,
            _ => 1,
        };
        // Breakpoints may come from user code.
        let gate = Gate { handler: stub(vector), stack, from_user: vector == 3 };
        // SAFETY: a stub puts back all registers but those that `on_exception` or a case's hook means to
        // change. Each CPU has these stacks in its TSS.
        unsafe { idt::set(vector, gate) };
    }
}

extern "sysv64" fn on_exception(frame: &mut Frame) {
    let cpu = cpu::this();
    let vector = frame.vector as u8;
    cpu.take(vector);
    if cpu.hook.get().is_some_and(|hook| hook(frame)) {
        return;
    }
    if vector >= 32 {
        apic::end_of_interrupt();
        return;
    }
    if vector == NMI {
        return;
    }
    let caught = Caught {
        vector,
        error: frame.error as u32,
        rip: frame.rip,
        address: cr2(),
        rcx: frame.rcx,
        rsi: frame.rsi,
        rdi: frame.rdi,
    };
    let resume = cpu.resume.load(Ordering::SeqCst);
    if resume == 0 {
        say!("PAYLOAD {} FAIL nobody expected {caught}", crate::console::current());
        power::off();
    }
    cpu.caught.set(caught);
    frame.rax = 1;
    frame.rip = resume_here as *const () as u64;
    frame.cs = cpu::CODE.into();
    frame.rflags = 2;
    frame.rsp = resume;
    frame.ss = cpu::DATA.into();
}
