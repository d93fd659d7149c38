//! Ports, memory of devices, and the local APIC.
use super::rig::{CODE, Rig};
use crate::cpu::{Exception, Gpr, Rflags, Vector};
use crate::exit::{Direction, Event, Exit, MemoryFault, PortAccess};
use crate::vcpu::Leave;
use mm::addr::Gpa;

pub fn port(port: u16, size: u8, direction: Direction) -> Exit {
    Exit::Port(PortAccess { port, size, direction, string: false, next_rip: CODE + 2 })
}

pub fn fault(gpa: u64, write: bool) -> MemoryFault {
    MemoryFault {
        gpa: Gpa::new(gpa),
        write,
        fetch: false,
        page_walk: false,
        instruction: [0; 15],
        instruction_len: 0,
    }
}

#[test]
fn in_keeps_the_rest_of_rax_but_for_32_bits() {
    let mut rig = Rig::new(1);
    // Nothing is at this port.
    for (size, expected) in [(1, 0x1122_3344_5566_77ff), (2, 0x1122_3344_5566_ffff), (4, 0xffff_ffff)] {
        rig.registers().gprs[0] = 0x1122_3344_5566_7788;
        assert_eq!(rig.play(&[port(0x5678, size, Direction::In)]), Leave::Attention);
        assert_eq!((rig.registers().gprs[0], rig.vcpu().rip()), (expected, CODE + 2), "{size}");
    }
}

#[test]
fn out_writes_as_many_bytes_as_it_says() {
    let mut rig = Rig::new(1);
    rig.registers().gprs[0] = u64::MAX - 0xff + u64::from(b'P');
    rig.play(&[port(0x3f8, 1, Direction::Out)]);
    let mut out = [0; 8];
    let printed = rig.shared.board.console().read(0, &mut out);
    assert_eq!(&out[..printed.len], b"P");
}

#[test]
fn a_string_of_ports_goes_through_the_emulator() {
    let mut rig = Rig::new(1);
    rig.code(&[0xf3, 0x6e]);
    rig.shared.memory.write(Gpa::new(0x2_0000), b"hello").unwrap();
    let gprs = &mut rig.registers().gprs;
    (gprs[Gpr::Rcx as usize], gprs[Gpr::Rdx as usize], gprs[Gpr::Rsi as usize]) = (5, 0x3f8, 0x2_0000);
    let outs = Exit::Port(PortAccess {
        port: 0x3f8,
        size: 1,
        direction: Direction::Out,
        string: true,
        next_rip: CODE + 2,
    });
    rig.play(&[outs]);
    assert_eq!((rig.vcpu().rip(), rig.registers().gprs[Gpr::Rcx as usize]), (CODE + 2, 0));
    let mut out = [0; 8];
    let printed = rig.shared.board.console().read(0, &mut out);
    assert_eq!(&out[..printed.len], b"hello");
}

#[test]
fn memory_where_nothing_is_reads_as_ones_and_swallows_writes() {
    let mut rig = Rig::new(1);
    // MOV EAX, [RBX]; MOV [RBX], EAX
    rig.code(&[0x8b, 0x03, 0x89, 0x03]);
    rig.registers().gprs[Gpr::Rbx as usize] = 0xd000_0000;
    rig.play(&[Exit::Memory(fault(0xd000_0000, false)), Exit::Memory(fault(0xd000_0000, true))]);
    assert_eq!((rig.registers().gprs[0], rig.vcpu().rip()), (0xffff_ffff, CODE + 4));
    assert_eq!(rig.shared.board.unclaimed(), 2);
}

#[test]
fn an_emulated_access_single_steps_and_ends_the_shadow() {
    let mut rig = Rig::new(1);
    rig.code(&[0x8b, 0x03]);
    rig.registers().gprs[Gpr::Rbx as usize] = 0xd000_0000;
    rig.registers().rflags |= Rflags::TF;
    rig.back_end().shadow = true;
    rig.play(&[Exit::Memory(fault(0xd000_0000, false))]);
    assert_eq!(rig.injected(), Some(Event::Exception(Exception::DB)));
    assert!(!rig.back_end().shadow && rig.back_end().dr6 & 1 << 14 != 0);
}

#[test]
fn the_local_apic_is_the_vcpu_s_own() {
    let mut rig = Rig::new(2);
    rig.seats[1].start();
    for (index, seat) in rig.seats.iter_mut().enumerate() {
        // Its ID: MOV EAX, [RBX].
        rig.shared.memory.write(Gpa::new(CODE), &[0x8b, 0x03]).unwrap();
        seat.vcpu.backend.registers.gprs[Gpr::Rbx as usize] = 0xfee0_0020;
        assert_eq!(seat.play(&[Exit::Memory(fault(0xfee0_0020, false))]), Leave::Attention);
        assert_eq!(seat.vcpu.backend.registers.gprs[0], (index as u64) << 24);
    }
}

/// Routes pin 16, level-triggered, to vector 0x60.
fn level_interrupt(rig: &mut Rig) {
    for (register, value) in [(0x31, 0), (0x30, 1 << 15 | 0x60)] {
        rig.shared.board.mmio_write(Gpa::new(0xfec0_0000), 4, register, 0);
        rig.shared.board.mmio_write(Gpa::new(0xfec0_0010), 4, value, 0);
    }
    rig.shared.board.set_gsi(16, true);
}

#[test]
fn the_end_of_a_level_triggered_interrupt_reaches_the_ioapic() {
    for x2apic in [false, true] {
        let mut rig = Rig::new(1);
        level_interrupt(&mut rig);
        rig.registers().rflags |= Rflags::IF;
        rig.play(&[]);
        assert_eq!(rig.injected(), Some(Event::Interrupt(Vector(0x60))));
        // It is still asserted, so it comes again, but not before its end.
        rig.registers().rflags |= Rflags::IF;
        rig.play(&[Exit::HostInterrupt]);
        assert_eq!(rig.injected(), None);
        if x2apic {
            rig.vcpu().apic.write_base(0xfee0_0d00).unwrap();
            rig.code(&[0x0f, 0x30]);
            let gprs = &mut rig.registers().gprs;
            (gprs[0], gprs[1], gprs[2]) = (0, 0x80b, 0);
            rig.play(&[Exit::WriteMsr]);
        } else {
            // MOV [RBX], EAX
            rig.code(&[0x89, 0x03]);
            rig.registers().gprs[Gpr::Rbx as usize] = 0xfee0_00b0;
            rig.play(&[Exit::Memory(fault(0xfee0_00b0, true))]);
        }
        assert_eq!(rig.injected(), Some(Event::Interrupt(Vector(0x60))), "x2APIC: {x2apic}");
    }
}

#[test]
fn code_where_nothing_is_is_no_instruction() {
    let mut rig = Rig::new(1);
    rig.play(&[Exit::Memory(MemoryFault { fetch: true, ..fault(0xd000_0000, false) })]);
    assert_eq!(rig.injected(), Some(Event::Exception(Exception::UD)));
}

#[test]
fn a_fault_of_an_instruction_that_is_no_longer_there_lets_the_guest_try_again() {
    let mut rig = Rig::new(1);
    rig.code(&[0x90; 16]);
    rig.play(&[Exit::Memory(fault(0xd000_0000, false))]);
    assert_eq!(rig.injected(), None);
    assert_eq!(rig.shared.board.unclaimed(), 0);
}
