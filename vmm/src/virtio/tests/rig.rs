//! A machine with a disk, and the PCI side of a guest's driver: what Linux does, by ports and MMIO alone.
use super::disk::TestDisk;
use super::ring::{DriverRing, Piece};
use crate::memory::on_heap::HeapMemory;
use crate::platform::apic::{ApicFabric, LocalApic, Wake};
use crate::platform::{Board, BoardConfig, BoardEvent, ConsoleOutput, map};
use crate::virtio::{Blk, BlkConfig, Device, Feature, Status};
use block::Geometry;
use mm::addr::Gpa;
use std::sync::Arc;
use std::vec::Vec;

struct NoWake;
impl Wake for NoWake {
    fn wake(&self, _: usize) {}
}

/// Slot of the device under test.
pub const SLOT: u8 = 3;
/// MiB of the guest's RAM, and of the disk behind it.
pub const RAM: usize = 8;
pub const DISK: u64 = 4;
/// What the disk's `keep` drops.
pub struct Keep(pub Arc<std::sync::atomic::AtomicBool>);
impl Drop for Keep {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

/// Where a capability points.
#[derive(Clone, Copy, Debug, Default)]
pub struct Located {
    pub bar: u8,
    pub offset: u64,
    pub length: u64,
    /// Offset of the capability.
    pub at: u16,
}

/// The machine.
pub struct Rig {
    pub board: Board,
    pub apics: Vec<LocalApic>,
    pub disk: Arc<TestDisk>,
    pub released: Arc<std::sync::atomic::AtomicBool>,
    /// Next free guest memory.
    next: u64,
    /// Its PCI device ID.
    id: u32,
    pub common: Located,
    pub notify: Located,
    pub isr: Located,
    pub config: Located,
    pub window: Located,
    pub msix: u16,
    // Behind everything that uses it.
    pub memory: HeapMemory,
}

impl Rig {
    /// A disk as it is by default, with one queue.
    pub fn new() -> Self {
        Self::with(1, 64, |_| {})
    }

    pub fn with(queues: u16, queue_size: u16, change: impl FnOnce(&mut Geometry)) -> Self {
        Self::above(change, |disk, keep| {
            Box::new(Blk::new(BlkConfig {
                disk: disk.clone(),
                serial: "serial-0123456789-too-long".into(),
                queues,
                queue_size,
                keep,
            }))
        })
    }

    /// A machine with a device that is above its disk: `make` gets that, and what to keep.
    pub fn above(
        change: impl FnOnce(&mut Geometry),
        make: impl FnOnce(&Arc<TestDisk>, Arc<Keep>) -> Box<dyn Device>,
    ) -> Self {
        let memory = HeapMemory::with_spare(RAM, DISK as usize);
        let disk = Arc::new(TestDisk::new(&memory, DISK, change));
        let released = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let device = make(&disk, Arc::new(Keep(released.clone())));
        Self::around(memory, disk, released, device)
    }

    /// A machine with another device.
    pub fn of(device: Box<dyn Device>) -> Self {
        let memory = HeapMemory::with_spare(RAM, DISK as usize);
        let disk = Arc::new(TestDisk::new(&memory, DISK, |_| {}));
        Self::around(memory, disk, Arc::default(), device)
    }

    /// A machine with this memory and another device.
    pub fn on(memory: HeapMemory, device: Box<dyn Device>) -> Self {
        Self::with_disk_on(memory, |_| device)
    }

    /// A machine with this memory and a device that is made of a disk.
    pub fn with_disk_on(memory: HeapMemory, make: impl FnOnce(Arc<TestDisk>) -> Box<dyn Device>) -> Self {
        let disk = Arc::new(TestDisk::new(&memory, DISK, |_| {}));
        let device = make(disk.clone());
        Self::around(memory, disk, Arc::default(), device)
    }

    fn around(
        memory: HeapMemory,
        disk: Arc<TestDisk>,
        released: Arc<std::sync::atomic::AtomicBool>,
        device: Box<dyn Device>,
    ) -> Self {
        let fabric = Arc::new(ApicFabric::new(2, Box::new(NoWake)));
        let apics = (0..2)
            .map(|index| {
                let mut apic = LocalApic::new(fabric.clone(), index, 40);
                apic.mmio_write(0xf0, 4, 0x1ff, 0);
                apic
            })
            .collect();
        let id = 0x1040 + u32::from(device.device_type().0);
        let config = BoardConfig {
            fabric,
            console: Arc::new(ConsoleOutput::new(None)),
            layout: memory.layout(),
            wall_clock: 0,
        };
        let mut board = Board::new(config, 0);
        board.attach_virtio(SLOT, device, &memory.share()).unwrap();
        let none = Located::default();
        let (common, notify, isr, config, window) = (none, none, none, none, none);
        let mut rig = Self {
            board,
            apics,
            disk,
            released,
            next: 0x10_0000,
            id,
            common,
            notify,
            isr,
            config,
            window,
            msix: 0,
            memory,
        };
        rig.probe();
        rig
    }

