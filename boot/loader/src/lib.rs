//! What a loader of PureVisor decides and does, apart from the firmware under it.
//!
//! Two loaders are made of it: `boot.efi` (this crate's binary), and the Multiboot2 entry for GRUB
//! (`boot/multiboot2`). What decides over a boot are functions of bytes and numbers that are tested on the
//! host; the two modules at the end touch the machine.
//!
//! | module | question it answers |
//! |---|---|
//! | [`config`] | which files does `purevisor.toml` name? |
//! | [`volume_path`] | where on the boot volume is such a file? |
//! | [`elf`] | is this a kernel of this hand-over version, and what goes where in memory? |
//! | [`cpu`] | does this processor have what the kernel is built on? |
//! | [`address_space`] | what is mapped where, with which rights, when the kernel is entered? |
//! | [`memory_map`] | what does the firmware's memory map, with our own claims in it, look like? |
//! | [`obstacle`] | what is said when any of these stops a boot? |
//!
//! | module | what it does |
//! |---|---|
//! | [`com1`] | writes to the first serial port |
//! | [`jump`] | leaves the loader's address space for the kernel's |
//!
//! The binary (`main.rs` and `firmware/`) asks the firmware, feeds these functions, and jumps.
//!
//! # Promises
//!
//! Everything that comes from the boot volume or from the firmware is checked before it is used; a
//! refusal is an error whose text says what is wrong and what to do. Nothing here panics on any input.
#![no_std]

extern crate alloc;

pub mod address_space;
pub mod com1;
pub mod config;
pub mod cpu;
pub mod elf;
pub mod jump;
pub mod memory_map;
pub mod obstacle;
pub mod volume_path;
