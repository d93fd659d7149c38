//! What a physical CPU needs for VT-x, and what it keeps.
use super::controls::{Controls, Group};
use super::translations::Translations;
use crate::asid::AsidPool;
use core::fmt;

/// Why VT-x can't be used on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The CPU does not have it.
    NoVmx,
    /// Firmware switched it off in IA32_FEATURE_CONTROL, and locked that.
    Disabled,
    /// The CPU is too old for EPT, or for what PureVisor needs of it.
    NoEpt,
    /// The CPU is too old for guests in real mode.
    NoUnrestrictedGuest,
    /// A control of the VMCS cannot be as it must.
    Control(&'static str),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVmx => f.write_str("this CPU has no Intel VT-x (VMX)"),
            Self::Disabled => f.write_str(
                "Intel VT-x (VMX) is disabled and locked by the firmware: enable \"Intel Virtualization \
                 Technology\" in its set-up",
            ),
            Self::NoEpt => f.write_str(
                "this CPU has Intel VT-x without extended page tables (EPT) as VMs need them: use a newer CPU, or \
                 give this one EPT if it is virtual itself",
            ),
            Self::NoUnrestrictedGuest => f.write_str(
                "this CPU has Intel VT-x without \"unrestricted guest\", which VMs need: use a newer CPU, or give \
                 this one unrestricted guest if it is virtual itself",
            ),
            Self::Control(name) => {
                write!(
                    f,
                    "this CPU has Intel VT-x without \"{name}\" as VMs need it: use a newer CPU"
                )
            }
        }
    }
}

/// Registers that tell of VT-x.
mod msr {
    pub const FEATURE_CONTROL: u32 = 0x3a;
    pub const VMX_BASIC: u32 = 0x480;
    pub const VMX_MISC: u32 = 0x485;
    pub const VMX_CR0_FIXED0: u32 = 0x486;
    pub const VMX_CR0_FIXED1: u32 = 0x487;
    pub const VMX_CR4_FIXED0: u32 = 0x488;
    pub const VMX_CR4_FIXED1: u32 = 0x489;
    pub const VMX_EPT_VPID_CAP: u32 = 0x48c;
}

/// IA32_FEATURE_CONTROL (SDM vol. 3C, 23.7): no more writes until a reset.
const LOCKED: u64 = 1 << 0;
/// IA32_FEATURE_CONTROL: VMXON is permitted.
const VMX_OUTSIDE_SMX: u64 = 1 << 2;

/// What a CPU's IA32_FEATURE_CONTROL is to become: nothing else, or another value, which has VMX on and is
/// locked, as firmware should have left it.
///
/// # Errors
/// Firmware has locked VMX off.
pub const fn feature_control(value: u64) -> Result<Option<u64>, Missing> {
    match (value & LOCKED != 0, value & VMX_OUTSIDE_SMX != 0) {
        (true, true) => Ok(None),
        (true, false) => Err(Missing::Disabled),
        (false, _) => Ok(Some(value | VMX_OUTSIDE_SMX | LOCKED)),
    }
}

/// IA32_VMX_EPT_VPID_CAP (SDM vol. 3D, A.10).
mod ept {
    pub const FOUR_LEVELS: u64 = 1 << 6;
    pub const WRITE_BACK: u64 = 1 << 14;
    pub const LARGE_PAGES: u64 = 1 << 16;
    pub const HUGE_PAGES: u64 = 1 << 17;
    pub const INVEPT: u64 = 1 << 20;
    pub const INVEPT_ALL: u64 = 1 << 26;
    pub const INVVPID: u64 = 1 << 32;
    pub const INVVPID_ALL: u64 = 1 << 42;
    /// What nested tables and their invalidation need.
    pub const NEEDED: u64 = FOUR_LEVELS | WRITE_BACK | LARGE_PAGES | INVEPT | INVEPT_ALL;
}

/// Bits of a control register that VMX operation fixes (SDM vol. 3D, A.7 and A.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// Those that must be 1.
    pub must: u64,
    /// Those that may be 1.
    pub may: u64,
}