    // --- Configuration space, by mechanism #1 ---

    pub fn config_read(&self, offset: u16, size: u8) -> u32 {
        let address = 1 << 31 | u32::from(SLOT) << 11 | u32::from(offset & 0xfc);
        self.board.port_write(map::PCI_ADDRESS, 4, address, 0);
        self.board.port_read(map::PCI_DATA + (offset & 3), size, 0)
    }

    pub fn config_write(&self, offset: u16, size: u8, value: u32) {
        let address = 1 << 31 | u32::from(SLOT) << 11 | u32::from(offset & 0xfc);
        self.board.port_write(map::PCI_ADDRESS, 4, address, 0);
        self.board.port_write(map::PCI_DATA + (offset & 3), size, value, 0);
    }

    /// Walks the capabilities.
    pub fn probe(&mut self) {
        assert_eq!(self.config_read(0, 4), self.id << 16 | 0x1af4);
        assert_ne!(self.config_read(6, 2) & 0x10, 0, "there is a list");
        let mut at = self.config_read(0x34, 1) as u16;
        while at != 0 {
            let located = Located {
                bar: self.config_read(at + 4, 1) as u8,
                offset: self.config_read(at + 8, 4).into(),
                length: self.config_read(at + 12, 4).into(),
                at,
            };
            match (self.config_read(at, 1), self.config_read(at + 3, 1)) {
                (0x11, _) => self.msix = at,
                (0x09, 1) => self.common = located,
                (0x09, 2) => self.notify = located,
                (0x09, 3) => self.isr = located,
                (0x09, 4) => self.config = located,
                (0x09, 5) => self.window = located,
                other => panic!("an unknown capability {other:?}"),
            }
            at = self.config_read(at + 1, 1) as u16;
        }
        self.config_write(4, 2, 0x407);
    }

    // --- BARs ---

    /// Address in a BAR, and whether it is a port.
    pub fn address(&self, bar: u8, offset: u64) -> (u64, bool) {
        let value = self.config_read(0x10 + 4 * u16::from(bar), 4);
        let port = value & 1 != 0;
        (u64::from(value & if port { !3 } else { !15 }) + offset, port)
    }

    pub fn read(&self, place: Located, offset: u64, size: u8) -> u64 {
        match self.address(place.bar, place.offset + offset) {
            (port, true) => self.board.port_read(port as u16, size, 0).into(),
            (address, false) => self.board.mmio_read(Gpa::new(address), size, 0),
        }
    }

    pub fn write(&self, place: Located, offset: u64, size: u8, value: u64) {
        match self.address(place.bar, place.offset + offset) {
            (port, true) => {
                let event = self.board.port_write(port as u16, size, value as u32, 0);
                assert!(matches!(event, None | Some(BoardEvent::AwaitsOne)), "{event:?}");
            }
            (address, false) => assert_eq!(self.board.mmio_write(Gpa::new(address), size, value, 0), None),
        }
    }

    /// A write of which anything may come: the BAR may be wherever.
    pub fn poke(&self, place: Located, offset: u64, size: u8, value: u64) {
        match self.address(place.bar, place.offset + offset) {
            (port, true) => self.board.port_write(port as u16, size, value as u32, 0),
            (address, false) => self.board.mmio_write(Gpa::new(address), size, value, 0),
        };
    }

    pub fn status(&self) -> u8 {
        self.read(self.common, 0x14, 1) as u8
    }

    pub fn set_status(&self, status: u8) {
        self.write(self.common, 0x14, 1, status.into());
    }

    pub fn kick(&self, queue: u16) {
        self.write(self.notify, 0, 2, queue.into());
    }

    pub fn offered(&self) -> u64 {
        (0..2).fold(0, |features, i| {
            self.write(self.common, 0, 4, i);
            features | self.read(self.common, 4, 4) << (32 * i)
        })
    }

    /// Negotiates as Linux does, up to FEATURES_OK; whether it was accepted.
    pub fn negotiate(&self, features: u64) -> bool {
        self.set_status(0);
        assert_eq!(self.status(), 0);
        self.set_status(Status::ACKNOWLEDGE);
        self.set_status(Status::ACKNOWLEDGE | Status::DRIVER);
        for i in 0..2 {
            self.write(self.common, 8, 4, i);
            self.write(self.common, 12, 4, features >> (32 * i) & 0xffff_ffff);
        }
        let ok = Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK;
        self.set_status(ok);
        self.status() == ok
    }

