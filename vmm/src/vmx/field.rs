//! Fields of a VMCS (SDM vol. 3D, appendix B).

/// A field's encoding, as VMREAD and VMWRITE take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Field(pub u16);

#[allow(missing_docs)] // The names are the manual's.
impl Field {
    pub const NOTIFICATION_VECTOR: Self = Self(0x0002);
    pub const IO_BITMAP_A: Self = Self(0x2000);
    pub const IO_BITMAP_B: Self = Self(0x2002);
    pub const MSR_BITMAP: Self = Self(0x2004);
    pub const VIRTUAL_APIC_PAGE: Self = Self(0x2012);
    pub const APIC_ACCESS_PAGE: Self = Self(0x2014);
    pub const POSTED_INTERRUPTS: Self = Self(0x2016);
    pub const EPT_POINTER: Self = Self(0x201a);
    /// Of four: 64 vectors each.
    pub const EOI_EXIT_BITMAP: Self = Self(0x201c);
    pub const GUEST_PHYSICAL_ADDRESS: Self = Self(0x2400);
    pub const VMCS_LINK_POINTER: Self = Self(0x2800);
    pub const HOST_PAT: Self = Self(0x2c00);
    pub const HOST_EFER: Self = Self(0x2c02);
    pub const PREEMPTION_TIMER: Self = Self(0x482e);
    pub const PIN_CONTROLS: Self = Self(0x4000);
    pub const EXCEPTION_BITMAP: Self = Self(0x4004);
    pub const EXIT_CONTROLS: Self = Self(0x400c);
    pub const SECONDARY_CONTROLS: Self = Self(0x401e);
    pub const PLE_GAP: Self = Self(0x4020);
    pub const PLE_WINDOW: Self = Self(0x4022);
    pub const INSTRUCTION_ERROR: Self = Self(0x4400);
    pub const EXIT_REASON: Self = Self(0x4402);
    pub const EXIT_INTERRUPTION: Self = Self(0x4404);
    pub const EXIT_ERROR_CODE: Self = Self(0x4406);
    pub const VECTORING: Self = Self(0x4408);
    pub const VECTORING_ERROR_CODE: Self = Self(0x440a);
    pub const INSTRUCTION_LENGTH: Self = Self(0x440c);
    pub const CR0_MASK: Self = Self(0x6000);
    pub const EXIT_QUALIFICATION: Self = Self(0x6400);
    pub const HOST_CS_SELECTOR: Self = Self(0x0c02);
    pub const HOST_TR_SELECTOR: Self = Self(0x0c0c);
    pub const HOST_CR0: Self = Self(0x6c00);
    pub const HOST_CR3: Self = Self(0x6c02);
    pub const HOST_CR4: Self = Self(0x6c04);
    pub const HOST_GS_BASE: Self = Self(0x6c08);
    pub const HOST_TR_BASE: Self = Self(0x6c0a);
    pub const HOST_GDTR_BASE: Self = Self(0x6c0c);
    pub const HOST_IDTR_BASE: Self = Self(0x6c0e);
    #[cfg(target_os = "none")]
    pub const HOST_RSP: Self = Self(0x6c14);
    #[cfg(target_os = "none")]
    pub const HOST_RIP: Self = Self(0x6c16);
}

/// A field whose value the hypervisor keeps beside the VMCS: what it has read since the last exit is not read
/// again, what it changes is written once, before the next entry. Its number is the bit in the sets of what
/// is known and changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept(u8);

/// The segment registers and tables that a VMCS numbers after the six that instructions name.
pub const LDTR: u8 = 6;
/// The task register.
pub const TR: u8 = 7;

const SEGMENTS: u8 = 8;

macro_rules! kept {
    ($($name:ident = $encoding:literal $text:literal,)*) => {
        /// Numbers in the order of the list below.
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Number { $($name,)* }

        #[allow(missing_docs)] // The names are the manual's.
        impl Kept {
            $(pub const $name: Self = Self(4 * SEGMENTS + Number::$name as u8);)*
        }

        const OTHERS: &[(u16, &str)] = &[$(($encoding, $text),)*];
    };
}

kept! {
    CR0 = 0x6800 "CR0",
    CR3 = 0x6802 "CR3",
    CR4 = 0x6804 "CR4",
    DR7 = 0x681a "DR7",
    RSP = 0x681c "RSP",
    RIP = 0x681e "RIP",
    RFLAGS = 0x6820 "RFLAGS",
    EFER = 0x2806 "IA32_EFER",
    DEBUGCTL = 0x2802 "IA32_DEBUGCTL",
    SYSENTER_CS = 0x482a "IA32_SYSENTER_CS",
    SYSENTER_ESP = 0x6824 "IA32_SYSENTER_ESP",
    SYSENTER_EIP = 0x6826 "IA32_SYSENTER_EIP",
    GDTR_BASE = 0x6816 "GDTR base",
    GDTR_LIMIT = 0x4810 "GDTR limit",
    IDTR_BASE = 0x6818 "IDTR base",
    IDTR_LIMIT = 0x4812 "IDTR limit",
    INTERRUPTIBILITY = 0x4824 "interruptibility state",
    PENDING_DEBUG = 0x6822 "pending debug exceptions",
    // RVI and, in the upper half, SVI; where the CPU delivers interrupts.
    INTERRUPT_STATUS = 0x0810 "guest interrupt status",
    // With unrestricted guests the hardware keeps "IA-32e mode guest" equal to EFER.LMA.
    ENTRY_CONTROLS = 0x4012 "VM-entry controls",
    // From here on: what a guest's run does not change.
    ACTIVITY = 0x4826 "activity state",
    PAT = 0x2804 "IA32_PAT",
    PRIMARY_CONTROLS = 0x4002 "primary processor-based controls",
    ENTRY_EVENT = 0x4016 "VM-entry interruption information",
    ENTRY_ERROR_CODE = 0x4018 "VM-entry exception error code",
    CR0_SHADOW = 0x6004 "CR0 read shadow",
    CR4_SHADOW = 0x6006 "CR4 read shadow",
    CR4_MASK = 0x6002 "CR4 guest/host mask",
    TPR_THRESHOLD = 0x401c "TPR threshold",
    TSC_OFFSET = 0x2010 "TSC offset",
    VPID = 0x0000 "VPID",
}

