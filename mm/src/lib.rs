#![no_std]
pub mod addr;
