//! The virtual PC around the vCPUs: interrupt controllers, timers, clock, serial port, PCI bus and power
//! management, as a stock kernel expects them.
//!
//! # How data flows
//!
//! ```text
//!  port or MMIO exit ─► Board::port_read/port_write/mmio_* ─► one device, under its lock
//!                          │ BoardEvent (power-off, reset)       │ line changes
//!                          ▼                                     ▼
//!                        the VM                     8259s and IOAPIC ─► ApicFabric ─► Wake
//!                                                                           │ mailbox
//!  local APIC exit ─► LocalApic (the vCPU's own) ◄───────────── pull ◄──────┘
//! ```
//!
//! Time comes in as `now` with each call; nothing sleeps. [`Board::next_deadline`] and
//! [`apic::LocalApic::deadline`] tell when [`Board::expire`] and [`apic::LocalApic::expire`] want to be
//! called; the kernel arms one timer for the earliest.
//!
//! # What it promises
//!
//! Any access of any size to any port or address ends in bounded time without a panic, and changes
//! nothing but this VM's devices. A guest's timers can't ask for more than about ten thousand wake-ups a
//! second. The numbers that ACPI tells the guest are those of [`map`].
//!
//! # What it does not do
//!
//! No SMM, no HPET, no floppy, no VGA, no ISA DMA, no keyboard, A20 is always open.
pub mod apic;
mod board;
pub mod calendar;
mod console;
mod controllers;
#[cfg(test)]
pub mod fuzz;
mod keyboard;
pub mod map;
pub mod pci;
mod pic;
mod pit;
mod pm;
mod postponed;
mod rate;
mod rtc;
mod uart;

pub use board::{Board, BoardConfig, BoardEvent, ResetCause};
pub use console::{ConsoleOutput, Output, OutputWatcher};
pub use pci::{AttachError, ConfigSpace, PciBus, PciFunction};
pub use postponed::Postponed;
