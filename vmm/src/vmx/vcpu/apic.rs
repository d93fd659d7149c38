//! The local APIC in hardware: what the VMCS says of the virtual-APIC page, and when it says something else (SDM vol.
//! 3C, chapter 29).
use super::super::apic_view::Roots;
use super::super::controls::{APIC_ACCESSES, Group, X2APIC_MODE};
use super::super::field::{Field, Kept};
use super::super::permission_maps::PermissionMaps;
use super::VmxVcpu;
use crate::backend::Backend;
use crate::platform::apic::{ApicFabric, ApicMode, RegisterPage, Requests};
use crate::platform::map::LOCAL_APIC_BASE;
use alloc::sync::Arc;
use mm::addr::{Gpa, Hpa};
use mm::paging::ept;

/// What the hardware works on for one vCPU's local APIC.
pub(super) struct Apic {
    fabric: Arc<ApicFabric>,
    index: usize,
    mode: ApicMode,
    /// The VMCS says what the mode is.
    told: bool,
    notification_vector: u8,
    /// Physical addresses: of the registers, of the posted-interrupt descriptor.
    registers: Hpa,
    posted: Hpa,
}

impl Apic {
    /// That of vCPU `index`, in the state of [`ApicMode::Disabled`].
    pub fn new(
        fabric: &Arc<ApicFabric>,
        index: usize,
        notification_vector: u8,
        physical: &impl Fn(*const u8) -> Hpa,
    ) -> Self {
        Self {
            fabric: fabric.clone(),
            index,
            mode: ApicMode::Disabled,
            told: false,
            notification_vector,
            registers: physical((&raw const *fabric.registers(index)).cast()),
            posted: physical(fabric.posted_interrupts(index)),
        }
    }

    /// The registers.
    #[inline(always)]
    pub fn registers(&self) -> &RegisterPage {
        self.fabric.registers(self.index)
    }
}

/// How the CPU is to answer for the local APIC.
struct Answer {
    /// Secondary controls.
    control: u32,
    root: Hpa,
    msr_bitmap: u64,
}

impl VmxVcpu {
    /// Writes what stays the same for the life of the vCPU.
    pub(super) fn write_standing_apic_fields(&mut self) {
        let controls = self.capabilities.controls;
        self.vmcs.write(Field::VIRTUAL_APIC_PAGE, self.apic.registers.get());
        if let Roots { with_apic: Some((_, page)), .. } = self.roots {
            self.vmcs.write(Field::APIC_ACCESS_PAGE, page.get());
        }
        if controls.deliver_interrupts() {
            self.write_eoi_exits([0; 4]);
        }
        if controls.post_interrupts() {
            self.vmcs.write(Field::NOTIFICATION_VECTOR, self.apic.notification_vector.into());
            self.vmcs.write(Field::POSTED_INTERRUPTS, self.apic.posted.get());
        }
    }

    /// The end of these interrupts exits.
    fn write_eoi_exits(&mut self, vectors: [u64; 4]) {
        for (word, value) in (0..).zip(vectors) {
            self.vmcs.write(Field(Field::EOI_EXIT_BITMAP.0 + 2 * word), value);
        }
    }

    /// Notes the requests; the VMCS is current.
    pub(super) fn write_requests(&mut self, requests: &Requests) {
        let status = u64::from(requests.in_service) << 8 | u64::from(requests.requested);
        self.vmcs.set(Kept::INTERRUPT_STATUS, status);
        if let Some(level) = requests.level {
            self.write_eoi_exits(level);
        }
    }

    /// Notes the mode, and tells the VMCS now if it can be told.
    pub(super) fn change_apic_mode(&mut self, mode: ApicMode) {
        if self.apic.mode == mode {
            return;
        }
        self.apic.mode = mode;
        self.apic.told = false;
        // What was translated by the other root.
        self.flush_translations();
        if self.vmcs.is_current() {
            self.tell_apic_mode();
        }
    }

    /// Tells the VMCS the mode, unless it knows.
    pub(super) fn tell_apic_mode(&mut self) {
        if self.apic.told {
            return;
        }
        self.apic.told = true;
        let answer = self.answer();
        let secondary = self.capabilities.controls.get(Group::Secondary) | answer.control;
        self.vmcs.write(Field::SECONDARY_CONTROLS, secondary.into());
        self.vmcs.write(Field::EPT_POINTER, ept::pointer(answer.root));
        self.vmcs.write(Field::MSR_BITMAP, answer.msr_bitmap);
    }

    fn answer(&self) -> Answer {
        const FIRST_PLACE: Gpa = Gpa::new(LOCAL_APIC_BASE);
        let controls = self.capabilities.controls;
        let msr_bitmap = self.maps.get() + PermissionMaps::MSR_OFFSET;
        let nothing = Answer { control: 0, root: self.roots.ram, msr_bitmap };
        match (self.apic.mode, self.roots.with_apic) {
            (ApicMode::XApic { page: FIRST_PLACE }, Some((root, _))) => {
                Answer { control: controls.in_mode(APIC_ACCESSES), root, msr_bitmap }
            }
            (ApicMode::X2Apic, _) if controls.in_mode(X2APIC_MODE) != 0 => {
                let msr_bitmap = self.maps.get() + PermissionMaps::X2APIC_OFFSET;
                Answer { control: X2APIC_MODE, msr_bitmap, ..nothing }
            }
            _ => nothing,
        }
    }
}