    // --- MSI-X ---

    /// Entry `entry` of the table interrupts vCPU `vcpu` with `vector`.
    pub fn route(&self, entry: u64, vcpu: u64, vector: u64) {
        let table =
            Located { bar: 1, offset: self.config_read(self.msix + 4, 4) as u64 & !7, ..Located::default() };
        for (i, word) in [0xfee0_0000 | vcpu << 12, 0, vector, 0].into_iter().enumerate() {
            self.write(table, 16 * entry + 4 * i as u64, 4, word);
        }
    }

    pub fn enable_msix(&self) {
        self.config_write(self.msix + 2, 2, 0x8000);
    }

    /// The interrupt that vCPU `vcpu` gets, if there is one.
    pub fn interrupt(&mut self, vcpu: usize) -> Option<u8> {
        let apic = &mut self.apics[vcpu];
        apic.pull();
        let vector = apic.deliverable()?;
        apic.acknowledge(vector);
        if let Some(vector) = apic.mmio_write(0xb0, 4, 0, 0) {
            self.board.end_of_interrupt(vector);
        }
        Some(vector)
    }

    // --- Queues ---

    /// `bytes` of guest memory, on a page of their own.
    pub fn allocate(&mut self, bytes: u64) -> u64 {
        let at = self.next;
        self.next += bytes.next_multiple_of(4096);
        assert!(self.next < (RAM as u64) << 20);
        at
    }

    /// What comes is allocated from here on again.
    pub fn next_to(&mut self, at: u64) {
        self.next = at;
    }

    /// Places a ring and enables the queue.
    pub fn open(&mut self, queue: u16, size: u16, features: u64, vector: u16) -> DriverRing {
        let ring = DriverRing::new(self, size, features);
        self.write(self.common, 0x16, 2, queue.into());
        self.write(self.common, 0x18, 2, size.into());
        self.write(self.common, 0x1a, 2, vector.into());
        for (i, area) in ring.areas().into_iter().enumerate() {
            self.write(self.common, 0x20 + 8 * i as u64, 4, area & 0xffff_ffff);
            self.write(self.common, 0x24 + 8 * i as u64, 4, area >> 32);
        }
        self.write(self.common, 0x1c, 2, 1);
        assert_eq!(self.read(self.common, 0x1c, 2), 1, "enabled");
        ring
    }

    /// All that Linux does for a device with one queue, MSI-X included: the configuration's vector is 0x50 on vCPU 0,
    /// the queue's 0x61 on vCPU 1.
    pub fn start(&mut self, features: u64) -> DriverRing {
        assert!(self.negotiate(features | Feature::VERSION_1));
        self.enable_msix();
        self.route(0, 0, 0x50);
        self.route(1, 1, 0x61);
        self.write(self.common, 0x10, 2, 0);
        let size = self.read(self.common, 0x18, 2) as u16;
        let ring = self.open(0, size, features, 1);
        self.set_status(self.status() | Status::DRIVER_OK);
        assert_eq!(self.status(), 0xf);
        ring
    }

    /// A request: header, data, status, in three pieces. Where its header is (the data is a page on, the status right
    /// behind the header), and the pieces.
    pub fn request(&mut self, kind: u32, sector: u64, data: u32) -> (u64, Vec<Piece>) {
        let at = self.allocate(4096 + u64::from(data));
        let mut header = [0; 17];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..16].copy_from_slice(&sector.to_le_bytes());
        header[16] = 0xff;
        self.memory.write(Gpa::new(at), &header).unwrap();
        let read = kind == 0 || kind == 8;
        let mut pieces = [(at, 16, false), (at + 4096, data, read), (at + 16, 1, true)].to_vec();
        if data == 0 {
            pieces.remove(1);
        }
        (at, pieces)
    }

    /// The status byte of a request.
    pub fn result(&self, at: u64) -> u8 {
        self.memory.read_uint(Gpa::new(at + 16), 1).unwrap() as u8
    }

    pub fn bytes(&self, at: u64, bytes: usize) -> Vec<u8> {
        let mut data = std::vec![0; bytes];
        self.memory.read(Gpa::new(at), &mut data).unwrap();
        data
    }

    pub fn fill(&self, at: u64, bytes: usize, seed: u64) -> Vec<u8> {
        let mut random = crate::platform::fuzz::Random::new(seed);
        let data: Vec<u8> = (0..bytes).map(|_| random.next() as u8).collect();
        self.memory.write(Gpa::new(at), &data).unwrap();
        data
    }
}
