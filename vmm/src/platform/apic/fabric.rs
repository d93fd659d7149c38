//! What carries interrupts between the vCPUs and devices of one VM, without a lock.
//!
//! Each vCPU has a mailbox that anyone writes and only its owner empties, and publishes what senders need to
//! know to find it: its mode and logical destination, and by its registers the priority.
//!
//! # Why no interrupt is lost
//!
//! A sender sets the vector's bit, then the bit in `events`; if `events` was 0 before, it calls
//! [`Wake::post`]. The owner takes all of `events` in one exchange before it takes the vectors. So a bit
//! set after the owner's look finds `events` at 0 again and wakes; a bit set before it is taken. The
//! kernel's part: a vCPU that halts first publishes that it is halted, then looks at
//! [`ApicFabric::outstanding`] once more; and a wake-up that finds it running interrupts it.
//!
//! # Posted interrupts
//!
//! A mailbox begins with what the manual calls a posted-interrupt descriptor (SDM vol. 3C, 29.6): edge-triggered
//! vectors are its requests, [`event::POSTED`] is "outstanding notification". All other bits of it the processor
//! leaves to software; the other events are among them. While the guest runs, the hardware may clear that bit and then take
//! the vectors, as the owner does. So whoever sends an event that the hardware does not take must not rely on the
//! notification of one that it does: it calls [`Wake::wake`] unless there was another such event before.
use super::message::{DeliveryMode, InterruptMessage, Msi};
use super::page::RegisterPage;
use crate::platform::map::MAX_VCPUS;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// How the kernel learns that a vCPU has mail.
pub trait Wake: Send + Sync {
    /// Makes vCPU `vcpu` notice its mailbox: interrupt it if it runs, make it runnable if it is halted.
    /// Called on any CPU, maybe under a device's lock: short, and it must not call a device.
    fn wake(&self, vcpu: usize);

    /// Likewise, for vectors alone: where the hardware takes these from the mailbox while the guest runs, it is
    /// told to, and the guest need not be interrupted.
    fn post(&self, vcpu: usize) {
        self.wake(vcpu);
    }
}

/// What a mailbox holds besides vectors: the bits of `events`.
pub(super) mod event {
    /// Edge-triggered vectors. The place of this bit is the hardware's.
    pub const POSTED: u32 = 1 << 0;
    /// Level-triggered vectors.
    pub const LEVEL: u32 = 1 << 1;
    pub const NMI: u32 = 1 << 4;
    pub const INIT: u32 = 1 << 5;
    pub const SIPI: u32 = 1 << 6;
    /// A message with ExtINT delivery.
    pub const EXT_INT: u32 = 1 << 7;
    /// The output of the 8259, which is wired to LINT0, rose.
    pub const LINT0: u32 = 1 << 8;
    /// A message with a vector below 16.
    pub const ILLEGAL_VECTOR: u32 = 1 << 9;
    /// Somebody else wants a look of the vCPU (pause, stop, a timer's change).
    pub const ATTENTION: u32 = 1 << 10;
    /// The vector of a start-up IPI.
    pub const SIPI_VECTOR_SHIFT: u32 = 24;
    /// All of a start-up IPI.
    pub const SIPI_MASK: u32 = SIPI | 0xff << SIPI_VECTOR_SHIFT;
}

/// What a vCPU publishes about its local APIC; the bits of `facts`. LDR in the upper half.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Facts(pub u64);

impl Facts {
    /// Enabled in IA32_APIC_BASE.
    pub const HARDWARE_ENABLED: u64 = 1 << 0;
    pub const X2APIC: u64 = 1 << 1;
    /// Enabled in SVR.
    pub const SOFTWARE_ENABLED: u64 = 1 << 2;
    /// The flat model in DFR.
    pub const FLAT: u64 = 1 << 3;
    /// LINT0 is not masked, or the APIC is off and LINT0 is the processor's INTR pin.
    pub const LINT0: u64 = 1 << 4;

    fn has(self, bit: u64) -> bool {
        self.0 & bit != 0
    }

