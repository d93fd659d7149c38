//! Segment attributes as a VMCS has them (SDM vol. 3C, 24.4.1, table 24-2).
//!
//! The neutral form (descriptor bits 55:52 right above 47:40) lies closer together, and has no "unusable":
//! there a register that was loaded with a null selector is one that is not present.
use crate::cpu::SegmentAttributes;

/// The register was loaded with a null selector; nothing may be accessed through it.
pub const UNUSABLE: u32 = 1 << 16;

/// Access rights of a segment with these attributes.
#[inline]
pub const fn rights(attributes: SegmentAttributes) -> u32 {
    let low = attributes.0 & 0xff;
    let high = attributes.0 >> 8 & 0xf;
    let rights = low as u32 | (high as u32) << 12;
    if attributes.has(SegmentAttributes::PRESENT) { rights } else { rights | UNUSABLE }
}

/// Attributes of a segment with these access rights. The privilege level stays even where the segment is
/// unusable: that of SS is the CPU's.
#[inline]
pub const fn attributes(rights: u32) -> SegmentAttributes {
    let packed = (rights & 0xff | rights >> 4 & 0xf00) as u16;
    if rights & UNUSABLE != 0 {
        SegmentAttributes(packed & !SegmentAttributes::PRESENT)
    } else {
        SegmentAttributes(packed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_both_forms_are_the_same_segment() {
        // 64-bit code; flat 32-bit data; a busy TSS; a 16-bit data segment.
        for (packed, vmx) in [(0xa9b, 0xa09b), (0xc93, 0xc093), (0x08b, 0x8b), (0x093, 0x93)] {
            assert_eq!(rights(SegmentAttributes(packed)), vmx);
            assert_eq!(attributes(vmx), SegmentAttributes(packed));
        }
    }

    #[test]
    fn a_null_segment_is_unusable_and_keeps_its_privilege_level() {
        assert_eq!(rights(SegmentAttributes(0)), UNUSABLE);
        // As hardware leaves SS behind a SYSCALL return to 64-bit mode with a null SS: DPL 3.
        let null = attributes(UNUSABLE | 0xc0f3);
        assert_eq!(null.dpl(), 3);
        assert!(!null.has(SegmentAttributes::PRESENT));
        assert_ne!(rights(null) & UNUSABLE, 0);
    }

    #[test]
    fn reserved_bits_of_what_hardware_saved_do_not_come_back() {
        let back = rights(attributes(!UNUSABLE));
        assert_eq!(back, 0xf0ff);
    }
}
