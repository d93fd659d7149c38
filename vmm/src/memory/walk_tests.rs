//! The walk of all kinds of page tables, and what it refuses.
use super::*;
use crate::cpu::plain::PlainRegisters;
use crate::memory::on_heap::HeapMemory;

/// The tables from the top down; each has one page.
const TABLES: [u64; 5] = [0x1000, 0x2000, 0x3000, 0x4000, 0x5000];
/// An address with another index on each level, also as a 32-bit one.
const VA: u64 = 0x0000_7e12_3456_789a;
const VA_32: u64 = 0x9a45_6789;

/// A kind of paging.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Paging {
    Legacy,
    Pae,
    Long4,
    Long5,
}

const ALL: [Paging; 4] = [Paging::Legacy, Paging::Pae, Paging::Long4, Paging::Long5];

/// A vCPU whose tables map one address.
struct Tables {
    memory: HeapMemory,
    registers: PlainRegisters,
    paging: Paging,
    va: u64,
    /// Where the entry of each level is, from the top down.
    entries: Vec<u64>,
}

impl Tables {
    /// All levels grant all; the entry of the last level is `leaf`, which may be a large page's on
    /// `levels` levels.
    fn new(paging: Paging, levels: usize, leaf: u64) -> Self {
        let mut registers = match paging {
            Paging::Legacy | Paging::Pae => PlainRegisters::protected_32(),
            Paging::Long4 | Paging::Long5 => PlainRegisters::long_mode(0),
        };
        registers.cr0 |= Cr0::PG | Cr0::WP;
        registers.cr3 = TABLES[0];
        let (va, shifts): (u64, &[u32]) = match paging {
            Paging::Legacy => (VA_32, &[22, 12]),
            Paging::Pae => (VA_32, &[30, 21, 12]),
            Paging::Long4 => (VA, &[39, 30, 21, 12]),
            Paging::Long5 => (VA, &[48, 39, 30, 21, 12]),
        };
        match paging {
            Paging::Legacy => registers.cr4 |= Cr4::PSE,
            Paging::Pae => {
                registers.cr4 |= Cr4::PAE;
                registers.efer |= Efer::NXE;
            }
            Paging::Long4 => {}
            Paging::Long5 => registers.cr4 |= Cr4::LA57,
        }
        let (mask, size) = if paging == Paging::Legacy { (0x3ff, 4) } else { (0x1ff, 8) };
        let entries: Vec<u64> = (0..levels)
            .map(|i| {
                let mask = if paging == Paging::Pae && i == 0 { 3 } else { mask };
                TABLES[i] + (va >> shifts[i] & mask) * size
            })
            .collect();
        let tables = Self { memory: HeapMemory::new(2), registers, paging, va, entries };
        for i in 0..levels - 1 {
            // PAE's top entries carry no rights.
            let rights = if paging == Paging::Pae && i == 0 { PRESENT } else { PRESENT | WRITABLE | USER };
            tables.set(i, TABLES[i + 1] | rights);
        }
        tables.set(levels - 1, leaf);
        tables
    }

    fn levels(paging: Paging) -> usize {
        match paging {
            Paging::Legacy => 2,
            Paging::Pae => 3,
            Paging::Long4 => 4,
            Paging::Long5 => 5,
        }
    }

    /// A page of 4 KiB at 0x77000.
    fn small(paging: Paging, rights: u64) -> Self {
        Self::new(paging, Self::levels(paging), 0x7_7000 | rights)
    }

    fn width(&self) -> usize {
        if self.paging == Paging::Legacy { 4 } else { 8 }
    }

    fn set(&self, level: usize, entry: u64) {
        self.memory.write(Gpa::new(self.entries[level]), &entry.to_le_bytes()[..self.width()]).unwrap();
    }

    fn get(&self, level: usize) -> u64 {
        self.memory.read_uint(Gpa::new(self.entries[level]), self.width()).unwrap()
    }

    fn go(&self, access: Access) -> Result<u64, WalkFault> {
        translate(&self.registers, &self.memory, Gva::new(self.va), access).map(Gpa::get)
    }

    /// The error code of the page fault, which must be for the address.
    fn code(&self, access: Access) -> PageFaultCode {
        match self.go(access) {
            Err(WalkFault::Exception(exception)) => {
                assert_eq!(exception.fault_address, Some(self.va));
                PageFaultCode::from_bits(exception.error_code.unwrap()).unwrap()
            }
            other => panic!("{:?}: {other:x?}", self.paging),
        }
    }
}

