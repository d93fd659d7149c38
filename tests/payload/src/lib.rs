//! The table of what the hostile guest does: its names, what a CPU makes of it, and how the machine ends.
//!
//! The guest itself is the binary of this package, and whoever runs it takes names and expectations from
//! here. It holds for any back end; where an emulator under the back end is known to differ from the
//! manuals, [`Case::unlike`] says how that was seen.
#![no_std]

/// What belongs together, and runs in one start of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Instructions, control registers, MSRs, CPUID.
    Cpu,
    /// Ports.
    Ports,
    /// Memory-mapped I/O and its emulation.
    Mmio,
    /// Interrupt controllers and timers.
    Interrupts,
    /// Random input.
    Random,
    /// Several CPUs.
    Smp,
    /// What ends or stops the machine: one case a start.
    Last,
}

impl Group {
    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "group-cpu",
            Self::Ports => "group-ports",
            Self::Mmio => "group-mmio",
            Self::Interrupts => "group-interrupts",
            Self::Random => "group-random",
            Self::Smp => "group-smp",
            Self::Last => "group-last",
        }
    }
}

/// What becomes of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The guest says `ok`, and goes on.
    GoesOn,
    /// It is stopped, with a reason that has these words in it.
    Stops(&'static str),
    /// It is started anew.
    Restarts,
    /// Its vCPU uses all the time that it gets, until the operator ends it.
    Spins,
    /// Its vCPU sleeps for good, until the operator ends it.
    Halts,
    /// Nothing is promised to the guest: it may say `ok`, stop, halt or spin.
    Anyhow,
}

/// What executes a back end's instructions where there is no processor that has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emulator {
    /// QEMU's software emulation, with AMD-V.
    Qemu,
    /// Bochs, with VT-x.
    Bochs,
}

/// One thing that the guest does.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Which.
    pub id: Id,
    /// As on the command line and in the results.
    pub name: &'static str,
    /// With which others it runs.
    pub group: Group,
    /// What becomes of the machine.
    pub ends: Ends,
    /// What it does, and what a CPU makes of that.
    pub says: &'static str,
    /// Where an emulator below a back end differs from the manuals: what was seen. The case is not run there.
    pub unlike: &'static [(Emulator, &'static str)],
}

impl Case {
    /// Whether this emulator does what the case expects of a processor.
    pub fn runs_on(&self, emulator: Emulator) -> bool {
        self.unlike.iter().all(|(unlike, _)| *unlike != emulator)
    }
}

macro_rules! cases {
    ($($id:ident $name:literal $group:ident $ends:expr, $says:literal $(, $emulator:ident $seen:literal)*;)*) => {
        /// A case.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)] // The table says what each is.
        pub enum Id { $($id),* }

        /// All cases. Within a group in the order in which they run.
        pub const CASES: &[Case] = &[$(Case {
            id: Id::$id,
            name: $name,
            group: Group::$group,
            ends: $ends,
            says: $says,
            unlike: &[$((Emulator::$emulator, $seen)),*],
        }),*];
    };
}

use Ends::{Anyhow, GoesOn, Halts, Restarts, Spins, Stops};

