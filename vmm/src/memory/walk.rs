//! The walk of a guest's page tables, as its CPU does it (APM vol. 2, 5.2 to 5.6; SDM vol. 3A, 4.3
//! to 4.6): no paging, 32-bit, PAE, and long mode with four and five levels.
//!
//! Three things are left to the hardware, which has walked the same tables before us: physical-address
//! bits above those that the machine has are not checked (they lead to no RAM), nor are protection keys,
//! nor whether 1 GiB pages exist. PAE's four top entries are read on each walk, as under nested paging
//! (APM vol. 2, 15.25.10).
use super::{GuestMemory, NotRam};
use crate::cpu::{Cr0, Cr4, Efer, Exception, PageFaultCode, Registers, Rflags};
use mm::addr::{Gpa, Gva};

/// What an access does with its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKind {
    /// Reads data.
    Read,
    /// Writes data, or reads it with the intent to write.
    Write,
    /// Fetches an instruction.
    Execute,
}

/// An access to a guest-virtual address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// What it does.
    pub kind: AccessKind,
    /// Whether it counts as a supervisor's although the vCPU is at CPL 3: descriptor tables and TSS.
    pub implicit_supervisor: bool,
}

impl Access {
    /// A data read by the running instruction.
    pub const READ: Self = Self { kind: AccessKind::Read, implicit_supervisor: false };
    /// A data write by the running instruction.
    pub const WRITE: Self = Self { kind: AccessKind::Write, implicit_supervisor: false };
    /// An instruction fetch.
    pub const EXECUTE: Self = Self { kind: AccessKind::Execute, implicit_supervisor: false };
}

/// Why an address could not be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkFault {
    /// The guest gets this exception.
    Exception(Exception),
    /// A page table lies outside of the guest's RAM. A CPU would read what is on the bus there; we stop.
    TableNotRam(Gpa),
}

impl From<NotRam> for WalkFault {
    fn from(error: NotRam) -> Self {
        Self::TableNotRam(error.0)
    }
}

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const PAGE_SIZE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Bits of a PAE entry above the address and below no-execute (APM vol. 2, 5.2.3).
const PAE_RESERVED: u64 = 0x7ff0_0000_0000_0000;
/// Bits of a PAE page-directory-pointer entry that must be 0: it carries no rights.
const PAE_POINTER_RESERVED: u64 = 0xfff0_0000_0000_01e6;
/// Bit 21 of a 4 MiB page's entry: bits 20:13 are address bits 39:32 (APM vol. 2, 5.2.2).
const PSE_RESERVED: u64 = 1 << 21;

/// How often a walk starts again because the guest changed an entry under its hands.
const ATTEMPTS: usize = 16;

/// Why a walk ended without an address.
enum Ended {
    Fault(WalkFault),
    /// An entry changed before its accessed or dirty bit could be set.
    Changed,
}

impl From<NotRam> for Ended {
    fn from(error: NotRam) -> Self {
        Self::Fault(error.into())
    }
}

/// A vCPU's view of one access.
struct Walk<'a, R> {
    registers: &'a R,
    memory: &'a GuestMemory,
    gva: Gva,
    access: Access,
}

/// Translates a guest-virtual address for one access, sets accessed and dirty bits, and checks rights.
///
/// The address is a linear one: segmentation, and whether the address is canonical, are the caller's.
///
/// # Errors
/// The page fault that the guest is to get, or a table outside of RAM. A guest that keeps changing the
/// entries during the walk gets a fault for a page that is not present.
#[inline]
pub fn translate<R: Registers>(
    registers: &R,
    memory: &GuestMemory,
    gva: Gva,
    access: Access,
) -> Result<Gpa, WalkFault> {
    if !registers.cr0().contains(Cr0::PG) {
        return Ok(Gpa::new(gva.get() & 0xffff_ffff));
    }
    if is_four_levels(registers)
        && let Some(gpa) = straight(registers, memory, gva, access, |_, _| {})
    {
        return Ok(gpa);
    }
    with_care(registers, memory, gva, access)
}

