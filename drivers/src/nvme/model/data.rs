//! The model's I/O commands, and how it finds their data.
use super::{Model, Seen, State};
use crate::nvme::command::Opcode;
use crate::nvme::registers::PAGE_BYTES;
use alloc::vec;
use alloc::vec::Vec;
use mm::Hpa;

impl Model {
    pub(super) fn io(&self, state: &mut State, seen: &Seen) -> Result<(), u16> {
        let most = match state.controller[77] {
            0 => usize::MAX,
            shift => 4096usize << shift.min(30),
        };
        let disk = state.disks.get_mut(&seen.namespace()).ok_or(0x400b_u16)?;
        let size = 1u64 << disk.shift;
        let mut first = seen.block();
        let mut blocks = u64::from(seen.dword(12) & 0xffff) + 1;
        let opcode = seen.opcode();
        if opcode == Opcode::FLUSH {
            return Ok(());
        }
        if opcode == Opcode::DATASET_MANAGEMENT {
            assert_eq!((seen.dword(10), seen.dword(11)), (0, 4));
            let mut range = [0; 16];
            self.kernel.device_read(Hpa::new(seen.command.0[3]), &mut range);
            blocks = u32::from_le_bytes(range[4..8].try_into().unwrap()).into();
            first = u64::from_le_bytes(range[8..].try_into().unwrap());
        }
        let end = first.checked_add(blocks).ok_or(0x4080_u16)?;
        if end * size > disk.data.len() as u64 {
            return Err(0x4080);
        }
        let range = (first * size) as usize..(end * size) as usize;
        match opcode {
            Opcode::WRITE_ZEROES | Opcode::DATASET_MANAGEMENT => disk.data[range].fill(0),
            Opcode::READ | Opcode::WRITE => {
                assert!(range.len() <= most, "{} bytes beyond MDTS", range.len());
                let sgl = seen.command.0[0] >> 14 & 3;
                state.sgl_commands += sgl;
                let pieces = if sgl == 0 { self.prp(seen, range.len()) } else { self.sgl(seen, range.len()) };
                let mut at = range.start;
                for (address, bytes) in pieces {
                    let data = &mut disk.data[at..at + bytes];
                    if opcode == Opcode::READ {
                        self.kernel.device_write(Hpa::new(address), data);
                    } else {
                        self.kernel.device_read(Hpa::new(address), data);
                    }
                    at += bytes;
                }
                assert_eq!(at, range.end);
            }
            _ => return Err(0x4001),
        }
        Ok(())
    }

    pub(super) fn word(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        self.kernel.device_read(Hpa::new(at), &mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// The pieces that PRP entries name (NVMe 2.0, 4.1.1).
    fn prp(&self, seen: &Seen, bytes: usize) -> Vec<(u64, usize)> {
        let (first, second) = (seen.command.0[3], seen.command.0[4]);
        assert!(first % 4 == 0, "PRP entry 1 is aligned to dwords");
        let here = bytes.min((PAGE_BYTES - first % PAGE_BYTES) as usize);
        let mut pieces = vec![(first, here)];
        let mut left = bytes - here;
        if left == 0 {
            return pieces;
        }
        if left <= PAGE_BYTES as usize {
            assert!(second % PAGE_BYTES == 0, "PRP entry 2 is a page");
            pieces.push((second, left));
            return pieces;
        }
        assert!(second % 8 == 0);
        let mut list = second;
        while left != 0 {
            assert_eq!(list / PAGE_BYTES, second / PAGE_BYTES, "a list does not leave its page");
            let entry = self.word(list);
            assert!(entry.is_multiple_of(PAGE_BYTES), "PRP list entry {entry:#x}");
            let here = left.min(PAGE_BYTES as usize);
            pieces.push((entry, here));
            left -= here;
            list += 8;
        }
        pieces
    }

    /// The pieces that SGL descriptors name (NVMe 2.0, 4.1.2).
    fn sgl(&self, seen: &Seen, bytes: usize) -> Vec<(u64, usize)> {
        let (address, rest) = (seen.command.0[3], seen.command.0[4]);
        let len = rest as u32 as usize;
        let mut pieces = Vec::new();
        match rest >> 56 {
            0x00 => pieces.push((address, len)),
            0x30 => {
                assert!(len.is_multiple_of(16) && len != 0);
                for at in (address..address + len as u64).step_by(16) {
                    let rest = self.word(at + 8);
                    assert_eq!(rest >> 32, 0, "a data block of bytes");
                    pieces.push((self.word(at), rest as usize));
                }
            }
            other => panic!("SGL descriptor of type {other:#x}"),
        }
        assert_eq!(pieces.iter().map(|p| p.1).sum::<usize>(), bytes, "descriptors as long as the data");
        pieces
    }
}
