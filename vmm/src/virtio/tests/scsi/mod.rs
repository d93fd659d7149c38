//! A SCSI controller with two logical units, as a guest's driver finds it.
//!
//! Unit 0 is the whole disk, unit 1 all of it but its first MiB, read-only.
mod errors;
mod functions;
mod hostile;
mod identity;
mod modes;
mod provisioning;
mod queues;
mod transfers;

use super::disk::TestDisk;
use super::rig::Rig;
use super::ring::{DriverRing, Piece};
use crate::virtio::{Feature, Scsi, ScsiConfig, ScsiDisk, Status};
use block::{Geometry, Part};
use mm::addr::Gpa;
use std::sync::Arc;
use std::vec::Vec;

/// Status of commands.
pub const GOOD: u8 = 0;
pub const CHECK_CONDITION: u8 = 2;
/// Responses.
pub const OK: u8 = 0;
pub const OVERRUN: u8 = 1;
pub const BAD_TARGET: u8 = 3;
pub const FAILURE: u8 = 9;

/// Bytes of an answer by default: header and sense data.
pub const ANSWER: u32 = 12 + 96;
/// Bytes of a command's header and CDB by default.
pub const HEADER: u32 = 19 + 32;

/// Data of a command.
#[derive(Clone, Copy)]
pub enum Data<'a> {
    None,
    /// To the disk.
    Out(&'a [u8]),
    /// Room for so many bytes.
    In(u32),
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub response: u8,
    pub status: u8,
    pub residual: u32,
    pub sense: Vec<u8>,
    pub data: Vec<u8>,
    /// Bytes that count as written.
    pub used: u32,
}

impl Answer {
    /// Sense key and code in the fixed format.
    pub fn why(&self) -> (u8, u16) {
        assert_eq!(
            (self.response, self.status, self.sense[0] & 0x7f),
            (OK, CHECK_CONDITION, 0x70),
            "{self:x?}"
        );
        (self.sense[2] & 0xf, u16::from_be_bytes([self.sense[12], self.sense[13]]))
    }

    /// Its data, if it worked.
    pub fn good(self) -> Vec<u8> {
        assert_eq!((self.response, self.status), (OK, GOOD), "{self:x?}");
        self.data
    }
}

/// A guest whose driver has begun.
pub struct Host {
    pub rig: Rig,
    pub control: DriverRing,
    pub ring: DriverRing,
    id: u64,
}

/// A machine with the controller, its driver not loaded.
pub fn machine(queues: u16, queue_size: u16, change: impl FnOnce(&mut Geometry)) -> Rig {
    Rig::above(change, |disk: &Arc<TestDisk>, keep| {
        let part = Part::new(disk.clone(), 1 << 20, None, true).unwrap();
        let disks = [
            ScsiDisk { disk: disk.clone(), serial: "serial-0".into() },
            ScsiDisk { disk: Arc::new(part), serial: "serial-1".into() },
        ];
        let config = ScsiConfig { disks: disks.into(), queues, queue_size, keep };
        Box::new(Scsi::new(config))
    })
}

impl Host {
    /// With one request queue.
    pub fn new() -> Self {
        Self::with(0, |_| {})
    }

    /// With a disk of another kind, and features of rings.
    pub fn with(features: u64, change: impl FnOnce(&mut Geometry)) -> Self {
        let mut host = Self::fresh(features, change);
        // Both have been switched on, and say so once.
        for unit in 0..2 {
            assert_eq!(host.ask(unit, &[0; 6], Data::None).why(), (6, 0x2901));
        }
        host
    }

    /// Likewise, as it is at first.
    pub fn fresh(features: u64, change: impl FnOnce(&mut Geometry)) -> Self {
        Self::on(machine(1, 64, change), features)
    }

    /// On a machine with a controller.
    pub fn on(mut rig: Rig, features: u64) -> Self {
        let (control, ring) = start(&mut rig, features);
        Self { rig, control, ring, id: 0 }
    }

    /// The device is reset, and its driver begins anew.
    pub fn restart(&mut self, features: u64) {
        (self.control, self.ring) = start(&mut self.rig, features);
    }

    /// A command in guest memory: where it is, and its pieces. Its answer is a page on, its data two.
    pub fn place(&mut self, unit: u16, cdb: &[u8], data: Data<'_>) -> (u64, Vec<Piece>) {
        let length = match data {
            Data::None => 0,
            Data::Out(bytes) => bytes.len() as u32,
            Data::In(bytes) => bytes,
        };
        let at = self.rig.allocate(8192 + u64::from(length));
        self.id += 1;
        let [high, low] = unit.to_be_bytes();
        let mut header = [0; HEADER as usize];
        header[..8].copy_from_slice(&[1, 0, high | 0x40, low, 0, 0, 0, 0]);
        header[8..16].copy_from_slice(&self.id.to_le_bytes());
        header[19..19 + cdb.len()].copy_from_slice(cdb);
        self.rig.memory.write(Gpa::new(at), &header).unwrap();
        self.rig.memory.write(Gpa::new(at + 4096), &[0xee; ANSWER as usize]).unwrap();
        let mut pieces = [(at, HEADER, false), (at + 4096, ANSWER, true)].to_vec();
        match data {
            Data::Out(bytes) if length > 0 => {
                self.rig.memory.write(Gpa::new(at + 8192), bytes).unwrap();
                pieces.insert(1, (at + 8192, length, false));
            }
            Data::In(bytes) if bytes > 0 => {
                self.rig.memory.write(Gpa::new(at + 8192), &std::vec![0xee; bytes as usize]).unwrap();
                pieces.push((at + 8192, bytes, true));
            }
            _ => {}
        }
        (at, pieces)
    }