const FULL: u64 = PRESENT | WRITABLE | USER;
const P: PageFaultCode = PageFaultCode::PRESENT;
const W: PageFaultCode = PageFaultCode::WRITE;
const U: PageFaultCode = PageFaultCode::USER;
const R: PageFaultCode = PageFaultCode::RESERVED;
const I: PageFaultCode = PageFaultCode::FETCH;
const NONE: PageFaultCode = PageFaultCode::empty();

#[test]
fn without_paging_a_linear_address_is_physical() {
    let registers = PlainRegisters::protected_32();
    let memory = HeapMemory::new(2);
    let gpa = translate(&registers, &memory, Gva::new(0x1_8765_4321), Access::WRITE);
    assert_eq!(gpa, Ok(Gpa::new(0x8765_4321)));
}

#[test]
fn small_pages_are_found_in_every_kind_of_tables() {
    for paging in ALL {
        let tables = Tables::small(paging, FULL);
        let expected = 0x7_7000 | tables.va & 0xfff;
        for access in [Access::READ, Access::WRITE, Access::EXECUTE] {
            assert_eq!(tables.go(access), Ok(expected), "{paging:?}");
        }
    }
}

#[test]
fn large_pages_take_more_of_the_address() {
    let cases = [
        (Paging::Legacy, 1, 0x0040_0000, 0x3f_ffff),
        (Paging::Pae, 2, 0x0060_0000, 0x1f_ffff),
        (Paging::Long4, 3, 0x12_3460_0000, 0x1f_ffff),
        (Paging::Long4, 2, 0x12_4000_0000, 0x3fff_ffff),
        (Paging::Long5, 4, 0x12_3460_0000, 0x1f_ffff),
        (Paging::Long5, 3, 0x12_4000_0000, 0x3fff_ffff),
    ];
    for (paging, levels, base, offset) in cases {
        let tables = Tables::new(paging, levels, base | FULL | PAGE_SIZE);
        assert_eq!(tables.go(Access::READ), Ok(base | tables.va & offset), "{paging:?} {levels}");
        if paging != Paging::Legacy {
            // Bit 12 is PAT, not part of the address.
            tables.set(levels - 1, base | FULL | PAGE_SIZE | 1 << 12);
            assert_eq!(tables.go(Access::READ), Ok(base | tables.va & offset), "{paging:?} {levels}");
        }
    }
}

#[test]
fn a_4_mib_page_has_forty_address_bits() {
    let tables = Tables::new(Paging::Legacy, 1, 0x0040_0000 | 0xab << 13 | FULL | PAGE_SIZE);
    assert_eq!(tables.go(Access::READ), Ok(0xab_0040_0000 | VA_32 & 0x3f_ffff));
}

#[test]
fn without_pse_the_page_size_bit_is_ignored() {
    let mut tables = Tables::small(Paging::Legacy, FULL);
    tables.registers.cr4 -= Cr4::PSE;
    tables.set(0, tables.get(0) | PAGE_SIZE);
    assert_eq!(tables.go(Access::READ), Ok(0x7_7000 | VA_32 & 0xfff));
}

#[test]
fn an_absent_entry_on_any_level_faults_with_the_kind_of_the_access() {
    for paging in ALL {
        for level in 0..Tables::levels(paging) {
            let mut tables = Tables::small(paging, FULL);
            tables.set(level, tables.get(level) & !PRESENT);
            let fetch = if paging == Paging::Legacy { NONE } else { I };
            assert_eq!(tables.code(Access::READ), NONE);
            assert_eq!(tables.code(Access::WRITE), W);
            assert_eq!(tables.code(Access::EXECUTE), fetch);
            tables.registers.cpl = 3;
            assert_eq!(tables.code(Access::WRITE), W | U);
            let implicit = Access { implicit_supervisor: true, ..Access::READ };
            assert_eq!(tables.code(implicit), NONE);
        }
    }
}

