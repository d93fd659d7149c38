//! What the kernel knows about the machine, and can work out without touching it.
//!
//! The kernel reads registers, ports and firmware memory; this crate turns what it read into facts,
//! and because it touches nothing, all of it is tested on the host:
//!
//! | module | from | to |
//! |---|---|---|
//! | [`acpi`] | the firmware's tables | CPUs, interrupt controllers, timers, power registers |
//! | [`clock`] | counter readings | the TSC's frequency, and conversions without a division |
//! | [`memory_map`] | the loader's memory map | checked runs of usable memory |
//! | [`symbols`] | the kernel's symbol table | names for the addresses of a back-trace |
//! | [`text`] | log lines and console output | a ring of entries, a grid of characters |
//!
//! It promises that no input whatsoever makes it panic or loop: firmware tables are allegations.
//!
//! # Why an own ACPI table parser
//!
//! The `acpi` crate was tried on paper and left out. It maps tables through callbacks into a handler
//! that the kernel would have to implement with `unsafe`, hands out references into them, and brings
//! (or wants beside it) an AML interpreter. We need six tables, read once at boot, through a direct map
//! that exists already. Checked views over byte slices do that in a few hundred lines, without
//! `unsafe`, and every view can be fed random bytes in a test.
#![no_std]

extern crate alloc;

#[cfg(test)]
extern crate std;

pub mod acpi;
pub mod clock;
pub mod memory_map;
pub mod symbols;
pub mod text;
