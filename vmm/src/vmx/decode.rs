//! Basic exit reasons (SDM vol. 3D, appendix C) and exit qualifications (vol. 3C, 27.2.1) into the
//! vendor-neutral [`Exit`].
use super::event::{self, Cause};
use super::field::{Field, Kept};
use super::vmcs::Vmcs;
use crate::cpu::{Exception, Gpr, Vector};
use crate::exit::{Direction, Exit, Forbidden, MemoryFault, PortAccess};
use crate::platform::map::LOCAL_APIC_BASE;
use mm::addr::Gpa;

/// A basic exit reason: bits 15:0 of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason(pub u16);

#[allow(missing_docs)] // The names are the manual's.
impl Reason {
    pub const EXCEPTION_OR_NMI: Self = Self(0);
    pub const EXTERNAL_INTERRUPT: Self = Self(1);
    pub const TRIPLE_FAULT: Self = Self(2);
    pub const INIT: Self = Self(3);
    pub const START_UP: Self = Self(4);
    pub const IO_SMI: Self = Self(5);
    pub const OTHER_SMI: Self = Self(6);
    pub const INTERRUPT_WINDOW: Self = Self(7);
    pub const NMI_WINDOW: Self = Self(8);
    pub const TASK_SWITCH: Self = Self(9);
    pub const CPUID: Self = Self(10);
    pub const GETSEC: Self = Self(11);
    pub const HLT: Self = Self(12);
    pub const INVD: Self = Self(13);
    pub const RDPMC: Self = Self(15);
    pub const RSM: Self = Self(17);
    pub const VMCALL: Self = Self(18);
    pub const VMCLEAR: Self = Self(19);
    pub const VMXON: Self = Self(27);
    pub const CR_ACCESS: Self = Self(28);
    pub const IO: Self = Self(30);
    pub const RDMSR: Self = Self(31);
    pub const WRMSR: Self = Self(32);
    pub const INVALID_STATE: Self = Self(33);
    pub const MSR_LOADING: Self = Self(34);
    pub const MWAIT: Self = Self(36);
    pub const MONITOR: Self = Self(39);
    pub const PAUSE: Self = Self(40);
    pub const MACHINE_CHECK: Self = Self(41);
    pub const TPR_BELOW_THRESHOLD: Self = Self(43);
    pub const APIC_ACCESS: Self = Self(44);
    pub const VIRTUALIZED_EOI: Self = Self(45);
    pub const EPT_VIOLATION: Self = Self(48);
    pub const EPT_MISCONFIGURATION: Self = Self(49);
    pub const INVEPT: Self = Self(50);
    pub const PREEMPTION_TIMER: Self = Self(52);
    pub const INVVPID: Self = Self(53);
    pub const WBINVD: Self = Self(54);
    pub const XSETBV: Self = Self(55);
    pub const APIC_WRITE: Self = Self(56);
    pub const INVPCID: Self = Self(58);
    pub const VMFUNC: Self = Self(59);
    pub const ENCLS: Self = Self(60);
    pub const XSAVES: Self = Self(63);
    pub const XRSTORS: Self = Self(64);
    pub const PCONFIG: Self = Self(65);
    pub const UMWAIT: Self = Self(67);
    pub const TPAUSE: Self = Self(68);
    pub const LOADIWKEY: Self = Self(69);