    /// By which the last command is known.
    pub fn last_id(&self) -> u64 {
        self.id
    }

    /// The answer to the command at `at`, of which `used` bytes were written.
    pub fn answer(&self, at: u64, used: u32, data: Data<'_>) -> Answer {
        let bytes = self.rig.bytes(at + 4096, ANSWER as usize);
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (sense, residual) = (word(0) as usize, word(4));
        assert_eq!(&bytes[8..10], [0, 0], "status qualifier");
        let moved = if let Data::In(room) = data { (room - residual.min(room)) as usize } else { 0 };
        let answer = Answer {
            response: bytes[11],
            status: bytes[10],
            residual,
            sense: bytes[12..12 + sense].to_vec(),
            data: self.rig.bytes(at + 8192, moved),
            used,
        };
        assert_eq!((sense != 0), (answer.status == CHECK_CONDITION), "{answer:x?}");
        assert!(bytes[12 + sense..].iter().all(|&byte| byte == 0), "zeroes behind: {bytes:x?}");
        if let Data::In(room) = data {
            assert_eq!(used, ANSWER + moved as u32);
            let untouched = self.rig.bytes(at + 8192 + moved as u64, room as usize - moved);
            // Of what failed the guest's memory may hold anything.
            assert!(answer.status != GOOD || untouched.iter().all(|&byte| byte == 0xee));
        } else {
            assert_eq!(used, ANSWER);
        }
        answer
    }

    /// Asks a logical unit; the answer, which comes at once.
    pub fn ask(&mut self, unit: u16, cdb: &[u8], data: Data<'_>) -> Answer {
        let (at, pieces) = self.place(unit, cdb, data);
        let (id, _) = self.ring.add(&pieces);
        self.rig.kick(2);
        let (back, used) = self.ring.used().expect("an answer");
        assert_eq!(back, id);
        let answer = self.answer(at, used, data);
        if self.rig.disk.held() == 0 {
            self.rig.next_to(at);
        }
        answer
    }

    /// The answer to the one command that is under way, once its disk has ended it.
    pub fn end(&mut self, at: u64, data: Data<'_>) -> Answer {
        let (_, used) = self.ring.used().expect("an answer");
        self.answer(at, used, data)
    }

    /// Puts a task management function into the control queue and kicks: where its response will be.
    pub fn begin_function(&mut self, function: u32, address: [u8; 8], id: u64) -> u64 {
        let at = self.rig.allocate(4096);
        let request = [&[0; 4][..], &function.to_le_bytes(), &address, &id.to_le_bytes(), &[0xee]].concat();
        self.rig.memory.write(Gpa::new(at), &request).unwrap();
        self.control.add(&[(at, 24, false), (at + 24, 1, true)]);
        self.rig.kick(0);
        at + 24
    }

    /// The response to the function, if there is one.
    pub fn end_function(&mut self, at: u64) -> Option<u8> {
        let (_, used) = self.control.used()?;
        assert_eq!(used, 1);
        Some(self.rig.bytes(at, 1)[0])
    }

    /// A function for a logical unit that is answered at once.
    pub fn function(&mut self, function: u32, unit: u8, id: u64) -> u8 {
        let at = self.begin_function(function, [1, 0, 0, unit, 0, 0, 0, 0], id);
        self.end_function(at).expect("a response")
    }

    /// Puts a command into the ring and kicks. Where it is.
    pub fn begin(&mut self, unit: u16, cdb: &[u8], data: Data<'_>) -> u64 {
        let (at, pieces) = self.place(unit, cdb, data);
        self.ring.add(&pieces);
        self.rig.kick(2);
        at
    }
}

/// What Linux does: all three queues, MSI-X. Control and request ring.
pub fn start(rig: &mut Rig, features: u64) -> (DriverRing, DriverRing) {
    assert!(rig.negotiate(features | Feature::VERSION_1));
    rig.enable_msix();
    for (entry, vector) in [(0, 0x50), (1, 0x51), (2, 0x52), (3, 0x61)] {
        rig.route(entry, u64::from(entry == 3), vector);
    }
    rig.write(rig.common, 0x10, 2, 0);
    let control = rig.open(0, 16, features, 1);
    rig.open(1, 16, features, 2);
    rig.write(rig.common, 0x16, 2, 2);
    let size = rig.read(rig.common, 0x18, 2) as u16;
    let ring = rig.open(2, size, features, 3);
    rig.set_status(rig.status() | Status::DRIVER_OK);
    assert_eq!(rig.status(), 0xf);
    (control, ring)
}

/// A command on blocks with a CDB of 16 bytes.
pub fn on_blocks(code: u8, flags: u8, first: u64, count: u32) -> Vec<u8> {
    [&[code, flags][..], &first.to_be_bytes(), &count.to_be_bytes(), &[0, 0]].concat()
}
