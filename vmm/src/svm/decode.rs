//! Exit codes (APM vol. 2, appendix C) into the vendor-neutral [`Exit`].
use super::processor::Features;
use super::vmcb::Control;
use crate::cpu::{Exception, Gpr, Vector};
use crate::exit::{Direction, Exit, Forbidden, MemoryFault, PortAccess};
use mm::addr::Gpa;

/// #VMEXIT codes by their names in the manual.
mod code {
    pub const CR_WRITE_FIRST: u64 = 0x10;
    pub const CR_WRITE_LAST: u64 = 0x1f;
    pub const EXCEPTION_FIRST: u64 = 0x40;
    pub const EXCEPTION_LAST: u64 = 0x5f;
    pub const INTR: u64 = 0x60;
    pub const NMI: u64 = 0x61;
    pub const SMI: u64 = 0x62;
    pub const INIT: u64 = 0x63;
    pub const VINTR: u64 = 0x64;
    pub const RDPMC: u64 = 0x6f;
    pub const CPUID: u64 = 0x72;
    pub const RSM: u64 = 0x73;
    pub const IRET: u64 = 0x74;
    pub const INVD: u64 = 0x76;
    pub const PAUSE: u64 = 0x77;
    pub const HLT: u64 = 0x78;
    pub const INVLPGA: u64 = 0x7a;
    pub const IOIO: u64 = 0x7b;
    pub const MSR: u64 = 0x7c;
    pub const TASK_SWITCH: u64 = 0x7d;
    pub const SHUTDOWN: u64 = 0x7f;
    pub const VMRUN: u64 = 0x80;
    pub const VMMCALL: u64 = 0x81;
    pub const VMLOAD: u64 = 0x82;
    pub const VMSAVE: u64 = 0x83;
    pub const STGI: u64 = 0x84;
    pub const CLGI: u64 = 0x85;
    pub const SKINIT: u64 = 0x86;
    pub const ICEBP: u64 = 0x88;
    pub const WBINVD: u64 = 0x89;
    pub const MONITOR: u64 = 0x8a;
    pub const MWAIT: u64 = 0x8b;
    pub const MWAIT_ARMED: u64 = 0x8c;
    pub const XSETBV: u64 = 0x8d;
    pub const RDPRU: u64 = 0x8e;
    pub const NPF: u64 = 0x400;
    pub const INVALID: u64 = u64::MAX;
    pub const BUSY: u64 = u64::MAX - 1;
}

/// The manual's name of an exit code, for the operator.
pub fn name(code: u64) -> &'static str {
    match code {
        code::CR_WRITE_FIRST..=code::CR_WRITE_LAST => "VMEXIT_CR_WRITE",
        code::EXCEPTION_FIRST..=code::EXCEPTION_LAST => "VMEXIT_EXCP",
        code::INTR => "VMEXIT_INTR",
        code::NMI => "VMEXIT_NMI",
        code::SMI => "VMEXIT_SMI",
        code::INIT => "VMEXIT_INIT",
        code::TASK_SWITCH => "VMEXIT_TASK_SWITCH",
        code::SHUTDOWN => "VMEXIT_SHUTDOWN",
        code::NPF => "VMEXIT_NPF",
        code::INVALID => "VMEXIT_INVALID: the state is not one that a CPU can be in",
        code::BUSY => "VMEXIT_BUSY",
        _ => "see APM vol. 2, appendix C",
    }
}

impl Control {
    /// The exit that the CPU reported.
    #[inline]
    pub fn decode_exit(&self, features: Features, cr2: u64) -> Exit {
        // In the order of how often they come.
        match self.exit_code {
            code::NPF => Exit::Memory(self.nested_fault(features)),
            code::IOIO => Exit::Port(self.port_access()),
            code::MSR if self.exit_info_1 == 0 => Exit::ReadMsr,
            code::MSR => Exit::WriteMsr,
            code::HLT => Exit::Halt,
            code::INTR => Exit::HostInterrupt,
            code::CPUID => Exit::Cpuid,
            code::VINTR => Exit::InterruptWindow,
            code::IRET => Exit::NmiWindow,
            code::PAUSE => Exit::Pause,
            code::VMMCALL => Exit::Hypercall,
            code::NMI => Exit::HostNmi,
            code @ code::CR_WRITE_FIRST..=code::CR_WRITE_LAST => {
                Exit::WriteCr { cr: (code - code::CR_WRITE_FIRST) as u8, source: self.cr_source(features) }
            }
            code @ code::EXCEPTION_FIRST..=code::EXCEPTION_LAST => {
                Exit::Exception(self.exception((code - code::EXCEPTION_FIRST) as u8, cr2))
            }
            code::XSETBV => Exit::Xsetbv,
            code::INVD | code::WBINVD => Exit::CacheFlush,
            code::ICEBP => Exit::Int1,
            code::RDPMC => Exit::ReadPmc,
            code::SHUTDOWN => Exit::TripleFault,
            code::TASK_SWITCH => Exit::TaskSwitch,
            code::SMI | code::INIT => Exit::InitOrSmi,
            code::VMRUN => Exit::Forbidden(Forbidden::Vmrun),
            code::VMLOAD => Exit::Forbidden(Forbidden::Vmload),
            code::VMSAVE => Exit::Forbidden(Forbidden::Vmsave),
            code::STGI => Exit::Forbidden(Forbidden::Stgi),
            code::CLGI => Exit::Forbidden(Forbidden::Clgi),
            code::SKINIT => Exit::Forbidden(Forbidden::Skinit),
            code::RSM => Exit::Forbidden(Forbidden::Rsm),
            code::MONITOR => Exit::Forbidden(Forbidden::Monitor),
            code::MWAIT | code::MWAIT_ARMED => Exit::Forbidden(Forbidden::Mwait),
            code::INVLPGA | code::RDPRU => Exit::Forbidden(Forbidden::Other),
            code::INVALID | code::BUSY => Exit::EntryFailed,
            code => Exit::Unknown(code),
        }
    }