    /// The manual's name, for the operator.
    pub fn name(self) -> &'static str {
        match self {
            Self::EXCEPTION_OR_NMI => "exception or NMI",
            Self::TRIPLE_FAULT => "triple fault",
            Self::TASK_SWITCH => "task switch",
            Self::CR_ACCESS => "control-register access",
            Self::INVALID_STATE => "VM-entry failure due to invalid guest state",
            Self::MSR_LOADING => "VM-entry failure due to MSR loading",
            Self::MACHINE_CHECK => "VM-entry failure due to machine-check event",
            Self::EPT_VIOLATION => "EPT violation",
            Self::EPT_MISCONFIGURATION => {
                "EPT misconfiguration: the nested tables are not what they should be"
            }
            _ => "see SDM vol. 3D, appendix C",
        }
    }

    /// Whether the exit is by an instruction, so that its length is known and no event was being delivered.
    #[inline(always)]
    pub const fn is_instruction(self) -> bool {
        const INSTRUCTIONS: u128 = {
            // CPUID to VMXON; control registers, debug registers, I/O and MSRs.
            let mut set: u128 = ((1 << 28) - (1 << 10)) | ((1 << 33) - (1 << 28));
            let others =
                [36u32, 39, 40, 46, 47, 50, 51, 53, 54, 55, 57, 58, 59, 60, 61, 63, 64, 65, 67, 68, 69];
            let mut i = 0;
            while i < others.len() {
                set |= 1 << others[i];
                i += 1;
            }
            set
        };
        self.0 < 128 && INSTRUCTIONS >> self.0 & 1 != 0
    }
}

/// The exit for `reason`, which is not a failed entry.
#[inline]
pub fn decode(vmcs: &Vmcs, reason: Reason) -> Exit {
    // In the order of how often they come.
    match reason {
        Reason::IO => Exit::Port(port_access(vmcs)),
        Reason::EPT_VIOLATION => Exit::Memory(nested_fault(vmcs)),
        Reason::WRMSR => Exit::WriteMsr,
        Reason::RDMSR => Exit::ReadMsr,
        Reason::HLT => Exit::Halt,
        // Behind the timer's end, too, all that is to be done is to let in what is pending.
        Reason::EXTERNAL_INTERRUPT | Reason::PREEMPTION_TIMER => Exit::HostInterrupt,
        Reason::CPUID => Exit::Cpuid,
        Reason::INTERRUPT_WINDOW | Reason::TPR_BELOW_THRESHOLD => Exit::InterruptWindow,
        Reason::APIC_WRITE => Exit::ApicWrite(vmcs.read(Field::EXIT_QUALIFICATION) as u16 & 0xfff),
        Reason::VIRTUALIZED_EOI => Exit::EndOfInterrupt(vmcs.read(Field::EXIT_QUALIFICATION) as u8),
        Reason::APIC_ACCESS => Exit::Memory(apic_access(vmcs)),
        Reason::NMI_WINDOW => Exit::NmiWindow,
        Reason::PAUSE => Exit::Pause,
        Reason::VMCALL => Exit::Hypercall,
        Reason::CR_ACCESS => cr_access(vmcs),
        Reason::EXCEPTION_OR_NMI => {
            let information = vmcs.read(Field::EXIT_INTERRUPTION) as u32;
            match event::cause(information, || vmcs.read(Field::EXIT_ERROR_CODE) as u32) {
                Cause::Nmi => Exit::HostNmi,
                Cause::Int1 => Exit::Int1,
                Cause::Exception(exception) => Exit::Exception(exception),
            }
        }
        Reason::XSETBV => Exit::Xsetbv,
        Reason::INVD | Reason::WBINVD => Exit::CacheFlush,
        Reason::RDPMC => Exit::ReadPmc,
        Reason::TRIPLE_FAULT => Exit::TripleFault,
        Reason::TASK_SWITCH => Exit::TaskSwitch,
        Reason::INIT | Reason::START_UP | Reason::IO_SMI | Reason::OTHER_SMI => Exit::InitOrSmi,
        Reason::RSM => Exit::Forbidden(Forbidden::Rsm),
        Reason::MONITOR => Exit::Forbidden(Forbidden::Monitor),
        Reason::MWAIT => Exit::Forbidden(Forbidden::Mwait),
        Reason::GETSEC
        | Reason::INVEPT
        | Reason::INVVPID
        | Reason::INVPCID
        | Reason::VMFUNC
        | Reason::ENCLS
        | Reason::XSAVES
        | Reason::XRSTORS
        | Reason::PCONFIG
        | Reason::UMWAIT
        | Reason::TPAUSE
        | Reason::LOADIWKEY => Exit::Forbidden(Forbidden::Other),
        Reason(number) if (Reason::VMCLEAR.0..=Reason::VMXON.0).contains(&number) => {
            Exit::Forbidden(Forbidden::Other)
        }
        // As for a machine check while the guest runs.
        Reason::MACHINE_CHECK => {
            Exit::Exception(Exception { vector: Vector::MC, error_code: None, fault_address: None })
        }
        Reason::INVALID_STATE | Reason::MSR_LOADING => Exit::EntryFailed,
        Reason(number) => Exit::Unknown(number.into()),
    }
}

