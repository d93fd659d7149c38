//! Frames that the card sends: gathered, cut and summed by nothing but what descriptors say (SDM 3.3 to 3.5).
use super::super::registers::*;
use super::{State, descriptor};
use crate::test_kernel::TestKernel;
use alloc::vec::Vec;
use mm::Hpa;
use net::frame::checksum::Sum;

const EOP: u64 = 1 << 24;
const TSE: u64 = 1 << 26;
const RS: u64 = 1 << 27;
const EXTENDED: u64 = 1 << 29;
const DATA: u64 = 1 << 20;
const IXSM: u64 = 1 << 40;
const TXSM: u64 = 1 << 41;

/// The frame that is being gathered.
#[derive(Default)]
pub struct Sending {
    data: Vec<u8>,
    pieces: usize,
    first_piece: usize,
    options: u64,
    context: [u64; 2],
}

impl State {
    /// Does one descriptor. Whether there was one.
    pub fn send(&mut self, kernel: &TestKernel) -> bool {
        let (head, tail) = (self.get(TDH), self.get(TDT));
        if head == tail || self.get(TCTL) & tctl::EN == 0 || self.sends_nothing {
            return false;
        }
        let (ring, entries) = self.ring(TDBAL);
        let at = ring + u64::from(head) * 16;
        let [first, second] = descriptor(kernel, at);
        assert!(second & EXTENDED != 0 && second & 1 << 32 == 0, "{second:#x} is not for the card");
        if second & DATA == 0 {
            self.sending.context = [first, second];
        } else {
            self.gather(kernel, first, second);
        }
        if second & RS != 0 {
            kernel.device_write(Hpa::new(at + 12), &[1]);
        }
        self.set(TDH, (head + 1) % entries);
        if second & RS != 0 {
            let cause = if self.has_several() { cause::TXQ0 } else { cause::TXDW };
            self.raise(kernel, cause);
        }
        true
    }

    fn gather(&mut self, kernel: &TestKernel, address: u64, second: u64) {
        let bytes = (second & 0xf_ffff) as usize;
        assert!(bytes != 0 && bytes <= 8192, "a piece of {bytes} bytes");
        let is_82574 = self.is_82574();
        let sending = &mut self.sending;
        let from = sending.data.len();
        sending.data.resize(from + bytes, 0);
        kernel.device_read(Hpa::new(address), &mut sending.data[from..]);
        if sending.pieces == 0 {
            (sending.first_piece, sending.options) = (bytes, second & (TSE | IXSM | TXSM));
        }
        sending.pieces += 1;
        assert_eq!(second & (TSE | IXSM | TXSM), sending.options, "pieces of a frame are alike");
        if second & EOP == 0 {
            return;
        }
        assert!(!is_82574 || sending.pieces <= 64, "QEMU's card drops it");
        let data = core::mem::take(&mut sending.data);
        sending.pieces = 0;
        let v6 = sending.options & TSE != 0 && sending.context[1] & 1 << 25 == 0;
        assert!(is_82574 || !v6, "the 8254x does not cut IPv6 right");
        let frames = if sending.options & TSE != 0 { sending.cut(&data) } else { Vec::from([data]) };
        for mut frame in frames {
            sending.sum(&mut frame);
            assert!((14..=9018).contains(&frame.len()));
            self.sent.push(frame);
        }
    }
}

impl Sending {
    fn byte(&self, word: usize, shift: u32) -> usize {
        (self.context[word] >> shift & 0xff) as usize
    }

    fn cut(&self, data: &[u8]) -> Vec<Vec<u8>> {
        let [first, second] = self.context;
        assert!(second & TSE != 0 && second & 1 << 24 != 0, "the context is for segmentation of TCP");
        let (network, transport, headers) = (self.byte(0, 0), self.byte(0, 32), self.byte(1, 40));
        let segment = (second >> 48) as usize;
        let v4 = second & 1 << 25 != 0;
        assert!(self.first_piece >= headers, "all headers are in the first piece");
        assert_eq!((second & 0xf_ffff) as usize, data.len() - headers);
        let length_at = network + if v4 { 2 } else { 4 };
        assert_eq!(data[length_at..length_at + 2], [0; 2]);
        if v4 {
            assert_eq!(data[network + 10..network + 12], [0; 2]);
            assert_eq!(first >> 16 & 0xffff, transport as u64 - 1);
        }
        let chunks = data[headers..].chunks(segment);
        let last = chunks.len() - 1;
        let chunks = chunks.enumerate().map(|(i, chunk)| {
            let mut frame = data[..headers].to_vec();
            frame.extend(chunk);
            let packet = frame.len() - network;
            add(&mut frame, length_at, if v4 { packet } else { packet - 40 });
            if v4 {
                add(&mut frame, network + 4, i);
            }
            let sequence: [u8; 4] = frame[transport + 4..transport + 8].try_into().unwrap();
            let sequence = u32::from_be_bytes(sequence).wrapping_add((i * segment) as u32);
            frame[transport + 4..transport + 8].copy_from_slice(&sequence.to_be_bytes());
            if i != last {
                // FIN and PSH are the last one's.
                frame[transport + 13] &= !9;
            }
            let length = frame.len() - transport;
            let at = self.byte(0, 40);
            let pseudo = Sum::new().bytes(&frame[at..at + 2]).word(length as u16).folded();
            frame[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
            frame
        });
        chunks.collect()
    }

    fn sum(&self, frame: &mut [u8]) {
        if self.options & IXSM != 0 {
            let end = (self.context[0] >> 16 & 0xffff) as usize + 1;
            put_sum(frame, self.byte(0, 0), end, self.byte(0, 8));
        }
        if self.options & TXSM != 0 {
            put_sum(frame, self.byte(0, 32), frame.len(), self.byte(0, 40));
        }
    }
}

fn put_sum(frame: &mut [u8], start: usize, end: usize, at: usize) {
    let sum = Sum::new().bytes(&frame[start..end]).checksum();
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn add(frame: &mut [u8], at: usize, more: usize) {
    let value = u16::from_be_bytes([frame[at], frame[at + 1]]).wrapping_add(more as u16);
    frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
