//! The back end of one vCPU: its VMCS and what the VMCS does not hold.
use super::beside::{self, Beside};
use super::consistency;
use super::controls::{
    EXCEPTIONS, Group, IA32E_MODE_GUEST, INTERRUPT_WINDOW, NMI_WINDOW, PAUSE_LOOP, PREEMPTION_TIMER,
};
use super::decode::{self, Reason};
use super::event;
use super::field::{Field, Kept, LDTR, TR};
use super::interruptibility as blocking;
use super::permission_maps::PermissionMaps;
use super::processor::{Capabilities, Processor};
use super::segment;
use super::vmcs::Vmcs;
use crate::asid::{Asid, Renewal};
use crate::backend::{Backend, HardwareMsr, InitialState};
use crate::cpu::{Cr0, Cr4, Efer, Gpr, Registers, Rflags, Segment, SegmentRegister, Vector};
use crate::exit::{Event, Exit};
use crate::extended;
use crate::memory::CodeWalk;
use alloc::boxed::Box;
use core::fmt;
use mm::addr::Hpa;
use mm::paging::ept;

/// PAT (SDM vol. 3A, 11.12.4). All other model-specific registers are 0 at power-on.
const PAT_AT_POWER_ON: u64 = 0x0007_0406_0007_0406;

/// Bits of CR0 that the guest sees as it wrote them, and that are the hypervisor's in truth: NE must be 1 in VMX
/// operation, and what CD and NW do to the caches would last beyond the exit (SDM vol. 3C, 27.5.1).
const CR0_MASK: Cr0 = Cr0::NE.union(Cr0::CD).union(Cr0::NW);

/// Bits of CR4 that are never the guest's alone: VMXE must be 1 in VMX operation, and a machine check without MCE
/// would shut the machine down.
const CR4_KEPT: Cr4 = Cr4::VMXE.union(Cr4::MCE);

/// IA32_DEBUGCTL: single-stepping on branches. The only bit that the hardware gets: last-branch records can't be
/// read by a guest, and bits 5:2 are AMD's.
const DEBUGCTL_BTF: u64 = 1 << 1;

/// Bits of DR6 that the exit for a #DB tells (SDM vol. 3C, table 27-1): B0 to B3, BD, BS.
const DR6_CAUSES: u64 = 0x600f;
const DR6_BS: u64 = 1 << 14;
const DR7_GD: u64 = 1 << 13;

/// Fields that are 0 in every VMCS: counts of CR3 targets and of MSRs in the load and store areas, the #PF mask
/// and match, the host's segments but CS and TR, its FS base and what SYSENTER would use.
const ZERO: [u16; 16] = [
    0x400a, 0x400e, 0x4010, 0x4014, 0x4006, 0x4008, 0x401c, 0x0c00, 0x0c04, 0x0c06, 0x0c08, 0x0c0a, 0x6c06,
    0x4c00, 0x6c10, 0x6c12,
];

/// The virtual-APIC page (SDM vol. 3C, 29.1.1), of which the hardware reads the task priority.
#[repr(C, align(4096))]
struct VirtualApic([u32; 1024]);

impl VirtualApic {
    const TASK_PRIORITY: usize = 0x80 / 4;
}

/// A vCPU on VT-x.
pub struct VmxVcpu {
    vmcs: Vmcs,
    /// General registers by number; RSP is in the VMCS.
    gprs: [u64; 16],
    beside: Beside,
    virtual_apic: Box<VirtualApic>,
    capabilities: Capabilities,
    /// What the preemption timer counts down from at each entry.
    longest_run: u32,
    vpid: Asid,
    /// Basic reason of the last exit, with the upper bits of the field.
    reason: u32,
    /// The last exit was by an instruction.
    by_instruction: bool,
    /// Whether the instruction that enters failed, before it looked at the guest's state.
    refused: bool,
    interrupted: Option<Event>,
    /// IA32_DEBUGCTL as the guest wrote it.
    debugctl: u64,
    tsc_aux: u64,
    /// The CPU whose state the VMCS's host area has.
    host: Option<usize>,
    /// What its HOST_RSP is.
    #[cfg_attr(not(target_os = "none"), allow(dead_code))]
    host_stack: u64,
    /// Physical addresses: of the permission maps, the nested tables, the virtual-APIC page.
    pages: [Hpa; 3],
    code_walk: CodeWalk,
    #[cfg(test)]
    next_exit: Option<NextExit>,
}