    /// Whether a logical destination names this local APIC (SDM vol. 3A, 11.6.2.2 and 11.12.10.2).
    fn logical_match(self, destination: u32) -> bool {
        if destination == InterruptMessage::BROADCAST {
            return true;
        }
        let ldr = (self.0 >> 32) as u32;
        if self.has(Self::X2APIC) {
            return ldr >> 16 == destination >> 16 && ldr & destination & 0xffff != 0;
        }
        if destination > 0xff {
            return false;
        }
        let ldr = ldr >> 24;
        if self.has(Self::FLAT) {
            ldr & destination != 0
        } else {
            ldr >> 4 == destination >> 4 && ldr & destination & 0xf != 0
        }
    }
}

/// One vCPU's mailbox and published facts. On cache lines of its own: senders write it.
#[repr(C, align(128))]
struct Mailbox {
    /// Edge-triggered vectors; with `events` the posted-interrupt descriptor.
    vectors: [AtomicU64; 4],
    events: AtomicU32,
    /// The rest of the descriptor.
    _unused: [u32; 7],
    /// Level-triggered vectors, of which the owner must note that they are.
    level: [AtomicU64; 4],
    facts: AtomicU64,
}

impl Mailbox {
    fn new() -> Self {
        Self {
            vectors: [const { AtomicU64::new(0) }; 4],
            events: AtomicU32::new(0),
            _unused: [0; 7],
            level: [const { AtomicU64::new(0) }; 4],
            facts: AtomicU64::new(0),
        }
    }

    fn facts(&self) -> Facts {
        Facts(self.facts.load(Ordering::SeqCst))
    }
}

/// Takes all vectors. `false` costs nothing but looks.
fn take_all(words: &[AtomicU64; 4], there_are: bool) -> [u64; 4] {
    let mut taken = [0; 4];
    if there_are {
        for (word, taken) in words.iter().zip(&mut taken) {
            if word.load(Ordering::Relaxed) != 0 {
                *taken = word.swap(0, Ordering::AcqRel);
            }
        }
    }
    taken
}

/// What the owner found in its mailbox.
pub(super) struct Mail {
    pub events: u32,
    /// Edge-triggered.
    pub vectors: [u64; 4],
    /// Level-triggered.
    pub level: [u64; 4],
}

/// The interrupt fabric of one VM. vCPU `n` has the APIC ID `n`.
pub struct ApicFabric {
    mailboxes: Box<[Mailbox]>,
    pages: Box<[RegisterPage]>,
    /// Level of the 8259's output.
    pic_output: AtomicBool,
    wake: Box<dyn Wake>,
}

impl ApicFabric {
    /// For `vcpus` vCPUs, at most [`MAX_VCPUS`] (more are not created).
    pub fn new(vcpus: usize, wake: Box<dyn Wake>) -> Self {
        let vcpus = 0..vcpus.min(MAX_VCPUS);
        let mailboxes: Vec<Mailbox> = vcpus.clone().map(|_| Mailbox::new()).collect();
        let pages: Vec<RegisterPage> = vcpus.map(|_| RegisterPage::new()).collect();
        Self {
            mailboxes: mailboxes.into_boxed_slice(),
            pages: pages.into_boxed_slice(),
            pic_output: AtomicBool::new(false),
            wake,
        }
    }

    /// The registers of a vCPU's local APIC.
    ///
    /// # Panics
    /// If there is no such vCPU.
    #[inline(always)]
    pub fn registers(&self, vcpu: usize) -> &RegisterPage {
        &self.pages[vcpu]
    }

    /// Where a vCPU's posted-interrupt descriptor is: 64 bytes, aligned to as many, for as long as the fabric lives.
    ///
    /// # Panics
    /// If there is no such vCPU.
    pub fn posted_interrupts(&self, vcpu: usize) -> *const u8 {
        (&raw const self.mailboxes[vcpu]).cast()
    }

    /// How many vCPUs.
    pub fn vcpus(&self) -> usize {
        self.mailboxes.len()
    }

    /// Whether the vCPU has mail: one load, for the check before each entry and before a halt.
    #[inline]
    pub fn outstanding(&self, vcpu: usize) -> bool {
        // Sequentially consistent, so that it can't move before the store that says "halted".
        self.mailboxes.get(vcpu).is_some_and(|m| m.events.load(Ordering::SeqCst) != 0)
    }

