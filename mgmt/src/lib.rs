//! Management: what the operator says to the node, and what it answers.
//!
//! - [`config`]: `purevisor.toml` → what the node and its VMs are to be, and every problem in the file.
//! - [`mod@line`]: bytes of a terminal → edited lines.
//! - [`shell`]: a line → questions and orders to the [`shell::node::Node`] → an answer.
//! - [`session`]: one operator at one terminal: the shell, a VM's console, `top`, the log, `ping`.
//!
//! Everything here is sans-I/O: no clock, no device, no waiting. The kernel implements `Node` and moves
//! bytes:
//!
//! ```text
//!   terminal ──bytes──▶ session ──▶ line ──line──▶ shell ──orders, questions──▶ Node (kernel)
//!      ▲                   │                         │                             │
//!      └────── out ────────┴───────── answer ◀───────┴────────── snapshots ◀───────┤
//!      ▲                   ▲                                                       │
//!      └────── out ────────┴──── VM output, VM events, log lines, ticks ◀──────────┘
//! ```
//!
//! Promise: no input of an operator and no text of a guest or a device panics, grows memory without
//! bound, or reaches the terminal with control characters in it, other than a VM's output on its own
//! console. An error says what is wrong, what was probably meant, and what to do.
//!
//! Not here: when VMs run, how long a graceful end waits, who may log in.
#![no_std]

extern crate alloc;

pub mod config;
pub mod line;
mod nearest;
pub mod session;
pub mod shell;
