//! What leaves the guest, and what entries and exits switch: the controls of a VMCS, as one table with the
//! reason for each (SDM vol. 3C, 24.6 to 24.8), and their values for one kind of CPU (vol. 3D, A.2 to A.5).
use super::processor::Missing;

/// The fields that controls are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Group {
    /// Pin-based VM-execution controls.
    Pin,
    /// Primary processor-based VM-execution controls.
    Primary,
    /// Secondary processor-based VM-execution controls.
    Secondary,
    /// VM-exit controls.
    Exit,
    /// VM-entry controls.
    Entry,
}

impl Group {
    /// All, in order.
    pub const ALL: [Self; 5] = [Self::Pin, Self::Primary, Self::Secondary, Self::Exit, Self::Entry];

    /// The MSR that says which controls may be 0 (low half: those set must be 1) and which may be 1 (high
    /// half): the original, and the one to ask where IA32_VMX_BASIC bit 55 says that it is there.
    pub const fn msrs(self) -> (u32, u32) {
        match self {
            Self::Pin => (0x481, 0x48d),
            Self::Primary => (0x482, 0x48e),
            Self::Secondary => (0x48b, 0x48b),
            Self::Exit => (0x483, 0x48f),
            Self::Entry => (0x484, 0x490),
        }
    }
}

/// What is wanted of a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// Set; a CPU without it can't be used.
    On,
    /// Set where the CPU has it.
    IfThere,
    /// Set now and then; a CPU without it can't be used.
    AtTimes,
    /// Set in one mode of the guest's local APIC, where the CPU has it.
    InItsMode,
    /// Clear; a CPU that has it always set can't be used.
    Off,
}

struct Row(Group, u8, Want, &'static str, #[allow(dead_code)] &'static str);

use Group::{Entry, Exit, Pin, Primary, Secondary};
use Want::{AtTimes, IfThere, InItsMode, Off, On};

/// Primary controls that come and go.
pub const INTERRUPT_WINDOW: u32 = 1 << 2;
/// An exit as soon as no NMI handler runs.
pub const NMI_WINDOW: u32 = 1 << 22;
/// VM-entry control: the guest is in long mode.
pub const IA32E_MODE_GUEST: u32 = 1 << 9;
/// Pin-based control: activate VMX-preemption timer.
pub const PREEMPTION_TIMER: u32 = 1 << 6;
/// Secondary controls that the back end asks for.
pub const VPID: u32 = 1 << 5;
/// Virtualize APIC accesses: the page of a local APIC in xAPIC mode.
pub const APIC_ACCESSES: u32 = 1 << 0;
/// Virtualize x2APIC mode.
pub const X2APIC_MODE: u32 = 1 << 4;
/// APIC-register virtualization.
const APIC_REGISTERS: u32 = 1 << 8;
/// Virtual-interrupt delivery.
const INTERRUPT_DELIVERY: u32 = 1 << 9;
/// Pin-based control: process posted interrupts.
const POSTED_INTERRUPTS: u32 = 1 << 7;
/// VM-exit control: acknowledge interrupt on exit.
const ACKNOWLEDGE: u32 = 1 << 15;
/// PAUSE-loop exiting.
pub const PAUSE_LOOP: u32 = 1 << 10;

