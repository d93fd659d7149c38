//! A vCPU of AMD-V with random exits: whatever we write to its control block, VMRUN takes it. The host's
//! [`Backend::enter`] looks at that.
use super::random_exits::{Instruction, Tally};
use super::rig::CODE;
use crate::cpu::{Cr0, Efer};
use crate::policy::noise::Noise;
use crate::svm::{Features, Processor, SvmVcpu, Vmcb};
use mm::addr::Hpa;

const CODES: [u64; 30] = [
    0x14, 0x14, 0x14, 0x18, 0x41, 0x51, 0x60, 0x64, 0x6f, 0x72, 0x73, 0x74, 0x76, 0x77, 0x78, 0x7a, 0x7b,
    0x7c, 0x7c, 0x7c, 0x7c, 0x80, 0x81, 0x84, 0x88, 0x89, 0x8a, 0x8b, 0x8d, 0x400,
];
/// The instruction that an exit is about: WRMSR, RDMSR; MOV to CR4 and CR8; XSETBV; MOV to memory.
fn instruction(vmcb: &Vmcb) -> &'static [u8] {
    match (vmcb.control.exit_code, vmcb.control.exit_info_1) {
        (0x7c, 1) => &[0x0f, 0x30],
        (0x7c, _) => &[0x0f, 0x32],
        (0x14, _) => &[0x0f, 0x22, 0xe0],
        (0x18, _) => &[0x44, 0x0f, 0x22, 0xc0],
        (0x8d, _) => &[0x0f, 0x01, 0xd1],
        _ => &[0x89, 0x03],
    }
}
/// What hardware reports of an event whose delivery it left: an interrupt, NMI, #GP, #PF, INT3, INT n.
const INTERRUPTED: [u64; 7] =
    [0x8000_0031, 0x8000_0202, 0x8000_0b0d, 0x2_8000_0b0e, 0x8000_0303, 0x8000_0480, 0x8000_0301];

/// What the guest and the CPU make of the block while the guest runs.
fn run_guest(noise: &mut Noise, vmcb: &mut Vmcb) {
    let save = &mut vmcb.save;
    save.rip = CODE;
    save.rflags = noise.number() & 0x25_7fd5 | 2;
    save.rax = match noise.below(3) {
        0 => noise.number() >> noise.below(64),
        1 => 1 << noise.below(64),
        _ => save.cr4 ^ 1 << noise.below(26),
    };
    if noise.below(4) == 0 {
        save.rax = (save.efer & !Efer::SVME.bits()) ^ 1 << noise.below(16);
    }
    save.cpl = if noise.below(8) == 0 { 3 } else { 0 };
    // MOV CR0: paging as long mode allows it.
    if noise.below(8) == 0 {
        let mut cr0 = Cr0::from_bits_retain(save.cr0) ^ Cr0::PG | Cr0::PE;
        if save.efer & Efer::LME.bits() != 0 && save.cr4 & 1 << 5 == 0 {
            cr0 -= Cr0::PG;
        }
        save.cr0 = cr0.bits();
        let long = cr0.contains(Cr0::PG) && save.efer & Efer::LME.bits() != 0;
        save.efer = save.efer & !Efer::LMA.bits() | if long { Efer::LMA.bits() } else { 0 };
        save.cs.attributes.0 = if long { 0xa9b } else { 0xc9b };
    }
    let control = &mut vmcb.control;
    control.exit_code = noise.pick(&CODES);
    control.exit_info_1 = if control.exit_code == 0x7c { noise.below(2) } else { noise.number() };
    control.exit_info_2 = noise.pick(&[0xfee0_0080, 0xfec0_0000, 0xd000_0000, CODE + 2]);
    control.exit_int_info = if noise.below(8) == 0 { noise.pick(&INTERRUPTED) } else { 0 };
    control.interrupt_state = noise.below(2);
}

#[test]
fn whatever_a_guest_makes_us_write_vmrun_takes() {
    let mut noise = Noise::new(0x5eed_0003);
    let mut tally = Tally::default();
    for vm in 0..40 {
        let features = if vm % 2 == 0 { Features::NESTED_PAGING } else { Features::all() };
        let back_end = SvmVcpu::new(Hpa::new(0x1000), Hpa::new(0x8000), features, |_| Hpa::new(0x2000));
        let mut cpu = Processor::new(0, 16, false, Hpa::new(0x3000));
        tally.add(
            &mut noise,
            |_| back_end,
            &mut cpu,
            |noise, back_end| {
                let vmcb = back_end.vmcb();
                run_guest(noise, vmcb);
                Instruction { code: instruction(vmcb), rax: vmcb.save.rax }
            },
        );
    }
    tally.check();
}
