//! Where an emulated access goes: to the vCPU's own local APIC or to the board.
use crate::emulate::Bus;
use crate::platform::apic::LocalApic;
use crate::platform::{Board, BoardEvent};
use crate::time::Nanos;
use mm::addr::{Gpa, PAGE};

/// The devices as one vCPU reaches them during one instruction.
pub(super) struct VcpuBus<'a> {
    pub apic: &'a mut LocalApic,
    pub board: &'a Board,
    pub now: Nanos,
    /// What the board asked for: power-off, reset. The first one counts.
    pub event: Option<BoardEvent>,
}

impl Bus for VcpuBus<'_> {
    #[inline]
    fn mmio_read(&mut self, gpa: Gpa, size: u8) -> u64 {
        if self.apic.claims(gpa) {
            self.apic.mmio_read(gpa.offset_in(PAGE), size, self.now)
        } else {
            self.board.mmio_read(gpa, size, self.now)
        }
    }

    #[inline]
    fn mmio_write(&mut self, gpa: Gpa, size: u8, value: u64) {
        if self.apic.claims(gpa) {
            if let Some(vector) = self.apic.mmio_write(gpa.offset_in(PAGE), size, value, self.now) {
                self.board.end_of_interrupt(vector);
            }
        } else {
            let event = self.board.mmio_write(gpa, size, value, self.now);
            self.event = self.event.or(event);
        }
    }

    fn port_read(&mut self, port: u16, size: u8) -> u32 {
        self.board.port_read(port, size, self.now)
    }

    fn port_write(&mut self, port: u16, size: u8, value: u32) {
        let event = self.board.port_write(port, size, value, self.now);
        self.event = self.event.or(event);
    }
}