    /// Makes a vCPU look up without an interrupt: it comes out of `pull` with nothing.
    pub fn attention(&self, vcpu: usize) {
        self.post(vcpu, event::ATTENTION);
    }

    /// Delivers a message to all local APICs that it names. `false` where none accepted it.
    pub fn deliver(&self, message: InterruptMessage) -> bool {
        if message.mode == DeliveryMode::LowestPriority {
            return match self.arbitrate(message) {
                Some(vcpu) => self.accept(vcpu, message),
                None => false,
            };
        }
        if message.logical || message.destination == InterruptMessage::BROADCAST {
            let mut accepted = false;
            for vcpu in 0..self.mailboxes.len() {
                if self.matches(vcpu, message) {
                    accepted |= self.accept(vcpu, message);
                }
            }
            return accepted;
        }
        self.accept(message.destination as usize, message)
    }

    /// Delivers a device's message-signalled interrupt. `false` where it is none, or nobody accepted it.
    pub fn deliver_msi(&self, msi: Msi) -> bool {
        msi.decode().is_some_and(|m| self.deliver(m))
    }

    /// Delivers to everybody but `sender` (the shorthand of an ICR).
    pub(super) fn deliver_to_others(&self, sender: usize, message: InterruptMessage) {
        // Lowest priority with a shorthand is invalid on current processors; it acts as fixed here.
        for vcpu in (0..self.mailboxes.len()).filter(|&v| v != sender) {
            self.accept(vcpu, message);
        }
    }

    /// A non-maskable interrupt, as from a button on the machine.
    pub fn nmi(&self, vcpu: usize) {
        self.post(vcpu, event::NMI);
    }

    /// Level of the 8259's output, which is wired to LINT0 of each local APIC.
    #[inline]
    pub fn pic_output(&self) -> bool {
        self.pic_output.load(Ordering::Acquire)
    }

    /// The 8259's output is at `level`. A high level is told to every vCPU that listens on LINT0, also
    /// if it was high before: the 8259 has a further interrupt after an acknowledgement.
    pub(in crate::platform) fn set_pic_output(&self, level: bool) {
        self.pic_output.store(level, Ordering::SeqCst);
        if level {
            for (vcpu, mailbox) in self.mailboxes.iter().enumerate() {
                if mailbox.facts().has(Facts::LINT0) {
                    self.post(vcpu, event::LINT0);
                }
            }
        }
    }

    /// Drops what waits in all mailboxes, and the 8259's level: the machine resets.
    pub fn reset(&self) {
        self.pic_output.store(false, Ordering::SeqCst);
        for vcpu in 0..self.mailboxes.len() {
            self.take(vcpu);
        }
    }

    /// Publishes what senders need to know.
    pub(super) fn publish(&self, vcpu: usize, facts: Facts) {
        if let Some(m) = self.mailboxes.get(vcpu) {
            m.facts.store(facts.0, Ordering::SeqCst);
        }
    }

    /// Empties the mailbox; for its owner alone.
    pub(super) fn take(&self, vcpu: usize) -> Mail {
        let Some(mailbox) = self.mailboxes.get(vcpu) else {
            return Mail { events: 0, vectors: [0; 4], level: [0; 4] };
        };
        let events = mailbox.events.swap(0, Ordering::SeqCst);
        Mail {
            events,
            vectors: take_all(&mailbox.vectors, events & event::POSTED != 0),
            level: take_all(&mailbox.level, events & event::LEVEL != 0),
        }
    }

    /// 32 of the vectors that wait in the mailbox, as register `index` (0 to 7) of an IRR shows them.
    pub(super) fn posted(&self, vcpu: usize, index: u16) -> u32 {
        let Some(mailbox) = self.mailboxes.get(vcpu) else { return 0 };
        let word = usize::from(index >> 1 & 3);
        let waiting =
            mailbox.vectors[word].load(Ordering::Acquire) | mailbox.level[word].load(Ordering::Acquire);
        (waiting >> (32 * (index & 1))) as u32
    }

