//! Whether the machine is emulated or runs on this computer's own virtualization.
use std::fs::{self, File};

/// What executes the emulated machine's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// QEMU's translator, which emulates AMD-V.
    Software,
    /// KVM with nested virtualization.
    Kvm,
}

impl Accelerator {
    /// KVM where PureVisor would find AMD-V in its machine, else software, which emulates it. A processor
    /// with VT-x is of no use: there is no back end for it yet.
    pub fn best() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let usable = nested(&read("/proc/cpuinfo"), &read("/sys/module/kvm_amd/parameters/nested"))
            && File::options().read(true).write(true).open("/dev/kvm").is_ok();
        if usable { Self::Kvm } else { Self::Software }
    }
}

/// Whether the processor has AMD-V and its KVM module passes it on.
fn nested(cpuinfo: &str, kvm_amd: &str) -> bool {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let has = |name| flags.split_whitespace().any(|flag| flag == name);
    let on = |parameter: &str| matches!(parameter.trim(), "1" | "Y" | "y");
    has("svm") && on(kvm_amd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kvm_is_usable_only_where_it_passes_amd_v_on() {
        let amd = "processor : 0\nflags : fpu svm sse\n";
        let intel = "flags\t\t: fpu vmx\n";
        assert!(nested(amd, "1\n"));
        assert!(!nested(intel, "Y\n"));
        assert!(!nested(amd, "0\n"));
        assert!(!nested(amd, ""));
        assert!(!nested("flags : fpu svm_lock\n", "1"));
        assert!(!nested("", "1"));
    }
}
