//! The last walks for code, remembered.
//!
//! A vCPU that exits over and over does so from few pages, and the walk of its page tables is the
//! longest part of looking at the instruction there. A walk comes to the same end if it starts from the
//! same registers and finds the same entries. So the entries are read again and compared, which takes
//! a third of the time of walking; nothing has to be told when the guest changes its tables or flushes its TLB.
use super::{Access, GuestMemory, WalkFault, Word, translate, walk};
use crate::cpu::Registers;
use core::cell::Cell;
use mm::addr::{Gpa, Gva, PAGE};

/// An entry that the walk read.
#[derive(Default)]
struct Entry {
    at: Cell<Word>,
    value: Cell<u64>,
}

/// Pages whose walks a vCPU remembers: a driver, an interrupt handler and its way out are three.
const PAGES: usize = 8;

/// The last walks of one vCPU for code, with the memory of its VM: one for each residue of the page number.
#[derive(Default)]
pub struct CodeWalk {
    pages: [Walk; PAGES],
}

/// What a walk for code started from, what it read, and where it led.
#[derive(Default)]
struct Walk {
    /// Whether there is one.
    valid: Cell<bool>,
    cpl: Cell<u8>,
    cr3: Cell<u64>,
    cr4: Cell<u64>,
    efer: Cell<u64>,
    /// Linear address of the page.
    from: Cell<u64>,
    /// Guest-physical address of the page.
    to: Cell<Gpa>,
    /// A walk with fewer than four levels repeats its last one.
    entries: [Entry; 4],
}

impl CodeWalk {
    /// The walk that may have been to the page at `from`.
    #[inline(always)]
    fn to_page(&self, from: u64) -> &Walk {
        &self.pages[(from / PAGE) as usize % PAGES]
    }
}

impl Walk {
    /// Whether a walk from these registers would read the same entries from the same places.
    #[inline(always)]
    fn holds<R: Registers>(&self, registers: &R, memory: &GuestMemory, from: u64) -> bool {
        self.valid.get()
            && self.from.get() == from
            && self.cr3.get() == registers.cr3()
            && self.cr4.get() == registers.cr4().bits()
            && self.efer.get() == registers.efer().bits()
            && self.cpl.get() == registers.cpl()
            && self.entries.iter().all(|entry| memory.load_word(entry.at.get()) == Some(entry.value.get()))
    }
}

impl Clone for CodeWalk {
    /// A copy starts with nothing remembered.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl core::fmt::Debug for CodeWalk {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("CodeWalk")
    }
}

