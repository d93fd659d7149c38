//! How much, how long, how often: what a caller may set.
use core::time::Duration;

/// Parameters of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a command may take before it is aborted. It is noticed up to a tenth later.
    pub command: Duration,
    /// How long an aborted command may take before the controller is reset.
    pub abort: Duration,
    /// How long an admin command may take.
    pub admin: Duration,
    /// How often a command is given to the controller again, after a transient error, an abort or a reset.
    pub retries: u8,
    /// How many resets in a row, none of which let a single command succeed, until the controller is given up.
    pub resets: u32,
    /// Commands that one queue holds; up to 255, fewer where the controller has fewer.
    pub depth: u16,
    /// Most I/O queue pairs.
    pub queues: u16,
    /// Interrupt coalescing (NVMe 2.0, 5.27.1.6): off by default. It trades latency at depth 1, where every
    /// completion waits for its time, for fewer interrupts at high depth, of which a batch has few anyway.
    pub coalescing: Option<Coalescing>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            command: Duration::from_secs(30),
            abort: Duration::from_secs(5),
            admin: Duration::from_secs(20),
            retries: 3,
            resets: 5,
            depth: 127,
            queues: u16::MAX,
            coalescing: None,
        }
    }
}

/// When a controller holds an interrupt back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coalescing {
    /// Until this many completions wait, less one.
    pub completions: u8,
    /// Or until so many 100 µs have gone.
    pub time: u8,
}
