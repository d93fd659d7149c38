//! What VMRUN refuses (APM vol. 2, 15.5.1 and 15.20), for tests: a block that fails here is one that the CPU
//! answers with VMEXIT_INVALID, which ends the VM.
use super::vmcb::{Vmcb, event};
use crate::cpu::{Cr0, Cr4, Efer, SegmentAttributes};

/// Every rule that the block breaks.
pub fn broken(vmcb: &Vmcb) -> Vec<&'static str> {
    let (control, save) = (&vmcb.control, &vmcb.save);
    let (cr0, cr4, efer) =
        (Cr0::from_bits_retain(save.cr0), Cr4::from_bits_retain(save.cr4), Efer::from_bits_retain(save.efer));
    let long = efer.contains(Efer::LME) && cr0.contains(Cr0::PG);
    let code = save.cs.attributes;
    let vector = control.event_injection as u8;
    let injected = control.event_injection & event::VALID != 0;
    let kind = control.event_injection & event::TYPE_MASK;
    let exception = injected && kind == event::EXCEPTION;
    [
        (!efer.contains(Efer::SVME), "EFER.SVME is zero"),
        (!cr0.contains(Cr0::CD) && cr0.contains(Cr0::NW), "CR0.CD is zero and CR0.NW is set"),
        (save.cr0 >> 32 != 0, "CR0[63:32] are not zero"),
        (save.cr3 >> 52 != 0 && efer.contains(Efer::LMA), "a must-be-zero bit of CR3 is set"),
        (Cr4::from_bits(save.cr4).is_none(), "a must-be-zero bit of CR4 is set"),
        (save.dr6 >> 32 != 0, "DR6[63:32] are not zero"),
        (save.dr7 >> 32 != 0, "DR7[63:32] are not zero"),
        (Efer::from_bits(save.efer).is_none(), "a must-be-zero bit of EFER is set"),
        (long && !cr4.contains(Cr4::PAE), "EFER.LME and CR0.PG are set and CR4.PAE is zero"),
        (long && !cr0.contains(Cr0::PE), "EFER.LME and CR0.PG are set and CR0.PE is zero"),
        (
            long && code.has(SegmentAttributes::LONG | SegmentAttributes::DEFAULT_BIG),
            "EFER.LME, CR0.PG, CR4.PAE, CS.L and CS.D are set",
        ),
        (control.intercept_misc[1] & 1 == 0, "VMRUN is not intercepted"),
        (control.asid == 0, "the ASID is zero"),
        (injected && !matches!(kind >> event::TYPE_SHIFT, 0 | 2 | 3 | 4), "a reserved type of event"),
        (exception && (vector > 31 || vector == 2), "an exception that is none"),
        (efer.contains(Efer::LMA) != long, "EFER.LMA is not what EFER.LME and CR0.PG make it"),
    ]
    .into_iter()
    .filter_map(|(breaks, rule)| breaks.then_some(rule))
    .collect()
}