#[cfg(test)]
type NextExit = Box<dyn FnOnce(&mut Vmcs) + Send>;

impl VmxVcpu {
    /// A vCPU that is to be [`Backend::reset`] before it runs.
    ///
    /// `maps` is the physical address of a [`PermissionMaps`], `nested_root` of the VM's nested page
    /// table. The guest runs for at most a millisecond without an exit, of which there are `tsc_hz` / 1000 ticks
    /// of the TSC. `physical` tells the physical address of an object on the hypervisor's heap.
    pub fn new(
        maps: Hpa,
        nested_root: Hpa,
        capabilities: &Capabilities,
        tsc_hz: u64,
        physical: impl Fn(*const u8) -> Hpa,
    ) -> Self {
        let virtual_apic = Box::new(VirtualApic([0; 1024]));
        let pages = [maps, nested_root, physical((&raw const *virtual_apic).cast())];
        let mut vmcs = Vmcs::new(capabilities.revision, physical);
        for (kept, value) in [
            (Kept::PRIMARY_CONTROLS, capabilities.controls.get(Group::Primary).into()),
            (Kept::PAT, PAT_AT_POWER_ON),
            (Kept::CR4_MASK, u64::MAX),
        ] {
            vmcs.set(kept, value);
        }
        for kept in [
            Kept::ACTIVITY,
            Kept::DEBUGCTL,
            Kept::SYSENTER_CS,
            Kept::SYSENTER_ESP,
            Kept::SYSENTER_EIP,
            Kept::TSC_OFFSET,
            Kept::ENTRY_EVENT,
            Kept::ENTRY_ERROR_CODE,
        ] {
            vmcs.set(kept, 0);
        }
        Self {
            vmcs,
            gprs: [0; 16],
            beside: Beside::new(),
            virtual_apic,
            capabilities: *capabilities,
            longest_run: ((tsc_hz / 1000) >> capabilities.timer_shift).clamp(1, u32::MAX.into()) as u32,
            vpid: Asid::default(),
            reason: 0,
            by_instruction: false,
            refused: false,
            interrupted: None,
            debugctl: 0,
            tsc_aux: 0,
            host: None,
            host_stack: 0,
            pages,
            code_walk: CodeWalk::default(),
            #[cfg(test)]
            next_exit: None,
        }
    }

    /// What the CPU does to the VMCS when the guest is entered next.
    #[cfg(test)]
    pub(crate) fn next_exit(&mut self, run: impl FnOnce(&mut Vmcs) + Send + 'static) {
        self.next_exit = Some(Box::new(run));
    }

    /// Writes what stays the same for the life of the vCPU.
    fn write_standing_fields(&mut self) {
        let controls = self.capabilities.controls;
        let [maps, nested_root, virtual_apic] = self.pages;
        for (field, value) in [
            (Field::PIN_CONTROLS, controls.get(Group::Pin).into()),
            (Field::SECONDARY_CONTROLS, controls.get(Group::Secondary).into()),
            (Field::EXIT_CONTROLS, controls.get(Group::Exit).into()),
            (Field::EXCEPTION_BITMAP, EXCEPTIONS.into()),
            (Field::IO_BITMAP_A, maps.get()),
            (Field::IO_BITMAP_B, maps.get() + PermissionMaps::IO_B_OFFSET),
            (Field::MSR_BITMAP, maps.get() + PermissionMaps::MSR_OFFSET),
            (Field::EPT_POINTER, ept::pointer(nested_root)),
            (Field::VIRTUAL_APIC_PAGE, virtual_apic.get()),
            (Field::VMCS_LINK_POINTER, u64::MAX),
            (Field::CR0_MASK, CR0_MASK.bits()),
        ] {
            self.vmcs.write(field, value);
        }
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
        self.vmcs.write(Field::HOST_RIP, super::switch::exit_point as *const () as u64);
    }

