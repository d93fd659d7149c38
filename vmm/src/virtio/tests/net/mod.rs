//! A network card: a guest's driver on one side, a wire that notes everything on the other.
mod commands;
mod hostile;
mod receiving;
mod sending;

use super::rig::Rig;
use super::ring::DriverRing;
use crate::memory::on_heap::HeapMemory;
use crate::virtio::net::{Net, NetConfig, Port, Wire};
use crate::virtio::{Feature, Status};
use ::net::frame::{Headers, Mac};
use ::net::nic::{Done, Frame, Offload};
use mm::Segment;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::vec::Vec;

pub const MAC: Mac = Mac([0x52, 0x54, 0, 1, 2, 3]);
pub const OTHER: Mac = Mac([0x52, 0x54, 0, 9, 9, 9]);

/// Feature bits of the type.
pub const CSUM: u64 = 1;
pub const GUEST_CSUM: u64 = 1 << 1;
pub const GUEST_TSO4: u64 = 1 << 7;
pub const HOST_TSO4: u64 = 1 << 11;
pub const MRG_RXBUF: u64 = 1 << 15;
pub const STATUS: u64 = 1 << 16;
pub const CTRL_VQ: u64 = 1 << 17;
pub const MQ: u64 = 1 << 22;
/// What Linux agrees to.
pub const LINUX: u64 = CSUM | GUEST_CSUM | GUEST_TSO4 | HOST_TSO4 | MRG_RXBUF | STATUS | CTRL_VQ;

/// A frame that the guest has sent.
pub struct Heard {
    pub beginning: Vec<u8>,
    pub rest: Vec<Segment>,
    pub offload: Offload,
    pub headers: Headers,
    /// Kept until [`TestWire::finish`].
    done: Option<Done>,
}

/// A wire.
#[derive(Default)]
pub struct TestWire {
    pub heard: Mutex<Vec<Heard>>,
    pub malformed: AtomicUsize,
    pub started: AtomicUsize,
    pub rooms: AtomicUsize,
    pub down: AtomicBool,
    /// Frames are finished at once.
    pub immediate: AtomicBool,
    pub mac: Mutex<Option<Mac>>,
    pub promiscuous: AtomicBool,
    pub drivers: Mutex<Vec<bool>>,
}

impl TestWire {
    /// Lets go of the oldest frame that it holds.
    pub fn finish(&self) -> bool {
        let done = self.heard.lock().unwrap().iter_mut().find_map(|heard| heard.done.take());
        let Some(done) = done else { return false };
        done.sent();
        true
    }
}

impl Wire for TestWire {
    fn transmit(&self, frame: &Frame<'_>, headers: &Headers, done: Done) {
        assert_eq!(frame.check(), Ok(()));
        let immediate = self.immediate.load(Ordering::SeqCst);
        let (now, later) = if immediate { (Some(done), None) } else { (None, Some(done)) };
        self.heard.lock().unwrap().push(Heard {
            beginning: frame.beginning.to_vec(),
            rest: frame.rest.to_vec(),
            offload: frame.offload,
            headers: *headers,
            done: later,
        });
        if let Some(done) = now {
            done.sent();
        }
    }

    fn malformed(&self) {
        self.malformed.fetch_add(1, Ordering::SeqCst);
    }

    fn start(&self) {
        self.started.fetch_add(1, Ordering::SeqCst);
    }

    fn room(&self) {
        self.rooms.fetch_add(1, Ordering::SeqCst);
    }

    fn is_up(&self) -> bool {
        !self.down.load(Ordering::SeqCst)
    }

    fn set_mac(&self, mac: Mac) -> bool {
        let allowed = mac == OTHER;
        if allowed {
            *self.mac.lock().unwrap() = Some(mac);
        }
        allowed
    }

    fn set_promiscuous(&self, on: bool) {
        self.promiscuous.store(on, Ordering::SeqCst);
    }

    fn driver(&self, works: bool) {
        self.drivers.lock().unwrap().push(works);
    }
}

/// A machine with a card.
pub struct Card {
    pub wire: Arc<TestWire>,
    pub port: Arc<Port>,
    pub receive: DriverRing,
    pub transmit: DriverRing,
    pub control: DriverRing,
    pub rig: Rig,
}

