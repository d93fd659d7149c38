//! Networks: Ethernet frames between the wire, virtual machines and the node itself.
//!
//! Sans-I/O and without a clock: frames and times are passed in, so that all of it runs on the host under tests.
//!
//! So far: [`frame`], what the headers of a frame say and how they are made. The virtual switch, raw sockets and the
//! node's own addresses will stand on it.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod frame;
