//! What VM entry demands of the guest's state (SDM vol. 3C, 26.3.1), with unrestricted guests, and of the controls for
//! events (26.2.1.3) and for the local APIC (26.2.1.1). The hardware only says that something is wrong: this names the
//! field.
use super::controls::{APIC_ACCESSES, Group, IA32E_MODE_GUEST, X2APIC_MODE};
use super::field::{Field, Kept, LDTR, TR};
use super::interruptibility as blocking;
use super::processor::Capabilities;
use super::segment::UNUSABLE;
use super::vmcs::Vmcs;
use crate::cpu::{Cr0, Cr4, Efer, Rflags};
use core::fmt;
use mm::addr::is_canonical;

/// A rule that the state breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The field's name, in two parts.
    pub field: (&'static str, &'static str),
    /// Its value.
    pub value: u64,
    /// What it must be.
    pub rule: &'static str,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (register, part) = self.field;
        write!(f, "{register}{part} is {:#x}: {}", self.value, self.rule)
    }
}

const ES: u8 = 0;
const CS: u8 = 1;
const SS: u8 = 2;

/// The state under examination.
struct State<'a> {
    vmcs: &'a Vmcs,
    task_priority: u8,
    cr0: Cr0,
    cr4: Cr4,
    rflags: Rflags,
    long: bool,
}

type Verdict = Result<(), Broken>;

/// The first rule that is broken, in the manual's order. `task_priority` is the TPR in the virtual-APIC page.
pub fn first_broken(vmcs: &Vmcs, capabilities: &Capabilities, task_priority: u8) -> Option<Broken> {
    let state = State {
        vmcs,
        task_priority,
        cr0: Cr0::from_bits_retain(vmcs.get(Kept::CR0)),
        cr4: Cr4::from_bits_retain(vmcs.get(Kept::CR4)),
        rflags: Rflags::from_bits_retain(vmcs.get(Kept::RFLAGS)),
        long: vmcs.get(Kept::ENTRY_CONTROLS) & u64::from(IA32E_MODE_GUEST) != 0,
    };
    let all = || {
        state.local_apic(capabilities)?;
        state.event()?;
        state.control_registers(capabilities)?;
        state.segments()?;
        state.descriptor_tables()?;
        state.rip_and_flags()?;
        state.non_register_state()
    };
    all().err()
}

