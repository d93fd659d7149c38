//! What leaves the guest (APM vol. 2, 15.9 to 15.14), as one table with the reason for each.
use super::processor::Features;
use super::vmcb::Control;
use crate::cpu::Vector;

/// An intercept in one of the three words from offset 0x0C on.
#[derive(Clone, Copy)]
pub struct Intercept {
    word: usize,
    bit: u32,
}

const fn intercept(word: usize, bit: u32) -> Intercept {
    Intercept { word, bit }
}

/// The interrupt window: a virtual interrupt is about to be taken.
pub const VINTR: Intercept = intercept(0, 4);
/// The end of an NMI handler.
pub const IRET: Intercept = intercept(0, 20);
/// PAUSE; useful with the pause filter only.
const PAUSE: Intercept = intercept(0, 23);

const ALWAYS: &[(Intercept, &str)] = &[
    (intercept(0, 0), "INTR: the host's interrupts are the host's"),
    (intercept(0, 1), "NMI: likewise"),
    (intercept(0, 3), "INIT: the host's CPUs are not reset by way of a guest"),
    (intercept(0, 15), "RDPMC: there are no performance counters in the virtual machine"),
    (intercept(0, 18), "CPUID: the policy decides what a guest sees"),
    (intercept(0, 19), "RSM: there is no system-management mode in the virtual machine"),
    (intercept(0, 22), "INVD: would drop the host's modified cache lines"),
    (intercept(0, 24), "HLT: the CPU runs somebody else meanwhile"),
    (intercept(0, 26), "INVLPGA: part of SVM"),
    (intercept(0, 27), "IOIO: ports are virtual devices"),
    (intercept(0, 28), "MSR: those that the permission map names"),
    (intercept(0, 31), "SHUTDOWN: a triple fault ends the guest, not the host"),
    (intercept(1, 0), "VMRUN: must be intercepted"),
    (intercept(1, 1), "VMMCALL: hypercalls"),
    (intercept(1, 2), "VMLOAD: part of SVM, works on host-physical memory"),
    (intercept(1, 3), "VMSAVE: likewise"),
    (intercept(1, 4), "STGI: part of SVM, would open the host's interrupts"),
    (intercept(1, 5), "CLGI: part of SVM, would close the host's interrupts"),
    (intercept(1, 6), "SKINIT: would restart the host"),
    (intercept(1, 8), "ICEBP: under the intercept of #DB it leaves RIP where no other #DB does"),
    (intercept(1, 9), "WBINVD: would write back everybody's caches"),
    (intercept(1, 10), "MONITOR: hidden, since a CPU in MWAIT can't run others"),
    (intercept(1, 11), "MWAIT: likewise"),
    (intercept(1, 12), "MWAIT, armed: likewise"),
    (intercept(1, 13), "XSETBV: only states that the host switches may be enabled"),
    (intercept(1, 14), "RDPRU: hidden"),
];

/// Exceptions that leave the guest.
const EXCEPTIONS: &[(Vector, &str)] = &[
    (Vector::DB, "a guest can make delivery of #DB raise #DB for ever, with no other way to stop it"),
    (Vector::AC, "the same by #AC"),
    (Vector::MC, "machine checks are the host's"),
];

impl Control {
    /// Turns one intercept on or off. The caller marks the intercepts as changed.
    pub fn set_intercept(&mut self, which: Intercept, on: bool) {
        let word = &mut self.intercept_misc[which.word];
        if on {
            *word |= 1 << which.bit;
        } else {
            *word &= !(1 << which.bit);
        }
    }

    /// Whether an intercept is on.
    pub fn intercepts(&self, which: Intercept) -> bool {
        self.intercept_misc[which.word] & 1 << which.bit != 0
    }

    /// Turns on all that every guest has.
    pub fn set_standing_intercepts(&mut self, features: Features) {
        for (which, _) in ALWAYS {
            self.set_intercept(*which, true);
        }
        for (vector, _) in EXCEPTIONS {
            self.intercept_exceptions |= 1 << vector.0;
        }
        // CR4: a guest may set only the bits of features that it was shown. CR8: a virtual interrupt
        // that is pending while the guest raises its priority must be looked at again.
        self.intercept_cr_writes = 1 << 4 | 1 << 8;
        if features.contains(Features::PAUSE_FILTER) {
            self.set_intercept(PAUSE, true);
            self.pause_filter_count = 3000;
            if features.contains(Features::PAUSE_FILTER_THRESHOLD) {
                self.pause_filter_threshold = 128;
            }
        }
    }
}
