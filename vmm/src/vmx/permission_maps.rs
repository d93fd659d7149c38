//! The I/O and MSR bitmaps (SDM vol. 3C, 24.6.4 and 24.6.9). One set serves every guest: all ports are
//! virtual, and the same MSRs are switched for each.

/// I/O bitmap: a bit per port, 8 KiB; and MSR bitmaps, a bit per MSR of two ranges, for reads and for writes,
/// 4 KiB.
#[repr(C, align(4096))]
pub struct PermissionMaps {
    io: [u8; 8 * 1024],
    msr: [u8; 4 * 1024],
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

/// Bytes from the bits for reads to those for writes.
const WRITES: usize = 2048;

impl PermissionMaps {
    /// Offset of the second half of the I/O bitmap, for ports from 0x8000 on.
    pub const IO_B_OFFSET: u64 = 4 * 1024;
    /// Offset of the MSR bitmaps.
    pub const MSR_OFFSET: u64 = 8 * 1024;

    /// Everything intercepted, but what [`PASSED_THROUGH`] names.
    pub const fn new() -> Self {
        let mut maps = Self { io: [0xff; 8 * 1024], msr: [0xff; 4 * 1024] };
        let mut i = 0;
        while i < PASSED_THROUGH.len() {
            let (byte, bit) = position(PASSED_THROUGH[i].0);
            maps.msr[byte] &= !bit;
            maps.msr[WRITES + byte] &= !bit;
            i += 1;
        }
        maps
    }
}

impl Default for PermissionMaps {
    fn default() -> Self {
        Self::new()
    }
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
    use super::*;

    fn open(maps: &PermissionMaps, msr: u32, offset: usize) -> bool {
        let (byte, bit) = position(msr);
        maps.msr[offset + byte] & bit == 0
    }

    #[test]
    fn only_switched_registers_are_passed_through_both_ways() {
        let maps = PermissionMaps::new();
        for offset in [0, WRITES] {
            let all = (0..0x2000).flat_map(|i| [i, 0xc000_0000 + i]);
            assert_eq!(all.filter(|&msr| open(&maps, msr, offset)).count(), PASSED_THROUGH.len());
            assert!(open(&maps, 0xc000_0082, offset));
            assert!(!open(&maps, 0xc000_0080, offset), "EFER must not be passed through");
            assert!(!open(&maps, 0x277, offset), "PAT must not be passed through");
        }
        assert!(maps.io.iter().all(|&b| b == 0xff));
    }
}
