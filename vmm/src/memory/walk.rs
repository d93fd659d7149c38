//! The walk of a guest's page tables, as its CPU does it (APM vol. 2, 5.2 to 5.6; SDM vol. 3A, 4.3
//! to 4.6): no paging, 32-bit, PAE and 4-level long mode.
use super::{GuestMemory, NotRam};
use crate::cpu::{Cr0, Cr4, Efer, Exception, PageFaultCode, Registers, Rflags};
use core::sync::atomic::Ordering;
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

/// Rights gathered on the way down, and how the access failed if it does.
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
/// The page fault that the guest is to get, or a table outside of RAM.
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
    let walk = Walk { registers, memory, gva, access };
    if registers.efer().contains(Efer::LMA) {
        walk.long_mode()
    } else if registers.cr4().contains(Cr4::PAE) {
        walk.pae()
    } else {
        walk.legacy()
    }
}

impl<R: Registers> Walk<'_, R> {
    fn is_write(&self) -> bool {
        self.access.kind == AccessKind::Write
    }

    fn is_user(&self) -> bool {
        self.registers.cpl() == 3 && !self.access.implicit_supervisor
    }

    fn fault(&self, mut code: PageFaultCode) -> WalkFault {
        code.set(PageFaultCode::WRITE, self.is_write());
        code.set(PageFaultCode::USER, self.is_user());
        // The fetch bit is reported only where execution can be forbidden (APM vol. 2, 8.4.2).
        let fetch_reported =
            self.registers.efer().contains(Efer::NXE) || self.registers.cr4().contains(Cr4::SMEP);
        code.set(PageFaultCode::FETCH, self.access.kind == AccessKind::Execute && fetch_reported);
        WalkFault::Exception(Exception::page_fault(self.gva.get(), code))
    }

    /// Bits that must be zero in an 8-byte entry that refers to a table or a page of `page_bits` bits.
    fn reserved(&self, large: bool, page_bits: u32) -> u64 {
        let mut bits = 0;
        if !self.registers.efer().contains(Efer::NXE) {
            bits |= NO_EXECUTE;
        }
        if large {
            // Below the page's address and above the PAT bit (bit 12).
            bits |= ((1u64 << page_bits) - 1) & !0x1fff;
        }
        bits
    }

    /// One entry of 8 bytes: reads it, checks presence and reserved bits.
    #[inline]
    fn entry(&self, at: Gpa) -> Result<u64, WalkFault> {
        let entry = self.memory.load_u64(at)?;
        if entry & PRESENT == 0 {
            return Err(self.fault(PageFaultCode::empty()));
        }
        Ok(entry)
    }

    /// Sets accessed (and dirty) as the CPU does: atomically, and only if the entry is unchanged.
    #[inline]
    fn mark(&self, at: Gpa, entry: u64, bits: u64) -> Result<(), WalkFault> {
        if entry & bits == bits {
            return Ok(());
        }
        let cell = self.memory.atomic_u64(at)?;
        // A lost race means the guest changes the entry while it is being used: the CPU may use either.
        let _ = cell.compare_exchange(entry, entry | bits, Ordering::AcqRel, Ordering::Relaxed);
        Ok(())
    }

    fn long_mode(&self) -> Result<Gpa, WalkFault> {
        let levels = if self.registers.cr4().contains(Cr4::LA57) { 5 } else { 4 };
        self.walk_8(Gpa::new(self.registers.cr3() & ADDRESS), levels, PRESENT | WRITABLE | USER)
    }

    fn pae(&self) -> Result<Gpa, WalkFault> {
        // CR3 points at four entries, aligned to 32 bytes; they carry no rights.
        let table = self.registers.cr3() & 0xffff_ffe0;
        let at = Gpa::new(table + (self.gva.get() >> 30 & 3) * 8);
        let entry = self.entry(at)?;
        self.walk_8(Gpa::new(entry & ADDRESS), 2, PRESENT | WRITABLE | USER)
    }

    /// Walks `levels` levels of 512 entries from `table` down.
    #[inline]
    fn walk_8(&self, mut table: Gpa, levels: u32, mut rights: u64) -> Result<Gpa, WalkFault> {
        let va = self.gva.get();
        let mut no_execute = 0;
        let mut level = levels;
        loop {
            let page_bits = 12 + 9 * (level - 1);
            let at = table + (va >> page_bits & 0x1ff) * 8;
            let entry = self.entry(at)?;
            let large = level > 1 && entry & PAGE_SIZE != 0;
            // A page-size bit is reserved in the levels above 1 GiB pages.
            let misplaced = large && level > 3;
            if misplaced || entry & self.reserved(large, page_bits) != 0 {
                return Err(self.fault(PageFaultCode::PRESENT | PageFaultCode::RESERVED));
            }
            rights &= entry;
            no_execute |= entry & NO_EXECUTE;
            if level == 1 || large {
                self.check(rights, no_execute != 0)?;
                self.mark(at, entry, ACCESSED | if self.is_write() { DIRTY } else { 0 })?;
                let mask = (1u64 << page_bits) - 1;
                return Ok(Gpa::new((entry & ADDRESS & !mask) | (va & mask)));
            }
            self.mark(at, entry, ACCESSED)?;
            table = Gpa::new(entry & ADDRESS);
            level -= 1;
        }
    }

    /// 32-bit paging: two levels of 1024 four-byte entries, 4 MiB pages with PSE.
    fn legacy(&self) -> Result<Gpa, WalkFault> {
        let va = self.gva.get() & 0xffff_ffff;
        let pde_at = Gpa::new((self.registers.cr3() & 0xffff_f000) + (va >> 22) * 4);
        let pde = u64::from(self.memory.load_u32(pde_at)?);
        if pde & PRESENT == 0 {
            return Err(self.fault(PageFaultCode::empty()));
        }
        if pde & PAGE_SIZE != 0 && self.registers.cr4().contains(Cr4::PSE) {
            self.check(pde, false)?;
            self.mark_4(pde_at, pde, self.is_write())?;
            // PSE-36: bits 20:13 of the entry are address bits 39:32; bit 21 is reserved.
            if pde & 1 << 21 != 0 {
                return Err(self.fault(PageFaultCode::PRESENT | PageFaultCode::RESERVED));
            }
            let high = (pde >> 13 & 0xff) << 32;
            return Ok(Gpa::new(high | (pde & 0xffc0_0000) | (va & 0x3f_ffff)));
        }
        let pte_at = Gpa::new((pde & 0xffff_f000) + (va >> 12 & 0x3ff) * 4);
        let pte = u64::from(self.memory.load_u32(pte_at)?);
        if pte & PRESENT == 0 {
            return Err(self.fault(PageFaultCode::empty()));
        }
        self.check(pde & pte, false)?;
        self.mark_4(pde_at, pde, false)?;
        self.mark_4(pte_at, pte, self.is_write())?;
        Ok(Gpa::new((pte & 0xffff_f000) | (va & 0xfff)))
    }

    fn mark_4(&self, at: Gpa, entry: u64, dirty: bool) -> Result<(), WalkFault> {
        let bits = ACCESSED | if dirty && self.is_write() { DIRTY } else { 0 };
        if entry & bits != bits {
            self.memory.compare_exchange(at, 4, entry, entry | bits)?;
        }
        Ok(())
    }

    /// The rights of a page against the access (APM vol. 2, 5.6).
    #[inline]
    fn check(&self, rights: u64, no_execute: bool) -> Result<(), WalkFault> {
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
                    // SMAP: user pages are out of bounds unless EFLAGS.AC says so; accesses that are
                    // supervisor's by nature at CPL 3 are never excused.
                    let excused = self.registers.rflags().contains(Rflags::AC)
                        && !(self.access.implicit_supervisor && self.registers.cpl() == 3);
                    let smap_stops = user_page && cr4.contains(Cr4::SMAP) && !excused;
                    let writable = rights & WRITABLE != 0 || !self.registers.cr0().contains(Cr0::WP);
                    !smap_stops && (kind == AccessKind::Read || writable)
                }
            }
        };
        if allowed { Ok(()) } else { Err(self.fault(PageFaultCode::PRESENT)) }
    }
}
