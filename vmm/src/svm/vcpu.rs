//! The back end of one vCPU: its VMCB and what the VMCB does not hold.
use super::decode;
use super::intercepts::{IRET, VINTR};
use super::permission_maps::PermissionMaps;
use super::processor::{Features, Processor};
use super::vmcb::{self, Clean, Vmcb, event};
use crate::asid::{Asid, Renewal};
use crate::backend::{Backend, HardwareMsr, InitialState};
use crate::cpu::{Cr0, Cr4, Efer, Exception, Gpr, Registers, Rflags, Segment, SegmentRegister, Vector};
use crate::exit::{Event, Exit};
use crate::extended;
use crate::memory::CodeWalk;
use alloc::boxed::Box;
use core::fmt;
use mm::addr::Hpa;

/// PAT (APM vol. 2, 7.8.2). All other model-specific registers are 0 at power-on.
const PAT_AT_POWER_ON: u64 = 0x0007_0406_0007_0406;

/// An external interrupt that a guest is to take.
#[derive(Clone, Copy)]
struct Offer {
    vector: Vector,
    /// The guest may not be open to it yet.
    waits: bool,
}

/// A vCPU on AMD-V.
pub struct SvmVcpu {
    vmcb: Box<Vmcb>,
    #[cfg_attr(not(target_os = "none"), allow(dead_code))]
    vmcb_address: Hpa,
    /// General registers by number. RAX and RSP are copied from and to the VMCB around each entry, so
    /// that all sixteen are alike in between.
    gprs: [u64; 16],
    features: Features,
    asid: Asid,
    /// What changed in the VMCB since the last exit.
    changed: Clean,
    /// The external interrupt that the guest is to take at the next entry.
    offered: Option<Offer>,
    /// The one that it did not come to take at the last.
    not_taken: Option<Vector>,
    /// It took the one that was to wait until it opens.
    taken: bool,
    /// An NMI handler runs: no further NMI until its IRET.
    nmi_masked: bool,
    /// Where an IRET that ends an NMI handler stands, until it was executed.
    iret_at: Option<u64>,
    tsc_aux: u64,
    code_walk: CodeWalk,
}

impl SvmVcpu {
    /// A vCPU that is to be [`Backend::reset`] before it runs.
    ///
    /// `maps` is the physical address of a [`PermissionMaps`], `nested_root` of the VM's nested page
    /// table. `physical` tells the physical address of an object on the hypervisor's heap.
    pub fn new(maps: Hpa, nested_root: Hpa, features: Features, physical: impl Fn(*const u8) -> Hpa) -> Self {
        let mut vmcb = vmcb::zeroed();
        let control = &mut vmcb.control;
        control.set_standing_intercepts(features);
        control.iopm_base = maps.get();
        control.msrpm_base = maps.get() + PermissionMaps::MSR_OFFSET;
        control.nested_paging = 1;
        control.nested_cr3 = nested_root.get();
        control.virtual_interrupt = vmcb::V_INTR_MASKING;
        vmcb.save.g_pat = PAT_AT_POWER_ON;
        let vmcb_address = physical((&raw const *vmcb).cast());
        Self {
            vmcb,
            vmcb_address,
            gprs: [0; 16],
            features,
            asid: Asid::default(),
            changed: Clean::all(),
            offered: None,
            not_taken: None,
            taken: false,
            nmi_masked: false,
            iret_at: None,
            tsc_aux: 0,
            code_walk: CodeWalk::default(),
        }
    }

    /// The block, as the CPU changes it while its guest runs.
    #[cfg(test)]
    pub(crate) fn vmcb(&mut self) -> &mut Vmcb {
        &mut self.vmcb
    }

    fn change(&mut self, what: Clean) {
        self.changed |= what;
    }

    /// Everything before VMRUN but the instruction.
    #[inline]
    fn prepare(&mut self, cpu: &mut Processor) {
        let renewal = cpu.asids.renew(&mut self.asid);
        let control = &mut self.vmcb.control;
        if renewal == Renewal::Kept && self.features.contains(Features::CLEAN_BITS) {
            control.clean = !self.changed.bits();
        } else {
            // New on this CPU: nothing of the VMCB is cached here.
            control.clean = 0;
            control.asid = self.asid.number;
        }
        control.tlb_control = if renewal == Renewal::NewAfterFlush { vmcb::TLB_FLUSH_ALL } else { 0 };
        self.changed = Clean::empty();
        self.vmcb.save.rax = self.gprs[Gpr::Rax as usize];
        self.vmcb.save.rsp = self.gprs[Gpr::Rsp as usize];
    }