/// All other controls are off where the CPU lets them.
const TABLE: &[Row] = &[
    Row(Pin, 0, On, "external-interrupt exiting", "the host's interrupts are the host's"),
    Row(Pin, 3, On, "NMI exiting", "likewise"),
    Row(Pin, 5, On, "virtual NMIs", "the hardware knows whether the guest's NMI handler runs"),
    Row(
        Pin,
        6,
        IfThere,
        "activate VMX-preemption timer",
        "a guest comes back at times, whatever else fails to",
    ),
    Row(
        Pin,
        7,
        IfThere,
        "process posted interrupts",
        "an interrupt reaches a guest that runs without an exit; needs delivery",
    ),
    Row(Primary, 2, AtTimes, "interrupt-window exiting", "an interrupt waits for the guest to open"),
    Row(Primary, 3, On, "use TSC offsetting", "each VM counts from its own power-on"),
    Row(Primary, 7, On, "HLT exiting", "the CPU runs somebody else meanwhile"),
    Row(Primary, 9, Off, "INVLPG exiting", "guests keep their own page tables"),
    Row(Primary, 10, On, "MWAIT exiting", "hidden, since a CPU in MWAIT can't run others"),
    Row(Primary, 11, On, "RDPMC exiting", "there are no performance counters in the virtual machine"),
    Row(Primary, 12, Off, "RDTSC exiting", "reading the counter costs no exit"),
    Row(Primary, 15, Off, "CR3-load exiting", "guests keep their own page tables"),
    Row(Primary, 16, Off, "CR3-store exiting", "likewise"),
    Row(Primary, 19, Off, "CR8-load exiting", "CR8 is the TPR of the virtual-APIC page"),
    Row(Primary, 20, Off, "CR8-store exiting", "likewise"),
    Row(Primary, 21, On, "use TPR shadow", "likewise"),
    Row(Primary, 22, AtTimes, "NMI-window exiting", "an NMI waits for the handler of another"),
    Row(Primary, 23, Off, "MOV-DR exiting", "debug registers are the guest's"),
    Row(Primary, 24, Off, "unconditional I/O exiting", "the I/O bitmaps decide"),
    Row(Primary, 25, On, "use I/O bitmaps", "ports are virtual devices"),
    Row(Primary, 28, On, "use MSR bitmaps", "MSRs that the hardware switches need no exit"),
    Row(Primary, 29, On, "MONITOR exiting", "hidden, as MWAIT is"),
    Row(Primary, 30, Off, "PAUSE exiting", "one PAUSE alone says nothing"),
    Row(Primary, 31, On, "activate secondary controls", "EPT is among them"),
    Row(
        Secondary,
        0,
        InItsMode,
        "virtualize APIC accesses",
        "the CPU answers for the page, as far as it can",
    ),
    Row(Secondary, 1, On, "enable EPT", "a guest reaches its own memory only"),
    Row(Secondary, 2, Off, "descriptor-table exiting", "descriptor tables are the guest's"),
    Row(Secondary, 3, IfThere, "enable RDTSCP", "else it is undefined"),
    Row(Secondary, 4, InItsMode, "virtualize x2APIC mode", "the CPU answers for the MSRs, as far as it can"),
    Row(Secondary, 5, IfThere, "enable VPID", "translations survive entries and exits"),
    Row(Secondary, 6, On, "WBINVD exiting", "would write back everybody's caches"),
    Row(Secondary, 7, On, "unrestricted guest", "guests start in real mode and run without paging"),
    Row(Secondary, 8, IfThere, "APIC-register virtualization", "the CPU answers; of use with delivery alone"),
    Row(Secondary, 9, IfThere, "virtual-interrupt delivery", "no injection, no window, no exit for an EOI"),
    Row(Secondary, 10, IfThere, "PAUSE-loop exiting", "who spins on a lock lets others run"),
    Row(Secondary, 12, IfThere, "enable INVPCID", "else it is undefined"),
    Row(Exit, 2, On, "save debug controls", "DR7 and IA32_DEBUGCTL are the guest's"),
    Row(Exit, 9, On, "host address-space size", "the hypervisor is 64-bit code"),
    Row(
        Exit,
        15,
        IfThere,
        "acknowledge interrupt on exit",
        "posted interrupts need it; else the host takes interrupts by its own IDT",
    ),
    Row(Exit, 19, On, "load IA32_PAT", "the hypervisor has its own"),
    Row(Exit, 20, On, "save IA32_EFER", "LMA changes with the guest's CR0.PG"),
    Row(Exit, 21, On, "load IA32_EFER", "the hypervisor has its own"),
    Row(Entry, 2, On, "load debug controls", "DR7 and IA32_DEBUGCTL are the guest's"),
    Row(Entry, 9, AtTimes, "IA-32e mode guest", "the guest is in long mode"),
    Row(Entry, 14, On, "load IA32_PAT", "the guest has its own"),
    Row(Entry, 15, On, "load IA32_EFER", "the guest has its own"),
];

/// Values of the controls for the CPUs of this machine, without those that come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controls {
    values: [u32; 5],
    /// Secondary ones that a mode of the guest's local APIC sets.
    by_mode: u32,
}

