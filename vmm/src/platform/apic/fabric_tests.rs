//! Routing of messages, and that no interrupt is lost between threads.
use super::*;
use crate::platform::apic::{LocalApic, Signals};
use alloc::sync::Arc;
use core::sync::atomic::AtomicUsize;
use std::sync::atomic::AtomicBool as StdBool;
use std::time::{Duration, Instant};

/// Counts wake-ups of each vCPU.
pub(in crate::platform) struct CountingWake(pub Arc<[AtomicUsize]>);

impl Wake for CountingWake {
    fn wake(&self, vcpu: usize) {
        self.0[vcpu].fetch_add(1, Ordering::SeqCst);
    }
}

fn fabric(vcpus: usize) -> (Arc<ApicFabric>, Arc<[AtomicUsize]>) {
    let wakes: Arc<[AtomicUsize]> = (0..vcpus).map(|_| AtomicUsize::new(0)).collect();
    (Arc::new(ApicFabric::new(vcpus, Box::new(CountingWake(wakes.clone())))), wakes)
}

/// Software-enabled local APICs in xAPIC mode.
fn enabled(fabric: &Arc<ApicFabric>) -> Vec<LocalApic> {
    (0..fabric.vcpus())
        .map(|vcpu| {
            let mut apic = LocalApic::new(fabric.clone(), vcpu, 40);
            apic.mmio_write(0xf0, 4, 0x1ff, 0);
            apic
        })
        .collect()
}

fn pending(apics: &mut [LocalApic]) -> Vec<Option<u8>> {
    apics
        .iter_mut()
        .map(|apic| {
            apic.pull();
            let vector = apic.deliverable();
            if let Some(vector) = vector {
                apic.acknowledge(vector);
                apic.mmio_write(0xb0, 4, 0, 0);
            }
            vector
        })
        .collect()
}

#[test]
fn a_physical_destination_is_one_vcpu_and_is_woken_once_until_it_looks() {
    let (fabric, wakes) = fabric(4);
    let mut apics = enabled(&fabric);
    assert!(fabric.deliver(InterruptMessage::fixed(2, 0x40)));
    assert!(fabric.deliver(InterruptMessage::fixed(2, 0x41)));
    assert!(!fabric.deliver(InterruptMessage::fixed(4, 0x40)), "no such vCPU");
    assert_eq!(wakes.iter().map(|w| w.load(Ordering::SeqCst)).collect::<Vec<_>>(), [0, 0, 1, 0]);
    assert!(fabric.outstanding(2) && !fabric.outstanding(1));
    assert_eq!(pending(&mut apics), [None, None, Some(0x41), None]);
    assert_eq!(pending(&mut apics), [None, None, Some(0x40), None]);
}

#[test]
fn flat_logical_destinations_are_bit_masks() {
    let (fabric, _) = fabric(3);
    let mut apics = enabled(&fabric);
    for (n, apic) in apics.iter_mut().enumerate() {
        apic.mmio_write(0xd0, 4, 1 << (24 + n), 0);
    }
    let message = InterruptMessage { logical: true, ..InterruptMessage::fixed(0b101, 0x50) };
    assert!(fabric.deliver(message));
    assert_eq!(pending(&mut apics), [Some(0x50), None, Some(0x50)]);
    assert!(!fabric.deliver(InterruptMessage { destination: 0b1000, ..message }));
}

#[test]
fn cluster_logical_destinations_name_members_of_one_cluster() {
    let (fabric, _) = fabric(3);
    let mut apics = enabled(&fabric);
    for (apic, ldr) in apics.iter_mut().zip([0x11u64, 0x12, 0x21]) {
        apic.mmio_write(0xe0, 4, 0x0fff_ffff, 0);
        apic.mmio_write(0xd0, 4, ldr << 24, 0);
    }
    fabric.deliver(InterruptMessage { logical: true, ..InterruptMessage::fixed(0x13, 0x50) });
    assert_eq!(pending(&mut apics), [Some(0x50), Some(0x50), None]);
    let all = InterruptMessage::destination8(0xff);
    fabric.deliver(InterruptMessage { logical: true, ..InterruptMessage::fixed(all, 0x51) });
    assert_eq!(pending(&mut apics), [Some(0x51); 3]);
}

#[test]
fn x2apic_logical_destinations_are_derived_from_the_id() {
    let (fabric, _) = fabric(16);
    let mut apics = enabled(&fabric);
    for apic in &mut apics {
        apic.write_base(apic.read_base() | 3 << 10).unwrap();
    }
    fabric.deliver(InterruptMessage { logical: true, ..InterruptMessage::fixed(0x8001, 0x60) });
    let got = pending(&mut apics);
    assert!(got.iter().enumerate().all(|(n, v)| v.is_some() == (n == 0 || n == 15)), "{got:?}");
    assert!(!fabric.deliver(InterruptMessage { logical: true, ..InterruptMessage::fixed(0x1_0001, 0x60) }));
}

