//! A vCPU of VT-x with random exits: whatever we write to its VMCS, VM entry takes it. The host's
//! [`Backend::enter`] looks at that, and an entry that it refuses ends the VM.
use super::random_exits::{Instruction, Tally};
use super::rig::CODE;
use crate::cpu::{Cr0, Cr4, Efer, Registers};
use crate::platform::apic::{ApicFabric, RegisterPage};
use crate::policy::noise::Noise;
use crate::vmx::{
    Field, HostState, Kept, Processor, Roots, Surroundings, Vmcs, VmxVcpu, checked, skylake, skylake_server,
};
use mm::addr::Hpa;
use std::sync::Arc;

const REASONS: [u64; 38] = [
    0, 0, 1, 7, 8, 10, 11, 12, 13, 15, 17, 18, 19, 27, 28, 28, 28, 28, 30, 31, 31, 32, 32, 32, 36, 39, 40,
    48, 50, 54, 55, 41, 43, 44, 44, 45, 56, 56,
];
/// For what is emulated; of the others the VMCS says what they are.
const MOV_TO_MEMORY: [u8; 2] = [0x89, 0x03];
/// What hardware reports of an event whose delivery it left: an interrupt, NMI, #GP, #PF, INT3, INT n, #DB.
const INTERRUPTED: [u64; 7] =
    [0x8000_0031, 0x8000_0202, 0x8000_0b0d, 0x8000_0b0e, 0x8000_0603, 0x8000_0480, 0x8000_0301];
/// #DB, #AC, INT1, #MC.
const EXCEPTIONS: [u64; 4] = [0x8000_0301, 0x8000_0b11, 0x8000_0501, 0x8000_0312];

/// Bits of CR4 that the test's host has.
const CR4_BITS: u64 = 0x37_67ff;

/// What the guest and the CPU make of the VMCS while the guest runs.
fn run_guest(noise: &mut Noise, vmcs: &mut Vmcs) {
    // The hardware saves a state that it takes back: IF is set behind STI, and BS is where TF is behind both.
    let shadow = noise.pick(&[0, 0, 0, 1, 2]);
    let mut flags = noise.number() & 0x25_7fd5 & !(1 << 17) | 2;
    if shadow == 1 {
        flags |= 1 << 9;
    }
    let nmi = if noise.below(8) == 0 { 8 } else { 0 };
    let steps = shadow != 0 && flags & 1 << 8 != 0 && vmcs.get(Kept::DEBUGCTL) & 2 == 0;
    for (kept, value) in [
        (Kept::RIP, CODE),
        (Kept::RFLAGS, flags),
        (Kept::INTERRUPTIBILITY, shadow | nmi),
        (Kept::PENDING_DEBUG, if steps { 1 << 14 } else { 0 }),
    ] {
        vmcs.set_model(kept.field(), value);
    }
    // A MOV to CR4 of bits that the guest owns.
    if noise.below(8) == 0 {
        let own = !vmcs.model(Kept::CR4_MASK.field()) & !(Cr4::PAE | Cr4::PCIDE).bits();
        let cr4 = vmcs.model(Kept::CR4.field());
        vmcs.set_model(Kept::CR4.field(), cr4 ^ noise.number() & own);
    }
    // MOV to CR0: paging as long mode allows it, and what the hardware does with it.
    if noise.below(8) == 0 {
        let (cr4, efer) = (vmcs.model(Kept::CR4.field()), vmcs.model(Kept::EFER.field()));
        let mut cr0 = Cr0::from_bits_retain(vmcs.model(Kept::CR0.field())) ^ Cr0::PG | Cr0::PE;
        if efer & Efer::LME.bits() != 0 && cr4 & Cr4::PAE.bits() == 0 || cr4 & Cr4::PCIDE.bits() != 0 {
            cr0 |= Cr0::PG;
        }
        let long = cr0.contains(Cr0::PG) && efer & Efer::LME.bits() != 0;
        if !long || cr4 & Cr4::PAE.bits() != 0 {
            let entry = vmcs.model(Kept::ENTRY_CONTROLS.field());
            let lma = |on: bool, value: u64, bit: u64| if on { value | bit } else { value & !bit };
            vmcs.set_model(Kept::CR0.field(), cr0.bits());
            vmcs.set_model(Kept::EFER.field(), lma(long, efer, Efer::LMA.bits()));
            vmcs.set_model(Kept::ENTRY_CONTROLS.field(), lma(long, entry, 1 << 9));
            vmcs.set_model(Kept::rights(1).field(), if long { 0xa09b } else { 0xc09b });
        }
    }
    let reason = noise.pick(&REASONS);
    let cr_source_rax = noise.pick(&[0, 4, 8]);
    let qualification = match reason {
        28 => cr_source_rax,
        48 => 0x181 | noise.below(2) << 1 | noise.below(2) << 12,
        0 => noise.number() & 0x600f,
        44 => noise.pick(&[0x0390, 0x1080, 0x10b0, 0x1300, 0x00a0]),
        56 => noise.pick(&[0x20, 0xb0, 0xd0, 0xf0, 0x280, 0x300, 0x310, 0x320, 0x350, 0x380, 0x3e0, 0x3f0]),
        _ => noise.number(),
    };
    let vectoring = reason == 48 && noise.below(4) == 0;
    for (field, value) in [
        (Field::EXIT_REASON, reason),
        (Field::EXIT_QUALIFICATION, qualification),
        (Field::INSTRUCTION_LENGTH, 2),
        (Field::GUEST_PHYSICAL_ADDRESS, noise.pick(&[0xfee0_0080, 0xfec0_0000, 0xd000_0000])),
        (Field::EXIT_INTERRUPTION, noise.pick(&EXCEPTIONS) | noise.below(2) << 12),
        (Field::EXIT_ERROR_CODE, 0),
        (Field::VECTORING, if vectoring { noise.pick(&INTERRUPTED) } else { 0 }),
    ] {
        vmcs.set_model(field, value);
    }
    // Delivery of an interrupt was begun only with IF set and no shadow.
    if vectoring {
        vmcs.set_model(Kept::RFLAGS.field(), flags | 1 << 9);
        vmcs.set_model(Kept::INTERRUPTIBILITY.field(), nmi);
    }
}