    /// Writes what exits restore on this CPU.
    fn write_host_state(&mut self, cpu: &Processor) {
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

    /// Everything before the entry but the instruction.
    #[inline]
    fn prepare(&mut self, cpu: &mut Processor) {
        if self.capabilities.controls.vpid() {
            let renewal = cpu.vpids.renew(&mut self.vpid);
            if renewal != Renewal::Kept {
                self.use_new_vpid(renewal);
            }
        }
        self.vmcs.flush();
    }

    #[cold]
    fn use_new_vpid(&mut self, renewal: Renewal) {
        self.vmcs.set(Kept::VPID, self.vpid.number.into());
        #[cfg(target_os = "none")]
        #[allow(unsafe_code)]
        if renewal == Renewal::NewAfterFlush {
            // SAFETY: the CPU is in VMX operation; VPIDs are used only where INVVPID can drop them all.
            unsafe { super::instructions::invvpid_all() };
        }
        let _ = renewal;
    }

    /// Everything after an exit but the instruction.
    #[inline]
    fn conclude(&mut self) -> Exit {
        self.vmcs.guest_ran();
        // Each exit makes it invalid in the VMCS.
        self.vmcs.note(Kept::ENTRY_EVENT, 0);
        self.reason = self.vmcs.read(Field::EXIT_REASON) as u32;
        let reason = Reason(self.reason as u16);
        self.by_instruction = reason.is_instruction();
        let exit = decode::decode(&self.vmcs, reason);
        if !self.by_instruction {
            self.look_behind(&exit, reason);
        }
        exit
    }

    /// What else there is to an exit that is not by an instruction.
    fn look_behind(&mut self, exit: &Exit, reason: Reason) {
        match *exit {
            Exit::HostInterrupt => return,
            Exit::InterruptWindow => return self.want_interrupt_window(false),
            Exit::NmiWindow => return self.set_primary(NMI_WINDOW, false),
            Exit::Int1 => self.by_instruction = true,
            Exit::Exception(exception) if exception.vector == Vector::DB => self.take_debug_exception(),
            Exit::EntryFailed => return,
            _ => {}
        }
        let vectoring = self.vmcs.read(Field::VECTORING) as u32;
        if vectoring & event::VALID != 0 {
            let code = self.vmcs.read(Field::VECTORING_ERROR_CODE) as u32;
            self.interrupted = event::interrupted(vectoring, || code);
            if self.interrupted == Some(Event::Nmi) {
                // Its handler has not begun: it is to be delivered again.
                self.set_blocking(blocking::BY_NMI, false);
            }
            return;
        }
        // An IRET that faults has ended the blocking of NMIs: it is to be executed again (SDM vol. 3C, 31.7.1.2).
        let information = match reason {
            Reason::EPT_VIOLATION => self.vmcs.read(Field::EXIT_QUALIFICATION) as u32,
            Reason::EXCEPTION_OR_NMI => self.vmcs.read(Field::EXIT_INTERRUPTION) as u32,
            _ => 0,
        };
        if information & event::NMI_UNBLOCKED != 0 {
            self.set_blocking(blocking::BY_NMI, true);
        }
    }

    /// Does to DR6 what the #DB would have done that exited (SDM vol. 3C, 27.1).
    fn take_debug_exception(&mut self) {
        let causes = self.vmcs.read(Field::EXIT_QUALIFICATION) & DR6_CAUSES;
        self.beside.set_dr6(self.beside.dr6() & !0xf | causes);
    }

    /// Does to DR7 and IA32_DEBUGCTL what delivery of any #DB does, but for injected ones (SDM vol. 3B, 17.2.4 and
    /// 17.4.1): its handler can write debug registers, and steps by instructions.
    fn enter_debug_handler(&mut self) {
        for (kept, bit) in [(Kept::DR7, DR7_GD), (Kept::DEBUGCTL, DEBUGCTL_BTF)] {
            let value = self.vmcs.get(kept);
            if value & bit != 0 {
                self.vmcs.set(kept, value & !bit);
            }
        }
    }

    fn set_blocking(&mut self, which: u64, on: bool) {
        let state = self.vmcs.get(Kept::INTERRUPTIBILITY);
        self.vmcs.set(Kept::INTERRUPTIBILITY, if on { state | which } else { state & !which });
    }

    #[inline]
    fn set_primary(&mut self, control: u32, on: bool) {
        let (old, control) = (self.vmcs.get(Kept::PRIMARY_CONTROLS), u64::from(control));
        if (old & control != 0) != on {
            self.vmcs.set(Kept::PRIMARY_CONTROLS, old ^ control);
        }
    }

    /// Behind STI and MOV SS the pending single step must be told (SDM vol. 3C, 26.3.1.5). An exit for an
    /// exception does not tell it.
    fn tell_single_step(&mut self) {
        if self.vmcs.get(Kept::INTERRUPTIBILITY) & blocking::SHADOW == 0 {
            return;
        }
        let steps = self.rflags().contains(Rflags::TF) && self.vmcs.get(Kept::DEBUGCTL) & DEBUGCTL_BTF == 0;
        let others = self.vmcs.get(Kept::PENDING_DEBUG) & !DR6_BS;
        self.vmcs.set(Kept::PENDING_DEBUG, if steps { others | DR6_BS } else { others });
    }

    /// Sets EFER and the control that must agree with its LMA.
    fn write_efer(&mut self, efer: Efer) {
        let long = if efer.contains(Efer::LMA) { IA32E_MODE_GUEST } else { 0 };
        let controls = self.capabilities.controls.get(Group::Entry) | long;
        self.vmcs.set(Kept::ENTRY_CONTROLS, controls.into());
        self.vmcs.set(Kept::EFER, efer.bits());
    }

    fn write_cr0(&mut self, value: Cr0) {
        self.vmcs.set(Kept::CR0_SHADOW, value.bits());
        self.vmcs.set(Kept::CR0, (value.difference(CR0_MASK) | Cr0::NE | Cr0::ET).bits());
    }

    fn write_cr4(&mut self, value: Cr4) {
        self.vmcs.set(Kept::CR4_SHADOW, value.bits());
        self.vmcs.set(Kept::CR4, (value | CR4_KEPT).bits());
    }

    fn write_segment(&mut self, number: u8, value: Segment) {
        self.vmcs.set(Kept::selector(number), value.selector.into());
        self.vmcs.set(Kept::rights(number), segment::rights(value.attributes).into());
        self.vmcs.set(Kept::limit(number), value.limit.into());
        self.vmcs.set(Kept::base(number), value.base);
    }
}

impl Registers for VmxVcpu {
    #[inline(always)]
    fn gpr(&self, register: Gpr) -> u64 {
        if register == Gpr::Rsp { self.vmcs.get(Kept::RSP) } else { self.gprs[register as usize] }
    }