    /// IOIO exit information (APM vol. 2, 15.10.2).
    #[inline]
    fn port_access(&self) -> PortAccess {
        let info = self.exit_info_1;
        PortAccess {
            port: (info >> 16) as u16,
            // One of bits 6:4 is set, for 4, 2 or 1 bytes: the field is the size itself.
            size: (info >> 4 & 7) as u8,
            direction: if info & 1 != 0 { Direction::In } else { Direction::Out },
            string: info & 1 << 2 != 0,
            next_rip: self.exit_info_2,
        }
    }

    /// Nested page fault information (APM vol. 2, 15.25.6).
    #[inline]
    fn nested_fault(&self, features: Features) -> MemoryFault {
        let info = self.exit_info_1;
        let assisted = features.contains(Features::DECODE_ASSISTS);
        MemoryFault {
            gpa: Gpa::new_truncate(self.exit_info_2),
            write: info & 1 << 1 != 0,
            fetch: info & 1 << 4 != 0,
            page_walk: info & 1 << 33 != 0,
            instruction: if assisted { self.fetched } else { [0; 15] },
            instruction_len: if assisted { self.fetched_len.min(15) } else { 0 },
        }
    }

    /// The source of a MOV to a control register, with decode assists (APM vol. 2, 15.33.1).
    fn cr_source(&self, features: Features) -> Option<Gpr> {
        let is_mov = self.exit_info_1 & 1 << 63 != 0;
        (features.contains(Features::DECODE_ASSISTS) && is_mov)
            .then(|| Gpr::from_number(self.exit_info_1 as u8 & 0xf))
    }

    fn exception(&self, vector: u8, cr2: u64) -> Exception {
        let vector = Vector(vector);
        Exception {
            vector,
            error_code: vector.has_error_code().then_some(self.exit_info_1 as u32),
            // For an intercepted #PF, EXITINFO2 has the address; CR2 is unchanged.
            fault_address: (vector == Vector::PF).then_some(if self.exit_info_2 != 0 {
                self.exit_info_2
            } else {
                cr2
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::vcpu::tests::zeroed_vmcb;
    use super::*;

    fn decode(code: u64, info_1: u64, info_2: u64, features: Features) -> Exit {
        let mut vmcb = zeroed_vmcb();
        vmcb.control.exit_code = code;
        vmcb.control.exit_info_1 = info_1;
        vmcb.control.exit_info_2 = info_2;
        vmcb.control.decode_exit(features, 0)
    }

    #[test]
    fn a_port_access_names_port_size_and_direction() {
        // OUT DX, AL at port 0x3F8; the next instruction is at 0x1234.
        let exit = decode(0x7b, 0x03f8_0010, 0x1234, Features::empty());
        let Exit::Port(access) = exit else { panic!("{exit:?}") };
        assert_eq!((access.port, access.size, access.direction), (0x3f8, 1, Direction::Out));
        assert_eq!((access.string, access.next_rip), (false, 0x1234));
        // REP INSD from port 0xCFC.
        let exit = decode(0x7b, 0x0cfc_004d, 0, Features::empty());
        let Exit::Port(access) = exit else { panic!("{exit:?}") };
        assert_eq!((access.port, access.size, access.direction), (0xcfc, 4, Direction::In));
        assert!(access.string);
    }

    #[test]
    fn instruction_bytes_are_believed_only_with_decode_assists() {
        let mut vmcb = zeroed_vmcb();
        vmcb.control.exit_code = 0x400;
        vmcb.control.exit_info_1 = 0x1_0000_0006;
        vmcb.control.exit_info_2 = 0xfee0_0020;
        vmcb.control.fetched_len = 0xff;
        let Exit::Memory(fault) = vmcb.control.decode_exit(Features::empty(), 0) else { panic!() };
        assert_eq!((fault.gpa.get(), fault.write, fault.instruction_len), (0xfee0_0020, true, 0));
        let Exit::Memory(fault) = vmcb.control.decode_exit(Features::DECODE_ASSISTS, 0) else { panic!() };
        assert_eq!(fault.instruction_len, 15);
    }

    #[test]
    fn a_control_register_write_has_its_source_only_with_decode_assists() {
        let info = 1 << 63 | 3;
        assert_eq!(
            decode(0x14, info, 0, Features::DECODE_ASSISTS),
            Exit::WriteCr { cr: 4, source: Some(Gpr::Rbx) }
        );
        assert_eq!(decode(0x18, info, 0, Features::empty()), Exit::WriteCr { cr: 8, source: None });
    }

    #[test]
    fn every_code_decodes_to_something() {
        for code in (0..0x500).chain([u64::MAX, u64::MAX - 1, 0x8000_0000]) {
            for info in [0, 1, u64::MAX] {
                let _ = decode(code, info, info, Features::all());
            }
        }
        assert_eq!(decode(0x7777, 0, 0, Features::empty()), Exit::Unknown(0x7777));
        assert_eq!(decode(u64::MAX, 0, 0, Features::empty()), Exit::EntryFailed);
    }
}