    fn matches(&self, vcpu: usize, message: InterruptMessage) -> bool {
        if message.destination == InterruptMessage::BROADCAST {
            return true;
        }
        if message.logical {
            return self.mailboxes[vcpu].facts().logical_match(message.destination);
        }
        message.destination as usize == vcpu
    }

    /// The receiver of a lowest-priority message: the lowest TPR; among equals the vector decides, so
    /// that the interrupts of several devices spread.
    fn arbitrate(&self, message: InterruptMessage) -> Option<usize> {
        let count = self.mailboxes.len();
        let mut best: Option<(u8, usize)> = None;
        for turn in 0..count {
            let vcpu = (turn + usize::from(message.vector)) % count;
            let facts = self.mailboxes[vcpu].facts();
            if !facts.has(Facts::SOFTWARE_ENABLED)
                || !facts.has(Facts::HARDWARE_ENABLED)
                || !self.matches(vcpu, message)
            {
                continue;
            }
            let priority = self.registers(vcpu).task_priority() >> 4;
            if best.is_none_or(|(b, _)| priority < b) {
                best = Some((priority, vcpu));
            }
        }
        best.map(|(_, vcpu)| vcpu)
    }

    /// Puts a message in a mailbox, if the local APIC accepts it in its state.
    #[inline]
    fn accept(&self, vcpu: usize, message: InterruptMessage) -> bool {
        let Some(mailbox) = self.mailboxes.get(vcpu) else { return false };
        let facts = mailbox.facts();
        if !facts.has(Facts::HARDWARE_ENABLED) {
            return false;
        }
        let events = match message.mode {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
                // SDM vol. 3A, 11.4.7.2: a software-disabled APIC takes only INIT, NMI, SMI and SIPI.
                if !facts.has(Facts::SOFTWARE_ENABLED) {
                    return false;
                }
                if message.vector < 16 {
                    event::ILLEGAL_VECTOR
                } else {
                    let word = usize::from(message.vector >> 6);
                    let (vectors, event) = if message.level_triggered {
                        (&mailbox.level, event::LEVEL)
                    } else {
                        (&mailbox.vectors, event::POSTED)
                    };
                    vectors[word].fetch_or(1 << (message.vector & 63), Ordering::Release);
                    event
                }
            }
            DeliveryMode::Smi | DeliveryMode::Reserved => return false,
            DeliveryMode::Nmi => event::NMI,
            DeliveryMode::Init => {
                // INIT level de-assert only synchronised arbitration IDs of old processors.
                if !message.assert {
                    return false;
                }
                // A start-up that came before this INIT is void.
                return self.replace(vcpu, event::SIPI_MASK, event::INIT);
            }
            DeliveryMode::StartUp => {
                let vector = u32::from(message.vector) << event::SIPI_VECTOR_SHIFT;
                return self.replace(vcpu, event::SIPI_MASK, event::SIPI | vector);
            }
            DeliveryMode::ExtInt => event::EXT_INT,
        };
        self.post(vcpu, events);
        true
    }

    #[inline]
    fn post(&self, vcpu: usize, events: u32) {
        let Some(mailbox) = self.mailboxes.get(vcpu) else { return };
        let before = mailbox.events.fetch_or(events, Ordering::SeqCst);
        self.ring(vcpu, before, events);
    }

    /// Tells a vCPU of `events`, unless there were some before that it was told of.
    #[inline]
    fn ring(&self, vcpu: usize, before: u32, events: u32) {
        if events == event::POSTED {
            if before == 0 {
                self.wake.post(vcpu);
            }
        } else if before & !event::POSTED == 0 {
            self.wake.wake(vcpu);
        }
    }

    /// Posts events in place of others.
    fn replace(&self, vcpu: usize, clear: u32, set: u32) -> bool {
        let Some(mailbox) = self.mailboxes.get(vcpu) else { return false };
        let mut old = mailbox.events.load(Ordering::Relaxed);
        while let Err(now) =
            mailbox.events.compare_exchange_weak(old, old & !clear | set, Ordering::SeqCst, Ordering::Relaxed)
        {
            old = now;
        }
        self.ring(vcpu, old, set);
        true
    }
}

#[cfg(test)]
#[path = "fabric_tests.rs"]
mod tests;
