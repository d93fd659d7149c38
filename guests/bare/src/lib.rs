//! What guests without an operating system are made of.
//!
//! Two programs are: `bench/bare`, which counts what exits cost, and `tests/payload`, which does what a guest
//! should not. Each is a binary for `x86_64-unknown-none` that anything can start that can start a PVH kernel
//! (Xen, docs/misc/pvh.pandoc): PureVisor as a VM, QEMU by `-kernel`.
//!
//! ```text
//!  PVH start ─► entry!: 64-bit mode, 4 GiB mapped one to one ─► the program's main ─► power::off
//!                                                                 │
//!               idt: interrupts and exceptions ──► its handlers ◄─┤
//!                                                  com1: its text ┘
//! ```
//!
//! | module | what is there |
//! |---|---|
//! | [`entry`] | the way in, and the stack |
//! | [`paging`] | the tables that the way in made |
//! | [`idt`] | the interrupt table |
//! | [`instructions`] | those that have no name in Rust |
//! | [`memory`] | loads and stores by address, and where the program itself is |
//! | [`com1`] | the first serial port |
//! | [`power`] | the ends that a machine has |
//!
//! `link.ld` puts a program into place; its `build.rs` names it.
//!
//! # What is safe here
//!
//! These programs own a machine that was made for them. That an instruction raises an exception, that a device
//! acts, or that the machine ends is what they are for, and nothing that Rust has to be kept from. A function
//! is `unsafe` if, with some arguments, it could change what the compiler relies on: the memory of the
//! program's own code, data and stacks ([`memory::PROGRAM`]), where it is mapped, or the CPU's mode. No device
//! of the machine writes to memory on its own.
//!
//! # Not here
//!
//! Other processors, and what a program does about exceptions.
#![no_std]

pub mod com1;
pub mod entry;
pub mod idt;
pub mod instructions;
pub mod memory;
pub mod paging;
pub mod power;