    /// Everything after #VMEXIT but the instructions.
    #[inline]
    fn conclude(&mut self) -> Exit {
        self.gprs[Gpr::Rax as usize] = self.vmcb.save.rax;
        self.gprs[Gpr::Rsp as usize] = self.vmcb.save.rsp;
        self.vmcb.control.event_injection = 0;
        if let Some(offer) = self.offered.take() {
            self.withdraw(offer);
        }
        let exit = self.vmcb.control.decode_exit(self.features, self.vmcb.save.cr2);
        match exit {
            Exit::InterruptWindow => self.want_interrupt_window(false),
            Exit::NmiWindow => {
                self.nmi_masked = false;
                self.iret_at = Some(self.vmcb.save.rip);
                self.vmcb.control.set_intercept(IRET, false);
                self.change(Clean::INTERCEPTS);
            }
            _ => {}
        }
        exit
    }

    /// Offers the guest an external interrupt as a virtual one (APM vol. 2, 15.21.4): where it is open to
    /// interrupts, it takes this one before anything else; else as soon as it opens. Its task priority can't hold the
    /// interrupt back meanwhile, since to raise that it leaves.
    ///
    /// Not by EVENTINJ: by its source, QEMU's emulation delivers an interrupt that comes that way, keeps the
    /// vector as a pending exception, and may deliver it again when its CPU is kicked, whether or not the
    /// guest is open to interrupts.
    fn offer(&mut self, offer: Offer) {
        self.want_interrupt_window(false);
        let Offer { vector, .. } = offer;
        let number = u64::from(vector.0);
        self.vmcb.control.virtual_interrupt |= vmcb::V_IRQ
            | vmcb::V_IGN_TPR
            | (number >> 4) << vmcb::V_INTR_PRIO_SHIFT
            | number << vmcb::V_INTR_VECTOR_SHIFT;
        self.offered = Some(offer);
        self.change(Clean::INTERRUPT);
    }

    /// Ends an offer at an exit. The guest has taken it unless V_IRQ is still set: then something of the
    /// host's came first, or the guest did not open.
    fn withdraw(&mut self, Offer { vector, waits }: Offer) {
        let interrupted = self.vmcb.control.exit_int_info & (event::VALID | event::TYPE_MASK | 0xff);
        let delivering = interrupted == event::VALID | event::INTERRUPT | u64::from(vector.0);
        let state = &mut self.vmcb.control.virtual_interrupt;
        let left = *state & vmcb::V_IRQ != 0 && !delivering;
        if waits {
            self.taken = !left;
        } else if left {
            self.not_taken = Some(vector);
        }
        *state &= vmcb::V_INTR_MASKING | vmcb::V_TPR_MASK;
        self.change(Clean::INTERRUPT);
    }

    fn segment_slot(&mut self, register: SegmentRegister) -> &mut Segment {
        let save = &mut self.vmcb.save;
        match register {
            SegmentRegister::Es => &mut save.es,
            SegmentRegister::Cs => &mut save.cs,
            SegmentRegister::Ss => &mut save.ss,
            SegmentRegister::Ds => &mut save.ds,
            SegmentRegister::Fs => &mut save.fs,
            SegmentRegister::Gs => &mut save.gs,
        }
    }
}

impl Registers for SvmVcpu {
    #[inline(always)]
    fn gpr(&self, register: Gpr) -> u64 {
        self.gprs[register as usize]
    }

    #[inline(always)]
    fn set_gpr(&mut self, register: Gpr, value: u64) {
        self.gprs[register as usize] = value;
    }

    #[inline(always)]
    fn rip(&self) -> u64 {
        self.vmcb.save.rip
    }

    #[inline(always)]
    fn set_rip(&mut self, rip: u64) {
        self.vmcb.save.rip = rip;
    }

    #[inline(always)]
    fn rflags(&self) -> Rflags {
        Rflags::from_bits_retain(self.vmcb.save.rflags)
    }

    #[inline(always)]
    fn set_rflags(&mut self, flags: Rflags) {
        self.vmcb.save.rflags = flags.bits();
    }

