//! The CPU: its registers, its tables, and what the kernel keeps for each one.
//!
//! `registers` and `port` hold every privileged instruction; the rest of the kernel is written against
//! them. `control` brings a CPU into the state that the kernel wants, and refuses one that cannot be.
pub mod control;
pub mod gdt;
pub mod idt;
pub mod percpu;
pub mod port;
pub mod registers;
