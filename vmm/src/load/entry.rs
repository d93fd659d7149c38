//! States in which a vCPU starts: a kernel's entry points, power-on and SIPI.
use super::low_memory::{CR3, GDT_BASE, GDT_BYTES, PARAMETERS};
use crate::backend::InitialState;
use crate::cpu::{Cr0, Cr4, DescriptorTable, Efer, Gpr, Rflags, Segment, SegmentAttributes, SegmentRegister};

const CODE: u16 = SegmentAttributes::PRESENT
    | SegmentAttributes::NON_SYSTEM
    | SegmentAttributes::CODE
    | SegmentAttributes::READ_WRITE
    | SegmentAttributes::ACCESSED;
const DATA: u16 = CODE & !SegmentAttributes::CODE;
const FLAT: u16 = SegmentAttributes::GRANULARITY | SegmentAttributes::DEFAULT_BIG;
/// A busy 32-bit or 64-bit TSS: the only state of TR that hardware accepts after reset (SDM vol. 3C,
/// 26.3.1.2).
const TSS: u16 = SegmentAttributes::PRESENT | 0xb;
const LDT: u16 = SegmentAttributes::PRESENT | 0x2;

const fn segment(selector: u16, attributes: u16, limit: u32, base: u64) -> Segment {
    Segment { selector, attributes: SegmentAttributes(attributes), limit, base }
}

/// The state after INIT, and after power-on but for the caches (SDM vol. 3A, table 9-1; APM vol. 2, 14.1.3).
fn after_init(cs: Segment, rip: u64) -> InitialState {
    let mut segments = [segment(0, DATA, 0xffff, 0); 6];
    segments[SegmentRegister::Cs as usize] = cs;
    InitialState {
        gprs: [0; 16],
        rip,
        rflags: Rflags::FIXED.bits(),
        cr0: Cr0::CD | Cr0::NW | Cr0::ET,
        cr3: 0,
        cr4: Cr4::empty(),
        efer: Efer::empty(),
        segments,
        tr: segment(0, TSS, 0xffff, 0),
        ldtr: segment(0, LDT, 0xffff, 0),
        gdtr: DescriptorTable { base: 0, limit: 0xffff },
        idtr: DescriptorTable { base: 0, limit: 0xffff },
    }
}

/// Power-on: real mode at 0xfffffff0.
///
/// EDX is 0; a firmware that wants the CPU's signature there finds it in CPUID.
pub fn reset_vector() -> InitialState {
    after_init(segment(0xf000, CODE, 0xffff, 0xffff_0000), 0xfff0)
}

/// An application processor after SIPI with `vector`: real mode at `vector << 12` (SDM vol. 3A, 9.4.3).
pub fn sipi(vector: u8) -> InitialState {
    let vector = u16::from(vector);
    after_init(segment(vector << 8, CODE, 0xffff, u64::from(vector) << 12), 0)
}

/// Flat protected mode without paging, with the selectors of the Linux boot protocol.
fn protected_32(entry: u32) -> InitialState {
    let mut state = after_init(segment(0x10, CODE | FLAT, u32::MAX, 0), u64::from(entry));
    state.cr0 = Cr0::PE | Cr0::ET;
    for register in [SegmentRegister::Ds, SegmentRegister::Es, SegmentRegister::Ss] {
        state.segments[register as usize] = segment(0x18, DATA | FLAT, u32::MAX, 0);
    }
    state.gdtr = DescriptorTable { base: GDT_BASE, limit: (GDT_BYTES - 1) as u16 };
    state.idtr = DescriptorTable { base: 0, limit: 0 };
    // The start of PVH demands this limit (Xen, x86/HVM direct boot ABI); it harms nobody else.
    state.tr = segment(0x20, TSS, 0x67, 0);
    state
}

/// The 32-bit boot protocol (Linux, Documentation/arch/x86/boot.rst): ESI is the address of boot_params;
/// EBP, EDI and EBX are zero.
pub(super) fn linux_32(entry: u64) -> InitialState {
    let mut state = protected_32(entry as u32);
    state.gprs[Gpr::Rsi as usize] = PARAMETERS;
    state
}

/// The 64-bit boot protocol: long mode, everything below 4 GiB mapped one to one, RSI is the address of
/// boot_params.
pub(super) fn linux_64(entry: u64) -> InitialState {
    let mut state = linux_32(0);
    state.rip = entry;
    state.cr0 |= Cr0::PG | Cr0::NE | Cr0::WP;
    state.cr3 = CR3;
    state.cr4 = Cr4::PAE;
    state.efer = Efer::LME | Efer::LMA;
    let code = CODE | SegmentAttributes::GRANULARITY | SegmentAttributes::LONG;
    state.segments[SegmentRegister::Cs as usize] = segment(0x10, code, u32::MAX, 0);
    state
}

/// The start of PVH (Xen, docs/misc/pvh.pandoc): EBX is the address of hvm_start_info.
pub(super) fn pvh(entry: u32) -> InitialState {
    let mut state = protected_32(entry);
    state.gprs[Gpr::Rbx as usize] = PARAMETERS;
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_at_power_on_fetches_16_bytes_below_4_gib() {
        let state = reset_vector();
        assert_eq!(state.segments[SegmentRegister::Cs as usize].base + state.rip, 0xffff_fff0);
        assert_eq!((state.cr0.bits(), state.rflags), (0x6000_0010, 2));
    }

    #[test]
    fn a_started_application_processor_fetches_from_its_vectors_page() {
        let state = sipi(0x9a);
        let cs = state.segments[SegmentRegister::Cs as usize];
        assert_eq!((cs.selector, cs.base, cs.limit, state.rip), (0x9a00, 0x9_a000, 0xffff, 0));
        assert!(!state.cr0.contains(Cr0::PE));
    }

    #[test]
    fn the_64_bit_entry_is_in_long_mode_with_flat_segments() {
        let state = linux_64(0x100_0200);
        assert!(state.efer.contains(Efer::LME | Efer::LMA));
        assert!(state.cr0.contains(Cr0::PE | Cr0::PG) && state.cr4.contains(Cr4::PAE));
        let cs = state.segments[SegmentRegister::Cs as usize];
        assert_eq!((cs.selector, cs.attributes.0), (0x10, 0xa9b));
        assert_eq!(state.segments[SegmentRegister::Ds as usize].attributes.0, 0xc93);
        assert_eq!(state.gprs[Gpr::Rsi as usize], PARAMETERS);
        assert_eq!(state.rflags, 2);
    }
}