/// What the CPUs of this machine offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// What a VMCS and a VMXON region begin with.
    pub revision: u32,
    /// The controls of every VMCS.
    pub controls: Controls,
    /// CR0 in VMX operation. Unrestricted guests may have PE and PG clear.
    pub cr0: Fixed,
    /// CR4 in VMX operation.
    pub cr4: Fixed,
    /// EPT has pages of 1 GiB.
    pub huge_pages: bool,
    /// The preemption timer counts the TSC's ticks shifted right by this.
    pub timer_shift: u8,
}

impl Capabilities {
    /// Whether the CPU can answer for the page of a local APIC, so that a VM's tables are to have a second root.
    pub const fn apic_accesses(&self) -> bool {
        self.controls.in_mode(super::controls::APIC_ACCESSES) != 0
    }
}

/// Looks whether a CPU can be used: `cpuid(leaf)` as EAX, EBX, ECX, EDX; `msr` reads a register, and is asked
/// only for those that the CPU has.
///
/// # Errors
/// What is missing.
pub fn check(cpuid: impl Fn(u32) -> [u32; 4], msr: impl Fn(u32) -> u64) -> Result<Capabilities, Missing> {
    if cpuid(1)[2] & 1 << 5 == 0 {
        return Err(Missing::NoVmx);
    }
    feature_control(msr(msr::FEATURE_CONTROL))?;
    let basic = msr(msr::VMX_BASIC);
    let has_true_controls = basic & 1 << 55 != 0;
    // The secondary controls, and with them EPT's registers, exist where the primary ones can activate them.
    let secondary = msr(Group::Primary.msrs().0) >> 63 != 0;
    let secondary_allowed = if secondary { msr(Group::Secondary.msrs().0) >> 32 } else { 0 };
    if secondary_allowed & 1 << 1 == 0 {
        return Err(Missing::NoEpt);
    }
    if secondary_allowed & 1 << 7 == 0 {
        return Err(Missing::NoUnrestrictedGuest);
    }
    let translation = msr(msr::VMX_EPT_VPID_CAP);
    if translation & ept::NEEDED != ept::NEEDED {
        return Err(Missing::NoEpt);
    }
    let vpid = ept::INVVPID | ept::INVVPID_ALL;
    let controls = Controls::choose(|group| {
        let (original, with_true) = group.msrs();
        let allowed = msr(if has_true_controls { with_true } else { original });
        if group == Group::Secondary && translation & vpid != vpid {
            allowed & !(u64::from(super::controls::VPID) << 32)
        } else {
            allowed
        }
    })?;
    let fixed = |must, may| Fixed { must: msr(must), may: msr(may) };
    Ok(Capabilities {
        revision: basic as u32 & 0x7fff_ffff,
        controls,
        cr0: fixed(msr::VMX_CR0_FIXED0, msr::VMX_CR0_FIXED1),
        cr4: fixed(msr::VMX_CR4_FIXED0, msr::VMX_CR4_FIXED1),
        huge_pages: translation & ept::HUGE_PAGES != 0,
        timer_shift: (msr(msr::VMX_MISC) & 0x1f) as u8,
    })
}

/// Whether a CPU has the prediction barrier (IBPB: CPUID leaf 7, EDX bit 26; PRED_CMD, MSR 49h).
pub fn has_prediction_barrier(cpuid: impl Fn(u32) -> [u32; 4]) -> bool {
    cpuid(0)[0] >= 7 && cpuid(7)[3] & 1 << 26 != 0
}

/// The hypervisor's own state on one CPU, as exits restore it (SDM vol. 3C, 24.5). CS and TR are these
/// selectors; all other segment registers are null. FS has no base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)] // The names are the manual's.
pub struct HostState {
    pub cr0: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub efer: u64,
    pub pat: u64,
    pub cs: u16,
    pub tr: u16,
    pub tr_base: u64,
    pub gs_base: u64,
    pub gdtr_base: u64,
    pub idtr_base: u64,
}

