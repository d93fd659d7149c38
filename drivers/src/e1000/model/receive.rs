//! Frames that come: filtered, put into buffers, and looked at.
use super::super::registers::*;
use super::{ACK, ACK_DIS, State, descriptor};
use crate::test_kernel::TestKernel;
use alloc::vec::Vec;
use mm::Hpa;
use net::frame::checksum::Sum;
use net::frame::{Headers, Network, Protocol, Transport};

const EOP: u64 = 1 << 33;
const IXSM: u64 = 1 << 34;
const TCPCS: u64 = 1 << 37;
const TCPE: u64 = 1 << 45;

/// A frame of which some is in its buffers.
pub struct Partly {
    frame: Vec<u8>,
    from: usize,
}

impl State {
    /// Fills one buffer. Whether there was one to fill.
    pub fn take_in(&mut self, kernel: &TestKernel) -> bool {
        let ready = self.get(RCTL) & rctl::EN != 0 && self.get(STATUS) & status::LU != 0;
        if !ready || self.receives_nothing {
            return false;
        }
        assert_eq!(self.get(RCTL) & rctl::BSIZE_4096, rctl::BSIZE_4096);
        let (head, empty) = (self.get(RDH), self.get(RDH) == self.get(RDT));
        if self.partly.is_none() {
            if empty && !self.loses {
                return false;
            }
            let Some(mut frame) = self.incoming.pop_front() else { return false };
            if !self.wants(&frame) {
                return true;
            }
            if empty {
                self.set(MPC, self.get(MPC) + 1);
                return true;
            }
            frame.resize(frame.len().max(60), 0);
            self.partly = Some(Partly { frame, from: 0 });
        }
        if empty {
            return false;
        }
        let Some(Partly { frame, from }) = self.partly.take() else { return false };
        let (ring, entries) = self.ring(RDBAL);
        let at = ring + u64::from(head) * 16;
        let [buffer, second] = descriptor(kernel, at);
        assert_eq!(second, 0, "a descriptor that is not ready");
        let to = frame.len().min(from + 4096);
        kernel.device_write(Hpa::new(buffer), &frame[from..to]);
        let last = to == frame.len();
        let status = if last { EOP | self.judge(&frame) } else { 0 };
        self.fill(kernel, at, (to - from) as u64 | 1 << 32 | status);
        self.set(RDH, (head + 1) % entries);
        if last {
            let cause = if self.has_several() { cause::RXQ0 } else { cause::RXT0 };
            let acknowledges = if self.get(RFCTL) & ACK_DIS == 0 { ACK } else { 0 };
            self.raise(kernel, cause | acknowledges);
        } else {
            self.partly = Some(Partly { frame, from: to });
        }
        true
    }

    /// Writes a descriptor's status.
    pub fn fill(&self, kernel: &TestKernel, at: u64, second: u64) {
        kernel.device_write(Hpa::new(at + 8), &second.to_le_bytes());
    }

    /// Something that is no frame, whatever it says, in so many of the next descriptors.
    pub fn fill_next(&mut self, kernel: &TestKernel, seconds: &[u64]) {
        let (ring, entries) = self.ring(RDBAL);
        for second in seconds {
            let head = self.get(RDH);
            self.fill(kernel, ring + u64::from(head) * 16, *second);
            self.set(RDH, (head + 1) % entries);
        }
        let cause = if self.has_several() { cause::RXQ0 } else { cause::RXT0 };
        self.raise(kernel, cause);
    }

    /// SDM 3.2.1.
    fn wants(&self, frame: &[u8]) -> bool {
        let control = self.get(RCTL);
        let to: [u8; 6] = frame[..6].try_into().unwrap();
        if to == [0xff; 6] {
            return control & rctl::BAM != 0;
        }
        if to[0] & 1 == 0 {
            let own = [self.get(RAL).to_le_bytes(), self.get(RAH).to_le_bytes()].concat();
            return control & rctl::UPE != 0 || to == own[..6];
        }
        let hash = (u32::from(to[5]) << 4 | u32::from(to[4]) >> 4) & 0xfff;
        control & rctl::MPE != 0 || self.get(MTA + u64::from(hash / 32) * 4) >> (hash % 32) & 1 != 0
    }

    /// What the card says of a checksum.
    fn judge(&self, frame: &[u8]) -> u64 {
        if self.ignorant {
            return IXSM;
        }
        let Ok(headers) = Headers::parse(frame, frame.len()) else { return 0 };
        let protocol = match headers.transport {
            Transport::Tcp(_) => Protocol::TCP,
            Transport::Udp(_) => Protocol::UDP,
            _ => return 0,
        };
        let (pseudo, end) = match headers.network {
            Network::V4(ip) => {
                let length = ip.length - ip.header;
                (Sum::pseudo_v4(ip.source, ip.destination, protocol, length as u32), ip.length)
            }
            Network::V6(ip) => {
                let length = ip.length - ip.header;
                (Sum::pseudo_v6(ip.source, ip.destination, protocol, length as u32), ip.length)
            }
            _ => return 0,
        };
        let right = pseudo.bytes(&frame[headers.transport_at..headers.network_at + end]).folded() == 0xffff;
        TCPCS | if right { 0 } else { TCPE }
    }
}
