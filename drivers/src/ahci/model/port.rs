//! A port: how commands get to its disk, data to memory, and what the disk answers.
use super::ModelDisk;
use crate::test_kernel::TestKernel;
use alloc::vec::Vec;
use mm::Hpa;

pub(super) const ST: u32 = 1;
pub(super) const FRE: u32 = 1 << 4;
pub(super) const FR: u32 = 1 << 14;
pub(super) const CR: u32 = 1 << 15;
const DHRS: u32 = 1;
const SDBS: u32 = 1 << 3;
const TFES: u32 = 1 << 30;
const IFS: u32 = 1 << 27;
#[derive(Default)]
pub struct ModelPort {
    pub(super) clb: u64,
    pub(super) fb: u64,
    pub(super) is: u32,
    pub(super) ie: u32,
    pub cmd: u32,
    pub(super) tfd: u32,
    pub(super) sig: u32,
    pub(super) sctl: u32,
    pub(super) serr: u32,
    pub sact: u32,
    pub ci: u32,
    pub(super) busy_until: u64,
    /// Nothing is executed until the list is stopped.
    pub(super) halted: bool,
    pub disk: Option<ModelDisk>,
    /// Queued commands that the disk has.
    pub(super) accepted: Vec<u8>,
    /// Commands that are never done: so many of the next.
    pub drops: u32,
    /// So many of the next commands end with an interface error.
    pub interface_errors: u32,
    /// So many of the next transfers that are not queued move too little.
    pub short: u32,
    pub stuck_running: bool,
    pub stuck_receiving: bool,
    pub stuck_busy: bool,
    /// A queued command is taken with the status of the last command (as QEMU's disks do).
    pub echoes: bool,
    /// So many of the next queued commands are taken with a report of an error that there is not.
    pub false_reports: u32,
    /// After a command, FISes of nonsense come.
    pub garbage: bool,
    /// The link never comes up.
    pub no_link: bool,
    pub comresets: u32,
    /// Most commands in flight at once.
    pub deepest: u32,
}

impl ModelPort {
    /// Some of the interrupt status is what the error register says.
    pub(super) fn mirror(&mut self) {
        self.is = self.is & !(1 << 6 | 1 << 22) | (self.serr >> 26 & 1) << 6 | (self.serr >> 16 & 1) << 22;
    }

    pub(super) fn d2h(&mut self, kernel: &TestKernel, status: u8, error: u8) {
        let mut fis = [0u8; 20];
        (fis[0], fis[1], fis[2], fis[3]) = (0x34, 0x40, status, error);
        if self.garbage {
            fis = [0xff; 20];
        }
        kernel.device_write(Hpa::new(self.fb + 0x40), &fis);
    }

    fn set_device_bits(&mut self, kernel: &TestKernel, status: u8, error: u8, done: u32) {
        let mut fis = [0u8; 8];
        (fis[0], fis[1], fis[2], fis[3]) = (0xa1, 0x40, status & 0x77, error);
        fis[4..].copy_from_slice(&done.to_le_bytes());
        kernel.device_write(Hpa::new(self.fb + 0x58), &fis);
        self.tfd = u32::from(status) | u32::from(error) << 8;
        self.sact &= !done;
        self.is |= SDBS;
        if self.garbage {
            // Of slots that nobody has issued, and a FIS of a type that nobody knows.
            kernel.device_write(Hpa::new(self.fb + 0x58), &[0xa1, 0xff, 0x77, 0, 0xff, 0xff, 0xff, 0xff]);
            kernel.device_write(Hpa::new(self.fb + 0x60), &[0x5a; 64]);
            self.is |= 1 << 4;
        }
    }

    fn header(&self, kernel: &TestKernel, slot: u32) -> (u32, u64) {
        let mut header = [0; 32];
        kernel.device_read(Hpa::new(self.clb + u64::from(slot) * 32), &mut header);
        let word = |i: usize| u32::from_le_bytes(header[i * 4..i * 4 + 4].try_into().unwrap());
        assert_eq!(word(0) & 0x1f, 5, "a register FIS");
        assert_eq!(word(1), 0, "PRDBC");
        (word(0), u64::from(word(2)) | u64::from(word(3)) << 32)
    }

    fn fis(&self, kernel: &TestKernel, slot: u32) -> [u8; 20] {
        let mut fis = [0; 20];
        kernel.device_read(Hpa::new(self.header(kernel, slot).1), &mut fis);
        assert_eq!((fis[0], fis[1]), (0x27, 0x80));
        fis
    }

