//! The I/O and MSR permission maps (APM vol. 2, 15.10.1 and 15.11). One pair serves every guest: all
//! ports are virtual, and the same MSRs are switched by the hardware for each.

/// I/O permission map: a bit per port, 12 KiB; and MSR permission map: two bits per MSR in three ranges,
/// 8 KiB.
#[repr(C, align(4096))]
pub struct PermissionMaps {
    io: [u8; 12 * 1024],
    msr: [u8; 8 * 1024],
}

/// MSRs that a guest reads and writes without an exit, because VMRUN, VMLOAD or the vCPU switch
/// exchange them.
const PASSED_THROUGH: &[(u32, &str)] = &[
    (0x0000_0174, "SYSENTER_CS"),
    (0x0000_0175, "SYSENTER_ESP"),
    (0x0000_0176, "SYSENTER_EIP"),
    (0xc000_0081, "STAR"),
    (0xc000_0082, "LSTAR"),
    (0xc000_0083, "CSTAR"),
    (0xc000_0084, "SFMASK"),
    (0xc000_0100, "FS.base"),
    (0xc000_0101, "GS.base"),
    (0xc000_0102, "KernelGSbase"),
];

/// First MSR of each 2 KiB of the map.
const RANGES: [u32; 3] = [0x0000_0000, 0xc000_0000, 0xc001_0000];

impl PermissionMaps {
    /// Offset of the MSR map from the start.
    pub const MSR_OFFSET: u64 = 12 * 1024;

    /// Everything intercepted, but what [`PASSED_THROUGH`] names.
    pub const fn new() -> Self {
        let mut maps = Self { io: [0xff; 12 * 1024], msr: [0xff; 8 * 1024] };
        let mut i = 0;
        while i < PASSED_THROUGH.len() {
            let (byte, shift) = position(PASSED_THROUGH[i].0);
            maps.msr[byte] &= !(3 << shift);
            i += 1;
        }
        maps
    }

    /// Whether a read of `msr` leaves the guest.
    #[cfg(test)]
    fn intercepts_read(&self, msr: u32) -> bool {
        let (byte, shift) = position(msr);
        self.msr[byte] & 1 << shift != 0
    }
}

impl Default for PermissionMaps {
    fn default() -> Self {
        Self::new()
    }
}

/// Byte of the map and shift of the two bits (read, write) of an MSR in one of the ranges.
const fn position(msr: u32) -> (usize, u32) {
    let mut range = 0;
    while range < RANGES.len() {
        let offset = msr.wrapping_sub(RANGES[range]);
        if offset < 0x2000 {
            return (range * 2048 + (offset / 4) as usize, (offset % 4) * 2);
        }
        range += 1;
    }
    panic!("an MSR outside of the map's ranges");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_switched_registers_are_passed_through() {
        let maps = PermissionMaps::new();
        let open = (0..0x2000).flat_map(|i| RANGES.map(|r| r + i)).filter(|&m| !maps.intercepts_read(m));
        assert_eq!(open.count(), PASSED_THROUGH.len());
        assert!(!maps.intercepts_read(0xc000_0082));
        assert!(maps.intercepts_read(0xc000_0080), "EFER must not be passed through");
        assert!(maps.intercepts_read(0x10), "the time-stamp counter's MSR is emulated");
        assert!(maps.io.iter().all(|&b| b == 0xff));
    }
}
