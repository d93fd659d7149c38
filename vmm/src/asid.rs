//! Address-space identifiers of one CPU: AMD's ASIDs (APM vol. 2, 15.16), Intel's VPIDs (SDM vol. 3C, 28.1).
//!
//! An identifier tags TLB entries, so that a CPU can switch between vCPUs without a flush. Each vCPU gets one
//! when it first runs on a CPU; when they are used up, all are dropped by a new generation, with one
//! flush of the whole TLB.

/// What a vCPU remembers of its identifier: valid while the generation is the CPU's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Asid {
    /// The number in the VMCB or VMCS; 0 is the host's.
    pub number: u32,
    generation: u64,
}

/// What became of an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It is still valid on this CPU.
    Kept,
    /// It is another one, never used in this generation: the vCPU is new to this CPU, or was away long.
    New,
    /// Likewise, and a generation begins: the whole TLB must be flushed first.
    NewAfterFlush,
}

/// The identifiers of one CPU.
#[derive(Debug)]
pub struct AsidPool {
    generation: u64,
    next: u32,
    count: u32,
}

/// Generations are handed out per CPU in disjoint residues, so that an ASID of one CPU never looks valid
/// on another.
const CPU_STRIDE: u64 = 1 << 16;

impl AsidPool {
    /// For CPU number `cpu`, whose hardware has `count` identifiers including the host's.
    pub const fn new(cpu: usize, count: u32) -> Self {
        Self { generation: CPU_STRIDE + cpu as u64, next: 1, count }
    }

    /// Makes all identifiers invalid, so that no translation made before is ever used again: the next one begins a new
    /// generation, with a flush.
    pub fn drop_all(&mut self) {
        self.generation += CPU_STRIDE;
        self.next = self.count;
    }

    /// Makes `asid` valid on this CPU.
    #[inline]
    pub fn renew(&mut self, asid: &mut Asid) -> Renewal {
        if asid.generation == self.generation {
            return Renewal::Kept;
        }
        let mut renewal = Renewal::New;
        if self.next >= self.count {
            self.generation += CPU_STRIDE;
            self.next = 1;
            renewal = Renewal::NewAfterFlush;
        }
        *asid = Asid { number: self.next, generation: self.generation };
        self.next += 1;
        renewal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vcpu_keeps_its_identifier_until_they_are_used_up() {
        let mut pool = AsidPool::new(0, 4);
        let mut vcpus = [Asid::default(); 4];
        for (i, asid) in vcpus.iter_mut().take(3).enumerate() {
            assert_eq!(pool.renew(asid), Renewal::New);
            assert_eq!(asid.number, i as u32 + 1);
        }
        let kept = vcpus[0];
        assert_eq!(pool.renew(&mut vcpus[0]), Renewal::Kept);
        assert_eq!(vcpus[0], kept);
        assert_eq!(pool.renew(&mut vcpus[3]), Renewal::NewAfterFlush);
        assert_eq!(vcpus[3].number, 1);
        assert_eq!(pool.renew(&mut vcpus[0]), Renewal::New);
        assert_eq!(vcpus[0].number, 2, "an old identifier is not valid any more");
    }

    #[test]
    fn when_all_are_dropped_each_vcpu_gets_another_and_the_first_flushes() {
        let mut pool = AsidPool::new(0, 8);
        let mut vcpus = [Asid::default(); 3];
        vcpus.iter_mut().for_each(|asid| {
            pool.renew(asid);
        });
        for _ in 0..3 {
            pool.drop_all();
            pool.drop_all();
            let renewals = vcpus.each_mut().map(|asid| pool.renew(asid));
            assert_eq!(renewals, [Renewal::NewAfterFlush, Renewal::New, Renewal::New]);
            assert!(vcpus.iter_mut().all(|asid| pool.renew(asid) == Renewal::Kept));
        }
    }

    #[test]
    fn an_identifier_of_one_cpu_is_not_valid_on_another() {
        let (mut a, mut b) = (AsidPool::new(0, 16), AsidPool::new(1, 16));
        let mut first = Asid::default();
        let mut second = Asid::default();
        a.renew(&mut first);
        b.renew(&mut second);
        b.renew(&mut first);
        assert_ne!(first.number, second.number);
    }
}
