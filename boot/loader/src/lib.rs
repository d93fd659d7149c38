//! The logic of `boot.efi`, apart from the firmware.
//!
//! What decides over a boot lives here, as functions of bytes and numbers that are tested on the host:
//!
//! | module | question it answers |
//! |---|---|
//! | [`config`] | which files does `purevisor.toml` name? |
//! | [`volume_path`] | where on the boot volume is such a file? |
//! | [`elf`] | is this a kernel of this hand-over version, and what goes where in memory? |
//! | [`cpu`] | does this processor have what the kernel is built on? |
//! | [`address_space`] | what is mapped where, with which rights, when the kernel is entered? |
//! | [`memory_map`] | what does the firmware's memory map, with our own claims in it, look like? |
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
pub mod config;
pub mod cpu;
pub mod elf;
pub mod memory_map;
pub mod volume_path;