    /// The regions of a slot's command.
    fn regions(&self, kernel: &TestKernel, slot: u32) -> Vec<(Hpa, usize)> {
        let (header, table) = self.header(kernel, slot);
        let count = u64::from(header >> 16);
        assert_eq!(table % 128, 0);
        (0..count)
            .map(|i| {
                let mut region = [0; 16];
                kernel.device_read(Hpa::new(table + 0x80 + i * 16), &mut region);
                let address = u64::from_le_bytes(region[..8].try_into().unwrap());
                let bytes = u32::from_le_bytes(region[12..].try_into().unwrap()) as usize + 1;
                assert!(
                    address.is_multiple_of(2) && bytes.is_multiple_of(2) && bytes <= 4 << 20,
                    "{address:#x} {bytes:#x}"
                );
                (Hpa::new(address), bytes)
            })
            .collect()
    }

    fn send(&mut self, kernel: &TestKernel, slot: u32, data: &[u8]) {
        let regions = self.regions(kernel, slot);
        let total: usize = regions.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(total, data.len(), "the regions are as long as the data");
        let mut left = if self.short > 0 { &data[..data.len() / 2] } else { data };
        self.short = self.short.saturating_sub(1);
        let moved = left.len() as u32;
        for (address, bytes) in regions {
            let here = bytes.min(left.len());
            kernel.device_write(address, &left[..here]);
            left = &left[here..];
        }
        kernel.device_write(Hpa::new(self.clb + u64::from(slot) * 32 + 4), &moved.to_le_bytes());
    }

    fn receive(&mut self, kernel: &TestKernel, slot: u32, len: usize) -> Vec<u8> {
        let mut data = Vec::new();
        for (address, bytes) in self.regions(kernel, slot) {
            let at = data.len();
            data.resize(at + bytes, 0);
            kernel.device_read(address, &mut data[at..]);
        }
        assert_eq!(data.len(), len, "the regions are as long as the data");
        let moved = data.len() as u32;
        kernel.device_write(Hpa::new(self.clb + u64::from(slot) * 32 + 4), &moved.to_le_bytes());
        data
    }

    /// The disk gets a command.
    pub(super) fn take(&mut self, kernel: &TestKernel, slot: u32) {
        let fis = self.fis(kernel, slot);
        let queued = matches!(fis[2], 0x60 | 0x61);
        if self.drops > 0 {
            self.drops -= 1;
            // It stays where it is for ever; others still go through.
            if queued {
                self.ci &= !(1 << slot);
            } else {
                self.halted = true;
            }
            return;
        }
        if self.interface_errors > 0 {
            self.interface_errors -= 1;
            self.halted = true;
            self.is |= IFS;
            return;
        }
        let disk = self.disk.as_mut().unwrap();
        disk.history.push(fis[2]);
        if !queued {
            assert!(self.accepted.is_empty() && self.sact == 0, "a command among queued ones");
            self.execute(kernel, slot, &fis);
            return;
        }
        assert!(disk.depth != 0, "the disk knows no queued commands");
        assert_eq!(u32::from(fis[12] >> 3), slot, "the tag is the slot");
        assert!(self.sact >> slot & 1 != 0, "SActive before the command");
        assert!(!self.accepted.contains(&(slot as u8)), "the disk has that tag");
        assert!(self.accepted.len() < usize::from(disk.depth), "deeper than the disk is");
        if disk.error_log.is_some() {
            return self.fail(kernel, 0x41, 4);
        }
        self.ci &= !(1 << slot);
        self.accepted.push(slot as u8);
        if self.echoes && self.tfd & 1 != 0 {
            self.d2h(kernel, self.tfd as u8, (self.tfd >> 8) as u8);
            self.is |= TFES;
        }
        if self.false_reports > 0 {
            self.false_reports -= 1;
            self.is |= TFES;
        }
    }

    /// The command list ends here.
    fn fail(&mut self, kernel: &TestKernel, status: u8, error: u8) {
        self.halted = true;
        self.tfd = u32::from(status) | u32::from(error) << 8;
        self.d2h(kernel, status, error);
        self.is |= TFES | DHRS;
    }

    fn execute(&mut self, kernel: &TestKernel, slot: u32, fis: &[u8; 20]) {
        let mut disk = self.disk.take().unwrap();
        let result = self.perform(kernel, slot, fis, &mut disk);
        self.disk = Some(disk);
        match result {
            Ok(()) => {
                self.tfd = 0x50;
                self.d2h(kernel, 0x50, 0);
                self.ci &= !(1 << slot);
                self.is |= DHRS;
            }
            Err((status, error)) => {
                // Some HBAs do, others don't.
                if error & 1 == 0 {
                    self.ci &= !(1 << slot);
                }
                self.fail(kernel, status, error);
            }
        }
    }

