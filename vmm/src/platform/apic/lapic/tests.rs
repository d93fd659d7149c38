//! What Linux and others do with a local APIC, and what a hostile guest may try.
use super::super::message::InterruptMessage;
use super::super::timer::GuestTsc;
use super::*;
use crate::platform::apic::{Msi, Wake};
use crate::platform::fuzz::Random;
use crate::time::TscScale;
use std::boxed::Box;
use std::vec::Vec;

struct NoWake;
impl Wake for NoWake {
    fn wake(&self, _: usize) {}
}

const TPR: u64 = 0x80;
const EOI: u64 = 0xb0;
const SVR: u64 = 0xf0;
const ESR: u64 = 0x280;
const ICR: u64 = 0x300;
const ICR_HIGH: u64 = 0x310;
const LVT_TIMER: u64 = 0x320;
const LVT_LINT0: u64 = 0x350;
const LVT_ERROR: u64 = 0x370;
const ENABLE_X2APIC: u64 = 3 << 10;

fn apics(count: usize) -> (Arc<ApicFabric>, Vec<LocalApic>) {
    let fabric = Arc::new(ApicFabric::new(count, Box::new(NoWake)));
    let apics = (0..count)
        .map(|vcpu| {
            let mut apic = LocalApic::new(fabric.clone(), vcpu, 40);
            apic.mmio_write(SVR, 4, 0x1ff, 0);
            apic
        })
        .collect();
    (fabric, apics)
}

fn one() -> (Arc<ApicFabric>, LocalApic) {
    let (fabric, mut apics) = apics(1);
    (fabric, apics.remove(0))
}

fn x2apic() -> LocalApic {
    let (_, mut apic) = one();
    apic.write_base(apic.read_base() | ENABLE_X2APIC).unwrap();
    apic
}

fn wr(apic: &mut LocalApic, offset: u64, value: u64) -> Option<u8> {
    apic.mmio_write(offset, 4, value, 0)
}

#[test]
fn the_power_on_state_is_that_of_the_manual() {
    let fabric = Arc::new(ApicFabric::new(2, Box::new(NoWake)));
    let mut boot = LocalApic::new(fabric.clone(), 0, 40);
    let mut other = LocalApic::new(fabric, 1, 40);
    assert_eq!(boot.read_base(), 0xfee0_0900);
    assert_eq!(other.read_base(), 0xfee0_0800);
    assert!(!boot.waiting_for_sipi() && other.waiting_for_sipi());
    for (offset, value) in [
        (0x20, 1 << 24),
        (0x30, 0x0105_0014),
        (TPR, 0),
        (0xe0, 0xffff_ffff),
        (SVR, 0xff),
        (LVT_TIMER, 0x1_0000),
    ] {
        assert_eq!(other.mmio_read(offset, 4, 0), value, "{offset:#x}");
    }
    assert_eq!(boot.mmio_read(LVT_LINT0, 4, 0), 0x700, "virtual wire");
    assert_eq!(other.mmio_read(LVT_LINT0, 4, 0), 0x1_0000);
}

#[test]
fn higher_vectors_go_first_and_lower_ones_wait_for_the_end_of_interrupt() {
    let (fabric, mut apic) = one();
    for vector in [0x31, 0x52, 0x40] {
        fabric.deliver(InterruptMessage::fixed(0, vector));
    }
    apic.pull();
    assert_eq!(apic.deliverable(), Some(0x52));
    apic.acknowledge(0x52);
    assert_eq!(apic.priority(), 0x50);
    assert_eq!(apic.deliverable(), None);
    fabric.deliver(InterruptMessage::fixed(0, 0x5f));
    apic.pull();
    assert_eq!(apic.deliverable(), None, "the same class does not interrupt itself");
    fabric.deliver(InterruptMessage::fixed(0, 0x60));
    apic.pull();
    assert_eq!(apic.deliverable(), Some(0x60));
    apic.acknowledge(0x60);
    wr(&mut apic, EOI, 0);
    wr(&mut apic, EOI, 0);
    for vector in [0x5f, 0x40, 0x31] {
        assert_eq!(apic.deliverable(), Some(vector));
        apic.acknowledge(vector);
        wr(&mut apic, EOI, 0);
    }
    assert_eq!((apic.deliverable(), apic.priority()), (None, 0));
}

