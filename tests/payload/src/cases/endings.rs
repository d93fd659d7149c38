//! What ends or stops the machine.
#![allow(unsafe_code)] // What a CPU does not go on from.
use super::mmio::NOTHING;
use crate::catch::{self, Came, Frame, hook};
use crate::instructions::*;
use crate::{Outcome, apic, cpu, paging, processors, say};
use bare::{idt, memory, power};
use core::arch::asm;

pub fn triple_fault() -> Outcome {
    idt::forget();
    ud2();
    Ok(())
}

pub fn page_tables_in_mmio() -> Outcome {
    // SAFETY: what nobody answers for reads as all ones: addresses without RAM, or reserved bits.
    unsafe { paging::put_window_table_into(NOTHING) };
    let came = catch::catch(|| discard(memory::load::<u32>(paging::WINDOW)));
    crate::wrong!("{}", Came(came))
}

pub fn reset() -> Outcome {
    power::reset()
}

pub fn keyboard_reset() -> Outcome {
    outb(0x64, 0xfe);
    power::halt()
}

pub fn spin() -> Outcome {
    cli();
    // SAFETY: does nothing.
    unsafe { asm!("2: jmp 2b", options(nostack, noreturn)) }
}

pub fn halt() -> Outcome {
    power::halt()
}

pub fn debug_storm() -> Outcome {
    // The delivery of #DB pushes SS to the first eight bytes below the top of its stack.
    let pushed_to = cpu::this().address() + cpu::EXCEPTION_STACK - 8;
    const WRITES_OF_8_BYTES: u64 = 1 << 16 | 2 << 18;
    set_dr0(pushed_to);
    set_dr7(0x400 | 2 | WRITES_OF_8_BYTES);
    hook(
        |frame: &mut Frame| frame.vector as u8 == catch::DB,
        || {
            // SAFETY: on a stack on which nobody is until the exception that this raises.
            unsafe { (pushed_to as *mut u64).write_volatile(0) };
            // What the pushes have raised may come late.
            set_dr7(0x400);
            processors::wait(100_000);
        },
    );
    say!("PAYLOAD debug-storm took {} #DB", cpu::taken(catch::DB));
    Ok(())
}

pub fn fetch_storm() -> Outcome {
    cli();
    set_dr0(catch::stub(catch::DB));
    set_dr7(0x400 | 2);
    // SAFETY: gets to the handler of #DB, of whose instructions none is ever executed.
    unsafe { asm!("int 1", options(noreturn)) }
}

/// User code: a load from an odd address, with the flag AC on.
///
/// # Safety
/// Not to be called: it does not return.
#[unsafe(naked)]
unsafe extern "sysv64" fn user_code() {
    core::arch::naked_asm!("mov eax, [rsp - 63]", "ud2")
}

pub fn alignment_storm() -> Outcome {
    const AM: u64 = 1 << 18;
    const AC: u64 = 1 << 18;
    // SAFETY: alignment checks, which no code of ring 0 is subject to.
    unsafe { set_cr0(cr0() | AM) };
    let stack = cpu::this().address() + 0xc000;
    // Every #AC returns to the instruction that raised it. Where there is none, #UD ends the case.
    let came = hook(
        |frame: &mut Frame| frame.vector == 17,
        || {
            // SAFETY: only an exception ends the user code, which writes to no memory.
            catch::catch(|| unsafe {
                asm!(
                    "push {ss}", "push {rsp}", "push {flags}", "push {cs}", "push {rip}", "iretq",
                    ss = in(reg) u64::from(cpu::USER_DATA), rsp = in(reg) stack, flags = in(reg) AC | 2,
                    cs = in(reg) u64::from(cpu::USER_CODE), rip = in(reg) user_code as *const () as u64,
                )
            })
        },
    );
    say!("PAYLOAD alignment-storm ended by {}", Came(came));
    Ok(())
}

pub fn init_self() -> Outcome {
    apic::enable();
    // To its own ID: the shorthand for oneself can't carry INIT.
    apic::send(apic::read(apic::ID) >> 24, 5 << 8 | apic::ASSERT);
    power::halt()
}
