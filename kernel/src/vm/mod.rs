//! Virtual machines on this machine: the wiring of `vmm`, `sched`, `executor` and the console.
//!
//! # How data flows
//!
//! ```text
//!  console ─► Vms::control ─► supervisor (a task per VM) ─► run: memory, nested tables, board, vCPUs
//!                                   ▲                              │ wake
//!                                   │ ended, parked                ▼
//!  cpu_loop ─► Scheduler::pick ─► turn ─► Vcpu::run ◄──── seat (a vCPU as the scheduler has it)
//! ```
//!
//! - `hardware`: AMD-V or VT-x, chosen once; nothing else knows which it is.
//! - `guest_cpu`: a CPU that can run guests.
//! - `ram`: the host memory behind a guest.
//! - `reclaim`: what guests give back of it; `passing`: when that is nobody's any more.
//! - `disks`: what is behind its disks, claimed for it alone.
//! - `seat`: what the scheduler schedules: a vCPU, how it is woken, where it runs.
//! - `turn`: what a CPU does from picking a vCPU to putting it back.
//! - `run`: one run of a VM, from power-on to its end; a reset begins the next.
//! - `supervisor`: the task that starts, pauses and ends the runs of a VM.
//! - `table`: all VMs, for the console.
mod disks;
mod guest_cpu;
mod hardware;
mod pace;
pub mod passing;
mod ram;
mod reclaim;
mod run;
mod seat;
mod supervisor;
mod table;
mod turn;

pub use guest_cpu::GuestCpu;
pub use hardware::{leave_for_good, virtualization};
pub use passing::pass;
pub use seat::{leave_out, start_scheduler};
pub use table::{Notice, Vm, Vms, start};
pub use turn::{next_event, pick, take_turn};