impl Card {
    /// One whose driver has agreed to `features`.
    pub fn new(features: u64) -> Self {
        Self::with(features, 1, 64)
    }

    pub fn with(features: u64, pairs: u16, queue_size: u16) -> Self {
        let (wire, port) = (Arc::new(TestWire::default()), Port::new());
        let config = NetConfig {
            wire: wire.clone(),
            port: port.clone(),
            mac: MAC,
            mtu: 1500,
            pairs,
            queue_size,
            keep: Arc::new(()),
        };
        // Memory behind the guest's for what comes from elsewhere.
        let mut rig = Rig::on(HeapMemory::with_spare(super::rig::RAM, 4), Box::new(Net::new(config)));
        assert!(rig.negotiate(features | Feature::VERSION_1));
        rig.enable_msix();
        for (entry, vector) in [(0, 0x50), (1, 0x61), (2, 0x62), (3, 0x63)] {
            rig.route(entry, 0, vector);
        }
        rig.write(rig.common, 0x10, 2, 0);
        let receive = rig.open(0, queue_size, features, 1);
        let transmit = rig.open(1, queue_size, features, 2);
        let number = if features & MQ != 0 { 2 * pairs } else { 2 };
        let control = rig.open(number, 16, features, 3);
        rig.set_status(rig.status() | Status::DRIVER_OK);
        assert_eq!(rig.status(), 0xf);
        Self { wire, port, receive, transmit, control, rig }
    }

    /// Sends what is behind a header, in pieces of at most `piece` bytes.
    pub fn send(&mut self, header: [u8; 12], frame: &[u8], piece: usize) -> u16 {
        let at = self.rig.allocate(12 + frame.len() as u64);
        self.transmit.put(at, &[&header, frame].concat());
        let mut pieces = Vec::from([(at, 12, false)]);
        for (i, part) in frame.chunks(piece).enumerate() {
            pieces.push((at + 12 + (i * piece) as u64, part.len() as u32, false));
        }
        let (id, _) = self.transmit.add(&pieces);
        self.rig.kick(1);
        id
    }

    /// Offers so many bytes to receive into, in one buffer; where they are.
    pub fn offer(&mut self, bytes: u32) -> u64 {
        let at = self.rig.allocate(bytes.into());
        self.receive.add(&[(at, bytes, true)]);
        at
    }

    /// A command and its answer.
    pub fn command(&mut self, queue: u16, class: u8, command: u8, data: &[u8]) -> u8 {
        let at = self.rig.allocate(4096);
        self.control.put(at, &[class, command]);
        self.control.put(at + 2, data);
        self.control.put(at + 4095, &[0xee]);
        self.control.add(&[(at, 2, false), (at + 2, data.len() as u32, false), (at + 4095, 1, true)]);
        self.rig.kick(queue);
        assert_eq!(self.control.used().map(|(_, bytes)| bytes), Some(1));
        self.rig.bytes(at + 4095, 1)[0]
    }
}

/// A frame of UDP over IPv4 with `payload`, all of whose headers are right.
pub fn datagram(to: Mac, from: Mac, payload: &[u8]) -> Vec<u8> {
    use ::net::frame::checksum::Sum;
    let udp = 8 + payload.len() as u16;
    let mut ip = Vec::from([0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    ip[2..4].copy_from_slice(&(20 + udp).to_be_bytes());
    let sum = Sum::new().bytes(&ip).checksum();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let ports = [0x13, 0x88, 0x13, 0x89, (udp >> 8) as u8, udp as u8, 0, 0];
    [&to.0[..], &from.0, &[8, 0], &ip, &ports, payload].concat()
}

/// A TCP segment over IPv4 with `payload`.
pub fn segment(to: Mac, from: Mac, payload: &[u8]) -> Vec<u8> {
    let mut frame = datagram(to, from, &[&[0u8; 12][..], payload].concat());
    frame[23] = 6;
    frame[46] = 5 << 4;
    frame[47] = 0x10;
    frame[24..26].copy_from_slice(&[0, 0]);
    let sum = ::net::frame::checksum::Sum::new().bytes(&frame[14..34]).checksum();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}
