//! Text that the kernel keeps: the log as a ring of entries, the screen as a grid of characters.
mod log_ring;
mod screen;

pub use log_ring::{Entry, LONGEST, LogRing};
pub use screen::Screen;