#[test]
fn a_fetch_is_told_only_where_execution_can_be_forbidden() {
    let mut tables = Tables::small(Paging::Legacy, 0);
    tables.registers.efer |= Efer::NXE;
    assert_eq!(tables.code(Access::EXECUTE), NONE, "no-execute needs PAE");
    tables.registers.cr4 |= Cr4::SMEP;
    assert_eq!(tables.code(Access::EXECUTE), I);
    let mut tables = Tables::small(Paging::Long4, 0);
    tables.registers.efer -= Efer::NXE;
    assert_eq!(tables.code(Access::EXECUTE), NONE);
}

/// CPL 3 needs every level to grant; a supervisor is stopped by WP, SMEP and SMAP alone.
#[test]
fn rights_are_those_of_all_levels_together() {
    const CPL0: u8 = 0;
    const CPL3: u8 = 3;
    let ok = None;
    let (read, write, fetch) = (Access::READ, Access::WRITE, Access::EXECUTE);
    type Setting = fn(&mut PlainRegisters);
    let plain: Setting = |_| {};
    let no_wp: Setting = |r| r.cr0 -= Cr0::WP;
    let smep: Setting = |r| r.cr4 |= Cr4::SMEP;
    let smap: Setting = |r| r.cr4 |= Cr4::SMAP;
    let smap_ac: Setting = |r| {
        r.cr4 |= Cr4::SMAP;
        r.rflags |= Rflags::AC;
    };
    let cases: &[(u64, u8, Access, Setting, Option<PageFaultCode>)] = &[
        // User mode.
        (FULL, CPL3, read, plain, ok),
        (FULL, CPL3, write, plain, ok),
        (FULL, CPL3, fetch, plain, ok),
        (PRESENT | USER, CPL3, read, plain, ok),
        (PRESENT | USER, CPL3, write, plain, Some(P | W | U)),
        (PRESENT | USER, CPL3, write, no_wp, Some(P | W | U)),
        (PRESENT | WRITABLE, CPL3, read, plain, Some(P | U)),
        (PRESENT | WRITABLE, CPL3, write, plain, Some(P | W | U)),
        (PRESENT | WRITABLE, CPL3, fetch, plain, Some(P | U | I)),
        (FULL, CPL3, fetch, smep, ok),
        (FULL, CPL3, read, smap, ok),
        // Supervisor.
        (PRESENT | WRITABLE, CPL0, write, plain, ok),
        (PRESENT, CPL0, read, plain, ok),
        (PRESENT, CPL0, write, plain, Some(P | W)),
        (PRESENT, CPL0, write, no_wp, ok),
        (PRESENT | USER, CPL0, write, plain, Some(P | W)),
        (FULL, CPL0, fetch, plain, ok),
        (FULL, CPL0, fetch, smep, Some(P | I)),
        (PRESENT | WRITABLE, CPL0, fetch, smep, ok),
        (FULL, CPL0, read, smap, Some(P)),
        (FULL, CPL0, write, smap, Some(P | W)),
        (FULL, CPL0, read, smap_ac, ok),
        (PRESENT | USER, CPL0, write, smap_ac, Some(P | W)),
        (PRESENT | WRITABLE, CPL0, write, smap, ok),
        (FULL, CPL0, fetch, smap, ok),
    ];
    for paging in ALL {
        // PAE's top level carries no rights.
        let first = usize::from(paging == Paging::Pae);
        for level in first..Tables::levels(paging) {
            for (i, &(rights, cpl, access, setting, expected)) in cases.iter().enumerate() {
                let mut tables = Tables::small(paging, FULL);
                tables.set(level, tables.get(level) & !FULL | rights);
                tables.registers.cpl = cpl;
                setting(&mut tables.registers);
                let about = format!("{paging:?}, level {level}, case {i}");
                match expected {
                    None => assert!(tables.go(access).is_ok(), "{about}"),
                    Some(mut code) => {
                        if paging == Paging::Legacy && !tables.registers.cr4.contains(Cr4::SMEP) {
                            code -= I;
                        }
                        assert_eq!(tables.code(access), code, "{about}");
                    }
                }
            }
        }
    }
}

#[test]
fn accesses_that_are_a_supervisors_by_nature_pass_at_cpl_3_but_for_smap() {
    let implicit = Access { implicit_supervisor: true, ..Access::READ };
    let mut tables = Tables::small(Paging::Long4, PRESENT);
    tables.registers.cpl = 3;
    assert!(tables.go(implicit).is_ok());
    assert_eq!(tables.code(Access::READ), P | U);
    let mut tables = Tables::small(Paging::Long4, FULL);
    tables.registers.cpl = 3;
    tables.registers.cr4 |= Cr4::SMAP;
    tables.registers.rflags |= Rflags::AC;
    assert_eq!(tables.code(implicit), P, "AC excuses only what an instruction asks for");
}

