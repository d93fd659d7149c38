//! When nested tables are freed, no CPU may use what it has cached of them (SDM vol. 3C, 28.4).
//!
//! What a CPU caches is tagged with the address of the tables' root. It is used again only if a later VM gets a
//! root in the same frame. So nobody is interrupted when tables are freed: a number goes up, and a CPU that
//! next takes a vCPU which did not run on it last drops everything if it has not done so since.
use core::sync::atomic::{AtomicU64, Ordering};

/// How often tables were freed.
static FREED: AtomicU64 = AtomicU64::new(0);

/// To be called before nested tables are freed, which no vCPU uses any more.
pub fn tables_are_freed() {
    FREED.fetch_add(1, Ordering::SeqCst);
}

/// Of one CPU.
#[derive(Debug)]
pub struct Translations {
    dropped_at: u64,
}

impl Translations {
    /// Of a CPU that has just dropped all.
    pub fn none() -> Self {
        Self { dropped_at: FREED.load(Ordering::SeqCst) }
    }

    /// Whether the CPU is to drop all translations before it runs another vCPU.
    pub fn are_stale(&mut self) -> bool {
        let freed = FREED.load(Ordering::SeqCst);
        core::mem::replace(&mut self.dropped_at, freed) != freed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cpu_drops_its_translations_once_tables_were_freed() {
        let mut cpus = [Translations::none(), Translations::none()];
        for _ in 0..2 {
            tables_are_freed();
            for cpu in &mut cpus {
                assert!(cpu.are_stale());
            }
        }
    }
}
