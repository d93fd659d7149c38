//! A vCPU of a real back end whose exits are random: what the tests of both have in common.
use super::fake::TestHost;
use super::rig::{CODE, Rig, facts, format, host_cpuid};
use crate::backend::{Backend, InitialState};
use crate::cpu::{Cr0, Cr4, Efer, Gpr};
use crate::platform::apic::{ApicFabric, InterruptMessage};
use crate::policy::noise::Noise;
use crate::vcpu::{Leave, Vcpu};
use crate::vm::{Crash, End};
use mm::addr::Gpa;
use std::sync::Arc;

/// Registers for RDMSR and WRMSR: of the hardware's, of ours, of the local APIC's.
const MSRS: [u64; 8] = [0xc000_0080, 0xc000_0080, 0x277, 0xc000_0100, 0x1b, 0x1d9, 0x10, 0x808];
const EXITS: usize = 500;

/// An exit: the instruction that it is about, and RAX.
pub struct Instruction {
    pub code: &'static [u8],
    pub rax: u64,
}

/// What came of a VM's exits.
#[derive(Default)]
pub struct Tally {
    /// Exits that ended the VM, which went on all the same.
    pub ends: u32,
    /// Rounds behind which CR0, CR4 or EFER was another.
    pub changes: u32,
}

impl Tally {
    /// Exits of a VM with one vCPU, whose back end `make` makes. `next` has it exit at its next entry.
    pub fn add<B: Backend>(
        &mut self,
        noise: &mut Noise,
        make: impl FnOnce(&Arc<ApicFabric>) -> B,
        cpu: &mut B::Cpu,
        mut next: impl FnMut(&mut Noise, &mut B) -> Instruction,
    ) {
        let rig = Rig::new(1);
        let host = TestHost::new();
        let back_end = make(&rig.shared.fabric);
        let mut vcpu = Vcpu::new(back_end, rig.shared.clone(), format(), &host_cpuid, &facts(0, 1));
        vcpu.apic.mmio_write(0xf0, 4, 0x1ff, 0);
        vcpu.start_at(&long_mode());
        vcpu.backend.begin_turn(cpu);
        for _ in 0..EXITS {
            if noise.below(4) == 0 {
                rig.shared.fabric.nmi(0);
            }
            if noise.below(4) == 0 {
                let vector = 16 + noise.below(240) as u8;
                let level_triggered = noise.below(4) == 0;
                let message = InterruptMessage { level_triggered, ..InterruptMessage::fixed(0, vector) };
                rig.shared.fabric.deliver(message);
            }
            let Instruction { code, rax } = next(noise, &mut vcpu.backend);
            rig.shared.memory.write(Gpa::new(CODE), code).unwrap();
            vcpu.backend.set_gpr(Gpr::Rax, rax);
            vcpu.backend.set_gpr(Gpr::Rcx, noise.pick(&MSRS));
            vcpu.backend.set_gpr(Gpr::Rbx, 0xfee0_0080);
            vcpu.backend.set_gpr(Gpr::Rdx, if noise.below(2) == 0 { 0 } else { noise.number() });
            let controls = |of: &B| (of.cr0(), of.cr4(), of.efer());
            let before = controls(&vcpu.backend);
            // One entry with this exit, one with what came of it.
            host.attention_after(2);
            if let Leave::Ended(end) = vcpu.run(cpu, &host) {
                if let End::Crash(Crash::EntryFailed { diagnosis, .. }) = end {
                    panic!("{diagnosis}");
                }
                self.ends += 1;
                rig.shared.unpark();
            }
            self.changes += u32::from(before != controls(&vcpu.backend));
        }
    }

    /// Fails if nearly all exits came to nothing: then nothing was tested.
    pub fn check(&self) {
        let Self { ends, changes } = self;
        assert!(*ends > 0 && *changes > 100, "{ends} ends, {changes} changes of CR0, CR4 or EFER");
    }
}

/// Long mode at [`CODE`].
fn long_mode() -> InitialState {
    let mut state = crate::load::reset_vector();
    state.cr0 = Cr0::PE | Cr0::PG | Cr0::ET;
    state.cr3 = 0x1000;
    state.cr4 = Cr4::PAE;
    state.efer = Efer::LME | Efer::LMA;
    let cs = &mut state.segments[1];
    (cs.attributes.0, cs.base, cs.limit) = (0xa9b, 0, u32::MAX);
    state
}
