//! The second way to boot: GRUB's `multiboot2` command, on BIOS and on UEFI machines.
//!
//! GRUB loads a small program, the *entry*, as what it takes for the kernel, and beside it as modules the
//! very files that `boot.efi` reads from its volume: `kernel.elf`, `purevisor.toml`, and what that names. The
//! entry does what `boot.efi` does, by the same code (`boot/loader`), and the kernel cannot tell which of the
//! two it was.
//!
//! ```text
//! GRUB ── EAX, EBX ──► 32-bit entry ──► long mode ──► Information ──► memory map, modules: checked
//!                                                                         │
//!            kernel ◄── jump ◄── BootInfo ◄── page tables ◄── kernel's segments, free memory
//! ```
//!
//! What decides is here, as functions of bytes and numbers that are tested on the host:
//!
//! | module | question it answers |
//! |---|---|
//! | [`information`] | what did the boot loader tell, and is it whole? |
//! | [`firmware_map`] | what do the firmware's memory maps say, in our words? |
//! | [`modules`] | which module is which file, and does each have memory of its own? |
//! | [`placement`] | where is free memory for what the kernel is to find? |
//! | [`refusal`] | what is said when the machine is not started? |
//! | [`text_grid`] | where on the screen is that said? |
//!
//! The binary (`main.rs` and `machine/`) is entered, feeds these functions, and jumps.
//!
//! # Promises
//!
//! Everything that comes from the boot loader is checked before it is used; a refusal is one line that says
//! what is wrong and what to do. Nothing here panics on any input, and nothing of GRUB's is overwritten before
//! it was read.
//!
//! # Not here
//!
//! Boot services of a UEFI firmware: GRUB ends them before it starts us. Multiboot 1.
#![no_std]

extern crate alloc;

pub mod firmware_map;
pub mod information;
pub mod modules;
pub mod placement;
#[cfg(test)]
mod random;
pub mod refusal;
pub mod text_grid;
