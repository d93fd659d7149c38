//! The paravirtual clock: a page that tells a guest how to make nanoseconds of its time-stamp counter, so
//! that it reads the time without an exit (Linux, Documentation/virt/kvm/x86/msr.rst).
//!
//! ```text
//!  ns = system_time + (((tsc - tsc_timestamp) << or >> tsc_shift) * tsc_to_system_mul >> 32)
//! ```
//!
//! The version is odd while the page is being written; a guest reads until it finds the same even version
//! before and after.
use crate::memory::{GuestMemory, NotRam};
use crate::time::{Nanos, SECOND, TscScale};
use mm::addr::Gpa;

/// Flag of the page: the time is monotonic across vCPUs, `PVCLOCK_TSC_STABLE_BIT`.
pub const TSC_STABLE: u8 = 1 << 0;

/// Bytes of `struct pvclock_vcpu_time_info`.
const BYTES: u64 = 32;
/// Bytes of `struct pvclock_wall_clock`.
const WALL_BYTES: u64 = 12;

/// What a guest wrote to [`MSR_SYSTEM_TIME`](super::paravirtual::MSR_SYSTEM_TIME): the address of this
/// vCPU's clock, or `None` where it is off, bit 0, or at an address that cannot hold it. A clock at such an
/// address is silently off, as KVM has it.
pub fn system_time_address(memory: &GuestMemory, value: u64) -> Option<Gpa> {
    if value & 1 == 0 {
        return None;
    }
    checked(memory, value & !1, BYTES)
}

/// What a guest wrote to [`MSR_WALL_CLOCK`](super::paravirtual::MSR_WALL_CLOCK): where it wants the wall
/// clock once.
pub fn wall_clock_address(memory: &GuestMemory, value: u64) -> Option<Gpa> {
    checked(memory, value, WALL_BYTES)
}

/// An aligned place in RAM.
fn checked(memory: &GuestMemory, address: u64, bytes: u64) -> Option<Gpa> {
    let gpa = Gpa::try_new(address)?;
    if !gpa.is_aligned(4) {
        return None;
    }
    // A range that short lies in RAM if both its ends do.
    memory.host(gpa)?;
    memory.host(gpa.checked_add(bytes - 1)?)?;
    Some(gpa)
}

/// Writes a vCPU's clock: at the guest's counter `tsc` the time since the VM's start was `system_time`.
///
/// # Errors
/// Where `at` is not RAM; [`system_time_address`] has made sure of that.
pub fn update(
    memory: &GuestMemory,
    at: Gpa,
    tsc: u64,
    system_time: Nanos,
    scale: TscScale,
    flags: u8,
) -> Result<(), NotRam> {
    let mut body = [0; BYTES as usize - 4];
    body[4..12].copy_from_slice(&tsc.to_le_bytes());
    body[12..20].copy_from_slice(&system_time.to_le_bytes());
    body[20..24].copy_from_slice(&scale.multiplier().to_le_bytes());
    body[24] = scale.shift() as u8;
    body[25] = flags;
    publish(memory, at, &body)
}

/// Writes the wall clock: the time of day, since 1970, at which the VM's system time was 0.
///
/// # Errors
/// Where `at` is not RAM; [`wall_clock_address`] has made sure of that.
pub fn write_wall_clock(memory: &GuestMemory, at: Gpa, start: Nanos) -> Result<(), NotRam> {
    let mut body = [0; WALL_BYTES as usize - 4];
    body[..4].copy_from_slice(&((start / SECOND) as u32).to_le_bytes());
    body[4..].copy_from_slice(&((start % SECOND) as u32).to_le_bytes());
    publish(memory, at, &body)
}

/// Writes what stands behind the version, with the version odd meanwhile. The host alone writes the
/// version, one access each, in program order.
fn publish(memory: &GuestMemory, at: Gpa, body: &[u8]) -> Result<(), NotRam> {
    let before = memory.load_u32(at)?;
    // A guest may have left an odd number there: the step to an odd one must be a change.
    let writing = (before | 1).wrapping_add(if before & 1 == 0 { 0 } else { 2 });
    set_version(memory, at, before, writing)?;
    memory.write(at + 4, body)?;
    set_version(memory, at, writing, writing.wrapping_add(1))
}

