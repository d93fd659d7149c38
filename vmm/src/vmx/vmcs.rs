//! One vCPU's VMCS: its region, and the values that are kept beside it.
//!
//! A VMCS is no memory: while it is a CPU's current one its fields are reached by VMREAD and VMWRITE only, and
//! else not at all. So each value that the hypervisor works with is kept here ([`Kept`]): read when it is
//! first asked for after an exit, written before the next entry if it changed. What was not read while the
//! VMCS was current can't be read any more; whoever asks then gets the last value that was.
//!
//! On a host, where there is no VMX, tests have a model: a map from encodings to values.
use super::field::{Field, Kept};
use alloc::boxed::Box;
use core::cell::Cell;
use mm::addr::Hpa;

/// The region (SDM vol. 3C, 24.2): the revision identifier, the abort indicator, and what the CPU likes.
#[repr(C, align(4096))]
struct Region([u32; 1024]);

/// A VMCS and its kept values.
pub struct Vmcs {
    _region: Box<Region>,
    #[cfg_attr(not(target_os = "none"), allow(dead_code))]
    address: Hpa,
    values: [Cell<u64>; Kept::COUNT],
    /// Values that are the VMCS's, or are to be.
    known: Cell<u64>,
    /// Values that are to be written.
    changed: u64,
    /// It was a CPU's current one before.
    used: bool,
    /// It is this CPU's current one.
    current: bool,
    /// It was entered since it was made current.
    launched: bool,
    #[cfg(not(target_os = "none"))]
    model: core::cell::RefCell<alloc::collections::BTreeMap<Field, u64>>,
}

impl Vmcs {
    /// An empty one. `physical` tells the physical address of an object on the hypervisor's heap.
    pub fn new(revision: u32, physical: impl Fn(*const u8) -> Hpa) -> Self {
        let region = Box::new(Region(core::array::from_fn(|i| if i == 0 { revision } else { 0 })));
        let address = physical((&raw const *region).cast());
        Self {
            _region: region,
            address,
            values: [const { Cell::new(0) }; Kept::COUNT],
            known: Cell::new(0),
            changed: 0,
            used: false,
            current: false,
            launched: false,
            #[cfg(not(target_os = "none"))]
            model: Default::default(),
        }
    }

    /// Whether no turn has begun with it yet: its fields are undefined.
    pub fn is_new(&self) -> bool {
        !self.used
    }

    /// Whether it is a CPU's current one.
    pub fn is_current(&self) -> bool {
        self.current
    }

    /// Makes it the CPU's current VMCS. It is no other CPU's: its last turn ended with [`Self::leave`].
    pub fn arrive(&mut self) {
        #[cfg(target_os = "none")]
        #[allow(unsafe_code)]
        // SAFETY: a turn begins on a CPU that is in VMX operation; the region was made with its revision and
        // is written by nobody.
        unsafe {
            if !self.used {
                // The region's content is not a VMCS yet.
                super::instructions::vmclear(self.address);
            }
            super::instructions::vmptrld(self.address);
        }
        self.used = true;
        self.current = true;
        self.launched = false;
    }

    /// The CPU forgets it, so that the next turn can be on another.
    pub fn leave(&mut self) {
        self.current = false;
        #[cfg(target_os = "none")]
        #[allow(unsafe_code)]
        // SAFETY: the CPU is in VMX operation, and this is its current VMCS.
        unsafe {
            super::instructions::vmclear(self.address);
        }
    }

    /// Reads a field that is not kept. 0 where the VMCS is not current.
    #[inline(always)]
    #[allow(unsafe_code)] // VMREAD
    pub fn read(&self, field: Field) -> u64 {
        if !self.current {
            return 0;
        }
        self.read_current(field)
    }

    #[cfg(target_os = "none")]
    #[inline(always)]
    #[allow(unsafe_code)] // VMREAD
    fn read_current(&self, field: Field) -> u64 {
        // SAFETY: it is the current one: `arrive` made it so, on this CPU.
        unsafe { super::instructions::vmread(field) }
    }

    #[cfg(not(target_os = "none"))]
    fn read_current(&self, field: Field) -> u64 {
        self.model.borrow().get(&field).copied().unwrap_or(0)
    }

    /// Writes a field that is not kept, of the current VMCS.
    #[inline(always)]
    pub fn write(&mut self, field: Field, value: u64) {
        debug_assert!(self.current, "a VMCS is written that is not current");
        #[cfg(target_os = "none")]
        #[allow(unsafe_code)] // VMWRITE
        // SAFETY: it is the current one; what a guest reaches is set by `vcpu::VmxVcpu` alone, which gives it
        // its own nested tables and nothing of the host's.
        unsafe {
            super::instructions::vmwrite(field, value);
        }
        #[cfg(not(target_os = "none"))]
        self.model.borrow_mut().insert(field, value);
    }