#[test]
fn the_task_priority_holds_interrupts_back_and_is_cr8() {
    let (fabric, mut apic) = one();
    fabric.deliver(InterruptMessage::fixed(0, 0x4f));
    apic.pull();
    wr(&mut apic, TPR, 0x40);
    assert_eq!((apic.deliverable(), apic.cr8(), apic.priority()), (None, 4, 0x40));
    apic.set_cr8(3);
    assert_eq!(apic.deliverable(), Some(0x4f));
    assert_eq!(apic.mmio_read(TPR, 4, 0), 0x30);
}

#[test]
fn the_end_of_a_level_triggered_interrupt_is_broadcast_unless_suppressed() {
    let (fabric, mut apic) = one();
    let level = InterruptMessage { level_triggered: true, ..InterruptMessage::fixed(0, 0x61) };
    for (svr, broadcast) in [(0x1ff, Some(0x61)), (0x11ff, None)] {
        wr(&mut apic, SVR, svr);
        fabric.deliver(level);
        apic.pull();
        assert_eq!(apic.mmio_read(0x1b0, 4, 0), 0x2, "TMR");
        apic.acknowledge(0x61);
        assert_eq!(wr(&mut apic, EOI, 0), broadcast);
    }
    fabric.deliver(InterruptMessage::fixed(0, 0x61));
    apic.pull();
    apic.acknowledge(0x61);
    assert_eq!(wr(&mut apic, EOI, 0), None, "edge-triggered this time");
    assert_eq!(wr(&mut apic, EOI, 0), None, "nothing in service");
}

#[test]
fn linux_starts_another_processor_with_init_and_two_start_ups() {
    let (_, mut apics) = apics(2);
    let (boot, other) = apics.split_at_mut(1);
    let (boot, other) = (&mut boot[0], &mut other[0]);
    wr(boot, ICR_HIGH, 1 << 24);
    wr(boot, ICR, 0xc500);
    assert_eq!(other.pull(), Signals { init: true, ..Signals::default() });
    wr(boot, ICR_HIGH, 1 << 24);
    wr(boot, ICR, 0x8500);
    assert_eq!(other.pull(), Signals::default(), "INIT level de-assert");
    wr(boot, ICR, 0x0699);
    assert_eq!(other.pull(), Signals { start_up: Some(0x99), ..Signals::default() });
    wr(boot, ICR, 0x0699);
    assert_eq!(other.pull(), Signals::default());
    assert_eq!(boot.mmio_read(ICR, 4, 0) & 1 << 12, 0, "delivered");
}

#[test]
fn init_resets_the_registers_and_drops_what_was_pending() {
    let (fabric, mut apics) = apics(2);
    let other = &mut apics[1];
    other.waiting_for_sipi = false;
    fabric.deliver(InterruptMessage::fixed(1, 0x80));
    other.pull();
    fabric.deliver(InterruptMessage::fixed(1, 0x81));
    fabric.deliver(InterruptMessage { mode: DeliveryMode::Init, ..InterruptMessage::fixed(1, 0) });
    assert!(other.pull().init);
    assert_eq!(other.deliverable(), None);
    assert_eq!(other.mmio_read(SVR, 4, 0), 0xff);
    fabric.deliver(InterruptMessage { mode: DeliveryMode::Nmi, ..InterruptMessage::fixed(1, 0) });
    assert!(!other.pull().nmi, "blocked until the start-up");
    assert!(!fabric.deliver(InterruptMessage::fixed(1, 0x82)), "software-disabled");
}

#[test]
fn the_shorthands_reach_whom_they_name() {
    for (shorthand, expected) in [(1u64, [false, true, false]), (2, [true; 3]), (3, [true, false, true])] {
        let (_, mut apics) = apics(3);
        wr(&mut apics[1], ICR, shorthand << 18 | 0x4000 | 0xf3);
        let got: Vec<bool> = apics
            .iter_mut()
            .map(|a| {
                a.pull();
                a.deliverable() == Some(0xf3)
            })
            .collect();
        assert_eq!(got, expected, "{shorthand}");
    }
}

#[test]
fn an_ipi_to_oneself_needs_no_mailbox() {
    let (fabric, mut apic) = one();
    wr(&mut apic, ICR_HIGH, 0);
    wr(&mut apic, ICR, 0x4040);
    assert!(!fabric.outstanding(0));
    assert_eq!(apic.deliverable(), Some(0x40));
    let mut apic = x2apic();
    assert_eq!(apic.write_msr(0x83f, 0x77, 0), Ok(None));
    assert_eq!(apic.deliverable(), Some(0x77));
}