    #[inline(always)]
    fn set_gpr(&mut self, register: Gpr, value: u64) {
        if register == Gpr::Rsp {
            self.vmcs.set(Kept::RSP, value);
        } else {
            self.gprs[register as usize] = value;
        }
    }

    #[inline(always)]
    fn rip(&self) -> u64 {
        self.vmcs.get(Kept::RIP)
    }

    #[inline(always)]
    fn set_rip(&mut self, rip: u64) {
        self.vmcs.set(Kept::RIP, rip);
    }

    #[inline(always)]
    fn rflags(&self) -> Rflags {
        Rflags::from_bits_retain(self.vmcs.get(Kept::RFLAGS))
    }

    #[inline(always)]
    fn set_rflags(&mut self, flags: Rflags) {
        self.vmcs.set(Kept::RFLAGS, flags.bits());
    }

    #[inline]
    fn segment(&self, register: SegmentRegister) -> Segment {
        let number = register as u8;
        Segment {
            selector: self.vmcs.get(Kept::selector(number)) as u16,
            attributes: segment::attributes(self.vmcs.get(Kept::rights(number)) as u32),
            limit: self.vmcs.get(Kept::limit(number)) as u32,
            base: self.vmcs.get(Kept::base(number)),
        }
    }

    #[inline(always)]
    fn cr0(&self) -> Cr0 {
        let (own, shadow) = (self.vmcs.get(Kept::CR0), self.vmcs.get(Kept::CR0_SHADOW));
        Cr0::from_bits_retain(own & !CR0_MASK.bits() | shadow & CR0_MASK.bits())
    }

