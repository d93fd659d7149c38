//! The virtual machine control block (APM vol. 2, appendix B).
//!
//! The CPU reads and writes it only between VMRUN and #VMEXIT, so outside of the world switch it is
//! plain memory of its vCPU.
use crate::cpu::Segment;
use bitflags::bitflags;
use core::mem::offset_of;

bitflags! {
    /// Parts of the block that are unchanged since the last #VMEXIT (APM vol. 2, 15.15.3).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Clean: u32 {
        /// Intercepts, TSC offset, pause filter.
        const INTERCEPTS = 1 << 0;
        /// IOPM and MSRPM addresses.
        const PERMISSION_MAPS = 1 << 1;
        /// ASID.
        const ASID = 1 << 2;
        /// V_TPR, V_IRQ and their kin.
        const INTERRUPT = 1 << 3;
        /// Nested paging: N_CR3, G_PAT.
        const NESTED_PAGING = 1 << 4;
        /// CR0, CR3, CR4, EFER.
        const CONTROL_REGISTERS = 1 << 5;
        /// DR6, DR7.
        const DEBUG_REGISTERS = 1 << 6;
        /// GDT and IDT.
        const DESCRIPTOR_TABLES = 1 << 7;
        /// CS, DS, SS, ES and CPL.
        const SEGMENTS = 1 << 8;
        /// CR2.
        const CR2 = 1 << 9;
        /// Last-branch records.
        const LAST_BRANCH = 1 << 10;
    }
}

/// V_INTR_MASKING: the guest's IF and TPR are its own; the host's IF decides on physical interrupts.
pub const V_INTR_MASKING: u64 = 1 << 24;
/// A virtual interrupt is pending.
pub const V_IRQ: u64 = 1 << 8;
/// Priority of the virtual interrupt: the upper four bits of its vector.
pub const V_INTR_PRIO_SHIFT: u32 = 16;
/// Vector of the virtual interrupt.
pub const V_INTR_VECTOR_SHIFT: u32 = 32;
/// The virtual interrupt is taken whatever V_TPR says.
pub const V_IGN_TPR: u64 = 1 << 20;
/// Task priority as CR8 shows it: bits 3:0 of the field.
pub const V_TPR_MASK: u64 = 0xf;

/// INTERRUPT_SHADOW: the guest is behind a STI or MOV SS.
pub const INTERRUPT_SHADOW: u64 = 1 << 0;

/// TLB_CONTROL: flush everything, whatever its ASID.
pub const TLB_FLUSH_ALL: u8 = 1;

/// Control area (APM vol. 2, table B-1).
#[repr(C)]
pub struct Control {
    pub intercept_cr_reads: u16,
    pub intercept_cr_writes: u16,
    pub intercept_dr_reads: u16,
    pub intercept_dr_writes: u16,
    pub intercept_exceptions: u32,
    pub intercept_misc: [u32; 3],
    reserved_18: [u8; 0x3c - 0x18],
    pub pause_filter_threshold: u16,
    pub pause_filter_count: u16,
    pub iopm_base: u64,
    pub msrpm_base: u64,
    pub tsc_offset: u64,
    pub asid: u32,
    pub tlb_control: u8,
    reserved_5d: [u8; 3],
    pub virtual_interrupt: u64,
    pub interrupt_state: u64,
    pub exit_code: u64,
    pub exit_info_1: u64,
    pub exit_info_2: u64,
    pub exit_int_info: u64,
    pub nested_paging: u64,
    avic_apic_bar: u64,
    ghcb: u64,
    pub event_injection: u64,
    pub nested_cr3: u64,
    lbr_virtualization: u64,
    pub clean: u32,
    reserved_c4: u32,
    pub next_rip: u64,
    pub fetched_len: u8,
    pub fetched: [u8; 15],
    reserved_e0: [u8; 0x400 - 0xe0],
}