/// RIP after the instruction that caused the exit.
#[inline(always)]
pub fn next_rip(vmcs: &Vmcs) -> u64 {
    let rip = vmcs.get(Kept::RIP);
    let next = rip.wrapping_add(vmcs.read(Field::INSTRUCTION_LENGTH));
    // Only at the end of 4 GiB it makes a difference what mode the guest is in: RIP is 64 bits wide in 64-bit
    // code alone.
    if (rip ^ next) >> 32 != 0 { next_rip_behind_4_gib(vmcs, rip, next) } else { next }
}

#[cold]
fn next_rip_behind_4_gib(vmcs: &Vmcs, rip: u64, next: u64) -> u64 {
    const LONG: u64 = 1 << 13;
    let wide = rip >> 32 != 0 || vmcs.get(Kept::rights(1)) & LONG != 0;
    if wide { next } else { next & 0xffff_ffff }
}

/// Exit qualification for I/O instructions (table 27-5).
#[inline]
fn port_access(vmcs: &Vmcs) -> PortAccess {
    let qualification = vmcs.read(Field::EXIT_QUALIFICATION);
    PortAccess {
        port: (qualification >> 16) as u16,
        size: (qualification & 7) as u8 + 1,
        direction: if qualification & 1 << 3 != 0 { Direction::In } else { Direction::Out },
        string: qualification & 1 << 4 != 0,
        next_rip: next_rip(vmcs),
    }
}

/// Exit qualification for EPT violations (table 27-7).
#[inline]
fn nested_fault(vmcs: &Vmcs) -> MemoryFault {
    /// There is a linear address.
    const LINEAR: u64 = 1 << 7;
    /// The access was to what the linear address translates to, not to the tables that it is translated by.
    const TRANSLATED: u64 = 1 << 8;
    let qualification = vmcs.read(Field::EXIT_QUALIFICATION);
    MemoryFault {
        gpa: Gpa::new_truncate(vmcs.read(Field::GUEST_PHYSICAL_ADDRESS)),
        write: qualification & 1 << 1 != 0,
        fetch: qualification & 1 << 2 != 0,
        page_walk: qualification & (LINEAR | TRANSLATED) != LINEAR | TRANSLATED,
        instruction: [0; 15],
        instruction_len: 0,
    }
}

/// Exit qualification for APIC accesses (table 27-6), which exit only where the page is at its first place.
fn apic_access(vmcs: &Vmcs) -> MemoryFault {
    /// From here on it was no access by a linear address.
    const GUEST_PHYSICAL: u64 = 10;
    let qualification = vmcs.read(Field::EXIT_QUALIFICATION);
    let kind = qualification >> 12 & 0xf;
    MemoryFault {
        gpa: Gpa::new_truncate(LOCAL_APIC_BASE | qualification & 0xfff),
        write: kind == 1,
        fetch: kind == 2,
        page_walk: kind >= GUEST_PHYSICAL,
        instruction: [0; 15],
        instruction_len: 0,
    }
}