impl Controls {
    /// Chooses them; `allowed` gives each group's capability MSR.
    ///
    /// # Errors
    /// The first control that the CPU lacks.
    pub fn choose(allowed: impl Fn(Group) -> u64) -> Result<Self, Missing> {
        let (mut values, mut by_mode) = ([0; 5], 0);
        for group in Group::ALL {
            let (must, may) = (allowed(group) as u32, (allowed(group) >> 32) as u32);
            let mut value = 0;
            for &Row(_, bit, want, name, _) in TABLE.iter().filter(|row| row.0 == group) {
                let (bit, refused) = (1 << bit, Err(Missing::Control(name)));
                match want {
                    On | AtTimes if may & bit == 0 => return refused,
                    Off | AtTimes | InItsMode if must & bit != 0 => return refused,
                    On => value |= bit,
                    IfThere => value |= bit & may,
                    InItsMode => by_mode |= bit & may,
                    Off | AtTimes => {}
                }
            }
            values[group as usize] = value | must;
        }
        // What is of use only together (SDM vol. 3C, 26.2.1.1).
        let clear = |values: &mut [u32; 5], group: Group, bits: u32, name| {
            values[group as usize] &= !bits;
            if allowed(group) as u32 & bits != 0 { Err(Missing::Control(name)) } else { Ok(()) }
        };
        let delivery = APIC_REGISTERS | INTERRUPT_DELIVERY;
        if values[Secondary as usize] & delivery != delivery {
            clear(
                &mut values,
                Secondary,
                delivery,
                "APIC-register virtualization, virtual-interrupt delivery",
            )?;
        }
        let delivers = values[Secondary as usize] & delivery != 0;
        let both = values[Pin as usize] & POSTED_INTERRUPTS != 0 && values[Exit as usize] & ACKNOWLEDGE != 0;
        if !(delivers && both) {
            clear(&mut values, Pin, POSTED_INTERRUPTS, "process posted interrupts")?;
            clear(&mut values, Exit, ACKNOWLEDGE, "acknowledge interrupt on exit")?;
        }
        Ok(Self { values, by_mode })
    }

    /// Of one group.
    pub const fn get(&self, group: Group) -> u32 {
        self.values[group as usize]
    }

    /// Whether the CPU delivers the interrupts that the virtual-APIC page requests, and answers for its registers.
    pub const fn deliver_interrupts(&self) -> bool {
        self.get(Secondary) & INTERRUPT_DELIVERY != 0
    }

    /// Whether the CPU takes posted interrupts; then it also acknowledges the host's.
    pub const fn post_interrupts(&self) -> bool {
        self.get(Pin) & POSTED_INTERRUPTS != 0
    }

    /// The part of `bits`, secondary controls that belong to a mode of the local APIC, that the CPU has.
    pub const fn in_mode(&self, bits: u32) -> u32 {
        self.by_mode & bits
    }

    /// Whether VPIDs are used.
    pub const fn vpid(&self) -> bool {
        self.get(Secondary) & VPID != 0
    }
}

/// Exceptions that leave the guest, for the same reasons as on AMD-V: #DB and #AC, delivery of which a guest
/// can make raise the next for ever; machine checks, which are the host's.
pub const EXCEPTIONS: u32 = 1 << 1 | 1 << 17 | 1 << 18;

#[cfg(test)]
pub mod tests {
    use super::*;

    /// What a Core of the Skylake generation says: MSRs 0x481 to 0x490 in the order of [`Group::ALL`], TRUE
    /// ones.
    pub const SKYLAKE: [u64; 5] = [
        0x0000_007f_0000_0016,
        0xfff9_fffe_0400_6172,
        0x001f_fcff_0000_0000,
        0x01ff_ffff_0003_6dfb,
        0x0003_ffff_0000_11fb,
    ];

    /// The controls that a server of that generation has besides: delivery and posting.
    pub const SERVER: [u64; 5] = [1 << 39, 0, 3 << 40, 0, 0];

    /// What a server of the Skylake generation says.
    pub const SKYLAKE_SERVER: [u64; 5] = {
        let mut msrs = SKYLAKE;
        let mut i = 0;
        while i < msrs.len() {
            msrs[i] |= SERVER[i];
            i += 1;
        }
        msrs
    };

    /// What Bochs 2.7 says as `corei7_skylake_x`.
    pub const BOCHS: [u64; 5] = [
        0x0000_007f_0000_0016,
        0xf7f9_fffe_0400_6172,
        0x0217_7fff_0000_0000,
        0x007f_ffff_0003_6dfb,
        0x0000_ffff_0000_11fb,
    ];

    pub fn of(msrs: [u64; 5]) -> impl Fn(Group) -> u64 {
        move |group| msrs[group as usize]
    }