    #[inline(always)]
    fn segment(&self, register: SegmentRegister) -> Segment {
        let save = &self.vmcb.save;
        match register {
            SegmentRegister::Es => save.es,
            SegmentRegister::Cs => save.cs,
            SegmentRegister::Ss => save.ss,
            SegmentRegister::Ds => save.ds,
            SegmentRegister::Fs => save.fs,
            SegmentRegister::Gs => save.gs,
        }
    }

    #[inline(always)]
    fn cr0(&self) -> Cr0 {
        Cr0::from_bits_retain(self.vmcb.save.cr0)
    }

    #[inline(always)]
    fn cr3(&self) -> u64 {
        self.vmcb.save.cr3
    }

    #[inline(always)]
    fn cr4(&self) -> Cr4 {
        Cr4::from_bits_retain(self.vmcb.save.cr4)
    }

    #[inline(always)]
    fn efer(&self) -> Efer {
        // SVME must be set for VMRUN; the guest has not set it and does not see it.
        Efer::from_bits_retain(self.vmcb.save.efer).difference(Efer::SVME)
    }

    #[inline(always)]
    fn cpl(&self) -> u8 {
        self.vmcb.save.cpl & 3
    }

    #[inline(always)]
    fn code_walk(&self) -> Option<&CodeWalk> {
        Some(&self.code_walk)
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

impl Backend for SvmVcpu {
    type Cpu = Processor;

    #[cfg(target_os = "none")]
    #[inline]
    #[allow(unsafe_code)] // The world switch.
    fn enter(&mut self, cpu: &mut Processor) -> Exit {
        self.prepare(cpu);
        // SAFETY: a `Processor` exists only for a CPU on which SVM was enabled and whose host state
        // VMSAVE has written; the VMCB was built by `new`, which gave it the VM's own nested page table
        // and intercepts everything that could reach the host.
        unsafe {
            super::switch::run_guest(self.vmcb_address.get(), &raw mut self.gprs, cpu.host_state.get())
        };
        self.conclude()
    }

    /// There is no guest to enter in a test on the host: only the book-keeping around it is done, and the
    /// checks that VMRUN would do.
    #[cfg(not(target_os = "none"))]
    fn enter(&mut self, cpu: &mut Processor) -> Exit {
        self.prepare(cpu);
        #[cfg(test)]
        assert_eq!(super::consistency::broken(&self.vmcb), [""; 0]);
        self.conclude()
    }

    #[inline]
    fn next_rip(&self) -> Option<u64> {
        let next = self.vmcb.control.next_rip;
        (self.features.contains(Features::NEXT_RIP) && next != 0).then_some(next)
    }

    #[inline]
    fn advance(&mut self, next_rip: u64) {
        self.vmcb.save.rip = next_rip;
        self.vmcb.control.interrupt_state &= !vmcb::INTERRUPT_SHADOW;
    }

    fn inject(&mut self, event: Event) {
        self.vmcb.control.event_injection = match event {
            Event::Interrupt(vector) => {
                self.offer(Offer { vector, waits: false });
                0
            }
            Event::Nmi => {
                // The end of its handler is the next IRET.
                self.nmi_masked = true;
                self.iret_at = None;
                self.vmcb.control.set_intercept(IRET, true);
                self.change(Clean::INTERCEPTS);
                event::VALID | event::NMI | u64::from(Vector::NMI.0)
            }
            Event::Exception(Exception { vector, error_code, fault_address }) => {
                if let Some(address) = fault_address {
                    self.set_cr2(address);
                }
                let code = error_code.map_or(0, |code| u64::from(code) << 32 | event::ERROR_CODE_VALID);
                event::VALID | event::EXCEPTION | u64::from(vector.0) | code
            }
        };
    }

    #[inline]
    fn interrupted_event(&mut self) -> Option<Event> {
        let not_taken = self.not_taken.take();
        let info = core::mem::take(&mut self.vmcb.control.exit_int_info);
        if info & event::VALID == 0 {
            return not_taken.map(Event::Interrupt);
        }
        let vector = Vector(info as u8);
        match info & event::TYPE_MASK {
            event::INTERRUPT => Some(Event::Interrupt(vector)),
            event::NMI => Some(Event::Nmi),
            event::EXCEPTION if !matches!(vector, Vector::BP | Vector::OF) => {
                let error_code = (info & event::ERROR_CODE_VALID != 0).then_some((info >> 32) as u32);
                Some(Event::Exception(Exception { vector, error_code, fault_address: None }))
            }
            // Raised by an instruction that RIP still points at.
            _ => None,
        }
    }

    #[inline]
    fn interrupts_open(&self) -> bool {
        self.vmcb.save.rflags & Rflags::IF.bits() != 0
            && self.vmcb.control.interrupt_state & vmcb::INTERRUPT_SHADOW == 0
    }

    fn nmi_open(&self) -> bool {
        !self.nmi_masked
            && self.iret_at != Some(self.vmcb.save.rip)
            && self.vmcb.control.interrupt_state & vmcb::INTERRUPT_SHADOW == 0
    }

    fn want_interrupt_window(&mut self, wanted: bool) {
        if self.vmcb.control.intercepts(VINTR) == wanted || self.offered.is_some() {
            // There is one virtual interrupt: where it is a real one, the handler's end of interrupt comes
            // first, which is an exit where another one waits.
            return;
        }
        // A virtual interrupt of our own making is intercepted the moment that it could be taken.
        self.vmcb.control.set_intercept(VINTR, wanted);
        let state = &mut self.vmcb.control.virtual_interrupt;
        if wanted {
            *state |= vmcb::V_IRQ | vmcb::V_IGN_TPR;
        } else {
            *state &= !(vmcb::V_IRQ | vmcb::V_IGN_TPR);
        }
        self.change(Clean::INTERCEPTS | Clean::INTERRUPT);
    }

    fn deliver_when_open(&mut self, vector: Vector) -> bool {
        self.offer(Offer { vector, waits: true });
        true
    }

    fn took_interrupt(&mut self) -> bool {
        core::mem::take(&mut self.taken)
    }

    fn want_nmi_window(&mut self) {
        // While an NMI handler runs, its IRET is intercepted anyway; behind that or an interrupt shadow
        // one more instruction is enough, and the next exit of any kind looks again.
    }

    fn set_cr0(&mut self, value: Cr0) {
        let save = &mut self.vmcb.save;
        save.cr0 = value.bits();
        let mut efer = Efer::from_bits_retain(save.efer);
        efer.set(Efer::LMA, efer.contains(Efer::LME) && value.contains(Cr0::PG));
        save.efer = efer.bits();
        self.change(Clean::CONTROL_REGISTERS);
        self.flush_translations();
    }

    fn set_cr2(&mut self, value: u64) {
        self.vmcb.save.cr2 = value;
        self.change(Clean::CR2);
    }

    fn set_dr6_single_step(&mut self) {
        self.vmcb.save.dr6 |= 1 << 14;
        // General detect ends with any #DB (APM vol. 2, 13.1.1.4).
        self.vmcb.save.dr7 &= !(1 << 13);
        self.change(Clean::DEBUG_REGISTERS);
    }

    fn set_cr3(&mut self, value: u64) {
        self.vmcb.save.cr3 = value;
        self.change(Clean::CONTROL_REGISTERS);
        self.flush_translations();
    }

    fn set_cr4(&mut self, value: Cr4) {
        self.vmcb.save.cr4 = value.bits();
        self.change(Clean::CONTROL_REGISTERS);
        self.flush_translations();
    }

    fn set_efer(&mut self, value: Efer) {
        self.vmcb.save.efer = value.union(Efer::SVME).bits();
        self.change(Clean::CONTROL_REGISTERS);
        self.flush_translations();
    }

    fn set_segment(&mut self, register: SegmentRegister, value: Segment) {
        *self.segment_slot(register) = value;
        if register == SegmentRegister::Ss {
            self.vmcb.save.cpl = value.attributes.dpl();
        }
        self.change(Clean::SEGMENTS);
    }

    #[inline]
    fn cr8(&self) -> u8 {
        (self.vmcb.control.virtual_interrupt & vmcb::V_TPR_MASK) as u8
    }

    #[inline]
    fn set_cr8(&mut self, value: u8) {
        let state = &mut self.vmcb.control.virtual_interrupt;
        let new = *state & !vmcb::V_TPR_MASK | u64::from(value) & vmcb::V_TPR_MASK;
        if new != *state {
            *state = new;
            self.changed |= Clean::INTERRUPT;
        }
    }

    fn msr(&self, msr: HardwareMsr) -> u64 {
        let save = &self.vmcb.save;
        match msr {
            HardwareMsr::Star => save.star,
            HardwareMsr::Lstar => save.lstar,
            HardwareMsr::Cstar => save.cstar,
            HardwareMsr::Sfmask => save.sfmask,
            HardwareMsr::FsBase => save.fs.base,
            HardwareMsr::GsBase => save.gs.base,
            HardwareMsr::KernelGsBase => save.kernel_gs_base,
            HardwareMsr::SysenterCs => save.sysenter_cs,
            HardwareMsr::SysenterEsp => save.sysenter_esp,
            HardwareMsr::SysenterEip => save.sysenter_eip,
            HardwareMsr::Pat => save.g_pat,
            HardwareMsr::DebugCtl => save.debug_ctl,
            HardwareMsr::TscAux => self.tsc_aux,
        }
    }

    fn set_msr(&mut self, msr: HardwareMsr, value: u64) {
        let save = &mut self.vmcb.save;
        match msr {
            HardwareMsr::Star => save.star = value,
            HardwareMsr::Lstar => save.lstar = value,
            HardwareMsr::Cstar => save.cstar = value,
            HardwareMsr::Sfmask => save.sfmask = value,
            HardwareMsr::FsBase => save.fs.base = value,
            HardwareMsr::GsBase => save.gs.base = value,
            HardwareMsr::KernelGsBase => save.kernel_gs_base = value,
            HardwareMsr::SysenterCs => save.sysenter_cs = value,
            HardwareMsr::SysenterEsp => save.sysenter_esp = value,
            HardwareMsr::SysenterEip => save.sysenter_eip = value,
            HardwareMsr::Pat => {
                save.g_pat = value;
                self.change(Clean::NESTED_PAGING);
            }
            HardwareMsr::DebugCtl => {
                save.debug_ctl = value;
                self.change(Clean::LAST_BRANCH);
            }
            HardwareMsr::TscAux => self.tsc_aux = value,
        }
    }

    fn forget_predictions(&mut self) {
        crate::barrier::forget_predictions();
    }

    fn arrive(&mut self, cpu: &mut Processor, vm: u64) {
        if cpu.vm != vm {
            cpu.vm = vm;
            cpu.forget_predictions();
        }
    }

    fn set_tsc_offset(&mut self, offset: u64) {
        self.vmcb.control.tsc_offset = offset;
        self.change(Clean::INTERCEPTS);
    }

    fn reset(&mut self, state: &InitialState) {
        let save = &mut self.vmcb.save;
        [save.es, save.cs, save.ss, save.ds, save.fs, save.gs] = state.segments;
        save.tr = state.tr;
        save.ldtr = state.ldtr;
        for (slot, table) in [(&mut save.gdtr, state.gdtr), (&mut save.idtr, state.idtr)] {
            *slot = Segment { limit: u32::from(table.limit), base: table.base, ..Segment::default() };
        }
        save.cpl = state.segments[SegmentRegister::Ss as usize].attributes.dpl();
        save.efer = state.efer.union(Efer::SVME).bits();
        save.cr0 = state.cr0.bits();
        save.cr3 = state.cr3;
        save.cr4 = state.cr4.bits();
        save.cr2 = 0;
        save.dr6 = 0xffff_0ff0;
        save.dr7 = 0x400;
        save.rflags = state.rflags;
        save.rip = state.rip;
        self.gprs = state.gprs;
        let control = &mut self.vmcb.control;
        control.interrupt_state = 0;
        control.event_injection = 0;
        control.exit_int_info = 0;
        self.offered = None;
        self.not_taken = None;
        self.taken = false;
        control.set_intercept(IRET, false);
        control.set_intercept(VINTR, false);
        control.virtual_interrupt = vmcb::V_INTR_MASKING;
        self.nmi_masked = false;
        self.iret_at = None;
        self.changed = Clean::all();
        self.flush_translations();
    }

    fn flush_translations(&mut self) {
        // An identifier of no generation: the next entry takes a fresh one, which has no translations.
        self.asid = Asid::default();
    }

    fn diagnose(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (control, save) = (&self.vmcb.control, &self.vmcb.save);
        write!(
            f,
            "SVM exit code {:#x} ({}), information {:#x} {:#x}; CR0 {:#x} CR3 {:#x} CR4 {:#x} EFER {:#x} \
             RFLAGS {:#x} CS {:04x}:{:#x} attributes {:#x}",
            control.exit_code,
            decode::name(control.exit_code),
            control.exit_info_1,
            control.exit_info_2,
            save.cr0,
            save.cr3,
            save.cr4,
            save.efer,
            save.rflags,
            save.cs.selector,
            save.rip,
            save.cs.attributes.0,
        )
    }
}

#[cfg(test)]
#[path = "vcpu_tests.rs"]
pub(super) mod tests;