/// What one physical CPU keeps while it runs guests.
pub struct Processor {
    /// Its number.
    pub(super) number: usize,
    /// The VM that ran here last; 0 for none.
    pub(super) vm: u64,
    prediction_barrier: bool,
    /// Takes an interrupt of the host's that the exit has acknowledged, with interrupts disabled.
    #[cfg_attr(not(target_os = "none"), allow(dead_code))]
    pub(super) take_interrupt: fn(u8),
    pub(super) vpids: AsidPool,
    pub(super) host: HostState,
    translations: Translations,
}

/// VPIDs have 16 bits; 0 is the host's.
const VPIDS: u32 = 1 << 16;

impl Processor {
    /// For CPU number `cpu`, which is in VMX operation with this state of the hypervisor's. Whatever it had cached
    /// of guests is dropped.
    /// An interrupt of the host's that an exit acknowledges is given to `take_interrupt`, with interrupts disabled.
    pub fn new(
        cpu: usize,
        capabilities: &Capabilities,
        prediction_barrier: bool,
        host: HostState,
        take_interrupt: fn(u8),
    ) -> Self {
        #[cfg(target_os = "none")]
        #[allow(unsafe_code)]
        // SAFETY: the CPU is in VMX operation; it has what `check` found.
        unsafe {
            super::instructions::invept_all();
            if capabilities.controls.vpid() {
                super::instructions::invvpid_all();
            }
        }
        let _ = capabilities;
        let vpids = AsidPool::new(cpu, VPIDS);
        Self {
            number: cpu,
            vm: 0,
            prediction_barrier,
            take_interrupt,
            vpids,
            host,
            translations: Translations::none(),
        }
    }

    /// Drops all that the CPU has cached of nested tables: something was unmapped from some (SDM vol. 3C, 28.4.3.3).
    pub fn drop_translations(&mut self) {
        #[cfg(target_os = "none")]
        #[allow(unsafe_code)]
        // SAFETY: a `Processor` exists for a CPU in VMX operation that has INVEPT (`check`).
        unsafe {
            super::instructions::invept_all();
        }
        // That was more than freed tables ask for.
        self.translations = Translations::none();
    }