    fn perform(
        &mut self,
        kernel: &TestKernel,
        slot: u32,
        fis: &[u8; 20],
        disk: &mut ModelDisk,
    ) -> Result<(), (u8, u8)> {
        let lba = |bytes: [u8; 6]| bytes.iter().rev().fold(0u64, |lba, byte| lba << 8 | u64::from(*byte));
        let block = lba([fis[4], fis[5], fis[6], fis[8], fis[9], fis[10]]);
        let count = u64::from(u16::from_le_bytes([fis[12], fis[13]]));
        let blocks = if count == 0 { 65536 } else { count };
        if disk.error_log.is_some() && fis[2] != 0x2f {
            return Err((0x41, 4));
        }
        match fis[2] {
            0xec => self.send(kernel, slot, &disk.identify()),
            0x2f => {
                assert_eq!((block, count), (0x10, 1));
                let log = disk.error_log.take();
                if disk.no_log {
                    disk.error_log = log;
                    return Err((0x41, 4));
                }
                self.send(kernel, slot, &log.unwrap_or([0; 512]));
            }
            0xef => match fis[3] {
                0x07 => disk.standby = false,
                0x82 => disk.cache_now = false,
                _ => return Err((0x41, 4)),
            },
            0xea | 0xe0 => {
                if let Some(error) = disk.bad.get(&u64::MAX) {
                    return Err((0x41, *error));
                }
            }
            0x06 => {
                assert_eq!((fis[3], count), (1, 1));
                if !disk.trims {
                    return Err((0x41, 4));
                }
                let list = self.receive(kernel, slot, 512);
                for range in list.chunks(8) {
                    let range = u64::from_le_bytes(range.try_into().unwrap());
                    let (first, count) = (range & 0xffff_ffff_ffff, range >> 48);
                    assert!(first + count <= disk.blocks);
                    let gone: Vec<u64> = disk.data.range(first..first + count).map(|(b, _)| *b).collect();
                    for block in gone {
                        disk.data.remove(&block);
                    }
                }
            }
            0x25 => self.transfer(kernel, slot, disk, block, blocks, false)?,
            0x35 => self.transfer(kernel, slot, disk, block, blocks, true)?,
            0x3d => {
                assert!(disk.fua, "the disk has no such command");
                self.transfer(kernel, slot, disk, block, blocks, true)?;
            }
            other => panic!("command {other:#x}"),
        }
        Ok(())
    }

    fn transfer(
        &mut self,
        kernel: &TestKernel,
        slot: u32,
        disk: &mut ModelDisk,
        block: u64,
        blocks: u64,
        write: bool,
    ) -> Result<(), (u8, u8)> {
        if let Some(error) = disk.error(block, blocks) {
            return Err((0x41, error));
        }
        let size = disk.block as usize;
        if write {
            let data = self.receive(kernel, slot, blocks as usize * size);
            for (i, data) in data.chunks(size).enumerate() {
                disk.data.insert(block + i as u64, data.to_vec());
            }
        } else {
            let data: Vec<u8> = (block..block + blocks).flat_map(|block| disk.read(block)).collect();
            self.send(kernel, slot, &data);
        }
        Ok(())
    }

    pub(super) fn execute_queued(&mut self, kernel: &TestKernel, slot: u32) {
        // The header as it was, PRDBC included, which means nothing.
        let fis = self.fis(kernel, slot);
        let lba = [fis[4], fis[5], fis[6], fis[8], fis[9], fis[10]];
        let block = lba.iter().rev().fold(0u64, |lba, byte| lba << 8 | u64::from(*byte));
        let count = u64::from(fis[3]) | u64::from(fis[11]) << 8;
        let blocks = if count == 0 { 65536 } else { count };
        let mut disk = self.disk.take().unwrap();
        let result = self.transfer(kernel, slot, &mut disk, block, blocks, fis[2] == 0x61);
        match result {
            Ok(()) => self.set_device_bits(kernel, 0x40, 0, 1 << slot),
            Err((status, error)) => {
                disk.fail_queued(slot as u8, status, error);
                // All others are aborted (SATA 3, 13.6.3).
                self.accepted.clear();
                self.halted = true;
                self.set_device_bits(kernel, status, error, 0);
                self.is |= TFES;
            }
        }
        self.disk = Some(disk);
    }
}
