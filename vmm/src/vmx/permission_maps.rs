//! The I/O and MSR bitmaps (SDM vol. 3C, 24.6.4 and 24.6.9). One set serves every guest: all ports are
//! virtual, and the same MSRs are switched for each. Whether those of the x2APIC are the CPU's to answer for depends
//! on the mode of the vCPU's local APIC.
use super::controls::{Controls, X2APIC_MODE};
use core::ops::RangeInclusive;

/// I/O bitmap: a bit per port, 8 KiB; and MSR bitmaps, a bit per MSR of two ranges, for reads and for writes,
/// 4 KiB: one for guests in x2APIC mode where the CPU virtualizes it, one for all others.
#[repr(C, align(4096))]
pub struct PermissionMaps {
    io: [u8; 8 * 1024],
    msr: [u8; 4 * 1024],
    x2apic: [u8; 4 * 1024],
}

/// MSRs that a guest reads and writes without an exit, because entries, exits or the vCPU's turn exchange
/// them.
const PASSED_THROUGH: &[(u32, &str)] = &[
    (0x0000_0174, "IA32_SYSENTER_CS"),
    (0x0000_0175, "IA32_SYSENTER_ESP"),
    (0x0000_0176, "IA32_SYSENTER_EIP"),
    (0xc000_0081, "IA32_STAR"),
    (0xc000_0082, "IA32_LSTAR"),
    (0xc000_0083, "IA32_CSTAR"),
    (0xc000_0084, "IA32_FMASK"),
    (0xc000_0100, "IA32_FS_BASE"),
    (0xc000_0101, "IA32_GS_BASE"),
    (0xc000_0102, "IA32_KERNEL_GS_BASE"),
];

/// Registers of the x2APIC that the CPU reads from the virtual-APIC page if it virtualizes all of them. Not the
/// current count, which is no register of the page, nor those that are not there in this mode (SDM vol. 3A, table
/// 11-6), of which it would read anything.
const X2APIC_READ: &[RangeInclusive<u32>] = &[
    0x802..=0x803,
    0x808..=0x808,
    0x80a..=0x80a,
    0x80d..=0x80d,
    0x80f..=0x828,
    0x830..=0x830,
    0x832..=0x838,
    0x83e..=0x83e,
];
/// Registers of the x2APIC that it writes, with all that follows, if it delivers interrupts: TPR, EOI, SELF IPI.
const X2APIC_WRITTEN: &[u32] = &[TPR, 0x80b, 0x83f];
/// What it reads and writes in any case.
const TPR: u32 = 0x808;

/// Bytes from the bits for reads to those for writes.
const WRITES: usize = 2048;

impl PermissionMaps {
    /// Offset of the second half of the I/O bitmap, for ports from 0x8000 on.
    pub const IO_B_OFFSET: u64 = 4 * 1024;
    /// Offset of the MSR bitmaps.
    pub const MSR_OFFSET: u64 = 8 * 1024;
    /// Offset of the MSR bitmaps for guests in x2APIC mode, where the CPU virtualizes that.
    pub const X2APIC_OFFSET: u64 = 12 * 1024;

    /// Everything intercepted, but what [`PASSED_THROUGH`] names, and what a CPU with these controls answers for.
    pub fn new(controls: &Controls) -> Self {
        let mut maps = Self { io: [0xff; 8 * 1024], msr: [0xff; 4 * 1024], x2apic: [0xff; 4 * 1024] };
        for &(msr, _) in PASSED_THROUGH {
            for map in [&mut maps.msr, &mut maps.x2apic] {
                pass(map, msr, 0);
                pass(map, msr, WRITES);
            }
        }
        if controls.in_mode(X2APIC_MODE) != 0 {
            pass(&mut maps.x2apic, TPR, 0);
            pass(&mut maps.x2apic, TPR, WRITES);
            if controls.deliver_interrupts() {
                X2APIC_READ.iter().cloned().flatten().for_each(|msr| pass(&mut maps.x2apic, msr, 0));
                X2APIC_WRITTEN.iter().for_each(|&msr| pass(&mut maps.x2apic, msr, WRITES));
            }
        }
        maps
    }
}

/// Lets reads or [`WRITES`] of an MSR through.
fn pass(map: &mut [u8; 4 * 1024], msr: u32, offset: usize) {
    let (byte, bit) = position(msr);
    map[offset + byte] &= !bit;
}

/// Byte and bit of an MSR among those for reads: 0 to 0x1fff in the first KiB, 0xc000_0000 to 0xc000_1fff in
/// the second.
const fn position(msr: u32) -> (usize, u8) {
    let number = msr & 0x1fff;
    let range = match msr - number {
        0 => 0,
        0xc000_0000 => 1024,
        _ => panic!("an MSR outside of the bitmaps' ranges"),
    };
    (range + (number / 8) as usize, 1 << (number % 8))
}

#[cfg(test)]
mod tests {
    use super::super::controls::tests::{BOCHS, SKYLAKE, of};
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn open(map: &[u8], msr: u32, offset: usize) -> bool {
        let (byte, bit) = position(msr);
        map[offset + byte] & bit == 0
    }

    fn maps(msrs: [u64; 5]) -> PermissionMaps {
        PermissionMaps::new(&Controls::choose(of(msrs)).unwrap())
    }

    #[test]
    fn only_switched_registers_are_passed_through_both_ways() {
        let maps = maps(BOCHS);
        for offset in [0, WRITES] {
            let all = (0..0x2000).flat_map(|i| [i, 0xc000_0000 + i]);
            assert_eq!(all.filter(|&msr| open(&maps.msr, msr, offset)).count(), PASSED_THROUGH.len());
            assert!(open(&maps.msr, 0xc000_0082, offset));
            assert!(!open(&maps.msr, 0xc000_0080, offset), "EFER must not be passed through");
            assert!(!open(&maps.msr, 0x277, offset), "PAT must not be passed through");
        }
        assert!(maps.io.iter().all(|&b| b == 0xff));
    }

    #[test]
    fn in_x2apic_mode_the_cpu_answers_for_what_it_can_answer() {
        let passed = |maps: &PermissionMaps, offset| {
            (0x800..0x900).filter(|&msr| open(&maps.x2apic, msr, offset)).collect::<Vec<u32>>()
        };
        let all = maps(BOCHS);
        assert_eq!(passed(&all, WRITES), [0x808, 0x80b, 0x83f]);
        let read = passed(&all, 0);
        assert_eq!(read.len(), 2 + 3 + 26 + 1 + 7 + 1);
        for refused in [0x800, 0x80b, 0x80e, 0x82f, 0x831, 0x839, 0x83f, 0x840, 0x8ff] {
            assert!(!read.contains(&refused), "{refused:#x}");
        }
        let tpr_alone = maps(SKYLAKE);
        assert_eq!((passed(&tpr_alone, 0), passed(&tpr_alone, WRITES)), (vec![0x808], vec![0x808]));
        for maps in [all, tpr_alone] {
            assert!(open(&maps.x2apic, 0xc000_0082, 0) && !open(&maps.x2apic, 0x1b, WRITES));
            assert!((0x800..0x900).all(|msr| !open(&maps.msr, msr, 0) && !open(&maps.msr, msr, WRITES)));
        }
    }
}