#[test]
fn no_execute_on_any_level_forbids_fetches_alone() {
    for paging in [Paging::Pae, Paging::Long4, Paging::Long5] {
        let first = usize::from(paging == Paging::Pae);
        for level in first..Tables::levels(paging) {
            let mut tables = Tables::small(paging, FULL);
            tables.set(level, tables.get(level) | NO_EXECUTE);
            assert_eq!(tables.code(Access::EXECUTE), P | I);
            assert!(tables.go(Access::WRITE).is_ok());
            tables.registers.efer -= Efer::NXE;
            assert_eq!(tables.code(Access::READ), P | R, "without NXE the bit is reserved");
        }
    }
}

#[test]
fn reserved_bits_fault_whatever_the_rights_are() {
    let large = FULL | PAGE_SIZE;
    let cases: &[(Paging, usize, u64)] = &[
        // (kind, level of the entry counted from the top, the entry)
        (Paging::Legacy, 0, large | 1 << 21),
        (Paging::Pae, 0, 0x2000 | PRESENT | WRITABLE),
        (Paging::Pae, 0, 0x2000 | PRESENT | USER),
        (Paging::Pae, 0, 0x2000 | PRESENT | 1 << 5),
        (Paging::Pae, 0, 0x2000 | PRESENT | 1 << 8),
        (Paging::Pae, 0, 0x2000 | PRESENT | 1 << 52),
        (Paging::Pae, 0, 0x2000 | PRESENT | NO_EXECUTE),
        (Paging::Pae, 1, 0x3000 | FULL | 1 << 52),
        (Paging::Pae, 1, large | 1 << 13),
        (Paging::Pae, 1, large | 1 << 20),
        (Paging::Pae, 2, 0x7_7000 | FULL | 1 << 62),
        (Paging::Long4, 0, 0x2000 | large),
        (Paging::Long4, 1, large | 1 << 13),
        (Paging::Long4, 1, large | 1 << 29),
        (Paging::Long4, 2, large | 1 << 13),
        (Paging::Long4, 2, large | 1 << 20),
        (Paging::Long5, 0, 0x2000 | large),
        (Paging::Long5, 1, 0x3000 | large),
    ];
    for &(paging, level, entry) in cases {
        let mut tables = Tables::small(paging, FULL);
        tables.set(level, entry);
        let about = format!("{paging:?} {level} {entry:#x}");
        assert_eq!(tables.code(Access::READ), P | R, "{about}");
        tables.registers.cpl = 3;
        assert_eq!(tables.code(Access::WRITE), P | R | W | U, "{about}");
        // Reserved comes before rights, and is not looked at in an absent entry.
        if level > 0 || paging == Paging::Legacy {
            tables.set(level, entry & !USER);
            assert_eq!(tables.code(Access::READ), P | R | U, "{about}");
        }
        tables.set(level, entry & !PRESENT);
        assert_eq!(tables.code(Access::READ), U, "{about}");
    }
    // In long mode bits 62:52 belong to software.
    let tables = Tables::small(Paging::Long4, FULL | 0x7ff0_0000_0000_0000);
    assert!(tables.go(Access::READ).is_ok());
}

#[test]
fn a_walk_marks_what_it_used() {
    for paging in ALL {
        let last = Tables::levels(paging) - 1;
        let first = usize::from(paging == Paging::Pae);
        let tables = Tables::small(paging, FULL);
        let before: Vec<u64> = (0..=last).map(|level| tables.get(level)).collect();
        for (access, leaf) in [(Access::READ, ACCESSED), (Access::WRITE, ACCESSED | DIRTY)] {
            tables.go(access).unwrap();
            for (level, &entry) in before.iter().enumerate() {
                let bits = if level < first {
                    0
                } else if level < last {
                    ACCESSED
                } else {
                    leaf
                };
                assert_eq!(tables.get(level), entry | bits, "{paging:?} {level}");
            }
        }
    }
    let tables = Tables::new(Paging::Legacy, 1, 0x0040_0000 | FULL | PAGE_SIZE);
    tables.go(Access::WRITE).unwrap();
    assert_eq!(tables.get(0), 0x0040_0000 | FULL | PAGE_SIZE | ACCESSED | DIRTY);
}