#[test]
fn the_lowest_priority_receiver_is_the_one_with_the_lowest_task_priority() {
    let (fabric, _) = fabric(3);
    let mut apics = enabled(&fabric);
    apics[0].set_cr8(4);
    apics[2].set_cr8(3);
    let message = InterruptMessage {
        mode: DeliveryMode::LowestPriority,
        ..InterruptMessage::fixed(InterruptMessage::BROADCAST, 0x70)
    };
    fabric.deliver(message);
    assert_eq!(pending(&mut apics), [None, Some(0x70), None]);
    apics[1].mmio_write(0xf0, 4, 0xff, 0);
    fabric.deliver(message);
    assert_eq!(pending(&mut apics), [None, None, Some(0x70)], "a disabled APIC does not arbitrate");
}

#[test]
fn equal_receivers_share_the_interrupts_of_different_devices() {
    let (fabric, _) = fabric(4);
    let mut apics = enabled(&fabric);
    let mut hit = [0; 4];
    for vector in 0x40..0x60 {
        fabric.deliver(InterruptMessage {
            mode: DeliveryMode::LowestPriority,
            ..InterruptMessage::fixed(InterruptMessage::BROADCAST, vector)
        });
        for (n, got) in pending(&mut apics).into_iter().enumerate() {
            hit[n] += usize::from(got.is_some());
        }
    }
    assert_eq!(hit, [8; 4]);
}

#[test]
fn a_software_disabled_apic_takes_nmis_but_no_vectors() {
    let (fabric, _) = fabric(1);
    let mut apic = LocalApic::new(fabric.clone(), 0, 40);
    assert!(!fabric.deliver(InterruptMessage::fixed(0, 0x40)));
    assert!(fabric.deliver(InterruptMessage { mode: DeliveryMode::Nmi, ..InterruptMessage::fixed(0, 0) }));
    assert_eq!(apic.pull(), Signals { nmi: true, ..Signals::default() });
    apic.write_base(0xfee0_0000).unwrap();
    assert!(!fabric.deliver(InterruptMessage { mode: DeliveryMode::Nmi, ..InterruptMessage::fixed(0, 0) }));
}

#[test]
fn modes_that_do_not_exist_here_are_refused() {
    let (fabric, _) = fabric(1);
    let _apics = enabled(&fabric);
    for mode in [DeliveryMode::Smi, DeliveryMode::Reserved] {
        assert!(!fabric.deliver(InterruptMessage { mode, ..InterruptMessage::fixed(0, 0x40) }));
    }
    assert!(!fabric.outstanding(0));
}

#[test]
fn an_init_voids_the_start_up_before_it_and_the_last_start_up_wins() {
    let (fabric, _) = fabric(2);
    let mut apic = LocalApic::new(fabric.clone(), 1, 40);
    let message = |mode, vector| InterruptMessage { mode, ..InterruptMessage::fixed(1, vector) };
    fabric.deliver(message(DeliveryMode::StartUp, 0x9a));
    fabric.deliver(message(DeliveryMode::Init, 0));
    assert_eq!(apic.pull(), Signals { init: true, ..Signals::default() });
    assert!(apic.waiting_for_sipi());
    fabric.deliver(message(DeliveryMode::Init, 0));
    fabric.deliver(message(DeliveryMode::StartUp, 0xff));
    fabric.deliver(message(DeliveryMode::StartUp, 0x10));
    assert_eq!(apic.pull(), Signals { init: true, start_up: Some(0x10), nmi: false });
    assert!(!apic.waiting_for_sipi());
    fabric.deliver(message(DeliveryMode::StartUp, 0x20));
    assert_eq!(apic.pull(), Signals::default(), "a running vCPU ignores start-ups");
}

#[test]
fn more_vcpus_than_there_may_be_are_not_created() {
    let (fabric, _) = fabric(MAX_VCPUS);
    assert_eq!(ApicFabric::new(1000, Box::new(CountingWake(Arc::new([])))).vcpus(), MAX_VCPUS);
    assert!(!fabric.outstanding(usize::MAX));
    fabric.nmi(usize::MAX);
    fabric.attention(MAX_VCPUS);
}

/// A vCPU that "halts" when it has nothing and runs on when it was woken, as the kernel's does.
struct Bell(Arc<[StdBool]>);

impl Wake for Bell {
    fn wake(&self, vcpu: usize) {
        self.0[vcpu].store(true, Ordering::SeqCst);
    }
}