/// The walk of four levels in which nothing is out of the ordinary: all tables in RAM that is there, all entries
/// present and marked already, the right granted without a look at WP, SMEP or SMAP. Anything else is
/// `None`, and for [`with_care`] to judge. It runs on most exits, and is short. `each` is told the
/// entries.
#[inline(always)]
fn straight<R: Registers>(
    registers: &R,
    memory: &GuestMemory,
    gva: Gva,
    access: Access,
    mut each: impl FnMut(Gpa, u64),
) -> Option<Gpa> {
    let va = gva.get();
    let mut entry = registers.cr3();
    let (mut all, mut any) = (u64::MAX, 0);
    let mut page_bits = 39;
    loop {
        // An entry that is not present leads somewhere, too: what it leads to is never used.
        let at = Gpa::new(entry & ADDRESS | (va >> page_bits & 0x1ff) << 3);
        entry = memory.load_present(at)?;
        each(at, entry);
        all &= entry;
        any |= entry;
        if page_bits == 12 || entry & PAGE_SIZE != 0 {
            break;
        }
        page_bits -= 9;
    }
    let offset = (1u64 << page_bits) - 1;
    let mut needed = PRESENT | ACCESSED;
    let mut forbidden = if registers.efer().contains(Efer::NXE) { 0 } else { NO_EXECUTE };
    match access.kind {
        AccessKind::Read => {}
        AccessKind::Write => {
            needed |= WRITABLE;
            // Dirty is the page's alone.
            if entry & DIRTY == 0 {
                return None;
            }
        }
        AccessKind::Execute => forbidden |= NO_EXECUTE,
    }
    if registers.cpl() == 3 && !access.implicit_supervisor {
        needed |= USER;
    } else if registers.cr4().intersects(Cr4::SMEP.union(Cr4::SMAP)) && all & USER != 0 {
        return None;
    }
    // Reserved bits of a large page: below its address, above PAT.
    let reserved = if page_bits > 12 { entry & offset & !0x1fff } else { 0 };
    if all & needed != needed || any & forbidden != 0 || reserved != 0 || page_bits == 39 {
        return None;
    }
    Some(Gpa::new(entry & ADDRESS & !offset | va & offset))
}

/// As [`translate`] for an instruction on four levels, telling `each` the entries that were read. `None`
/// where the walk is not a straight one.
pub(super) fn straight_to_code<R: Registers>(
    registers: &R,
    memory: &GuestMemory,
    gva: Gva,
    each: impl FnMut(Gpa, u64),
) -> Option<Gpa> {
    if is_four_levels(registers) { straight(registers, memory, gva, Access::EXECUTE, each) } else { None }
}

/// Whether the walk is the one that nearly all guests use.
#[inline(always)]
fn is_four_levels<R: Registers>(registers: &R) -> bool {
    registers.cr0().contains(Cr0::PG)
        && registers.efer().contains(Efer::LMA)
        && !registers.cr4().contains(Cr4::LA57)
}

/// Every kind of walk.
#[cold]
#[inline(never)]
fn with_care<R: Registers>(
    registers: &R,
    memory: &GuestMemory,
    gva: Gva,
    access: Access,
) -> Result<Gpa, WalkFault> {
    let walk = Walk { registers, memory, gva, access };
    for _ in 0..ATTEMPTS {
        match walk.once() {
            Ok(gpa) => return Ok(gpa),
            Err(Ended::Fault(fault)) => return Err(fault),
            Err(Ended::Changed) => {}
        }
    }
    Err(walk.page_fault(PageFaultCode::empty()))
}