/// An atomic store. Should the guest write there at the same time, the version is the guest's: it harms
/// its own clock alone.
fn set_version(memory: &GuestMemory, at: Gpa, from: u32, to: u32) -> Result<(), NotRam> {
    memory.compare_exchange(at, 4, from.into(), to.into()).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::on_heap::HeapMemory;

    fn bytes(memory: &GuestMemory, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        memory.read(Gpa::new(at), &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_clock_has_the_layout_that_guests_know() {
        let memory = HeapMemory::new(2);
        let at = system_time_address(&memory, 0x1041).unwrap();
        // 2 GHz: a shift to the right by one, then 1.0 less one unit.
        let scale = TscScale::new(2_000_000_000);
        update(&memory, at, 0x1122_3344_5566_7788, 0x0102_0304_0506_0708, scale, TSC_STABLE).unwrap();
        let mut expected = vec![2, 0, 0, 0, 0, 0, 0, 0];
        expected.extend([0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 8, 7, 6, 5, 4, 3, 2, 1]);
        expected.extend(scale.multiplier().to_le_bytes());
        expected.extend([scale.shift() as u8, 1, 0, 0]);
        assert_eq!(bytes(&memory, 0x1040, 32), expected);
        update(&memory, at, 0, 0, scale, 0).unwrap();
        assert_eq!(bytes(&memory, 0x1040, 4), [4, 0, 0, 0]);
    }

    #[test]
    fn a_guest_that_follows_the_formula_reads_our_time() {
        let scale = TscScale::new(2_445_427_000);
        let memory = HeapMemory::new(2);
        update(&memory, Gpa::new(0x1000), 1_000_000, 5 * SECOND, scale, 0).unwrap();
        let page = bytes(&memory, 0x1000, 32);
        let multiplier = u32::from_le_bytes(page[24..28].try_into().unwrap());
        let shift = page[28] as i8;
        let delta = 2_445_427_000u64 * 3;
        let shifted = if shift < 0 { delta >> -shift } else { delta << shift };
        let now = 5 * SECOND + ((u128::from(shifted) * u128::from(multiplier)) >> 32) as u64;
        assert!(now.abs_diff(8 * SECOND) < 10);
    }

    #[test]
    fn an_odd_version_left_by_the_guest_becomes_even() {
        let memory = HeapMemory::new(2);
        for left in [0u32, 1, 7, u32::MAX - 1, u32::MAX] {
            memory.write(Gpa::new(0x1000), &left.to_le_bytes()).unwrap();
            update(&memory, Gpa::new(0x1000), 0, 0, TscScale::new(SECOND), 0).unwrap();
            let version = memory.load_u32(Gpa::new(0x1000)).unwrap();
            assert!(version.is_multiple_of(2) && version != left, "{left:#x} became {version:#x}");
        }
    }

    #[test]
    fn the_wall_clock_is_seconds_and_nanoseconds() {
        let memory = HeapMemory::new(2);
        let at = wall_clock_address(&memory, 0x2000).unwrap();
        write_wall_clock(&memory, at, 1_700_000_000 * SECOND + 7).unwrap();
        assert_eq!(bytes(&memory, 0x2000, 12), [2, 0, 0, 0, 0x00, 0xf1, 0x53, 0x65, 7, 0, 0, 0]);
    }

    #[test]
    fn a_clock_where_no_ram_is_is_off() {
        let memory = HeapMemory::new(2);
        assert_eq!(system_time_address(&memory, 0x1000), None);
        for address in [0x1003, 0xa_0001, 0x9_fff5, 0x20_0001, 0x1f_fff1, 0xfee0_0001, 1 << 52 | 1, u64::MAX]
        {
            assert_eq!(system_time_address(&memory, address), None, "{address:#x}");
        }
        assert_eq!(wall_clock_address(&memory, u64::MAX - 3), None);
        assert_eq!(wall_clock_address(&memory, 0x1f_fff4), Some(Gpa::new(0x1f_fff4)));
    }
}