#[test]
fn no_interrupt_is_lost_between_threads() {
    const SENDERS: u8 = 3;
    const ROUNDS: u32 = 20_000;
    let bells: Arc<[StdBool]> = (0..1).map(|_| StdBool::new(false)).collect();
    let fabric = Arc::new(ApicFabric::new(1, Box::new(Bell(bells.clone()))));
    let mut apic = LocalApic::new(fabric.clone(), 0, 40);
    apic.mmio_write(0xf0, 4, 0x1ff, 0);
    // Each sender sends its vector and waits until it was taken: a lost one stops the test.
    let taken: Arc<[AtomicU32]> = (0..SENDERS).map(|_| AtomicU32::new(0)).collect();
    let give_up = Instant::now() + Duration::from_secs(60);
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (fabric, taken) = (fabric.clone(), taken.clone());
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let vector = 0x40 + sender * 0x41;
                    let level_triggered = round % 2 == 1;
                    let message = InterruptMessage { level_triggered, ..InterruptMessage::fixed(0, vector) };
                    assert!(fabric.deliver(message));
                    while taken[usize::from(sender)].load(Ordering::SeqCst) == round {
                        assert!(Instant::now() < give_up, "interrupt {round} of sender {sender} was lost");
                        std::thread::yield_now();
                    }
                }
            });
        }
        let mut total = 0;
        while total < ROUNDS * u32::from(SENDERS) {
            apic.pull();
            if let Some(vector) = apic.deliverable() {
                let sender = usize::from((vector - 0x40) / 0x41);
                let round = taken[sender].load(Ordering::SeqCst);
                apic.acknowledge(vector);
                let broadcast = apic.mmio_write(0xb0, 4, 0, 0);
                assert_eq!(broadcast.is_some(), round % 2 == 1, "the trigger mode travels along");
                total += 1;
                taken[sender].store(round + 1, Ordering::SeqCst);
                continue;
            }
            // Halted: only a wake-up goes on. That there was one shows in the bell alone.
            while !bells[0].swap(false, Ordering::SeqCst) {
                assert!(Instant::now() < give_up, "a vCPU with mail was not woken");
                std::thread::yield_now();
            }
        }
    });
}

/// Tells who was woken, and who was told that vectors wait.
struct TwoBells(Arc<[AtomicUsize; 2]>);

impl Wake for TwoBells {
    fn wake(&self, _: usize) {
        self.0[0].fetch_add(1, Ordering::SeqCst);
    }
    fn post(&self, _: usize) {
        self.0[1].fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_posted_vector_does_not_hide_what_the_vcpu_must_look_at() {
    let bells: Arc<[AtomicUsize; 2]> = Arc::default();
    let fabric = Arc::new(ApicFabric::new(1, Box::new(TwoBells(bells.clone()))));
    let mut apics = enabled(&fabric);
    let rung = || [bells[0].swap(0, Ordering::SeqCst), bells[1].swap(0, Ordering::SeqCst)];
    let edge = InterruptMessage::fixed(0, 0x40);
    let level = InterruptMessage { level_triggered: true, ..InterruptMessage::fixed(0, 0x50) };
    fabric.deliver(edge);
    assert_eq!(rung(), [0, 1]);
    fabric.deliver(InterruptMessage::fixed(0, 0x41));
    assert_eq!(rung(), [0, 0], "it has been told");
    fabric.deliver(level);
    assert_eq!(rung(), [1, 0], "the hardware may take the vectors, and not this");
    fabric.nmi(0);
    assert_eq!(rung(), [0, 0]);
    apics[0].pull();
    fabric.deliver(level);
    fabric.deliver(edge);
    assert_eq!(rung(), [1, 0], "it is about to look");
    apics[0].pull();
    fabric.deliver(InterruptMessage { mode: DeliveryMode::StartUp, ..edge });
    assert_eq!(rung(), [1, 0]);
}

#[test]
fn a_mailbox_begins_with_a_posted_interrupt_descriptor() {
    let (fabric, _) = fabric(2);
    enabled(&fabric);
    fabric.deliver(InterruptMessage::fixed(1, 0x91));
    fabric.deliver(InterruptMessage { level_triggered: true, ..InterruptMessage::fixed(1, 0x50) });
    let descriptor = fabric.posted_interrupts(1);
    assert_eq!(descriptor.addr() % 64, 0);
    let mailbox = &fabric.mailboxes[1];
    let offset = |field: *const u8| field.addr() - descriptor.addr();
    assert_eq!(offset((&raw const mailbox.vectors).cast()), 0);
    assert_eq!(offset((&raw const mailbox.events).cast()), 32);
    assert!(offset((&raw const mailbox.level).cast()) >= 64);
    let requests: Vec<u64> = mailbox.vectors.iter().map(|word| word.load(Ordering::SeqCst)).collect();
    assert_eq!(requests, [0, 0, 1 << 0x11, 0], "edge-triggered ones alone");
    assert_eq!(mailbox.events.load(Ordering::SeqCst) & 1, 1, "outstanding notification");
}