/// Exit qualification for control-register accesses (table 27-3). Only MOV to a register exits: what CLTS and
/// LMSW change is the guest's own, and nothing exits on reads.
fn cr_access(vmcs: &Vmcs) -> Exit {
    let qualification = vmcs.read(Field::EXIT_QUALIFICATION);
    match qualification >> 4 & 3 {
        0 => Exit::WriteCr {
            cr: qualification as u8 & 0xf,
            source: Some(Gpr::from_number((qualification >> 8) as u8 & 0xf)),
        },
        _ => Exit::Unknown(Reason::CR_ACCESS.0.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mm::addr::Hpa;

    fn vmcs(fields: &[(Field, u64)]) -> Vmcs {
        let mut vmcs = Vmcs::new(4, |_| Hpa::new(0x1000));
        vmcs.arrive();
        for &(field, value) in fields {
            vmcs.set_model(field, value);
        }
        vmcs
    }

    fn with_qualification(reason: Reason, qualification: u64) -> Exit {
        decode(&vmcs(&[(Field::EXIT_QUALIFICATION, qualification)]), reason)
    }

    #[test]
    fn a_port_access_names_port_size_direction_and_what_comes_next() {
        let fields = [
            (Field::EXIT_QUALIFICATION, 0x03f8_0000),
            (Field::INSTRUCTION_LENGTH, 1),
            (Kept::RIP.field(), 0x1233),
        ];
        let exit = decode(&vmcs(&fields), Reason::IO);
        let Exit::Port(access) = exit else { panic!("{exit:?}") };
        assert_eq!((access.port, access.size, access.direction), (0x3f8, 1, Direction::Out));
        assert_eq!((access.string, access.next_rip), (false, 0x1234));
        // REP INSD from port 0xCFC.
        let exit = with_qualification(Reason::IO, 0x0cfc_003b);
        let Exit::Port(access) = exit else { panic!("{exit:?}") };
        assert_eq!((access.port, access.size, access.direction), (0xcfc, 4, Direction::In));
        assert!(access.string);
    }

    #[test]
    fn a_memory_fault_tells_the_guests_tables_from_its_data() {
        let fault = |qualification| {
            let fields =
                [(Field::EXIT_QUALIFICATION, qualification), (Field::GUEST_PHYSICAL_ADDRESS, 0xfee0_0020)];
            let Exit::Memory(fault) = decode(&vmcs(&fields), Reason::EPT_VIOLATION) else { panic!() };
            assert_eq!((fault.gpa.get(), fault.instruction_len), (0xfee0_0020, 0));
            (fault.write, fault.fetch, fault.page_walk)
        };
        assert_eq!(fault(0x181), (false, false, false));
        assert_eq!(fault(0x182), (true, false, false));
        assert_eq!(fault(0x184), (false, true, false));
        assert_eq!(fault(0x081), (false, false, true), "a walk");
        assert_eq!(fault(0x001), (false, false, true), "MOV to CR3 that loads PDPTEs");
    }

    #[test]
    fn accesses_to_the_local_apic_are_told_apart() {
        let exit = |reason, qualification| with_qualification(Reason(reason), qualification);
        assert_eq!(exit(56, 0x300), Exit::ApicWrite(0x300));
        assert_eq!(exit(45, 0x41), Exit::EndOfInterrupt(0x41));
        for (qualification, what) in [
            (0x0390, (false, false, false)),
            (0x1300, (true, false, false)),
            (0x2000, (false, true, false)),
            (0x3010, (false, false, false)),
            (0xa000, (false, false, true)),
            (0xf000, (false, false, true)),
        ] {
            let Exit::Memory(fault) = exit(44, qualification) else { panic!() };
            assert_eq!((fault.write, fault.fetch, fault.page_walk), what, "{qualification:#x}");
            assert_eq!(fault.gpa.get(), 0xfee0_0000 | qualification & 0xfff);
        }
    }

    #[test]
    fn a_control_register_write_has_its_source() {
        assert_eq!(
            with_qualification(Reason::CR_ACCESS, 0x304),
            Exit::WriteCr { cr: 4, source: Some(Gpr::Rbx) }
        );
        assert_eq!(
            with_qualification(Reason::CR_ACCESS, 0xf08),
            Exit::WriteCr { cr: 8, source: Some(Gpr::R15) }
        );
        for other in [0x010, 0x020, 0x030] {
            assert_eq!(with_qualification(Reason::CR_ACCESS, other), Exit::Unknown(28));
        }
    }

    #[test]
    fn exceptions_nmis_and_int1_are_told_apart() {
        let exit = |information| decode(&vmcs(&[(Field::EXIT_INTERRUPTION, information)]), Reason(0));
        assert_eq!(exit(0x8000_0202), Exit::HostNmi);
        assert_eq!(exit(0x8000_0301), Exit::Exception(Exception::DB));
        assert_eq!(exit(0x8000_0b11), Exit::Exception(Exception::ac()));
        assert_eq!(exit(0x8000_0501), Exit::Int1);
    }

    #[test]
    fn rip_is_32_bits_wide_outside_of_64_bit_code() {
        let next = |rip, rights| {
            next_rip(&vmcs(&[
                (Kept::RIP.field(), rip),
                (Field::INSTRUCTION_LENGTH, 2),
                (Kept::rights(1).field(), rights),
            ]))
        };
        assert_eq!(next(0xffff_fffe, 0xc09b), 0);
        assert_eq!(next(0xffff_fffe, 0xa09b), 0x1_0000_0000);
        assert_eq!(next(u64::MAX - 1, 0xa09b), 0);
        assert_eq!(next(0xffff_ffff_ffff_fff0, 0), 0xffff_ffff_ffff_fff2);
    }

    #[test]
    fn every_reason_decodes_to_something() {
        for number in 0..=u16::MAX {
            for qualification in [0, 1, u64::MAX] {
                let exit = with_qualification(Reason(number), qualification);
                assert!(number < 70 || exit == Exit::Unknown(number.into()));
            }
        }
        for (number, exit) in [
            (1, Exit::HostInterrupt),
            (2, Exit::TripleFault),
            (3, Exit::InitOrSmi),
            (4, Exit::InitOrSmi),
            (5, Exit::InitOrSmi),
            (6, Exit::InitOrSmi),
            (7, Exit::InterruptWindow),
            (8, Exit::NmiWindow),
            (9, Exit::TaskSwitch),
            (10, Exit::Cpuid),
            (11, Exit::Forbidden(Forbidden::Other)),
            (12, Exit::Halt),
            (13, Exit::CacheFlush),
            (14, Exit::Unknown(14)), // INVLPG: not asked for
            (15, Exit::ReadPmc),
            (16, Exit::Unknown(16)), // RDTSC: not asked for
            (17, Exit::Forbidden(Forbidden::Rsm)),
            (18, Exit::Hypercall),
            (29, Exit::Unknown(29)), // MOV DR: not asked for
            (31, Exit::ReadMsr),
            (32, Exit::WriteMsr),
            (33, Exit::EntryFailed),
            (34, Exit::EntryFailed),
            (36, Exit::Forbidden(Forbidden::Mwait)),
            (39, Exit::Forbidden(Forbidden::Monitor)),
            (40, Exit::Pause),
            (43, Exit::InterruptWindow),
            (45, Exit::EndOfInterrupt(0)),
            (56, Exit::ApicWrite(0)),
            (49, Exit::Unknown(49)),
            (52, Exit::HostInterrupt),
            (50, Exit::Forbidden(Forbidden::Other)),
            (53, Exit::Forbidden(Forbidden::Other)),
            (54, Exit::CacheFlush),
            (55, Exit::Xsetbv),
        ] {
            assert_eq!(with_qualification(Reason(number), 0), exit, "{number}");
        }
        for number in 19..=27 {
            assert_eq!(with_qualification(Reason(number), 0), Exit::Forbidden(Forbidden::Other));
        }
    }

    #[test]
    fn lengths_are_known_of_instructions_alone() {
        for number in [10, 12, 18, 28, 30, 31, 32, 40, 55] {
            assert!(Reason(number).is_instruction(), "{number}");
        }
        for number in [0, 1, 2, 7, 8, 9, 33, 41, 43, 44, 45, 48, 49, 52, 56, 200, u16::MAX] {
            assert!(!Reason(number).is_instruction(), "{number}");
        }
    }
}