#[test]
fn an_nmi_can_be_sent_to_oneself() {
    let (_, mut apic) = one();
    wr(&mut apic, ICR_HIGH, 0);
    wr(&mut apic, ICR, 0x0400);
    assert!(apic.pull().nmi);
}

#[test]
fn sending_an_illegal_vector_is_an_error_that_esr_shows_after_a_write() {
    let (_, mut apic) = one();
    wr(&mut apic, LVT_ERROR, 0xfe);
    wr(&mut apic, ICR, 0x0005);
    assert_eq!(apic.mmio_read(ESR, 4, 0), 0);
    assert_eq!(apic.deliverable(), Some(0xfe));
    wr(&mut apic, ESR, 0);
    assert_eq!(apic.mmio_read(ESR, 4, 0), 0x20);
    wr(&mut apic, ESR, 0);
    assert_eq!(apic.mmio_read(ESR, 4, 0), 0);
}

#[test]
fn receiving_an_illegal_vector_is_an_error_even_with_an_illegal_error_vector() {
    let (fabric, mut apic) = one();
    wr(&mut apic, LVT_ERROR, 0x01);
    fabric.deliver(InterruptMessage::fixed(0, 0x0f));
    apic.pull();
    assert_eq!(apic.deliverable(), None);
    wr(&mut apic, ESR, 0);
    assert_eq!(apic.mmio_read(ESR, 4, 0), 0x40);
}

#[test]
fn the_timer_interrupts_with_its_vector() {
    let (_, mut apic) = one();
    apic.mmio_write(0x3e0, 4, 0xb, 0);
    apic.mmio_write(LVT_TIMER, 4, 0xec, 0);
    apic.mmio_write(0x380, 4, 5000, 1000);
    assert_eq!(apic.deadline(), Some(6000));
    assert_eq!(apic.mmio_read(0x390, 4, 2000), 4000);
    assert!(!apic.expire(5999) && apic.expire(6000));
    assert_eq!((apic.deliverable(), apic.deadline()), (Some(0xec), None));
}

#[test]
fn a_tsc_deadline_follows_a_changed_counter() {
    let (_, mut apic) = one();
    let tsc = GuestTsc { at_zero: 0, scale: TscScale::new(1_000_000_000) };
    wr(&mut apic, LVT_TIMER, 2 << 17 | 0xec);
    apic.write_tsc_deadline(10_000, 0, &tsc);
    let first = apic.deadline().unwrap();
    assert!((10_000..10_005).contains(&first));
    apic.tsc_changed(0, &GuestTsc { at_zero: 4000, ..tsc });
    let second = apic.deadline().unwrap();
    assert!((6000..6005).contains(&second));
    assert_eq!(apic.read_tsc_deadline(), 10_000);
    assert!(apic.expire(second));
    assert_eq!(apic.read_tsc_deadline(), 0);
}

#[test]
fn software_disabling_masks_the_local_vectors_until_they_are_written_anew() {
    let (_, mut apic) = one();
    wr(&mut apic, LVT_TIMER, 0xec);
    apic.mmio_write(0x380, 4, 5000, 0);
    wr(&mut apic, SVR, 0xff);
    assert_eq!(apic.mmio_read(LVT_TIMER, 4, 0), 0x1_00ec);
    assert_eq!(apic.deadline(), None);
    wr(&mut apic, LVT_TIMER, 0xec);
    assert_eq!(apic.mmio_read(LVT_TIMER, 4, 0), 0x1_00ec);
    wr(&mut apic, SVR, 0x1ff);
    wr(&mut apic, LVT_TIMER, 0xec);
    assert_eq!(apic.mmio_read(LVT_TIMER, 4, 0), 0xec);
}

#[test]
fn the_8259_interrupts_through_lint0_only_while_its_output_is_high() {
    let (fabric, mut apic) = one();
    wr(&mut apic, LVT_LINT0, 0x700);
    assert!(!apic.ext_int());
    fabric.set_pic_output(true);
    apic.pull();
    assert!(apic.ext_int());
    fabric.set_pic_output(false);
    assert!(!apic.ext_int());
    fabric.set_pic_output(true);
    apic.pull();
    apic.acknowledge_ext_int();
    assert!(!apic.ext_int());
    fabric.set_pic_output(true);
    apic.pull();
    assert!(apic.ext_int(), "told anew");
    wr(&mut apic, LVT_LINT0, 0x1_0700);
    assert!(!apic.ext_int());
    wr(&mut apic, LVT_LINT0, 0x700);
    assert!(apic.ext_int(), "unmasked while high");
}

