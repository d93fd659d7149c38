//! How a VM ends, and what that does to its vCPUs.
use super::devices::{fault, port};
use super::rig::Rig;
use crate::cpu::{Exception, Vector};
use crate::exit::{Direction, Exit, MemoryFault};
use crate::platform::ResetCause;
use crate::platform::apic::{DeliveryMode, InterruptMessage};
use crate::vcpu::Leave;
use crate::vm::End;

fn end(rig: &mut Rig, exit: Exit) -> End {
    match rig.play(&[exit]) {
        Leave::Ended(end) => end,
        other => panic!("{other:?}"),
    }
}

fn text(exit: Exit) -> String {
    end(&mut Rig::new(1), exit).to_string()
}

#[test]
fn the_reason_of_a_crash_says_what_and_where() {
    assert_eq!(text(Exit::TripleFault), "triple fault on vCPU 0 at RIP 0x10000");
    assert_eq!(text(Exit::EntryFailed), "the CPU refused to run vCPU 0: the diagnosis");
    assert_eq!(text(Exit::Unknown(0x7777)), "the CPU refused to run vCPU 0: the diagnosis");
    assert_eq!(text(Exit::TaskSwitch), "vCPU 0 at RIP 0x10000: a hardware task switch");
    let machine_check = Exception { vector: Vector::MC, error_code: None, fault_address: None };
    assert!(text(Exit::Exception(machine_check)).contains("reported an error (#MC) while vCPU 0 ran"));
    let tables = Exit::Memory(MemoryFault { page_walk: true, ..fault(0xd000_0000, false) });
    let tables = text(tables);
    assert!(tables.contains("page tables lie at") && tables.contains("d0000000"), "{tables}");
}

#[test]
fn an_instruction_that_cannot_be_emulated_is_named_with_its_bytes() {
    let mut rig = Rig::new(1);
    // FLD dword [RBX]
    rig.code(&[0xd9, 0x03]);
    rig.registers().gprs[3] = 0xd000_0000;
    let reason = end(&mut rig, Exit::Memory(fault(0xd000_0000, false))).to_string();
    assert!(reason.contains("cannot emulate the instruction at 0x10000 (d9 03"), "{reason}");
}

#[test]
fn power_off_and_reset_end_the_vm_and_the_instruction_is_done() {
    for (to, size, value, expected) in [
        (0x604, 2, 5 << 10 | 1 << 13, End::PowerOff),
        (0xcf9, 1, 6, End::Reset(ResetCause::ResetRegister)),
        (0x64, 1, 0xfe, End::Reset(ResetCause::KeyboardController)),
        (0x92, 1, 3, End::Reset(ResetCause::PortA)),
    ] {
        let mut rig = Rig::new(1);
        rig.registers().gprs[0] = value;
        assert_eq!(end(&mut rig, port(to, size, Direction::Out)), expected);
        assert_eq!(rig.vcpu().rip(), super::rig::CODE + 2);
        assert!(rig.shared.parking());
    }
}

#[test]
fn init_of_the_first_vcpu_resets_the_machine() {
    let mut rig = Rig::new(2);
    rig.shared.fabric.deliver(InterruptMessage { mode: DeliveryMode::Init, ..InterruptMessage::fixed(0, 0) });
    assert_eq!(rig.play(&[]), Leave::Ended(End::Reset(ResetCause::Init)));
    assert!(rig.shared.parking() && rig.back_end().entries.is_empty());
    assert_eq!(
        End::Reset(ResetCause::Init).to_string(),
        "guest reset it (reset by INIT of its first processor)"
    );
}

#[test]
fn the_end_of_one_vcpu_stops_the_others() {
    let mut rig = Rig::new(3);
    rig.seats[1].start();
    rig.take_bells();
    end(&mut rig, Exit::TripleFault);
    let mut woken = rig.take_bells();
    woken.sort_unstable();
    assert_eq!(woken, [0, 1, 2]);
    for seat in &mut rig.seats {
        assert_eq!(seat.play(&[Exit::Cpuid]), Leave::Parked);
        assert_eq!(seat.vcpu.exits()[crate::exit::ExitKind::Cpuid as usize], 0, "nobody runs any more");
    }
}

#[test]
fn a_paused_vm_goes_on_where_it_was() {
    let mut rig = Rig::new(1);
    rig.registers().rflags |= crate::cpu::Rflags::IF;
    rig.shared.park();
    rig.shared.fabric.deliver(InterruptMessage::fixed(0, 0x40));
    assert_eq!(rig.play(&[]), Leave::Parked);
    rig.shared.unpark();
    assert_eq!(rig.play(&[]), Leave::Attention);
    assert_eq!(rig.injected(), Some(crate::exit::Event::Interrupt(Vector(0x40))));
}

#[test]
fn a_host_that_wants_its_cpu_gets_it_before_the_guest_is_entered() {
    let mut rig = Rig::new(1);
    rig.host().attention.store(true, std::sync::atomic::Ordering::SeqCst);
    let seat = &mut rig.seats[0];
    assert_eq!(seat.vcpu.run(&mut (), &seat.host), Leave::Attention);
    assert!(seat.vcpu.backend.entries.is_empty());
}

#[test]
fn exits_are_counted_by_kind() {
    let mut rig = Rig::new(1);
    rig.code(&[0x0f, 0xa2]);
    rig.play(&[Exit::Cpuid, Exit::HostNmi]);
    use crate::exit::ExitKind;
    assert_eq!(rig.vcpu().exits()[ExitKind::Cpuid as usize], 1);
    assert_eq!(rig.vcpu().exits()[ExitKind::HostInterrupt as usize], 2);
}
