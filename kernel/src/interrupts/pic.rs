//! The two 8259 interrupt controllers: moved out of the exceptions' way and masked (8259A data sheet).
#![allow(unsafe_code)] // port I/O on the controllers

use super::Vector;
use crate::cpu::port::Port;

const FIRST: Port = Port(0x20);
const SECOND: Port = Port(0xa0);

/// Masks every input. They are given vectors of their own first, because a spurious interrupt can arrive
/// even from a masked controller.
pub fn disable() {
    let program = |base: Port, vector: u8, cascade: u8| {
        let data = base.offset(1);
        // SAFETY: the initialisation sequence ICW1 to ICW4, then OCW1; it affects the controller alone.
        unsafe {
            base.write_u8(0x11);
            data.write_u8(vector);
            data.write_u8(cascade);
            data.write_u8(0x01);
            data.write_u8(0xff);
        }
    };
    program(FIRST, Vector::PIC, 1 << 2);
    program(SECOND, Vector::PIC + 8, 2);
}