    #[test]
    fn controls_of_known_cpus_are_within_what_these_allow() {
        for msrs in [SKYLAKE, SKYLAKE_SERVER, BOCHS] {
            let controls = Controls::choose(of(msrs)).unwrap();
            for group in Group::ALL {
                let (must, may) = (msrs[group as usize] as u32, (msrs[group as usize] >> 32) as u32);
                let value = controls.get(group);
                assert_eq!(value & must, must, "{group:?}");
                assert_eq!(value & !may, 0, "{group:?}");
            }
            assert!(controls.vpid());
            assert_eq!(controls.get(Pin) & 0x7f, 0x7f);
            assert_eq!(controls.get(Primary) & (1 << 15 | 1 << 16 | INTERRUPT_WINDOW | NMI_WINDOW), 0);
            assert_eq!(controls.get(Entry) & IA32E_MODE_GUEST, 0);
        }
    }

    #[test]
    fn a_control_that_is_missing_is_named() {
        for (group, bit, name) in [
            (Secondary, 1, "enable EPT"),
            (Secondary, 7, "unrestricted guest"),
            (Pin, 5, "virtual NMIs"),
            (Primary, 2, "interrupt-window exiting"),
            (Exit, 21, "load IA32_EFER"),
        ] {
            let mut msrs = SKYLAKE;
            msrs[group as usize] &= !(1 << (32 + bit));
            assert_eq!(Controls::choose(of(msrs)), Err(Missing::Control(name)));
        }
    }

    #[test]
    fn a_cpu_that_always_exits_on_cr3_cannot_be_used() {
        // As the original MSR, without the TRUE ones, has it.
        let mut msrs = SKYLAKE;
        msrs[Primary as usize] = 0xfff9_fffe_0401_e172;
        assert_eq!(Controls::choose(of(msrs)), Err(Missing::Control("CR3-load exiting")));
    }

    #[test]
    fn what_is_optional_may_be_missing() {
        let mut msrs = SKYLAKE;
        msrs[Secondary as usize] &= !(u64::from(VPID | PAUSE_LOOP | 1 << 12 | 1 << 3) << 32);
        let controls = Controls::choose(of(msrs)).unwrap();
        assert!(!controls.vpid());
        assert_eq!(controls.get(Secondary), 1 << 1 | 1 << 6 | 1 << 7);
    }

    #[test]
    fn the_local_apic_is_virtualized_as_far_as_the_cpu_can() {
        let of_cpu = |msrs: [u64; 5]| {
            let c = Controls::choose(of(msrs)).unwrap();
            assert_eq!(c.get(Secondary) & (APIC_ACCESSES | X2APIC_MODE), 0, "a mode sets them");
            assert_eq!(c.post_interrupts(), c.get(Exit) & ACKNOWLEDGE != 0);
            assert_eq!(c.deliver_interrupts(), c.get(Secondary) & APIC_REGISTERS != 0);
            (c.deliver_interrupts(), c.post_interrupts(), c.in_mode(APIC_ACCESSES | X2APIC_MODE))
        };
        let both = APIC_ACCESSES | X2APIC_MODE;
        assert_eq!(of_cpu(SKYLAKE), (false, false, both));
        assert_eq!(of_cpu(SKYLAKE_SERVER), (true, true, both));
        assert_eq!(of_cpu(BOCHS), (true, false, both));
        let without = |group: Group, bit: u32| {
            let mut msrs = SKYLAKE_SERVER;
            msrs[group as usize] &= !(1 << (32 + bit));
            of_cpu(msrs)
        };
        assert_eq!(without(Secondary, 8), (false, false, both));
        assert_eq!(without(Secondary, 9), (false, false, both));
        assert_eq!(without(Exit, 15), (true, false, both));
        assert_eq!(without(Secondary, 0), (true, true, X2APIC_MODE));
        assert_eq!(without(Secondary, 4), (true, true, APIC_ACCESSES));
    }

    #[test]
    fn a_cpu_that_can_only_do_half_of_it_always_cannot_be_used() {
        for (group, must, lacks) in
            [(Secondary, 9, Some((Secondary, 8))), (Pin, 7, Some((Exit, 15))), (Secondary, 0, None)]
        {
            let mut msrs = SKYLAKE_SERVER;
            msrs[group as usize] |= 1 << must;
            if let Some((group, bit)) = lacks {
                msrs[group as usize] &= !(1u64 << (32 + bit));
            }
            assert!(matches!(Controls::choose(of(msrs)), Err(Missing::Control(_))), "{group:?} {must}");
        }
    }

    #[test]
    fn each_control_is_in_the_table_once() {
        for (i, a) in TABLE.iter().enumerate() {
            assert!(TABLE[..i].iter().all(|b| (a.0, a.1) != (b.0, b.1)), "{}", a.3);
            assert!(!a.4.is_empty());
        }
    }
}