    #[inline(always)]
    fn cr3(&self) -> u64 {
        self.vmcs.get(Kept::CR3)
    }

    #[inline(always)]
    fn cr4(&self) -> Cr4 {
        let mask = self.vmcs.get(Kept::CR4_MASK);
        let (own, shadow) = (self.vmcs.get(Kept::CR4), self.vmcs.get(Kept::CR4_SHADOW));
        Cr4::from_bits_retain(own & !mask | shadow & mask)
    }

    #[inline(always)]
    fn efer(&self) -> Efer {
        Efer::from_bits_retain(self.vmcs.get(Kept::EFER))
    }

    /// The privilege level of SS, whether or not it can be used (SDM vol. 3C, 24.4.1).
    #[inline(always)]
    fn cpl(&self) -> u8 {
        (self.vmcs.get(Kept::rights(SegmentRegister::Ss as u8)) >> 5 & 3) as u8
    }

    #[inline(always)]
    fn code_walk(&self) -> Option<&CodeWalk> {
        Some(&self.code_walk)
    }

    #[inline]
    fn in_64_bit_code(&self) -> bool {
        const LONG: u64 = 1 << 13;
        self.efer().contains(Efer::LMA) && self.vmcs.get(Kept::rights(SegmentRegister::Cs as u8)) & LONG != 0
    }

    fn xmm(&self, register: u8) -> u128 {
        extended::read_xmm(register)
    }

    fn set_xmm(&mut self, register: u8, value: u128) {
        extended::write_xmm(register, value);
    }

    fn clear_above_xmm(&mut self, register: u8) -> bool {
        extended::clear_above_xmm(register);
        true
    }
}

impl Backend for VmxVcpu {
    type Cpu = Processor;

    #[cfg(target_os = "none")]
    #[inline]
    #[allow(unsafe_code)] // The world switch.
    fn enter(&mut self, cpu: &mut Processor) -> Exit {
        use super::instructions;
        self.prepare(cpu);
        // SAFETY: `begin_turn` made the VMCS this CPU's current one, with this CPU's host state. It was built by
        // `new`, which gave it the VM's own nested page table and maps that let everything exit that could reach
        // the host. Interrupts are disabled, by contract.
        let failed = unsafe {
            super::switch::run_guest(&raw mut self.gprs, self.vmcs.launched(), &raw mut self.host_stack)
        };
        let exit = if failed == 0 { self.conclude() } else { self.refuse() };
        if matches!(exit, Exit::HostNmi) {
            instructions::take_nmi();
        }
        instructions::enable_interrupts();
        exit
    }

    /// There is no guest to enter in a test on the host: only the book-keeping around it is done, and the
    /// checks that VM entry would do.
    #[cfg(not(target_os = "none"))]
    fn enter(&mut self, cpu: &mut Processor) -> Exit {
        self.prepare(cpu);
        if consistency::first_broken(&self.vmcs, &self.capabilities).is_some() {
            return self.refuse();
        }
        #[cfg(test)]
        if let Some(run) = self.next_exit.take() {
            run(&mut self.vmcs);
        }
        self.conclude()
    }

    #[inline]
    fn next_rip(&self) -> Option<u64> {
        self.by_instruction.then(|| decode::next_rip(&self.vmcs))
    }

