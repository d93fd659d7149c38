//! Random bytes: the CPU's generator where it has one, mixed with what nobody outside can predict.
#![allow(unsafe_code)] // RDSEED and RDRAND are instructions

use crate::cpu::control;
use crate::cpu::registers::rdtsc;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use vmm::virtio::Entropy;

/// Carried from call to call.
static POOL: AtomicU64 = AtomicU64::new(0x9e37_79b9_7f4a_7c15);

/// Attempts that the manuals call sufficient for a working generator (SDM vol. 1, 7.3.17).
const ATTEMPTS: u32 = 10;

/// 32 bytes, to seed a generator with. Without RDSEED and RDRAND they come from the time-stamp counter
/// alone and are no secret.
pub fn bytes() -> [u8; 32] {
    let mut out = [0; 32];
    for chunk in out.chunks_exact_mut(8) {
        chunk.copy_from_slice(&word().to_le_bytes());
    }
    out
}

/// What guests are given by their virtio-rng: nothing but what the CPU's generator made.
pub struct Generator(());

impl Generator {
    /// `None` where the CPU has no generator.
    pub fn find() -> Option<Self> {
        let features = control::features();
        (features.rdseed || features.rdrand).then_some(Self(()))
    }
}

impl Entropy for Generator {
    fn fill(&self, out: &mut [u8]) -> bool {
        out.chunks_mut(8).all(|chunk| {
            let word = hardware_word();
            if let Some(word) = word {
                chunk.copy_from_slice(&(word ^ stirred()).to_le_bytes()[..chunk.len()]);
            }
            word.is_some()
        })
    }
}

fn word() -> u64 {
    hardware_word().unwrap_or(0) ^ stirred()
}

/// The pool's next word.
fn stirred() -> u64 {
    let mixed = mix(POOL.load(Ordering::Relaxed) ^ rdtsc());
    POOL.store(mixed, Ordering::Relaxed);
    mixed
}

/// The finalizer of SplitMix64: every input bit changes every output bit half of the time.
const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

fn hardware_word() -> Option<u64> {
    let (has_rdseed, has_rdrand) = (control::features().rdseed, control::features().rdrand);
    for _ in 0..ATTEMPTS {
        let (mut value, mut ok): (u64, u8) = (0, 0);
        if has_rdseed {
            // SAFETY: the CPU has the instruction, which changes its two outputs and the flags.
            unsafe {
                asm!("rdseed {}", "setc {}", out(reg) value, out(reg_byte) ok, options(nomem, nostack))
            };
        }
        if ok == 0 && has_rdrand {
            // SAFETY: as above.
            unsafe {
                asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) ok, options(nomem, nostack))
            };
        }
        if ok != 0 {
            return Some(value);
        }
        if !has_rdseed && !has_rdrand {
            return None;
        }
    }
    None
}