#[test]
fn the_8259_reaches_a_disabled_apic_of_the_bootstrap_processor_alone() {
    let (fabric, mut apics) = apics(2);
    for apic in &mut apics {
        apic.write_base(0xfee0_0000).unwrap();
    }
    fabric.set_pic_output(true);
    for apic in &mut apics {
        apic.pull();
    }
    assert!(apics[0].ext_int() && !apics[1].ext_int());
}

#[test]
fn lint0_can_be_an_ordinary_interrupt_or_an_nmi() {
    let (fabric, mut apic) = one();
    wr(&mut apic, LVT_LINT0, 0x31);
    fabric.set_pic_output(true);
    apic.pull();
    assert_eq!(apic.deliverable(), Some(0x31));
    wr(&mut apic, LVT_LINT0, 0x400);
    fabric.set_pic_output(true);
    assert!(apic.pull().nmi);
}

#[test]
fn the_mode_changes_only_along_the_manuals_transitions() {
    let page = 0xfee0_0000;
    let (off, xapic, x2apic, illegal) = (page, page | 0x800, page | 0xc00, page | 0x400);
    for (from, to, allowed) in [
        (off, off, true),
        (off, xapic, true),
        (off, x2apic, false),
        (xapic, off, true),
        (xapic, x2apic, true),
        (x2apic, xapic, false),
        (x2apic, off, true),
        (x2apic, x2apic, true),
        (off, illegal, false),
        (xapic, illegal, false),
        (x2apic, illegal, false),
    ] {
        let (_, mut apic) = one();
        match from {
            f if f == off => apic.write_base(off).unwrap(),
            f => apic.write_base(f).unwrap(),
        }
        assert_eq!(apic.write_base(to).is_ok(), allowed, "{from:#x} to {to:#x}");
        let now = if allowed { to } else { from };
        assert_eq!(apic.read_base(), now | 0x100, "the bootstrap bit stays");
    }
}

#[test]
fn reserved_bits_of_the_base_and_addresses_too_wide_are_refused() {
    let (_, mut apic) = one();
    for bit in [0, 1, 7, 9, 40, 51, 52, 63] {
        assert_eq!(apic.write_base(0xfee0_0900 | 1 << bit), Err(GeneralProtection), "bit {bit}");
    }
    apic.write_base(0x12_3456_7800).unwrap();
    assert!(apic.claims(Gpa::new(0x12_3456_7080)) && !apic.claims(Gpa::new(0xfee0_0080)));
}

#[test]
fn the_register_page_is_there_in_xapic_mode_alone() {
    let (_, mut apic) = one();
    assert!(apic.claims(Gpa::new(0xfee0_0ff0)) && !apic.claims(Gpa::new(0xfee0_1000)));
    assert_eq!(apic.read_msr(0x802, 0), Err(GeneralProtection));
    apic.write_base(apic.read_base() | ENABLE_X2APIC).unwrap();
    assert!(!apic.claims(Gpa::new(0xfee0_0000)));
    assert_eq!(apic.read_msr(0x802, 0), Ok(0));
    apic.write_base(0xfee0_0000).unwrap();
    assert!(!apic.claims(Gpa::new(0xfee0_0000)));
    assert_eq!(apic.read_msr(0x802, 0), Err(GeneralProtection));
}

#[test]
fn x2apic_registers_refuse_reserved_bits_and_wrong_directions() {
    let mut apic = x2apic();
    for (msr, value) in [
        (0x808, 0x100),   // TPR
        (0x80b, 1),       // EOI takes 0 only
        (0x80d, 0),       // LDR is read-only
        (0x802, 0),       // ID
        (0x803, 0),       // version
        (0x80a, 0),       // PPR
        (0x80f, 0x2000),  // SVR
        (0x810, 0),       // ISR
        (0x828, 1),       // ESR takes 0 only
        (0x830, 1 << 13), // ICR
        (0x830, 1 << 20),
        (0x832, 1 << 19), // LVT timer
        (0x837, 1 << 8),  // LVT error
        (0x838, 1 << 32), // initial count
        (0x839, 0),       // current count
        (0x83e, 0b100),   // divide
        (0x83f, 0x100),   // self IPI
        (0x82f, 0),       // LVT CMCI does not exist
        (0x80e, 0),       // nor DFR
        (0x831, 0),       // nor the upper half of ICR
        (0x8ff, 0),
        (0x7ff, 0),
        (0x900, 0),
    ] {
        assert_eq!(apic.write_msr(msr, value, 0), Err(GeneralProtection), "{msr:#x}");
    }
    for msr in [0x80b, 0x80e, 0x831, 0x83f, 0x800, 0x82f, 0x840, 0x8ff, 0x900] {
        assert_eq!(apic.read_msr(msr, 0), Err(GeneralProtection), "{msr:#x}");
    }
}

