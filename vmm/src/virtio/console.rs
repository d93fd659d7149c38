//! virtio-console: a terminal (virtio 1.2, 5.3). One port: queue 0 receives what the operator types, queue 1 prints.
//!
//! Unlike a UART's, its output costs one exit for many bytes. The operator's side is a [`Port`], which stays when its
//! guest is started anew.
use super::control::Control;
use super::device::{Device, DeviceType};
use super::queue::{Broken, Chain, Service, Virtqueue};
use crate::platform::ConsoleOutput;
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use spin::Mutex;

/// Feature: the guest may print by a register, without a queue.
const EMERGENCY_WRITE: u64 = 1 << 2;
/// Offset of that register.
const EMERGENCY: u32 = 8;

/// Queues.
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;

/// Entries of each queue.
const QUEUE_SIZE: u16 = 64;
/// Most segments of a buffer.
const SEGMENTS: usize = 64;
/// Most bytes that wait for the guest.
const INPUT: usize = 4096;
/// Most bytes of one buffer that are printed: as many as are kept. What is longer is cut.
const MOST: usize = 64 << 10;

/// The operator's side of a console.
pub struct Port {
    output: Arc<ConsoleOutput>,
    /// One at a time may print.
    printing: Mutex<()>,
    input: Mutex<VecDeque<u8>>,
    /// The queue of the guest that has it now.
    receive: Mutex<Weak<Virtqueue>>,
}

impl Port {
    /// A terminal that prints to `output`, to which nothing else does.
    pub fn new(output: Arc<ConsoleOutput>) -> Arc<Self> {
        // All of it from the start: typing does not allocate.
        let input = Mutex::new(VecDeque::with_capacity(INPUT));
        Arc::new(Self { output, printing: Mutex::new(()), input, receive: Mutex::new(Weak::new()) })
    }

    /// Types. How many bytes were accepted; offer the others later.
    pub fn input(&self, bytes: &[u8]) -> usize {
        let mut input = self.input.lock();
        let accepted = bytes.len().min(INPUT - input.len());
        input.extend(bytes.iter().take(accepted));
        drop(input);
        self.receive();
        accepted
    }

    /// What it has printed.
    pub fn output(&self) -> &Arc<ConsoleOutput> {
        &self.output
    }

    fn receive(&self) {
        let queue = self.receive.lock().upgrade();
        if let Some(queue) = queue {
            queue.serve(&Receiver { port: self, queue: &queue });
        }
    }

    fn print(&self, bytes: &[u8]) {
        let _printing = self.printing.lock();
        bytes.iter().for_each(|&byte| self.output.push(byte));
    }
}

/// Fills the guest's buffers with what was typed.
struct Receiver<'a> {
    port: &'a Port,
    queue: &'a Virtqueue,
}

impl Service for Receiver<'_> {
    fn take(&self, chain: &mut Chain) -> Result<u32, Broken> {
        let mut input = self.port.input.lock();
        let (first, second) = input.as_slices();
        let mut written = chain.writable.write_front(first);
        if written == first.len() {
            written += chain.writable.write_front(second);
        }
        input.drain(..written);
        drop(input);
        self.queue.give_back(chain.token, written as u32, |_| ());
        Ok(0)
    }

    fn ready(&self) -> bool {
        !self.port.input.lock().is_empty()
    }

    /// Who types serves the queue, so that the guest need not tell of its buffers before.
    fn busy(&self) -> bool {
        !self.ready()
    }
}

/// Prints the guest's buffers.
struct Transmitter<'a> {
    port: &'a Port,
    queue: &'a Virtqueue,
}

impl Service for Transmitter<'_> {
    fn take(&self, chain: &mut Chain) -> Result<u32, Broken> {
        let mut printed = 0;
        while printed < MOST && chain.readable.bytes() > 0 {
            let mut piece = [0; 64];
            let size = piece.len().min(usize::try_from(chain.readable.bytes()).unwrap_or(usize::MAX));
            if !chain.readable.take_front(&mut piece[..size]) {
                break;
            }
            self.port.print(&piece[..size]);
            printed += size;
        }
        self.queue.give_back(chain.token, 0, |_| ());
        Ok((printed / 64) as u32)
    }
}

/// The device.
pub struct Console {
    port: Arc<Port>,
    /// The port holds it weakly, so that it goes with the guest.
    receive: Option<Arc<Virtqueue>>,
    transmit: Option<Arc<Virtqueue>>,
}

impl Console {
    /// The guest's side of `port`. A port has one guest at a time: the last that it was connected to.
    pub fn new(port: Arc<Port>) -> Self {
        Self { port, receive: None, transmit: None }
    }
}

impl Device for Console {
    fn device_type(&self) -> DeviceType {
        DeviceType::CONSOLE
    }

    /// A communications controller of no special kind.
    fn class(&self) -> u32 {
        0x07_8000
    }

    fn features(&self) -> u64 {
        EMERGENCY_WRITE
    }

    fn queue_sizes(&self) -> Vec<u16> {
        alloc::vec![QUEUE_SIZE; 2]
    }

    fn segments(&self) -> usize {
        SEGMENTS
    }

    fn connect(&mut self, queues: Vec<Arc<Virtqueue>>, _control: &Arc<Control>) {
        let mut queues = queues.into_iter();
        if let Some(receive) = queues.next() {
            *self.port.receive.lock() = Arc::downgrade(&receive);
            self.receive = Some(receive);
        }
        self.transmit = queues.next();
    }

    fn config_byte(&self, _offset: u32) -> u8 {
        0
    }

    fn config_write(&self, offset: u32, _size: u8, value: u64) {
        if offset == EMERGENCY {
            self.port.print(&[value as u8]);
        }
    }

    fn activate(&self, _features: u64) {}

    fn notify(&self, queue: u16) {
        match (queue, &self.receive, &self.transmit) {
            (RECEIVE, Some(queue), _) => queue.serve(&Receiver { port: &self.port, queue }),
            (TRANSMIT, _, Some(queue)) => queue.serve(&Transmitter { port: &self.port, queue }),
            _ => {}
        }
    }

    fn reset(&self) {}

    fn in_flight(&self) -> u32 {
        0
    }

    fn when_drained(&self, _drained: &Arc<dyn Fn() + Send + Sync>) {}

    fn mark_requests(&self) {}

    fn marked_are_done(&self) -> bool {
        true
    }
}