cases! {
    SvmInstructions "svm-instructions" Cpu GoesOn,
        "VMRUN, VMLOAD, VMSAVE, STGI, CLGI, SKINIT and INVLPGA raise #UD without EFER.SVME (APM vol. 3)";
    VmxInstructions "vmx-instructions" Cpu GoesOn,
        "VMXON, VMPTRLD, VMREAD, INVEPT, RSM and GETSEC raise #UD without VMX, SMM and SMX (SDM vol. 3C, 31)";
    MonitorMwait "monitor-mwait" Cpu GoesOn,
        "MONITOR, MWAIT, MONITORX and MWAITX raise #UD where CPUID does not show them (SDM vol. 2)";
    CacheFlush "cache-flush" Cpu GoesOn,
        "INVD, WBINVD and WBNOINVD execute and lose nothing that was written";
    Rdpmc "rdpmc" Cpu GoesOn,
        "RDPMC of any counter raises #GP where there are no counters (SDM vol. 2B)";
    EferBits "efer-bits" Cpu GoesOn,
        "reserved bits of EFER, SVME among them, and LME while paging is on raise #GP (APM vol. 2, 3.1.7)";
    Cr4Bits "cr4-bits" Cpu GoesOn,
        "bits of CR4 that are reserved or whose feature CPUID hides, and PAE=0 in long mode, raise #GP (SDM vol. 3A, 2.5)";
    Cr8 "cr8" Cpu GoesOn,
        "CR8 keeps 0 to 15; more raises #GP (SDM vol. 3A, 10.8.6)";
    Xsetbv "xsetbv" Cpu GoesOn,
        "XSETBV of another register than XCR0, without x87, or of reserved bits raises #GP (SDM vol. 2D)";
    XsetbvAvxAlone "xsetbv-avx-alone" Cpu GoesOn,
        "XSETBV of AVX without SSE raises #GP (SDM vol. 1, 13.3)";
    CpuidLeaves "cpuid-leaves" Cpu GoesOn,
        "CPUID answers any leaf; limits are sane, and leaves beyond them are zero (AMD) or the last (Intel)";
    CpuidHides "cpuid-hides" Cpu GoesOn,
        "CPUID shows a hypervisor, and neither VMX, SVM, SMX nor MONITOR";
    MsrUnknown "msr-unknown" Cpu GoesOn,
        "RDMSR and WRMSR of registers that no CPU has raise #GP (SDM vol. 2)";
    MsrSweep "msr-sweep" Cpu GoesOn,
        "RDMSR of every register in the architectural ranges returns a value or raises #GP";
    Hypercalls "hypercalls" Cpu GoesOn,
        "VMMCALL with any arguments returns an error or does its work, or raises #UD";
    ModifiedCode "modified-code" Cpu GoesOn,
        "an instruction that exits, was just written and is jumped to is what was written (SDM vol. 3A, 8.1.3), by another address too";
    SelfModifying "self-modifying" Cpu GoesOn,
        "the same right in front of the instruction, without a jump: what a CPU of today notices (SDM vol. 3A, 11.6)",
        Qemu "QEMU 7.2 executes the old instruction in about one of a hundred attempts in an SVM guest, even one that does not exit; with -singlestep, which ends each translation after one instruction, in none of ten thousand; nor without SVM";
    SingleStep "single-step" Cpu GoesOn,
        "with TF set each CPUID, RDMSR, IN, OUT, MMIO access and string iteration raises one #DB behind it (SDM vol. 3B, 17.3.1.4)";

    PortsRead "ports-read" Ports GoesOn,
        "IN from all 65536 ports in 1, 2 and 4 bytes returns; what nobody answers is all ones";
    PortsWrite "ports-write" Ports GoesOn,
        "OUT to all 65536 ports in 1, 2 and 4 bytes but those that end the machine changes nothing that matters";
    PortFlood "port-flood" Ports GoesOn,
        "a flood of OUT to one port is carried out";
    PortStrings "port-strings" Ports GoesOn,
        "REP INS and OUTS across pages, downwards, and into a page that is not there do their iterations before the fault";

    MmioNothing "mmio-nothing" Mmio GoesOn,
        "reads of MMIO where nothing is are all ones in every size and by every kind of instruction; writes are lost";
    MmioFetch "mmio-fetch" Mmio GoesOn,
        "an instruction fetch where nothing is reads FF FF, which is #UD";
    MmioBoundary "mmio-boundary" Mmio GoesOn,
        "accesses across the end of RAM and into the video window take each part from where it belongs";
    MmioFaults "mmio-faults" Mmio GoesOn,
        "a page fault in the middle of an emulated instruction has the right CR2 and error code, and the instruction did nothing";
    MmioStrings "mmio-strings" Mmio GoesOn,
        "string instructions between RAM and MMIO move what they should and count right, up to a fault too";
    MmioOperations "mmio-operations" Mmio GoesOn,
        "read-modify-write, compare and exchange on MMIO set registers and flags as on RAM of all ones";

    TimerValues "timer-values" Interrupts GoesOn,
        "the APIC timer takes any initial count, divider, mode and deadline, and afterwards still ticks";
    PitStorm "pit-storm" Interrupts GoesOn,
        "a PIT that interrupts every two ticks leaves the CPU some time";
    SelfIpiStorm "self-ipi-storm" Interrupts GoesOn,
        "ten thousand self-IPIs arrive one by one, and those sent while closed are merged (SDM vol. 3A, 10.8.4)";
    LapicFuzz "lapic-fuzz" Interrupts GoesOn,
        "random accesses of any size to the local APIC in xAPIC mode leave it usable";
    X2apicFuzz "x2apic-fuzz" Interrupts GoesOn,
        "random accesses to the MSRs of the x2APIC work or raise #GP, and leave it usable";
    X2apicModes "x2apic-modes" Interrupts GoesOn,
        "going back from x2APIC to xAPIC, and extended mode while disabled, raise #GP (SDM vol. 3A, 10.12.5)";
    IoapicFuzz "ioapic-fuzz" Interrupts GoesOn,
        "random accesses to the IOAPIC leave it usable";

    RandomMsrs "random-msrs" Random GoesOn,
        "RDMSR and WRMSR of random registers with random values work or raise #GP";
    RandomCpuid "random-cpuid" Random GoesOn,
        "CPUID of random leaves gives the same twice";
    RandomMmio "random-mmio" Random GoesOn,
        "random accesses to PCI configuration space and everything else below 4 GiB that is no RAM";
    RandomInstructions "random-instructions" Random Anyhow,
        "random bytes as instructions in ring 0, each single-stepped, with registers that point at devices";

    SmpStart "smp-start" Smp GoesOn,
        "INIT and start-up IPIs start every other CPU";
    SmpIpis "smp-ipis" Smp GoesOn,
        "IPIs to each, to all and to all others arrive everywhere once";
    SmpShootDown "smp-shoot-down" Smp GoesOn,
        "after INVLPG by IPI no CPU uses the old mapping";
    SmpContention "smp-contention" Smp GoesOn,
        "CPUs that access devices at once, with LOCK and without, finish";
    SmpTripleFault "smp-triple-fault" Smp Stops("triple fault on vCPU"),
        "a triple fault of one CPU is a shutdown of the machine";

    TripleFault "triple-fault" Last Stops("triple fault on vCPU 0"),
        "an exception without an IDT is a triple fault, which is a shutdown";
    PageTablesInMmio "page-tables-in-mmio" Last Stops("page tables"),
        "page tables where there is no RAM";
    Reset "reset" Last Restarts,
        "a write to the reset control register starts the machine anew";
    KeyboardReset "keyboard-reset" Last Restarts,
        "the keyboard controller's pulse of the reset line starts the machine anew";
    Spin "spin" Last Spins,
        "an endless loop with interrupts off";
    Halt "halt" Last Halts,
        "HLT with interrupts off";
    DebugStorm "debug-storm" Last Anyhow,
        "a data breakpoint on the stack of #DB, whose delivery raises the next (CVE-2015-8104)",
        Qemu "QEMU 7.2, cpu_check_watchpoint: a push of a delivery that meets a data breakpoint abandons the delivery, and the next that meets one takes a lock that the delivery holds: QEMU ends with an assertion. So it does now and then, where an interrupt of the machine comes in between";
    AlignmentStorm "alignment-storm" Last Anyhow,
        "#AC in user code, whose handler returns to the same instruction for ever";
    InitSelf "init-self" Last Restarts,
        "INIT to itself: the CPU starts at the reset vector";
    FetchStorm "fetch-storm" Last Spins,
        "an instruction breakpoint on the handler of #DB, which raises the next before its first instruction (SDM vol. 3B, 17.3.1.1)";
    Cr0Combinations "cr0-combinations" Last GoesOn,
        "PG without PE, NW without CD, reserved bits, and PG=0 in 64-bit code raise #GP (APM vol. 2, 3.1.1)",
        Qemu "QEMU 7.2, cpu_x86_update_cr0 checks nothing: directly under it NW=1 with CD=0 is taken, and PG=0 in 64-bit code goes on in 32-bit code; MOV to CR0 is not intercepted";
}