#[test]
fn the_x2apic_sends_with_one_write_to_32_bit_destinations() {
    let (_, mut apics) = apics(16);
    for apic in &mut apics {
        apic.write_base(apic.read_base() | ENABLE_X2APIC).unwrap();
    }
    assert_eq!(apics[0].write_msr(0x830, 15 << 32 | 0xfb, 0), Ok(None));
    assert_eq!(apics[0].read_msr(0x830, 0), Ok(15 << 32 | 0xfb));
    apics[15].pull();
    assert_eq!(apics[15].deliverable(), Some(0xfb));
    // 255 is an APIC ID like any other here, all ones in 32 bits are everybody.
    apics[0].write_msr(0x830, 0xff << 32 | 0xfc, 0).unwrap();
    assert!((1..16).all(|n| !apics[n].fabric.outstanding(n)));
    apics[0].write_msr(0x830, 0xffff_ffff << 32 | 0xfc, 0).unwrap();
    assert!((1..16).all(|n| apics[n].fabric.outstanding(n)));
    assert_eq!(apics[9].read_msr(0x80d, 0), Ok(1 << 9));
}

#[test]
fn the_request_register_shows_what_still_waits_in_the_mailbox() {
    // Linux looks there when it takes a processor off-line.
    let (fabric, mut apic) = one();
    fabric.deliver(InterruptMessage::fixed(0, 0x65));
    assert_eq!(apic.mmio_read(0x200 + 0x30, 4, 0), 1 << 5);
    apic.pull();
    assert_eq!(apic.mmio_read(0x200 + 0x30, 4, 0), 1 << 5);
    apic.acknowledge(0x65);
    assert_eq!(apic.mmio_read(0x200 + 0x30, 4, 0), 0);
}

#[test]
fn accesses_of_other_sizes_do_no_harm() {
    let (_, mut apic) = one();
    wr(&mut apic, TPR, 0x55);
    assert_eq!(apic.mmio_read(TPR, 1, 0), 0x55);
    assert_eq!(apic.mmio_read(0x31, 2, 0), 0x0500, "bytes 1 and 2 of the version register: 00 05");
    assert_eq!(apic.mmio_read(0x32, 1, 0), 0x05);
    assert_eq!(apic.mmio_read(TPR + 4, 4, 0), 0);
    for (offset, size) in [(TPR, 1), (TPR, 2), (TPR, 8), (TPR + 4, 4), (TPR + 1, 4)] {
        apic.mmio_write(offset, size, 0xff, 0);
    }
    assert_eq!(apic.mmio_read(TPR, 4, 0), 0x55);
}

#[test]
fn an_unknown_register_is_an_error_in_esr() {
    let (_, mut apic) = one();
    assert_eq!(apic.mmio_read(0x3f0, 4, 0), 0);
    wr(&mut apic, ESR, 0);
    assert_eq!(apic.mmio_read(ESR, 4, 0), 0x80);
}

/// What must hold between any two accesses.
fn check(apic: &LocalApic, now: Nanos) {
    let page = apic.page();
    assert_eq!(apic.requested, page.irr().highest());
    assert_eq!(apic.in_service, page.isr().highest());
    for low in 0..16 {
        assert!(!page.irr().contains(low) && !page.isr().contains(low));
    }
    let held_back = apic.held_back();
    assert!(held_back == 0 || apic.deliverable().is_none() && held_back == apic.requested >> 4);
    assert!(held_back <= page.task_priority() >> 4, "VM entry refuses a higher threshold");
    assert!(apic.deadline().is_none_or(|at| at > now));
    assert_eq!(apic.claimed != NO_PAGE, apic.mode == Mode::XApic);
}

