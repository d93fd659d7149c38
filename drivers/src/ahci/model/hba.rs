//! An HBA: its registers, and how commands get to disks and data to memory.
use super::ModelDisk;
use super::port::{CR, FR, FRE, ModelPort, ST};
use crate::pci::MessageInterrupts;
use crate::test_kernel::TestKernel;
use crate::{Kernel, MsiMessage, Registers};
use alloc::sync::Arc;
use alloc::vec::Vec;
use spin::{Mutex, MutexGuard};

/// An HBA.
pub struct Model {
    pub kernel: Arc<TestKernel>,
    state: Mutex<State>,
}

pub struct State {
    pub capabilities: u32,
    pub implemented: u32,
    /// BOHC, where CAP2.BOH is set.
    pub hand_off: Option<u32>,
    pub firmware_keeps: bool,
    ghc: u32,
    is: u32,
    message: Option<MsiMessage>,
    pub ports: Vec<ModelPort>,
    pub gone: bool,
    /// The reset bit stays set.
    pub reset_hangs: bool,
    pub resets: u32,
    pub dma_stopped: bool,
    seed: u64,
    /// Register accesses since this was set to 0.
    pub accesses: u64,
}

const STAGGERED: u32 = 1 << 27;

/// The HBA's window.
pub struct ModelRegisters(pub Arc<Model>);

/// The HBA's one message.
pub struct ModelMessages(pub Arc<Model>);

impl MessageInterrupts for ModelMessages {
    fn vectors(&self) -> usize {
        1
    }

    fn connect(&self, vector: usize, message: Option<MsiMessage>) {
        assert_eq!(vector, 0);
        self.0.state.lock().message = message;
    }
}

impl Model {
    pub fn new(kernel: &Arc<TestKernel>, disks: Vec<Option<ModelDisk>>) -> Arc<Self> {
        let ports: Vec<_> = disks.into_iter().map(|disk| ModelPort { disk, ..Default::default() }).collect();
        let state = State {
            // 64 bits, queuing, 32 slots, ports.
            capabilities: 1 << 31 | 1 << 30 | 31 << 8 | (ports.len() as u32 - 1),
            implemented: (1 << ports.len()) - 1,
            hand_off: None,
            firmware_keeps: false,
            ghc: 0,
            is: 0,
            message: None,
            ports,
            gone: false,
            reset_hangs: false,
            resets: 0,
            dma_stopped: false,
            seed: 1,
            accesses: 0,
        };
        Arc::new(Self { kernel: kernel.clone(), state: Mutex::new(state) })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Lets the test change a port.
    pub fn port<R>(&self, number: usize, f: impl FnOnce(&mut ModelPort) -> R) -> R {
        f(&mut self.state.lock().ports[number])
    }

    /// Lets the test change a disk.
    pub fn disk<R>(&self, number: usize, f: impl FnOnce(&mut ModelDisk) -> R) -> R {
        self.port(number, |port| f(port.disk.as_mut().unwrap()))
    }

    pub fn seed(&self, seed: u64) {
        self.state.lock().seed = seed | 1;
    }

    /// Pulls a disk out.
    pub fn unplug(&self, number: usize) -> ModelDisk {
        let mut state = self.state.lock();
        let port = &mut state.ports[number];
        let disk = port.disk.take().unwrap();
        port.accepted.clear();
        port.tfd = 0x7f;
        port.serr |= 1 << 16;
        port.is |= 1 << 22;
        state.interrupt(&self.kernel);
        disk
    }

    /// Plugs one in.
    pub fn plug(&self, number: usize, disk: ModelDisk) {
        let mut state = self.state.lock();
        state.ports[number].disk = Some(disk);
        state.connect(number, self.kernel.now(), &self.kernel);
        state.interrupt(&self.kernel);
    }

    /// An interrupt for nothing.
    pub fn spurious(&self) {
        if let Some(message) = self.state.lock().message {
            self.kernel.take_message(message);
        }
    }

    /// One port does one thing. Whether there was one.
    pub fn step(&self) -> bool {
        let mut state = self.state.lock();
        if state.gone || state.dma_stopped {
            return false;
        }
        let count = state.ports.len();
        let first = state.random() as usize % count;
        let acted = (0..count).any(|i| state.step(&self.kernel, (first + i) % count));
        state.interrupt(&self.kernel);
        acted
    }
}

impl State {
    pub fn random(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed >> 11
    }