/// State save area (APM vol. 2, table B-2).
#[repr(C)]
pub struct Save {
    pub es: Segment,
    pub cs: Segment,
    pub ss: Segment,
    pub ds: Segment,
    pub fs: Segment,
    pub gs: Segment,
    pub gdtr: Segment,
    pub ldtr: Segment,
    pub idtr: Segment,
    pub tr: Segment,
    reserved_a0: [u8; 0xcb - 0xa0],
    pub cpl: u8,
    reserved_cc: u32,
    pub efer: u64,
    reserved_d8: [u8; 0x148 - 0xd8],
    pub cr4: u64,
    pub cr3: u64,
    pub cr0: u64,
    pub dr7: u64,
    pub dr6: u64,
    pub rflags: u64,
    pub rip: u64,
    reserved_180: [u8; 0x1d8 - 0x180],
    pub rsp: u64,
    reserved_1e0: [u8; 0x1f8 - 0x1e0],
    pub rax: u64,
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub cr2: u64,
    reserved_248: [u8; 0x268 - 0x248],
    pub g_pat: u64,
    pub debug_ctl: u64,
    reserved_278: [u8; 0xc00 - 0x278],
}

/// The block: one page.
#[repr(C, align(4096))]
pub struct Vmcb {
    pub control: Control,
    pub save: Save,
}

// The manual's offsets, so that a slip in the structures above does not compile.
const _: () = {
    assert!(offset_of!(Control, intercept_misc) == 0x0c);
    assert!(offset_of!(Control, pause_filter_threshold) == 0x3c);
    assert!(offset_of!(Control, iopm_base) == 0x40);
    assert!(offset_of!(Control, asid) == 0x58);
    assert!(offset_of!(Control, tlb_control) == 0x5c);
    assert!(offset_of!(Control, virtual_interrupt) == 0x60);
    assert!(offset_of!(Control, interrupt_state) == 0x68);
    assert!(offset_of!(Control, exit_code) == 0x70);
    assert!(offset_of!(Control, exit_int_info) == 0x88);
    assert!(offset_of!(Control, nested_paging) == 0x90);
    assert!(offset_of!(Control, event_injection) == 0xa8);
    assert!(offset_of!(Control, nested_cr3) == 0xb0);
    assert!(offset_of!(Control, clean) == 0xc0);
    assert!(offset_of!(Control, next_rip) == 0xc8);
    assert!(offset_of!(Control, fetched) == 0xd1);
    assert!(size_of::<Control>() == 0x400);
    assert!(offset_of!(Save, tr) == 0x90);
    assert!(offset_of!(Save, cpl) == 0xcb);
    assert!(offset_of!(Save, efer) == 0xd0);
    assert!(offset_of!(Save, cr4) == 0x148);
    assert!(offset_of!(Save, rip) == 0x178);
    assert!(offset_of!(Save, rsp) == 0x1d8);
    assert!(offset_of!(Save, rax) == 0x1f8);
    assert!(offset_of!(Save, sysenter_eip) == 0x238);
    assert!(offset_of!(Save, cr2) == 0x240);
    assert!(offset_of!(Save, g_pat) == 0x268);
    assert!(size_of::<Vmcb>() == 4096);
};

/// A block of zeroes on the heap.
#[allow(unsafe_code)] // Zeroing in place: a page is too large to build on the stack and move.
pub fn zeroed() -> alloc::boxed::Box<Vmcb> {
    // SAFETY: all fields are integers, for which zero is a value.
    unsafe { alloc::boxed::Box::<Vmcb>::new_zeroed().assume_init() }
}

/// What EVENTINJ and EXITINTINFO say of an event (APM vol. 2, 15.20).
pub mod event {
    pub const VALID: u64 = 1 << 31;
    pub const ERROR_CODE_VALID: u64 = 1 << 11;
    pub const TYPE_SHIFT: u32 = 8;
    pub const TYPE_MASK: u64 = 7 << TYPE_SHIFT;
    pub const INTERRUPT: u64 = 0;
    pub const NMI: u64 = 2 << TYPE_SHIFT;
    pub const EXCEPTION: u64 = 3 << TYPE_SHIFT;
}