#[test]
fn random_accesses_keep_the_invariants() {
    let (fabric, mut apics) = apics(3);
    let tsc = GuestTsc { at_zero: 77, scale: TscScale::new(2_000_000_000) };
    let mut random = Random::new(0xa91c);
    let mut now = 0;
    for _ in 0..400_000 {
        now += random.below(50_000);
        let vcpu = random.below(3) as usize;
        let apic = &mut apics[vcpu];
        let (r, value) = (random.next(), random.next() & random.next());
        // Mostly near registers that exist.
        let register = if r & 7 == 0 { r >> 8 & 0xff } else { r >> 8 & 0x3f };
        match r >> 16 & 15 {
            0 => {
                let base = if r & 3 == 0 { value } else { 0xfee0_0000 | value & 0xc00 };
                let _ = apic.write_base(base);
            }
            1 => {
                let message = InterruptMessage {
                    destination: InterruptMessage::destination8(value as u8),
                    logical: r & 32 != 0,
                    mode: DeliveryMode::from_bits(value as u32 >> 8),
                    vector: (r >> 32) as u8,
                    level_triggered: r & 64 != 0,
                    assert: r & 128 != 0,
                };
                fabric.deliver(message);
            }
            2 => {
                fabric.deliver_msi(Msi { address: 0xfee0_0000 | value & 0xfffff, data: r as u32 });
            }
            3 => fabric.set_pic_output(r & 32 != 0),
            4 => {
                apic.mmio_read(register << 4 | r >> 60, random.size(), now);
            }
            5..9 => {
                apic.mmio_write(register << 4, 4, value, now);
            }
            9 => {
                let _ = apic.read_msr(0x800 + register as u32, now);
            }
            10..13 => {
                let _ = apic.write_msr(0x800 + register as u32, value & 0xff_0000_ffff, now);
            }
            13 => apic.write_tsc_deadline(value, now, &tsc),
            _ => {
                if apic.ext_int() {
                    apic.acknowledge_ext_int();
                } else if let Some(vector) = apic.deliverable() {
                    apic.acknowledge(vector);
                }
            }
        }
        apic.pull();
        apic.expire(now);
        check(apic, now);
    }
}

/// The first of some whose interrupts the hardware delivers.
fn by_hardware() -> (Arc<ApicFabric>, LocalApic) {
    let (fabric, _) = one();
    let mut apic = LocalApic::new(fabric.clone(), 0, 40).delivered_by_hardware(true);
    wr(&mut apic, SVR, 0x1ff);
    apic.hand_over();
    (fabric, apic)
}

#[test]
fn what_the_hardware_delivers_is_handed_over_and_not_deliverable() {
    let (fabric, mut apic) = by_hardware();
    assert_eq!(apic.hand_over(), None);
    fabric.deliver(InterruptMessage::fixed(0, 0x41));
    apic.pull();
    assert_eq!((apic.deliverable(), apic.due()), (None, Some(0x41)));
    let requests = Requests { requested: 0x41, in_service: 0, level: None };
    assert_eq!(apic.hand_over(), Some(requests));
    assert_eq!(apic.hand_over(), None, "once");
}

#[test]
fn what_the_hardware_has_moved_meanwhile_is_seen() {
    let (_, mut apic) = by_hardware();
    wr(&mut apic, ICR, 1 << 18 | 0x51);
    assert_eq!(apic.hand_over().unwrap().requested, 0x51);
    // Delivered, and another one posted.
    let page = apic.page();
    page.irr().remove(0x51);
    page.isr().insert(0x51);
    page.irr().insert(0x48);
    assert_eq!((apic.priority(), apic.due()), (0x50, None));
    wr(&mut apic, ICR, 1 << 18 | 0x45);
    let requests = Requests { requested: 0x48, in_service: 0x51, level: None };
    assert_eq!(apic.hand_over(), Some(requests));
    wr(&mut apic, EOI, 0);
    let requests = Requests { requested: 0x48, in_service: 0, level: None };
    assert_eq!(apic.hand_over(), Some(requests));
    assert_eq!(apic.due(), Some(0x48));
}