    /// The link comes up and the disk sends its signature.
    fn connect(&mut self, number: usize, now: u64, kernel: &TestKernel) {
        let port = &mut self.ports[number];
        port.accepted.clear();
        port.halted = false;
        port.serr |= 1 << 16 | 1 << 26;
        port.is |= 1 << 22 | 1 << 6;
        let Some(disk) = &mut port.disk else { return };
        disk.reset();
        port.busy_until = now + disk.spin_up;
        port.sig = disk.signature;
        port.tfd = 0x150;
        if port.cmd & FRE != 0 {
            port.d2h(kernel, 0x50, 1);
        }
    }

    fn link_up(&self, number: usize) -> bool {
        let port = &self.ports[number];
        let spun = self.capabilities & STAGGERED == 0 || port.cmd & 2 != 0;
        spun && port.disk.is_some() && port.sctl & 0xf == 0 && !port.no_link
    }

    /// Sends a message where a port's bit is set for the first time.
    fn interrupt(&mut self, kernel: &TestKernel) {
        let before = self.is;
        for (number, port) in self.ports.iter_mut().enumerate() {
            port.mirror();
            if port.is & port.ie != 0 {
                self.is |= 1 << number;
            }
        }
        if self.is & !before != 0
            && self.ghc & 2 != 0
            && let Some(message) = self.message
        {
            kernel.take_message(message);
        }
    }

    fn step(&mut self, kernel: &TestKernel, number: usize) -> bool {
        let (up, choice) = (self.link_up(number), self.random());
        let port = &mut self.ports[number];
        if !up || port.cmd & ST == 0 || port.halted || port.stuck_busy || kernel.now() < port.busy_until {
            return false;
        }
        port.deepest = port.deepest.max((port.ci | port.sact).count_ones());
        let accept = port.ci != 0 && (port.accepted.is_empty() || choice & 1 != 0);
        if accept {
            let mut slots: Vec<u32> = (0..32).filter(|slot| port.ci >> slot & 1 != 0).collect();
            let slot = slots.swap_remove((choice >> 1) as usize % slots.len());
            port.take(kernel, slot);
            true
        } else if !port.accepted.is_empty() {
            let which = (choice >> 1) as usize % port.accepted.len();
            let slot = port.accepted.swap_remove(which);
            port.execute_queued(kernel, slot.into());
            true
        } else {
            false
        }
    }

    fn reset(&mut self, kernel: &TestKernel) {
        self.resets += 1;
        self.ghc = 0;
        self.is = 0;
        for number in 0..self.ports.len() {
            let port = &mut self.ports[number];
            (port.clb, port.fb, port.is, port.ie, port.sact, port.ci) = (0, 0, 0, 0, 0, 0);
            (port.cmd, port.sctl, port.serr, port.sig, port.tfd) = (0, 0, 0, u32::MAX, 0x7f);
            (port.stuck_running, port.stuck_receiving) = (false, false);
            if self.link_up(number) {
                self.connect(number, kernel.now(), kernel);
            }
        }
    }

    fn read(&mut self, kernel: &TestKernel, offset: u64) -> u32 {
        self.accesses += 1;
        if self.gone {
            return u32::MAX;
        }
        match offset {
            0x00 => return self.capabilities,
            0x04 => return self.ghc,
            0x08 => return self.is,
            0x0c => return self.implemented,
            0x10 => return 0x10301,
            0x24 => return self.hand_off.is_some() as u32,
            0x28 => return self.hand_off.unwrap_or(0),
            _ => {}
        }
        let number = (offset as usize).wrapping_sub(0x100) / 0x80;
        let up = number < self.ports.len() && self.link_up(number);
        let Some(port) = self.ports.get_mut(number) else { return 0 };
        port.mirror();
        match offset & 0x7f {
            0x00 => port.clb as u32,
            0x04 => (port.clb >> 32) as u32,
            0x08 => port.fb as u32,
            0x0c => (port.fb >> 32) as u32,
            0x10 => port.is,
            0x14 => port.ie,
            0x18 => {
                let running = port.cmd & ST != 0 || port.stuck_running;
                let receiving = port.cmd & FRE != 0 || port.stuck_receiving;
                port.cmd | if running { CR } else { 0 } | if receiving { FR } else { 0 }
            }
            0x20 if port.stuck_busy || kernel.now() < port.busy_until => 0x80,
            0x20 => port.tfd,
            0x24 => port.sig,
            0x28 if up => 0x123,
            0x28 if port.disk.is_some() && port.no_link => 1,
            0x2c => port.sctl,
            0x30 => port.serr,
            0x34 => port.sact,
            0x38 => port.ci,
            _ => 0,
        }
    }