/// What the guest and the CPU make of the local APIC's page.
fn write_registers(noise: &mut Noise, page: &RegisterPage, all: bool) {
    page.set_word(0x80, noise.below(256) as u32);
    if all {
        // Interrupts come and go, and registers are written of which the exit tells.
        for offset in [0x120, 0x220] {
            page.set_word(offset, noise.number() as u32);
        }
        let offset = noise.pick(&[0x20, 0xd0, 0xf0, 0x280, 0x300, 0x310, 0x320, 0x350, 0x380, 0x3e0, 0x3f0]);
        page.set_word(offset, noise.number() as u32 & 0xc_0fff);
    }
}

#[test]
fn whatever_a_guest_makes_us_write_vm_entry_takes() {
    let mut noise = Noise::new(0x5eed_0004);
    let mut tally = Tally::default();
    for round in 0..60 {
        let server = round % 2 == 1;
        let capabilities = checked(&if server { skylake_server() } else { skylake() }).unwrap();
        let make = |fabric: &Arc<ApicFabric>| {
            let around = Surroundings {
                capabilities: &capabilities,
                maps: Hpa::new(0x1000),
                roots: Roots { ram: Hpa::new(0x8000), with_apic: Some((Hpa::new(0x9000), Hpa::new(0xa000))) },
                fabric,
                index: 0,
                notification_vector: 0xf2,
                tsc_hz: 1 << 31,
            };
            VmxVcpu::new(&around, |_| Hpa::new(0x2000))
        };
        let mut cpu = Processor::new(0, &capabilities, false, HostState::default(), |_| ());
        tally.add(&mut noise, make, &mut cpu, |noise, back_end| {
            if noise.below(2) == 0 {
                write_registers(noise, back_end.registers(), server);
            }
            let seed = noise.number();
            back_end.next_exit(move |vmcs| run_guest(&mut Noise::new(seed), vmcs));
            let rax = match noise.below(5) {
                0 => noise.number() >> noise.below(64),
                1 => 1 << noise.below(64),
                2 => back_end.cr4().bits() ^ (1 << noise.below(26)) & CR4_BITS,
                3 => back_end.cr0().bits() ^ 1 << noise.pick(&[5, 29, 30, 31, 0]),
                _ => back_end.efer().bits() ^ 1 << noise.below(16),
            };
            Instruction { code: &MOV_TO_MEMORY, rax }
        });
    }
    tally.check();
}