    #[inline]
    fn advance(&mut self, next_rip: u64) {
        self.vmcs.set(Kept::RIP, next_rip);
        if self.vmcs.get(Kept::INTERRUPTIBILITY) & blocking::SHADOW != 0 {
            self.set_blocking(blocking::SHADOW, false);
        }
    }

    fn inject(&mut self, event: Event) {
        let protected_mode = match event {
            Event::Interrupt(_) => true,
            Event::Nmi => {
                // An NMI is taken behind STI; the shadow ends with that.
                self.set_blocking(blocking::BY_STI, false);
                true
            }
            Event::Exception(exception) => {
                if let Some(address) = exception.fault_address {
                    self.set_cr2(address);
                }
                if exception.vector == Vector::DB {
                    self.enter_debug_handler();
                }
                self.tell_single_step();
                self.cr0().contains(Cr0::PE)
            }
        };
        let (information, error_code) = event::injected(event, protected_mode);
        self.vmcs.set(Kept::ENTRY_EVENT, information.into());
        if error_code != self.vmcs.get(Kept::ENTRY_ERROR_CODE) as u32 {
            self.vmcs.set(Kept::ENTRY_ERROR_CODE, error_code.into());
        }
    }

    #[inline]
    fn interrupted_event(&mut self) -> Option<Event> {
        self.interrupted.take()
    }

    #[inline]
    fn interrupts_open(&self) -> bool {
        self.rflags().contains(Rflags::IF) && self.vmcs.get(Kept::INTERRUPTIBILITY) & blocking::SHADOW == 0
    }

    fn nmi_open(&self) -> bool {
        self.vmcs.get(Kept::INTERRUPTIBILITY) & (blocking::BY_NMI | blocking::BY_MOV_SS) == 0
    }

    #[inline]
    fn want_interrupt_window(&mut self, wanted: bool) {
        self.set_primary(INTERRUPT_WINDOW, wanted);
    }

    fn want_nmi_window(&mut self) {
        self.set_primary(NMI_WINDOW, true);
    }

    fn set_cr0(&mut self, value: Cr0) {
        self.write_cr0(value);
        let mut efer = self.efer();
        efer.set(Efer::LMA, efer.contains(Efer::LME) && value.contains(Cr0::PG));
        self.write_efer(efer);
        self.flush_translations();
    }

    fn set_cr2(&mut self, value: u64) {
        self.beside.set_cr2(value);
    }

    fn set_dr6_single_step(&mut self) {
        self.beside.set_dr6(self.beside.dr6() | DR6_BS);
    }

    fn set_cr3(&mut self, value: u64) {
        self.vmcs.set(Kept::CR3, value);
        self.flush_translations();
    }

    fn set_cr4(&mut self, value: Cr4) {
        self.write_cr4(value);
        self.flush_translations();
    }

    fn allow_cr4(&mut self, allowed: Cr4) {
        let may = Cr4::from_bits_retain(self.capabilities.cr4.may);
        self.vmcs.set(Kept::CR4_MASK, !(allowed & may).difference(CR4_KEPT).bits());
    }

    /// What exits is a change of a bit that the guest does not own. With that bit as it wants it in the read
    /// shadow, the same MOV does not exit, and the CPU does all that it entails: LMA, PDPTEs, the TLB.
    fn left_to_hardware(&mut self, cr: u8, value: u64) -> bool {
        let shadow = if cr == 0 { Kept::CR0_SHADOW } else { Kept::CR4_SHADOW };
        self.vmcs.set(shadow, value);
        true
    }

    fn set_efer(&mut self, value: Efer) {
        self.write_efer(value);
        self.flush_translations();
    }

    fn set_segment(&mut self, register: SegmentRegister, value: Segment) {
        self.write_segment(register as u8, value);
    }

    #[inline]
    fn cr8(&self) -> u8 {
        (self.virtual_apic.0[VirtualApic::TASK_PRIORITY] >> 4 & 0xf) as u8
    }

    #[inline]
    fn set_cr8(&mut self, value: u8) {
        self.virtual_apic.0[VirtualApic::TASK_PRIORITY] = u32::from(value & 0xf) << 4;
    }

