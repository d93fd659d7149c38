//! What is written to a VMCS once, or once for each CPU that it comes to.
use super::super::controls::{EXCEPTIONS, Group, PAUSE_LOOP, PREEMPTION_TIMER};
use super::super::field::Field;
use super::super::permission_maps::PermissionMaps;
use super::super::processor::Processor;
use super::VmxVcpu;
use super::registers::CR0_MASK;

/// Fields that are 0 in every VMCS: counts of CR3 targets and of MSRs in the load and store areas, the #PF mask
/// and match, the host's segments but CS and TR, its FS base and what SYSENTER would use.
const ZERO: [u16; 15] = [
    0x400a, 0x400e, 0x4010, 0x4014, 0x4006, 0x4008, 0x0c00, 0x0c04, 0x0c06, 0x0c08, 0x0c0a, 0x6c06, 0x4c00,
    0x6c10, 0x6c12,
];

impl VmxVcpu {
    /// Writes what stays the same for the life of the vCPU.
    pub(super) fn write_standing_fields(&mut self) {
        let controls = self.capabilities.controls;
        let maps = self.maps;
        for (field, value) in [
            (Field::PIN_CONTROLS, controls.get(Group::Pin).into()),
            (Field::EXIT_CONTROLS, controls.get(Group::Exit).into()),
            (Field::EXCEPTION_BITMAP, EXCEPTIONS.into()),
            (Field::IO_BITMAP_A, maps.get()),
            (Field::IO_BITMAP_B, maps.get() + PermissionMaps::IO_B_OFFSET),
            (Field::VMCS_LINK_POINTER, u64::MAX),
            (Field::CR0_MASK, CR0_MASK.bits()),
        ] {
            self.vmcs.write(field, value);
        }
        self.write_standing_apic_fields();
        for field in ZERO {
            self.vmcs.write(Field(field), 0);
        }
        if controls.get(Group::Secondary) & PAUSE_LOOP != 0 {
            // PAUSEs less than 128 ticks apart are one loop; after 4096 ticks in it the guest exits.
            self.vmcs.write(Field::PLE_GAP, 128);
            self.vmcs.write(Field::PLE_WINDOW, 4096);
        }
        if controls.get(Group::Pin) & PREEMPTION_TIMER != 0 {
            // Exits do not save it, so that each entry begins with this value again.
            self.vmcs.write(Field::PREEMPTION_TIMER, self.longest_run.into());
        }
        #[cfg(target_os = "none")]
        self.vmcs.write(Field::HOST_RIP, super::super::switch::exit_point as *const () as u64);
    }

    /// Writes what exits restore on this CPU.
    pub(super) fn write_host_state(&mut self, cpu: &Processor) {
        let host = &cpu.host;
        for (field, value) in [
            (Field::HOST_CR0, host.cr0),
            (Field::HOST_CR3, host.cr3),
            (Field::HOST_CR4, host.cr4),
            (Field::HOST_EFER, host.efer),
            (Field::HOST_PAT, host.pat),
            (Field::HOST_CS_SELECTOR, host.cs.into()),
            (Field::HOST_TR_SELECTOR, host.tr.into()),
            (Field::HOST_TR_BASE, host.tr_base),
            (Field::HOST_GS_BASE, host.gs_base),
            (Field::HOST_GDTR_BASE, host.gdtr_base),
            (Field::HOST_IDTR_BASE, host.idtr_base),
        ] {
            self.vmcs.write(field, value);
        }
        self.host = Some(cpu.number);
    }
}