/// What it remembers never makes a difference.
impl PartialEq for CodeWalk {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for CodeWalk {}

/// Translates the address of an instruction, by the vCPU's [`CodeWalk`] where it has one.
///
/// # Errors
/// As [`translate`].
#[inline]
pub fn translate_code<R: Registers>(registers: &R, memory: &GuestMemory, gva: Gva) -> Result<Gpa, WalkFault> {
    let Some(walks) = registers.code_walk() else {
        return translate(registers, memory, gva, Access::EXECUTE);
    };
    let from = gva.align_down(PAGE).get();
    let last = walks.to_page(from);
    if last.holds(registers, memory, from) {
        return Ok(last.to.get() + gva.offset_in(PAGE));
    }
    walk_anew(registers, memory, gva, last)
}

#[cold]
#[inline(never)]
fn walk_anew<R: Registers>(
    registers: &R,
    memory: &GuestMemory,
    gva: Gva,
    last: &Walk,
) -> Result<Gpa, WalkFault> {
    let mut level = 0;
    let gpa = walk::straight_to_code(registers, memory, gva, |at, value| {
        let word = memory.word(at).unwrap_or_default();
        for entry in last.entries.iter().skip(level) {
            entry.at.set(word);
            entry.value.set(value);
        }
        level += 1;
    });
    last.valid.set(gpa.is_some());
    let Some(gpa) = gpa else {
        return translate(registers, memory, gva, Access::EXECUTE);
    };
    last.cpl.set(registers.cpl());
    last.cr3.set(registers.cr3());
    last.cr4.set(registers.cr4().bits());
    last.efer.set(registers.efer().bits());
    last.from.set(gva.align_down(PAGE).get());
    last.to.set(gpa.align_down(PAGE));
    Ok(gpa)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Cr4;
    use crate::cpu::plain::PlainRegisters;
    use crate::memory::on_heap::HeapMemory;

    const AT: u64 = 0x20_3456;

    /// Four levels from 0x1000 on that map [`AT`] to 0x77456.
    fn tables() -> (HeapMemory, PlainRegisters) {
        let memory = HeapMemory::new(2);
        for (at, entry) in [(0x1000, 0x2027), (0x2000, 0x3027), (0x3008, 0x4027), (0x4018, 0x7_7027u64)] {
            memory.write(Gpa::new(at), &entry.to_le_bytes()).unwrap();
        }
        (memory, PlainRegisters::long_mode(0x1000))
    }

    #[test]
    fn a_walk_that_finds_the_same_entries_leads_to_the_same_page() {
        let (memory, registers) = tables();
        for offset in [0, 1, 0xa00] {
            let gpa = translate_code(&registers, &memory, Gva::new(AT + offset));
            assert_eq!(gpa, Ok(Gpa::new(0x7_7456 + offset)));
            assert!(registers.code_walk.to_page(AT).valid.get());
        }
    }

    #[test]
    fn walks_to_neighbouring_pages_do_not_replace_each_other() {
        let (memory, registers) = tables();
        memory.write(Gpa::new(0x4020), &0x7_9027u64.to_le_bytes()).unwrap();
        for at in [AT, AT + PAGE] {
            assert!(translate_code(&registers, &memory, Gva::new(at)).is_ok());
        }
        for at in [AT, AT + PAGE] {
            let from = Gva::new(at).align_down(PAGE).get();
            assert!(registers.code_walk.to_page(from).holds(&registers, &memory, from));
        }
    }

    #[test]
    fn a_change_on_any_level_is_seen_at_once() {
        for (at, entry, expected) in [
            (0x1000, 0x2026u64, None),
            (0x2000, 0, None),
            // A large page instead of a table.
            (0x3008, 0x60_00a7, Some(0x60_3456)),
            (0x4018, 0x8_8027, Some(0x8_8456)),
            (0x4018, 0x8_8027 | 1 << 63, None),
        ] {
            let (memory, registers) = tables();
            assert!(translate_code(&registers, &memory, Gva::new(AT)).is_ok());
            memory.write(Gpa::new(at), &entry.to_le_bytes()).unwrap();
            for _ in 0..2 {
                let gpa = translate_code(&registers, &memory, Gva::new(AT));
                assert_eq!(gpa.ok().map(Gpa::get), expected, "{at:#x} {entry:#x}");
                assert_eq!(gpa, translate(&registers, &memory, Gva::new(AT), Access::EXECUTE));
            }
        }
    }

    #[test]
    fn another_page_another_table_and_other_rights_are_walked_anew() {
        let (memory, mut registers) = tables();
        let go = |registers: &PlainRegisters, at| translate_code(registers, &memory, Gva::new(at));
        assert!(go(&registers, AT).is_ok());
        assert!(go(&registers, AT + PAGE).is_err());
        assert!(go(&registers, AT).is_ok());
        registers.cpl = 3;
        assert!(go(&registers, AT).is_ok());
        registers.cpl = 0;
        registers.cr4 |= Cr4::SMEP;
        assert!(go(&registers, AT).is_err(), "a user page");
        registers.cr4 -= Cr4::SMEP;
        assert!(go(&registers, AT).is_ok());
        registers.cr3 = 0x5000;
        assert!(go(&registers, AT).is_err());
    }

    #[test]
    fn nothing_is_remembered_outside_of_four_level_paging() {
        let memory = HeapMemory::new(2);
        let registers = PlainRegisters::protected_32();
        assert_eq!(translate_code(&registers, &memory, Gva::new(0x1234)), Ok(Gpa::new(0x1234)));
        assert!(!registers.code_walk.to_page(0x1234).valid.get());
    }
}