    fn msr(&self, msr: HardwareMsr) -> u64 {
        match msr {
            HardwareMsr::Star => self.beside.msr(beside::Msr::Star),
            HardwareMsr::Lstar => self.beside.msr(beside::Msr::Lstar),
            HardwareMsr::Cstar => self.beside.msr(beside::Msr::Cstar),
            HardwareMsr::Sfmask => self.beside.msr(beside::Msr::Fmask),
            HardwareMsr::KernelGsBase => self.beside.msr(beside::Msr::KernelGsBase),
            HardwareMsr::FsBase => self.vmcs.get(Kept::base(SegmentRegister::Fs as u8)),
            HardwareMsr::GsBase => self.vmcs.get(Kept::base(SegmentRegister::Gs as u8)),
            HardwareMsr::SysenterCs => self.vmcs.get(Kept::SYSENTER_CS),
            HardwareMsr::SysenterEsp => self.vmcs.get(Kept::SYSENTER_ESP),
            HardwareMsr::SysenterEip => self.vmcs.get(Kept::SYSENTER_EIP),
            HardwareMsr::Pat => self.vmcs.get(Kept::PAT),
            HardwareMsr::DebugCtl => {
                // Delivery of a #DB clears BTF.
                self.debugctl & !DEBUGCTL_BTF | self.vmcs.get(Kept::DEBUGCTL) & DEBUGCTL_BTF
            }
            HardwareMsr::TscAux => self.tsc_aux,
        }
    }

    fn set_msr(&mut self, msr: HardwareMsr, value: u64) {
        match msr {
            HardwareMsr::Star => self.beside.set_msr(beside::Msr::Star, value),
            HardwareMsr::Lstar => self.beside.set_msr(beside::Msr::Lstar, value),
            HardwareMsr::Cstar => self.beside.set_msr(beside::Msr::Cstar, value),
            HardwareMsr::Sfmask => self.beside.set_msr(beside::Msr::Fmask, value),
            HardwareMsr::KernelGsBase => self.beside.set_msr(beside::Msr::KernelGsBase, value),
            HardwareMsr::FsBase => self.vmcs.set(Kept::base(SegmentRegister::Fs as u8), value),
            HardwareMsr::GsBase => self.vmcs.set(Kept::base(SegmentRegister::Gs as u8), value),
            HardwareMsr::SysenterCs => self.vmcs.set(Kept::SYSENTER_CS, value & 0xffff_ffff),
            HardwareMsr::SysenterEsp => self.vmcs.set(Kept::SYSENTER_ESP, value),
            HardwareMsr::SysenterEip => self.vmcs.set(Kept::SYSENTER_EIP, value),
            HardwareMsr::Pat => self.vmcs.set(Kept::PAT, value),
            HardwareMsr::DebugCtl => {
                self.debugctl = value;
                self.vmcs.set(Kept::DEBUGCTL, value & DEBUGCTL_BTF);
            }
            HardwareMsr::TscAux => self.tsc_aux = value,
        }
    }

    fn forget_predictions(&mut self) {
        crate::barrier::forget_predictions();
    }

    fn begin_turn(&mut self, cpu: &mut Processor) {
        let new = self.vmcs.is_new();
        self.vmcs.arrive();
        if new {
            self.write_standing_fields();
        }
        if self.host != Some(cpu.number) {
            self.write_host_state(cpu);
        }
        self.beside.begin_turn();
    }

    fn arrive(&mut self, cpu: &mut Processor, vm: u64) {
        cpu.go_on_to(vm);
        self.beside.load();
    }

    fn end_turn(&mut self) {
        // What is shown of a vCPU that has no CPU.
        for kept in [Kept::RIP, Kept::RFLAGS] {
            self.vmcs.get(kept);
        }
        self.beside.end_turn();
        self.vmcs.leave();
    }

    fn set_tsc_offset(&mut self, offset: u64) {
        self.vmcs.set(Kept::TSC_OFFSET, offset);
    }