#[test]
fn a_page_whose_access_faults_is_not_marked() {
    for paging in ALL {
        let tables = Tables::small(paging, PRESENT);
        let last = Tables::levels(paging) - 1;
        tables.code(Access::WRITE);
        assert_eq!(tables.get(last), 0x7_7000 | PRESENT, "{paging:?}");
    }
}

#[test]
fn a_table_outside_of_ram_stops_the_walk() {
    for paging in ALL {
        for level in 0..Tables::levels(paging) - 1 {
            let mut tables = Tables::small(paging, FULL);
            tables.set(level, tables.get(level) & 0xfff | 0x8000_0000);
            match tables.go(Access::READ) {
                Err(WalkFault::TableNotRam(gpa)) => assert_eq!(gpa.get() & !0xfff, 0x8000_0000),
                other => panic!("{paging:?}: {other:?}"),
            }
            tables.registers.cr3 = 0xf000_0000;
            assert!(matches!(tables.go(Access::READ), Err(WalkFault::TableNotRam(_))));
        }
    }
}

#[test]
fn bits_of_cr3_besides_the_address_do_not_matter() {
    let mut tables = Tables::small(Paging::Long4, FULL);
    tables.registers.cr3 |= 0xfff;
    assert!(tables.go(Access::READ).is_ok());
    let mut tables = Tables::small(Paging::Pae, FULL);
    tables.registers.cr3 |= 0xffff_ffff_0000_001f;
    assert!(tables.go(Access::READ).is_ok());
}

/// Another CPU changes an entry between the walk's reading and marking it: no bit may appear in what
/// is there now, and the walk starts again.
#[test]
fn an_entry_that_changed_since_it_was_read_is_not_marked() {
    let tables = Tables::small(Paging::Long4, FULL);
    let (registers, memory) = (&tables.registers, &*tables.memory);
    let walk = Walk { registers, memory, gva: Gva::new(tables.va), access: Access::WRITE };
    let at = Gpa::new(tables.entries[3]);
    let read = tables.get(3);
    for (size, now) in [(8, 0), (8, 0x8_8000 | FULL), (4, 0)] {
        tables.set(3, now);
        assert!(matches!(walk.mark(at, size, read, ACCESSED | DIRTY), Err(Ended::Changed)));
        assert_eq!(tables.get(3), now);
    }
    tables.set(3, read);
    assert!(walk.mark(at, 8, read, ACCESSED | DIRTY).is_ok());
    assert_eq!(tables.get(3), read | ACCESSED | DIRTY);
}

#[test]
fn random_tables_and_addresses_end_in_an_address_or_a_fault() {
    let memory = HeapMemory::new(2);
    let mut state = 0x1234_5678_9abc_def1u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut found = 0;
    for _ in 0..40 {
        for at in (0..0x1_0000).step_by(8) {
            // Mostly tables within the first 64 KiB, so that walks go deep.
            let value = match random() % 4 {
                0 => random(),
                1 => random() & 0xffff | 7,
                _ => random() & 0xf067 | 7,
            };
            memory.write(Gpa::new(at), &value.to_le_bytes()).unwrap();
        }
        for _ in 0..2_000 {
            let mut registers = PlainRegisters::long_mode(random() & 0xf_ffff);
            registers.cr0 = Cr0::from_bits_retain(random()) | Cr0::PG;
            registers.cr4 = Cr4::from_bits_retain(random());
            registers.efer = Efer::from_bits_retain(random());
            registers.cr3 = if random() % 8 == 0 { random() } else { random() & 0xf000 };
            registers.rflags = Rflags::from_bits_retain(random());
            registers.cpl = (random() & 3) as u8;
            let kind = [AccessKind::Read, AccessKind::Write, AccessKind::Execute][(random() % 3) as usize];
            let access = Access { kind, implicit_supervisor: random() % 4 == 0 };
            found += u32::from(translate(&registers, &memory, Gva::new(random()), access).is_ok());
        }
    }
    assert!(found > 1_000, "only {found} walks got anywhere");
}