impl Kept {
    /// How many there are.
    pub const COUNT: usize = 4 * SEGMENTS as usize + OTHERS.len();

    /// Those that a guest changes while it runs.
    pub const OF_THE_GUEST: u64 = Self::ACTIVITY.bit() - 1;

    /// Selector of segment register `number`: ES, CS, SS, DS, FS, GS, LDTR, TR.
    pub const fn selector(number: u8) -> Self {
        Self(number % SEGMENTS)
    }

    /// Its limit.
    pub const fn limit(number: u8) -> Self {
        Self(SEGMENTS + number % SEGMENTS)
    }

    /// Its access rights.
    pub const fn rights(number: u8) -> Self {
        Self(2 * SEGMENTS + number % SEGMENTS)
    }

    /// Its base.
    pub const fn base(number: u8) -> Self {
        Self(3 * SEGMENTS + number % SEGMENTS)
    }

    /// All of them.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests look at all"))]
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT as u8).map(Self)
    }

    /// The one with this number.
    #[inline(always)]
    pub const fn from_number(number: u32) -> Self {
        Self(number as u8)
    }

    /// Its bit in a set.
    #[inline(always)]
    pub const fn bit(self) -> u64 {
        1 << self.0
    }

    /// Its place in an array.
    #[inline(always)]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Its encoding.
    #[inline(always)]
    pub const fn field(self) -> Field {
        Field(ENCODINGS[self.0 as usize])
    }

    /// Segment register and part, for those that belong to one.
    pub fn name(self) -> (&'static str, &'static str) {
        const REGISTERS: [&str; SEGMENTS as usize] = ["ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"];
        const PARTS: [&str; 4] = [" selector", " limit", " access rights", " base"];
        match self.0.checked_sub(4 * SEGMENTS) {
            Some(other) => (OTHERS[other as usize].1, ""),
            None => (REGISTERS[(self.0 % SEGMENTS) as usize], PARTS[(self.0 / SEGMENTS) as usize]),
        }
    }
}

const ENCODINGS: [u16; Kept::COUNT] = {
    // Of ES: selector, limit, access rights, base. Each next register's are 2 further.
    let first = [0x0800, 0x4800, 0x4814, 0x6806];
    let mut encodings = [0; Kept::COUNT];
    let mut i = 0;
    while i < encodings.len() {
        encodings[i] = if i < 4 * SEGMENTS as usize {
            first[i / SEGMENTS as usize] + 2 * (i % SEGMENTS as usize) as u16
        } else {
            OTHERS[i - 4 * SEGMENTS as usize].0
        };
        i += 1;
    }
    encodings
};

const _: () = assert!(Kept::COUNT <= 64, "a set is 64 bits");

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn encodings_are_those_of_the_manual() {
        for (kept, encoding) in [
            (Kept::selector(0), 0x800),
            (Kept::selector(TR), 0x80e),
            (Kept::limit(LDTR), 0x480c),
            (Kept::rights(1), 0x4816),
            (Kept::rights(TR), 0x4822),
            (Kept::base(5), 0x6810),
            (Kept::base(TR), 0x6814),
            (Kept::RIP, 0x681e),
            (Kept::VPID, 0),
        ] {
            assert_eq!(kept.field(), Field(encoding), "{:?}", kept.name());
        }
    }

    #[test]
    fn each_field_is_kept_once() {
        let encodings: BTreeSet<Field> = Kept::all().map(Kept::field).collect();
        assert_eq!(encodings.len(), Kept::COUNT);
    }

    #[test]
    fn what_the_hypervisor_alone_sets_stays_known_through_an_exit() {
        for kept in [Kept::PRIMARY_CONTROLS, Kept::CR4_SHADOW, Kept::VPID, Kept::PAT] {
            assert_eq!(Kept::OF_THE_GUEST & kept.bit(), 0);
        }
        for kept in [Kept::RIP, Kept::base(TR), Kept::ENTRY_CONTROLS, Kept::EFER] {
            assert_ne!(Kept::OF_THE_GUEST & kept.bit(), 0);
        }
    }

    #[test]
    fn a_field_of_a_segment_is_named_after_register_and_part() {
        assert_eq!(Kept::rights(TR).name(), ("TR", " access rights"));
        assert_eq!(Kept::EFER.name(), ("IA32_EFER", ""));
    }
}
