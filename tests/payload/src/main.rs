//! A bare-metal guest for hostile tests: it does what a guest should not do, and checks that what comes of
//! it is what the manuals say.
//!
//! ```text
//!  PVH start ─► boot: long mode ─► start_info: names of cases ─► cases::run each ─► power-off
//!                                                                   │
//!                             catch: a fault ends the attempt ◄─────┤
//!                                     console: PAYLOAD … ok/FAIL ◄──┘
//! ```
//!
//! It runs under anything that can start a PVH kernel (Xen, docs/misc/pvh.pandoc), with the names of cases
//! or of groups on its command line, and `seed=N` for the random ones. On COM1 it writes
//!
//! ```text
//! PAYLOAD rdpmc begins
//! PAYLOAD rdpmc ok
//! PAYLOAD cr8 FAIL 16 written to CR8: no fault, expected #GP
//! PAYLOAD done
//! ```
//!
//! What it expects is what the AMD and Intel manuals say that a CPU does, never what a hypervisor or an
//! emulator was seen to do. [`payload::CASES`] is the table of all of it.
//!
//! Virtual addresses are physical ones up to 4 GiB; above is a window for pages that a case maps by itself.
//!
//! What is `unsafe` in it, and what is not, is as [`bare`] has it: memory of the program's own, not the peace of
//! its machine, is what code has to be kept from.
#![no_std]
#![no_main]

mod apic;
mod boot;
mod cases;
mod catch;
mod console;
mod cpu;
mod instructions;
mod paging;
mod processors;
mod random;
mod start_info;
mod strings;

use bare::{com1, power};
use core::fmt;
use payload::{CASES, Case};

/// A case is not as it should be, and has said why.
pub struct Wrong(());

impl Wrong {
    pub fn new(why: fmt::Arguments) -> Self {
        say!("PAYLOAD {} FAIL {why}", console::current());
        Self(())
    }
}

pub type Outcome = Result<(), Wrong>;

/// Fails the case with a message.
#[macro_export]
macro_rules! wrong {
    ($($arg:tt)*) => { return Err($crate::Wrong::new(format_args!($($arg)*))) };
}

/// Fails the case with a message unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($arg:tt)*) => { if !$condition { $crate::wrong!($($arg)*) } };
}

/// Entered by [`boot`] in long mode, on the first CPU's stack.
extern "sysv64" fn main(start_info: u64) -> ! {
    let mut cmdline = [0; start_info::LONGEST];
    let words = start_info::adopt(start_info, &mut cmdline);
    catch::fill_idt();
    com1::set_up();
    cpu::set_up();
    paging::set_up();
    let mut begun = 0;
    for word in words {
        if let Some(seed) = word.strip_prefix("seed=") {
            random::seed(seed.parse().unwrap_or(1));
            continue;
        }
        let before = begun;
        for case in CASES.iter().filter(|case| case.name == word || case.group.name() == word) {
            begun += 1;
            run(case);
        }
        if begun == before {
            say!("PAYLOAD {word} FAIL there is no such case or group");
        }
    }
    say!("PAYLOAD done");
    power::off()
}

fn run(case: &Case) {
    say!("PAYLOAD {} begins", case.name);
    console::set_current(case);
    if let Ok(()) = cases::run(case.id) {
        say!("PAYLOAD {} ok", case.name);
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    say!("PAYLOAD {} FAIL {}", console::current(), info);
    power::off()
}