#[test]
fn the_hardware_is_told_of_which_vectors_the_end_must_be_seen() {
    let (fabric, mut apic) = by_hardware();
    let level = InterruptMessage { level_triggered: true, ..InterruptMessage::fixed(0, 0x41) };
    fabric.deliver(level);
    apic.pull();
    assert_eq!(apic.hand_over().unwrap().level, Some([0, 2, 0, 0]));
    assert_eq!((apic.ended(0x41), apic.ended(0x42)), (Some(0x41), None));
    fabric.deliver(level);
    apic.pull();
    assert_eq!(apic.hand_over().unwrap().level, None, "it knows");
    fabric.deliver(InterruptMessage::fixed(0, 0x41));
    apic.pull();
    assert_eq!(apic.hand_over().unwrap().level, Some([0; 4]));
    fabric.deliver(level);
    apic.pull();
    wr(&mut apic, SVR, 0x11ff);
    assert_eq!(apic.ended(0x41), None, "broadcasts are suppressed");
    // INIT clears all, and the hardware is to know.
    fabric.deliver(InterruptMessage { mode: DeliveryMode::Init, ..InterruptMessage::fixed(0, 0) });
    apic.pull();
    assert_eq!(apic.hand_over(), Some(Requests { requested: 0, in_service: 0, level: Some([0; 4]) }));
}

#[test]
fn a_register_that_the_hardware_let_the_guest_write_is_as_if_it_had_been_emulated() {
    let (fabric, mut apic) = by_hardware();
    let write = |apic: &mut LocalApic, offset: u16, value: u32| {
        apic.page().set_word(offset.into(), value);
        apic.written(offset, 0)
    };
    write(&mut apic, 0x20, 0x0900_0000);
    assert_eq!(apic.mmio_read(0x20, 4, 0), 0, "the ID can't be changed");
    write(&mut apic, 0xd0, 0x02ff_ffff);
    write(&mut apic, 0xf0, u32::MAX);
    assert_eq!((apic.page().word_at(0xd0), apic.page().word_at(0xf0)), (0x0200_0000, 0x13ff));
    let to_all = InterruptMessage { logical: true, ..InterruptMessage::fixed(2, 0x61) };
    assert!(fabric.deliver(to_all), "senders know of the new destination");
    write(&mut apic, 0x280, 0x1234);
    assert_eq!(apic.page().word_at(0x280), 0);
    write(&mut apic, 0x320, 0x2_0040);
    write(&mut apic, 0x3e0, 0xffff_fffb);
    write(&mut apic, 0x380, 1_000_000);
    assert_eq!((apic.page().word_at(0x3e0), apic.deadline()), (0xb, Some(1_000_000)));
    // An IPI to oneself, with a vector that there is not.
    write(&mut apic, 0x300, 1 << 18 | 3);
    write(&mut apic, 0x280, 0);
    assert_eq!(apic.page().word_at(0x280), 0x20);
    // All of it again at random: nothing breaks.
    for offset in 0..=u16::MAX {
        write(&mut apic, offset & 0xfff, u32::from(offset) << 8);
    }
}

#[test]
fn each_mode_shows_its_registers_to_hardware_that_reads_them() {
    let (fabric, mut others) = apics(3);
    let mut apic = LocalApic::new(fabric, 2, 40).delivered_by_hardware(true);
    drop(others.pop());
    assert_eq!(apic.mode(), ApicMode::XApic { page: Gpa::new(0xfee0_0000) });
    assert_eq!(apic.page().word_at(0x20), 2 << 24);
    apic.write_base(0xfee0_0c00).unwrap();
    assert_eq!(apic.mode(), ApicMode::X2Apic);
    assert_eq!((apic.page().word_at(0x20), apic.page().word_at(0xd0)), (2, 4));
    apic.write_msr(0x830, 7 << 32 | 0x40, 0).unwrap();
    assert_eq!((apic.page().word_at(0x300), apic.page().word_at(0x304)), (0x40, 7));
    assert_eq!(apic.read_msr(0x830, 0), Ok(7 << 32 | 0x40));
    apic.page().set_word(0x3f0, 5);
    apic.written(0x3f0, 0);
    apic.write_msr(0x828, 0, 0).unwrap();
    assert_eq!(apic.read_msr(0x828, 0), Ok(0x20), "no such vector");
    apic.write_base(0xfee0_0000).unwrap();
    assert_eq!((apic.mode(), apic.page().word_at(0x20)), (ApicMode::Disabled, 2 << 24));
    apic.write_base(0xfed0_0800).unwrap();
    assert_eq!(apic.mode(), ApicMode::XApic { page: Gpa::new(0xfed0_0000) });
}
