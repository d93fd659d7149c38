//! What the vCPUs of one VM share, and how a VM ends.
mod clock;
mod lifecycle;
mod shared;

pub use clock::Clock;
pub use lifecycle::{Crash, End, RestartPolicy};
pub use shared::Shared;