impl<R: Registers> Walk<'_, R> {
    fn once(&self) -> Result<Gpa, Ended> {
        let efer = self.registers.efer();
        let cr4 = self.registers.cr4();
        let no_execute = if efer.contains(Efer::NXE) { 0 } else { NO_EXECUTE };
        if efer.contains(Efer::LMA) {
            let top = Gpa::new(self.registers.cr3() & ADDRESS);
            self.walk_8(top, if cr4.contains(Cr4::LA57) { 5 } else { 4 }, no_execute)
        } else if cr4.contains(Cr4::PAE) {
            self.pae(no_execute)
        } else {
            self.legacy(cr4.contains(Cr4::PSE))
        }
    }

    fn is_write(&self) -> bool {
        self.access.kind == AccessKind::Write
    }

    fn is_user(&self) -> bool {
        self.registers.cpl() == 3 && !self.access.implicit_supervisor
    }

    fn page_fault(&self, mut code: PageFaultCode) -> WalkFault {
        code.set(PageFaultCode::WRITE, self.is_write());
        code.set(PageFaultCode::USER, self.is_user());
        // A fetch is reported as one only where execution can be forbidden (APM vol. 2, 8.4.2; SDM
        // vol. 3A, 4.7).
        let cr4 = self.registers.cr4();
        let no_execute = self.registers.efer().contains(Efer::NXE) && cr4.contains(Cr4::PAE);
        let reported = no_execute || cr4.contains(Cr4::SMEP);
        code.set(PageFaultCode::FETCH, self.access.kind == AccessKind::Execute && reported);
        WalkFault::Exception(Exception::page_fault(self.gva.get(), code))
    }

    fn not_present(&self) -> Ended {
        Ended::Fault(self.page_fault(PageFaultCode::empty()))
    }

    fn reserved(&self) -> Ended {
        Ended::Fault(self.page_fault(PageFaultCode::PRESENT | PageFaultCode::RESERVED))
    }

    /// Sets accessed (and dirty) as the CPU does: atomically, and only in the entry that the walk used.
    fn mark(&self, at: Gpa, size: usize, entry: u64, bits: u64) -> Result<(), Ended> {
        if entry & bits == bits {
            return Ok(());
        }
        let found = self.memory.compare_exchange(at, size, entry, entry | bits)?;
        if found == entry { Ok(()) } else { Err(Ended::Changed) }
    }

    fn pae(&self, no_execute: u64) -> Result<Gpa, Ended> {
        // CR3 points at four entries, aligned to 32 bytes.
        let table = self.registers.cr3() & 0xffff_ffe0;
        let entry = self.memory.load_u64(Gpa::new(table + (self.gva.get() >> 30 & 3) * 8))?;
        if entry & PRESENT == 0 {
            return Err(self.not_present());
        }
        if entry & PAE_POINTER_RESERVED != 0 {
            return Err(self.reserved());
        }
        self.walk_8(Gpa::new(entry & ADDRESS), 2, PAE_RESERVED | no_execute)
    }

    /// Walks `levels` levels of 512 entries from `table` down; no entry may have a bit of `forbidden`.
    fn walk_8(&self, mut table: Gpa, levels: u32, forbidden: u64) -> Result<Gpa, Ended> {
        let va = self.gva.get();
        // A right must be granted on every level; no-execute counts from any.
        let mut granted = u64::MAX;
        let mut denied = 0;
        let mut page_bits = 3 + 9 * levels;
        loop {
            let at = table + (va >> page_bits & 0x1ff) * 8;
            let entry = self.memory.load_u64(at)?;
            if entry & PRESENT == 0 {
                return Err(self.not_present());
            }
            granted &= entry;
            denied |= entry;
            let is_page = page_bits == 12 || entry & PAGE_SIZE != 0;
            let mut wrong = entry & forbidden;
            if is_page && page_bits > 12 {
                // Below the page's address and above PAT, which is bit 12. No page is above 1 GiB.
                wrong |= if page_bits > 30 { PAGE_SIZE } else { entry & ((1 << page_bits) - 1) & !0x1fff };
            }
            if wrong != 0 {
                return Err(self.reserved());
            }
            if is_page {
                self.check(granted, denied & NO_EXECUTE != 0)?;
                self.mark(at, 8, entry, if self.is_write() { ACCESSED | DIRTY } else { ACCESSED })?;
                let offset = (1u64 << page_bits) - 1;
                return Ok(Gpa::new((entry & ADDRESS & !offset) | (va & offset)));
            }
            self.mark(at, 8, entry, ACCESSED)?;
            table = Gpa::new(entry & ADDRESS);
            page_bits -= 9;
        }
    }

    /// 32-bit paging: two levels of 1024 four-byte entries, and 4 MiB pages with PSE.
    fn legacy(&self, pse: bool) -> Result<Gpa, Ended> {
        let va = self.gva.get() & 0xffff_ffff;
        let used = if self.is_write() { ACCESSED | DIRTY } else { ACCESSED };
        let pde_at = Gpa::new((self.registers.cr3() & 0xffff_f000) + (va >> 22) * 4);
        let pde = u64::from(self.memory.load_u32(pde_at)?);
        if pde & PRESENT == 0 {
            return Err(self.not_present());
        }
        if pde & PAGE_SIZE != 0 && pse {
            if pde & PSE_RESERVED != 0 {
                return Err(self.reserved());
            }
            self.check(pde, false)?;
            self.mark(pde_at, 4, pde, used)?;
            let high = (pde >> 13 & 0xff) << 32;
            return Ok(Gpa::new(high | (pde & 0xffc0_0000) | (va & 0x3f_ffff)));
        }
        self.mark(pde_at, 4, pde, ACCESSED)?;
        let pte_at = Gpa::new((pde & 0xffff_f000) + (va >> 12 & 0x3ff) * 4);
        let pte = u64::from(self.memory.load_u32(pte_at)?);
        if pte & PRESENT == 0 {
            return Err(self.not_present());
        }
        self.check(pde & pte, false)?;
        self.mark(pte_at, 4, pte, used)?;
        Ok(Gpa::new((pte & 0xffff_f000) | (va & 0xfff)))
    }

    /// The rights of a page against the access (APM vol. 2, 5.6).
    fn check(&self, rights: u64, no_execute: bool) -> Result<(), Ended> {
        let user_page = rights & USER != 0;
        let allowed = if self.is_user() {
            user_page
                && match self.access.kind {
                    AccessKind::Read => true,
                    AccessKind::Write => rights & WRITABLE != 0,
                    AccessKind::Execute => !no_execute,
                }
        } else {
            let cr4 = self.registers.cr4();
            match self.access.kind {
                AccessKind::Execute => !(no_execute || user_page && cr4.contains(Cr4::SMEP)),
                kind => {
                    // SMAP: user pages are out of bounds unless RFLAGS.AC says so; accesses that are
                    // supervisor's by nature at CPL 3 are never excused.
                    let smap_stops = user_page
                        && cr4.contains(Cr4::SMAP)
                        && (self.registers.cpl() == 3 || !self.registers.rflags().contains(Rflags::AC));
                    let writable = rights & WRITABLE != 0 || !self.registers.cr0().contains(Cr0::WP);
                    !smap_stops && (kind == AccessKind::Read || writable)
                }
            }
        };
        if allowed { Ok(()) } else { Err(Ended::Fault(self.page_fault(PageFaultCode::PRESENT))) }
    }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