impl State<'_> {
    fn get(&self, kept: Kept) -> u64 {
        self.vmcs.get(kept)
    }

    fn check(&self, holds: bool, field: Kept, rule: &'static str) -> Verdict {
        if holds { Ok(()) } else { Err(Broken { field: field.name(), value: self.get(field), rule }) }
    }

    fn check_control(&self, holds: bool, field: Field, name: &'static str, rule: &'static str) -> Verdict {
        if holds { Ok(()) } else { Err(Broken { field: (name, ""), value: self.vmcs.read(field), rule }) }
    }

    /// 26.2.1.1, of what is not the same for all vCPUs.
    fn local_apic(&self, capabilities: &Capabilities) -> Verdict {
        const PAGE: &str = "must be the address of a page";
        let controls = capabilities.controls;
        let is = |field: Field, aligned: u64| {
            let address = self.vmcs.read(field);
            address & (aligned - 1) == 0 && address >> 52 == 0
        };
        for (field, name) in [
            (Field::MSR_BITMAP, "address of MSR bitmaps"),
            (Field::VIRTUAL_APIC_PAGE, "virtual-APIC address"),
        ] {
            self.check_control(is(field, 4096), field, name, PAGE)?;
        }
        let modes = self.vmcs.read(Field::SECONDARY_CONTROLS) as u32 & (APIC_ACCESSES | X2APIC_MODE);
        self.check_control(
            modes != APIC_ACCESSES | X2APIC_MODE && controls.in_mode(modes) == modes,
            Field::SECONDARY_CONTROLS,
            "secondary processor-based controls",
            "\"virtualize APIC accesses\" and \"virtualize x2APIC mode\" exclude each other, and the CPU must have them",
        )?;
        self.check_control(
            modes & APIC_ACCESSES == 0 || is(Field::APIC_ACCESS_PAGE, 4096),
            Field::APIC_ACCESS_PAGE,
            "APIC-access address",
            PAGE,
        )?;
        if controls.deliver_interrupts() {
            self.check_control(
                controls.get(Group::Pin) & 1 != 0,
                Field::PIN_CONTROLS,
                "pin-based controls",
                "\"virtual-interrupt delivery\" needs \"external-interrupt exiting\"",
            )?;
        } else {
            let threshold = self.get(Kept::TPR_THRESHOLD);
            self.check(threshold >> 4 == 0, Kept::TPR_THRESHOLD, "bits 31:4 must be 0")?;
            self.check(
                modes & APIC_ACCESSES != 0 || threshold <= u64::from(self.task_priority >> 4),
                Kept::TPR_THRESHOLD,
                "must not be above bits 7:4 of the TPR in the virtual-APIC page",
            )?;
        }
        if controls.post_interrupts() {
            self.check_control(
                self.vmcs.read(Field::NOTIFICATION_VECTOR) >> 8 == 0,
                Field::NOTIFICATION_VECTOR,
                "posted-interrupt notification vector",
                "there are 256 vectors",
            )?;
            self.check_control(
                is(Field::POSTED_INTERRUPTS, 64),
                Field::POSTED_INTERRUPTS,
                "posted-interrupt descriptor address",
                "must be a multiple of 64",
            )?;
        }
        Ok(())
    }

    /// 26.2.1.3.
    fn event(&self) -> Verdict {
        let event = self.get(Kept::ENTRY_EVENT);
        if event & 1 << 31 == 0 {
            return Ok(());
        }
        let (kind, vector, has_code) = (event >> 8 & 7, event & 0xff, event & 1 << 11 != 0);
        self.check(matches!(kind, 0 | 2..=6), Kept::ENTRY_EVENT, "the type is reserved")?;
        self.check(kind != 2 || vector == 2, Kept::ENTRY_EVENT, "an NMI has vector 2")?;
        self.check(kind != 3 || vector < 32, Kept::ENTRY_EVENT, "there are 32 exceptions")?;
        let wants_code = self.cr0.contains(Cr0::PE) && kind == 3 && matches!(vector, 8 | 10..=14 | 17);
        self.check(
            has_code == wants_code,
            Kept::ENTRY_EVENT,
            "an error code belongs to some exceptions, outside of real mode, and to nothing else",
        )?;
        self.check(event & 0x7fff_f000 == 0, Kept::ENTRY_EVENT, "bits 30:12 must be 0")?;
        self.check(
            !has_code || self.get(Kept::ENTRY_ERROR_CODE) >> 15 == 0,
            Kept::ENTRY_ERROR_CODE,
            "bits 31:15 must be 0",
        )
    }

    /// 26.3.1.1.
    fn control_registers(&self, capabilities: &Capabilities) -> Verdict {
        let outside = |value: u64, must: u64, may: u64| value & must == must && value & !may == 0;
        let exempt = Cr0::PE | Cr0::PG | Cr0::CD | Cr0::NW;
        let fixed = capabilities.cr0;
        self.check(
            outside(self.cr0.bits(), fixed.must & !exempt.bits(), fixed.may | exempt.bits()),
            Kept::CR0,
            "not what VMX operation fixes (IA32_VMX_CR0_FIXED0 and 1)",
        )?;
        let paging = self.cr0.contains(Cr0::PG);
        self.check(!paging || self.cr0.contains(Cr0::PE), Kept::CR0, "PG needs PE")?;
        let fixed = capabilities.cr4;
        self.check(
            outside(self.cr4.bits(), fixed.must, fixed.may),
            Kept::CR4,
            "not what VMX operation fixes (IA32_VMX_CR4_FIXED0 and 1)",
        )?;
        self.check(!self.long || paging, Kept::CR0, "long mode needs PG")?;
        self.check(!self.long || self.cr4.contains(Cr4::PAE), Kept::CR4, "long mode needs PAE")?;
        self.check(self.long || !self.cr4.contains(Cr4::PCIDE), Kept::CR4, "PCIDE needs long mode")?;
        self.check(self.get(Kept::CR3) >> 52 == 0, Kept::CR3, "beyond the physical addresses")?;
        self.check(self.get(Kept::DEBUGCTL) & !0xffc3 == 0, Kept::DEBUGCTL, "a reserved bit is set")?;
        self.check(self.get(Kept::DR7) >> 32 == 0, Kept::DR7, "bits 63:32 must be 0")?;
        for field in [Kept::SYSENTER_ESP, Kept::SYSENTER_EIP] {
            self.check(is_canonical(self.get(field)), field, "not canonical")?;
        }
        let pat = self.get(Kept::PAT).to_le_bytes();
        self.check(
            pat.iter().all(|kind| matches!(kind, 0 | 1 | 4..=7)),
            Kept::PAT,
            "a memory type that there is not",
        )?;
        let efer = Efer::from_bits_retain(self.get(Kept::EFER));
        let known = Efer::SCE | Efer::LME | Efer::LMA | Efer::NXE;
        self.check(known.contains(efer), Kept::EFER, "a reserved bit is set")?;
        self.check(
            efer.contains(Efer::LMA) == self.long,
            Kept::EFER,
            "LMA is not what the control \"IA-32e mode guest\" is",
        )?;
        self.check(
            !paging || efer.contains(Efer::LME) == self.long,
            Kept::EFER,
            "LME is not what LMA is, with paging on",
        )
    }

    fn usable(&self, register: u8) -> bool {
        self.get(Kept::rights(register)) & u64::from(UNUSABLE) == 0
    }

    /// 26.3.1.2.
    fn segments(&self) -> Verdict {
        const TABLE_INDICATOR: u64 = 1 << 2;
        let virtual_8086 = self.rflags.contains(Rflags::VM);
        let local = |register| self.get(Kept::selector(register)) & TABLE_INDICATOR != 0;
        self.check(!local(TR), Kept::selector(TR), "TR is in the GDT")?;
        self.check(!self.usable(LDTR) || !local(LDTR), Kept::selector(LDTR), "LDTR is in the GDT")?;
        if virtual_8086 {
            return self.virtual_8086_segments();
        }
        for register in [TR, 4, 5] {
            let base = Kept::base(register);
            self.check(is_canonical(self.get(base)), base, "not canonical")?;
        }
        if self.usable(LDTR) {
            self.check(is_canonical(self.get(Kept::base(LDTR))), Kept::base(LDTR), "not canonical")?;
        }
        self.check(self.get(Kept::base(CS)) >> 32 == 0, Kept::base(CS), "bits 63:32 must be 0")?;
        for register in [SS, 3, ES].into_iter().filter(|&register| self.usable(register)) {
            let base = Kept::base(register);
            self.check(self.get(base) >> 32 == 0, base, "bits 63:32 must be 0")?;
        }
        self.code_and_stack()?;
        for register in [3, ES, 4, 5].into_iter().filter(|&register| self.usable(register)) {
            let rights = self.get(Kept::rights(register));
            let field = Kept::rights(register);
            self.check(rights & 1 != 0, field, "the segment must be accessed")?;
            self.check(rights & 8 == 0 || rights & 2 != 0, field, "code must be readable")?;
            self.present(register, true)?;
        }
        let tr = self.get(Kept::rights(TR));
        let busy = tr & 0xf == 11 || tr & 0xf == 3 && !self.long;
        self.check(busy, Kept::rights(TR), "TR must be a busy TSS")?;
        self.check(tr & u64::from(UNUSABLE) == 0, Kept::rights(TR), "TR must be usable")?;
        self.present(TR, false)?;
        if self.usable(LDTR) {
            let type_is_ldt = self.get(Kept::rights(LDTR)) & 0xf == 2;
            self.check(type_is_ldt, Kept::rights(LDTR), "the type must be that of an LDT")?;
            self.present(LDTR, false)?;
        }
        Ok(())
    }

    fn code_and_stack(&self) -> Verdict {
        let (cs, ss) = (self.get(Kept::rights(CS)), self.get(Kept::rights(SS)));
        let dpl = |rights: u64| rights >> 5 & 3;
        let field = Kept::rights(CS);
        let data = cs & 0xf == 3;
        self.check(data || matches!(cs & 0xf, 9 | 11 | 13 | 15), field, "the type must be accessed code")?;
        self.check(!data || dpl(cs) == 0, field, "CS that is data has DPL 0")?;
        self.check(!matches!(cs & 0xf, 9 | 11) || dpl(cs) == dpl(ss), field, "the DPL must be that of SS")?;
        self.check(
            !matches!(cs & 0xf, 13 | 15) || dpl(cs) <= dpl(ss),
            field,
            "conforming code must not have a higher DPL than SS",
        )?;
        self.check(
            !(self.long && cs & 1 << 13 != 0 && cs & 1 << 14 != 0),
            field,
            "64-bit code must not have D",
        )?;
        self.present(CS, true)?;
        if self.usable(SS) {
            let field = Kept::rights(SS);
            self.check(matches!(ss & 0xf, 3 | 7), field, "the type must be accessed, writable data")?;
            self.present(SS, true)?;
        }
        let real = data || !self.cr0.contains(Cr0::PE);
        self.check(!real || dpl(ss) == 0, Kept::rights(SS), "the DPL in real mode is 0")
    }

    /// What holds of every usable segment.
    fn present(&self, register: u8, non_system: bool) -> Verdict {
        let (rights, limit) = (self.get(Kept::rights(register)), self.get(Kept::limit(register)));
        let field = Kept::rights(register);
        self.check((rights & 1 << 4 != 0) == non_system, field, "S tells code and data from the system's")?;
        self.check(rights & 1 << 7 != 0, field, "the segment must be present")?;
        self.check(rights & 0xfffe_0f00 == 0, field, "a reserved bit is set")?;
        let coarse = rights & 1 << 15 != 0;
        self.check(!coarse || limit & 0xfff == 0xfff, field, "G needs a limit that ends a page")?;
        self.check(coarse || limit >> 20 == 0, field, "a limit of 1 MiB or more needs G")
    }

    fn virtual_8086_segments(&self) -> Verdict {
        for register in 0..6 {
            let (base, limit, rights) = (Kept::base(register), Kept::limit(register), Kept::rights(register));
            let expected = self.get(Kept::selector(register)) << 4;
            self.check(self.get(base) == expected, base, "16 times the selector in virtual-8086 mode")?;
            self.check(self.get(limit) == 0xffff, limit, "0xffff in virtual-8086 mode")?;
            self.check(self.get(rights) == 0xf3, rights, "0xf3 in virtual-8086 mode")?;
        }
        Ok(())
    }

    /// 26.3.1.3.
    fn descriptor_tables(&self) -> Verdict {
        for (base, limit) in [(Kept::GDTR_BASE, Kept::GDTR_LIMIT), (Kept::IDTR_BASE, Kept::IDTR_LIMIT)] {
            self.check(is_canonical(self.get(base)), base, "not canonical")?;
            self.check(self.get(limit) >> 16 == 0, limit, "bits 31:16 must be 0")?;
        }
        Ok(())
    }

    /// 26.3.1.4.
    fn rip_and_flags(&self) -> Verdict {
        let rip = self.get(Kept::RIP);
        let wide = self.long && self.get(Kept::rights(CS)) & 1 << 13 != 0;
        self.check(wide || rip >> 32 == 0, Kept::RIP, "bits 63:32 must be 0 outside of 64-bit code")?;
        self.check(!wide || is_canonical(rip), Kept::RIP, "not canonical")?;
        let flags = self.rflags.bits();
        self.check(flags >> 22 == 0 && flags & 0x8028 == 0, Kept::RFLAGS, "a reserved bit is set")?;
        self.check(flags & 2 != 0, Kept::RFLAGS, "bit 1 must be 1")?;
        let protected = self.cr0.contains(Cr0::PE) && !self.long;
        self.check(
            protected || !self.rflags.contains(Rflags::VM),
            Kept::RFLAGS,
            "virtual-8086 mode is a mode of 32-bit protected mode",
        )?;
        let event = self.get(Kept::ENTRY_EVENT);
        let interrupt = event & (1 << 31 | 7 << 8) == 1 << 31;
        self.check(
            !interrupt || self.rflags.contains(Rflags::IF),
            Kept::RFLAGS,
            "IF must be set where an interrupt is delivered",
        )
    }

    /// 26.3.1.5.
    fn non_register_state(&self) -> Verdict {
        self.check(self.get(Kept::ACTIVITY) == 0, Kept::ACTIVITY, "a vCPU that is entered is active")?;
        let state = self.get(Kept::INTERRUPTIBILITY);
        let field = Kept::INTERRUPTIBILITY;
        let blocked = state & blocking::SHADOW;
        self.check(state >> 5 == 0, field, "a reserved bit is set")?;
        self.check(blocked != blocking::SHADOW, field, "blocking is by STI or by MOV SS")?;
        self.check(
            state & blocking::BY_STI == 0 || self.rflags.contains(Rflags::IF),
            field,
            "there is no blocking by STI with IF clear",
        )?;
        let event = self.get(Kept::ENTRY_EVENT);
        let injects = |kind: u64| event & (1 << 31 | 7 << 8) == 1 << 31 | kind << 8;
        self.check(!injects(0) || blocked == 0, field, "blocked, and an interrupt is delivered")?;
        self.check(!injects(2) || blocked == 0, field, "blocked, and an NMI is delivered")?;
        self.check(
            !injects(2) || state & blocking::BY_NMI == 0,
            field,
            "NMIs are blocked, and one is delivered",
        )?;
        self.check(state & 1 << 2 == 0, field, "blocking by SMI outside of SMM")?;
        let pending = self.get(Kept::PENDING_DEBUG);
        let field = Kept::PENDING_DEBUG;
        self.check(pending & !0x1_f00f == 0, field, "a reserved bit is set")?;
        if blocked != 0 {
            let steps = self.rflags.contains(Rflags::TF) && self.get(Kept::DEBUGCTL) & 2 == 0;
            let pends = pending & 1 << 14 != 0;
            self.check(
                steps == pends,
                field,
                "BS must be set if TF is and BTF is not, behind STI and MOV SS",
            )?;
        }
        Ok(())
    }
}
