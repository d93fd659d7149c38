//! Management: what the operator says to the node, and what it answers.
#![no_std]

extern crate alloc;

pub mod config;
pub mod line;
mod nearest;