    /// A kept field's value.
    #[inline(always)]
    pub fn get(&self, kept: Kept) -> u64 {
        if self.known.get() & kept.bit() == 0 {
            self.fetch(kept);
        }
        self.values[kept.index()].get()
    }

    #[inline(always)]
    fn fetch(&self, kept: Kept) {
        if self.current {
            self.values[kept.index()].set(self.read_current(kept.field()));
            self.known.set(self.known.get() | kept.bit());
        }
    }

    /// Changes a kept field.
    #[inline(always)]
    pub fn set(&mut self, kept: Kept, value: u64) {
        self.values[kept.index()].set(value);
        self.known.set(self.known.get() | kept.bit());
        self.changed |= kept.bit();
    }

    /// Notes a value that the hardware has written by itself.
    #[inline(always)]
    pub fn note(&mut self, kept: Kept, value: u64) {
        self.values[kept.index()].set(value);
        self.known.set(self.known.get() | kept.bit());
    }

    /// Writes what changed. The guest is entered next.
    #[inline(always)]
    pub fn flush(&mut self) {
        let mut changed = core::mem::take(&mut self.changed);
        while changed != 0 {
            let kept = Kept::from_number(changed.trailing_zeros());
            changed &= changed - 1;
            self.write(kept.field(), self.values[kept.index()].get());
        }
    }

    /// The guest has run: what it may have changed is not known any more.
    #[inline(always)]
    pub fn guest_ran(&mut self) {
        self.known.set(self.known.get() & !Kept::OF_THE_GUEST);
        self.launched = true;
    }

    /// Whether VMRESUME enters it, not VMLAUNCH.
    #[cfg_attr(not(target_os = "none"), allow(dead_code))]
    #[inline(always)]
    pub fn launched(&self) -> bool {
        self.launched
    }

    /// What the CPU changes while the guest runs.
    #[cfg(test)]
    pub fn set_model(&mut self, field: Field, value: u64) {
        self.model.borrow_mut().insert(field, value);
    }

    /// What the CPU finds when the guest is entered.
    #[cfg(test)]
    pub fn model(&self, field: Field) -> u64 {
        self.read_current(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vmcs() -> Vmcs {
        let mut vmcs = Vmcs::new(4, |_| Hpa::new(0x1000));
        vmcs.arrive();
        vmcs
    }

    #[test]
    fn a_field_is_read_once_until_the_guest_runs_again() {
        let mut vmcs = vmcs();
        vmcs.set_model(Kept::RIP.field(), 0x1000);
        assert_eq!(vmcs.get(Kept::RIP), 0x1000);
        vmcs.set_model(Kept::RIP.field(), 0x2000);
        assert_eq!(vmcs.get(Kept::RIP), 0x1000);
        vmcs.guest_ran();
        assert_eq!(vmcs.get(Kept::RIP), 0x2000);
    }

    #[test]
    fn what_changed_is_written_once_before_the_next_entry() {
        let mut vmcs = vmcs();
        vmcs.set(Kept::RIP, 5);
        vmcs.set(Kept::RIP, 7);
        assert_eq!(vmcs.model(Kept::RIP.field()), 0);
        vmcs.flush();
        assert_eq!(vmcs.model(Kept::RIP.field()), 7);
        vmcs.set_model(Kept::RIP.field(), 9);
        vmcs.flush();
        assert_eq!(vmcs.model(Kept::RIP.field()), 9, "nothing is written twice");
    }

    #[test]
    fn a_vmcs_that_no_cpu_has_keeps_what_was_last_known_and_what_is_to_be_written() {
        let mut vmcs = vmcs();
        vmcs.set_model(Kept::RIP.field(), 0x1000);
        assert_eq!(vmcs.get(Kept::RIP), 0x1000);
        vmcs.leave();
        vmcs.set(Kept::TSC_OFFSET, 3);
        assert_eq!(
            (vmcs.get(Kept::RIP), vmcs.get(Kept::RFLAGS), vmcs.read(Field::EXIT_REASON)),
            (0x1000, 0, 0)
        );
        vmcs.arrive();
        vmcs.set_model(Kept::RFLAGS.field(), 2);
        assert_eq!(vmcs.get(Kept::RFLAGS), 2, "what was not known is read now");
        vmcs.flush();
        assert_eq!(vmcs.model(Kept::TSC_OFFSET.field()), 3);
    }

    #[test]
    fn each_turn_begins_with_a_launch() {
        let mut vmcs = vmcs();
        assert!(!vmcs.launched());
        vmcs.guest_ran();
        assert!(vmcs.launched());
        vmcs.leave();
        vmcs.arrive();
        assert!(!vmcs.launched());
    }
}
