//! RAM that went back to the host and is touched again.
use super::devices::fault;
use super::rig::{CODE, Rig};
use crate::cpu::{Gpr, Vector};
use crate::exit::{Event, Exit, MemoryFault};
use crate::vcpu::Leave;
use crate::vm::{Crash, End};
use mm::addr::{Gpa, LARGE_PAGE};
use std::sync::atomic::Ordering;

#[test]
fn what_is_touched_is_there_again_and_the_instruction_is_executed_once_more() {
    let (mut rig, heap, host) = Rig::lent(1);
    let touched = Gpa::new(LARGE_PAGE + 0x123);
    // By an access, by the walk of page tables, by a fetch: none of them is an access to a device.
    for how in [
        fault(touched.get(), true),
        MemoryFault { page_walk: true, ..fault(touched.get(), false) },
        MemoryFault { fetch: true, ..fault(touched.get(), false) },
    ] {
        let frame = heap.release(1).unwrap();
        host.free.lock().push(frame);
        assert_eq!(rig.play(&[Exit::Memory(how)]), Leave::Attention);
        assert!(heap.is_present(1) && host.mapped.lock().contains_key(&Gpa::new(LARGE_PAGE)));
        assert_eq!((rig.vcpu().rip(), rig.injected()), (CODE, None));
    }
    assert_eq!(rig.shared.board.unclaimed(), 0);
}

#[test]
fn an_event_whose_delivery_touched_it_is_delivered_again() {
    let (mut rig, heap, _host) = Rig::lent(1);
    heap.release(1).unwrap();
    let event = Event::Interrupt(Vector(0x31));
    rig.back_end().then(move |fake| {
        fake.interrupted = Some(event);
        Exit::Memory(fault(LARGE_PAGE, true))
    });
    assert_eq!(rig.seats[0].run(), Leave::Attention);
    assert_eq!((rig.injected(), heap.is_present(1)), (Some(event), true));
}

#[test]
fn without_memory_for_it_the_vm_ends_and_says_why() {
    let (mut rig, heap, host) = Rig::lent(0);
    heap.release(1).unwrap();
    let leave = rig.play(&[Exit::Memory(fault(LARGE_PAGE, false))]);
    assert_eq!(leave, Leave::Ended(End::Crash(Crash::OutOfMemory)));
    assert!(rig.shared.parking());
    assert_eq!(host.exhausted.load(Ordering::SeqCst), 1);
    let why = Crash::OutOfMemory.to_string();
    assert!(why.contains("gave back") && why.contains("stop another VM"), "{why}");
}

#[test]
fn an_instruction_on_a_device_is_carried_out_with_its_code_or_tables_gone() {
    let (mut rig, heap, host) = Rig::lent(1);
    // MOV EAX, [RBX], in chunk 1.
    let code = LARGE_PAGE + 0x40;
    rig.registers().rip = code;
    rig.registers().gprs[Gpr::Rbx as usize] = 0xd000_0000;
    rig.code(&[0x8b, 0x03]);
    let device = Exit::Memory(fault(0xd000_0000, false));
    rig.play(&[device]);
    assert_eq!(rig.vcpu().rip(), code + 2);
    // Zeroes are ADD [RAX], AL, another instruction than that which left the guest: it is to try again.
    let frame = heap.release(1).unwrap();
    rig.registers().rip = code;
    rig.registers().gprs[0] = 0xd000_0000;
    host.free.lock().push(frame);
    assert_eq!(rig.play(&[device]), Leave::Attention);
    assert!(heap.is_present(1));
}