    fn write(&mut self, kernel: &TestKernel, offset: u64, value: u32) {
        self.accesses += 1;
        if self.gone {
            return;
        }
        match offset {
            0x04 if value & 1 != 0 && self.reset_hangs => self.ghc = value,
            0x04 if value & 1 != 0 => self.reset(kernel),
            0x04 => self.ghc = value,
            0x08 => self.is &= !value,
            0x28 => {
                let keeps = self.firmware_keeps;
                if let Some(hand_off) = &mut self.hand_off {
                    *hand_off = if keeps { value | 1 } else { value & !1 };
                }
            }
            0x100.. => self.write_port(kernel, offset, value),
            _ => {}
        }
        self.interrupt(kernel);
    }

    fn write_port(&mut self, kernel: &TestKernel, offset: u64, value: u32) {
        let number = (offset as usize - 0x100) / 0x80;
        let Some(port) = self.ports.get_mut(number) else { return };
        let wide = u64::from(value);
        match offset & 0x7f {
            0x00 => port.clb = port.clb & !0xffff_ffff | wide,
            0x04 => port.clb = port.clb & 0xffff_ffff | wide << 32,
            0x08 => port.fb = port.fb & !0xffff_ffff | wide,
            0x0c => port.fb = port.fb & 0xffff_ffff | wide << 32,
            0x10 => port.is &= !value,
            0x14 => port.ie = value,
            0x18 => {
                let was = port.cmd;
                port.cmd = value & (ST | 2 | 4 | FRE);
                if value & ST == 0 && was & ST != 0 {
                    (port.ci, port.sact, port.halted) = (0, 0, false);
                }
                assert!(value & ST == 0 || (value & FRE != 0 && port.clb & 0x3ff == 0 && port.clb != 0));
                assert!(value & FRE == 0 || (port.fb & 0xff == 0 && port.fb != 0));
                if value & 2 != 0 && was & 2 == 0 && self.capabilities & STAGGERED != 0 {
                    self.connect(number, kernel.now(), kernel);
                }
            }
            0x2c => {
                let was = port.sctl & 0xf;
                assert!(value & 0xf == 0 || port.cmd & ST == 0, "COMRESET of a port that runs");
                port.sctl = value;
                if was == 1 && value & 0xf == 0 {
                    port.comresets += 1;
                    self.connect(number, kernel.now(), kernel);
                }
            }
            0x30 => port.serr &= !value,
            0x34 => {
                assert_eq!(value & (port.sact | port.ci), 0, "a tag in use");
                if port.cmd & ST != 0 {
                    port.sact |= value;
                }
            }
            0x38 => {
                assert_eq!(value & port.ci, 0, "a slot in use");
                if port.cmd & ST != 0 {
                    port.ci |= value;
                }
            }
            _ => {}
        }
    }
}

impl Registers for ModelRegisters {
    fn bytes(&self) -> u64 {
        0x1100
    }

    fn read8(&self, offset: u64) -> u8 {
        panic!("8 bits at {offset:#x}")
    }

    fn read16(&self, offset: u64) -> u16 {
        panic!("16 bits at {offset:#x}")
    }

    fn read32(&self, offset: u64) -> u32 {
        self.0.state.lock().read(&self.0.kernel, offset)
    }

    fn read64(&self, offset: u64) -> u64 {
        panic!("64 bits at {offset:#x}")
    }

    fn write8(&self, offset: u64, _value: u8) {
        panic!("8 bits at {offset:#x}")
    }

    fn write16(&self, offset: u64, _value: u16) {
        panic!("16 bits at {offset:#x}")
    }

    fn write32(&self, offset: u64, value: u32) {
        self.0.state.lock().write(&self.0.kernel, offset, value);
    }

    fn write64(&self, offset: u64, _value: u64) {
        panic!("64 bits at {offset:#x}")
    }
}