    /// The CPU goes on to another vCPU, of VM number `vm`: nothing that another VM left behind is of use to it.
    pub(super) fn go_on_to(&mut self, vm: u64) {
        if self.translations.are_stale() {
            #[cfg(target_os = "none")]
            #[allow(unsafe_code)]
            // SAFETY: a `Processor` exists for a CPU in VMX operation that has INVEPT (`check`).
            unsafe {
                super::instructions::invept_all();
            }
        }
        if self.vm != vm {
            self.vm = vm;
            if self.prediction_barrier {
                crate::barrier::forget_predictions();
            }
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::controls::tests::{SERVER, SKYLAKE};
    use super::*;
    use std::collections::BTreeMap;

    /// A Core of the Skylake generation: register by register.
    pub fn skylake() -> BTreeMap<u32, u64> {
        let mut msrs = BTreeMap::from([
            (0x3a, 5),
            (0x480, 0x00da_0400_0000_0004),
            (0x485, 0x7004_c1e7),
            (0x486, 0x8000_0021),
            (0x487, 0xffff_ffff),
            (0x488, 0x2000),
            (0x489, 0x0037_67ff),
            (0x48c, 0x0f01_0673_4141),
        ]);
        for group in Group::ALL {
            let (original, with_true) = group.msrs();
            let value = SKYLAKE[group as usize];
            msrs.insert(with_true, value);
            // Where the original MSR tells less, it demands more.
            let default_1 = [0x16, 0x0401_e172, 0, 0x0003_6dff, 0x11ff][group as usize];
            msrs.insert(original, value & !0xffff_ffff | default_1);
        }
        msrs
    }

    /// A server of that generation.
    pub fn skylake_server() -> BTreeMap<u32, u64> {
        let mut msrs = skylake();
        for group in Group::ALL {
            let (original, with_true) = group.msrs();
            for msr in [original, with_true] {
                *msrs.get_mut(&msr).unwrap() |= SERVER[group as usize];
            }
        }
        msrs
    }

    fn cpuid(leaf: u32) -> [u32; 4] {
        [if leaf == 0 { 0x16 } else { 0 }, 0, if leaf == 1 { 1 << 5 } else { 0 }, 0]
    }

    pub fn checked(msrs: &BTreeMap<u32, u64>) -> Result<Capabilities, Missing> {
        check(cpuid, |msr| *msrs.get(&msr).unwrap_or_else(|| panic!("MSR {msr:#x} raises #GP")))
    }

    #[test]
    fn a_known_cpu_can_be_used() {
        let capabilities = checked(&skylake()).unwrap();
        assert_eq!((capabilities.revision, capabilities.huge_pages), (4, true));
        assert!(capabilities.controls.vpid());
        assert_eq!(capabilities.cr4, Fixed { must: 0x2000, may: 0x37_67ff });
    }

    #[test]
    fn a_cpu_without_vmx_is_asked_for_nothing_else() {
        assert_eq!(check(|_| [0; 4], |_| unreachable!()), Err(Missing::NoVmx));
    }

    #[test]
    fn vmx_that_firmware_left_open_is_switched_on_and_locked() {
        assert_eq!(feature_control(0), Ok(Some(5)));
        assert_eq!(feature_control(4), Ok(Some(5)));
        assert_eq!(feature_control(0xff05), Ok(None));
        assert_eq!(feature_control(1), Err(Missing::Disabled));
        assert_eq!(feature_control(3), Err(Missing::Disabled), "inside of SMX only");
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_do() {
        let with = |msr, value| {
            let mut msrs = skylake();
            msrs.insert(msr, value);
            checked(&msrs)
        };
        let without_secondary = |bit: u32| with(0x48b, SKYLAKE[2] & !(1 << (32 + bit)));
        assert_eq!(with(0x3a, 1), Err(Missing::Disabled));
        assert_eq!(without_secondary(1), Err(Missing::NoEpt));
        assert_eq!(without_secondary(7), Err(Missing::NoUnrestrictedGuest));
        assert_eq!(with(0x48c, 0x0f01_0673_4101 & !ept::LARGE_PAGES), Err(Missing::NoEpt));
        assert_eq!(with(0x48d, SKYLAKE[0] & !(1 << 37)), Err(Missing::Control("virtual NMIs")));
        for (missing, says) in [
            (Missing::NoVmx, "no Intel VT-x"),
            (Missing::Disabled, "set-up"),
            (Missing::NoEpt, "EPT"),
            (Missing::NoUnrestrictedGuest, "unrestricted guest"),
            (Missing::Control("virtual NMIs"), "virtual NMIs"),
        ] {
            let text = std::string::ToString::to_string(&missing);
            assert!(text.contains(says) && !text.contains('\n'), "{text}");
        }
    }

    #[test]
    fn a_cpu_without_secondary_controls_has_no_register_for_them() {
        let mut msrs = skylake();
        msrs.insert(0x482, 0x77f9_fffe_0401_e172);
        msrs.remove(&0x48b);
        msrs.remove(&0x48c);
        assert_eq!(checked(&msrs), Err(Missing::NoEpt));
    }

    #[test]
    fn without_invvpid_there_are_no_vpids() {
        let mut msrs = skylake();
        msrs.insert(0x48c, ept::NEEDED);
        let capabilities = checked(&msrs).unwrap();
        assert!(!capabilities.controls.vpid() && !capabilities.huge_pages);
    }

    #[test]
    fn without_true_controls_the_original_registers_are_asked() {
        let mut msrs = skylake();
        msrs.insert(0x480, 0x005a_0400_0000_0004);
        for msr in 0x48d..=0x490 {
            msrs.remove(&msr);
        }
        assert_eq!(checked(&msrs), Err(Missing::Control("CR3-load exiting")));
    }

    #[test]
    fn a_cpu_knows_when_it_goes_on_to_another_vm() {
        let mut cpu = Processor::new(0, &checked(&skylake()).unwrap(), false, HostState::default(), |_| ());
        for vm in [7, 7, 8, 7] {
            cpu.go_on_to(vm);
            assert_eq!(cpu.vm, vm);
        }
    }
}