    fn reset(&mut self, state: &InitialState) {
        for (number, value) in (0..).zip(state.segments) {
            self.write_segment(number, value);
        }
        self.write_segment(LDTR, state.ldtr);
        self.write_segment(TR, state.tr);
        for (base, limit, table) in
            [(Kept::GDTR_BASE, Kept::GDTR_LIMIT, state.gdtr), (Kept::IDTR_BASE, Kept::IDTR_LIMIT, state.idtr)]
        {
            self.vmcs.set(base, table.base);
            self.vmcs.set(limit, table.limit.into());
        }
        self.write_cr0(state.cr0);
        self.write_cr4(state.cr4);
        self.write_efer(state.efer);
        for (kept, value) in [
            (Kept::CR3, state.cr3),
            (Kept::DR7, 0x400),
            (Kept::RFLAGS, state.rflags),
            (Kept::RIP, state.rip),
            (Kept::INTERRUPTIBILITY, 0),
            (Kept::PENDING_DEBUG, 0),
            (Kept::ENTRY_EVENT, 0),
        ] {
            self.vmcs.set(kept, value);
        }
        self.gprs = state.gprs;
        self.vmcs.set(Kept::RSP, state.gprs[Gpr::Rsp as usize]);
        self.beside.init();
        self.set_cr8(0);
        self.interrupted = None;
        self.set_primary(INTERRUPT_WINDOW | NMI_WINDOW, false);
        self.flush_translations();
    }

    fn flush_translations(&mut self) {
        // An identifier of no generation: the next entry takes a fresh one, which has no translations. Without
        // identifiers every entry begins with none.
        self.vpid = Asid::default();
    }

    fn diagnose(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.refused {
            let error = self.vmcs.read(Field::INSTRUCTION_ERROR) as u32;
            write!(f, "VM entry: {}; ", instruction_error(error))?;
        } else {
            let reason = Reason(self.reason as u16);
            let qualification = self.vmcs.read(Field::EXIT_QUALIFICATION);
            write!(f, "VMX exit reason {:#x} ({}), ", self.reason, reason.name())?;
            write!(f, "qualification {qualification:#x}; ")?;
        }
        if let Some(broken) = consistency::first_broken(&self.vmcs, &self.capabilities) {
            write!(f, "{broken}; ")?;
        }
        write!(
            f,
            "CR0 {:#x} CR3 {:#x} CR4 {:#x} EFER {:#x} RFLAGS {:#x} CS {:04x}:{:#x} access rights {:#x}",
            self.vmcs.get(Kept::CR0),
            self.vmcs.get(Kept::CR3),
            self.vmcs.get(Kept::CR4),
            self.vmcs.get(Kept::EFER),
            self.vmcs.get(Kept::RFLAGS),
            self.vmcs.get(Kept::selector(1)),
            self.vmcs.get(Kept::RIP),
            self.vmcs.get(Kept::rights(1)),
        )
    }
}

impl VmxVcpu {
    /// The entry did not take place: nothing of the guest has changed.
    #[cold]
    fn refuse(&mut self) -> Exit {
        self.refused = true;
        self.by_instruction = false;
        Exit::EntryFailed
    }
}

/// VM-instruction error numbers (SDM vol. 3C, 30.4) that VMLAUNCH and VMRESUME can come back with.
fn instruction_error(number: u32) -> &'static str {
    match number {
        4 => "VMLAUNCH with a VMCS that is not clear (error 4)",
        5 => "VMRESUME with a VMCS that is not launched (error 5)",
        6 => "VMRESUME after VMXOFF (error 6)",
        7 => "a control field is invalid (error 7)",
        8 => "a host-state field is invalid (error 8)",
        12 => "a field that the CPU does not have was accessed (error 12)",
        25 => "VMCS link pointer is invalid (error 25)",
        26 => "events are blocked by MOV SS (error 26)",
        _ => "refused, see SDM vol. 3C, 30.4",
    }
}

#[cfg(test)]
#[path = "vcpu_tests.rs"]
pub(super) mod tests;
