//! A guest's memory: what is RAM, how it is reached, and how the guest's own page tables are walked.
//!
//! Guest memory is never a Rust reference: the guest's CPUs and devices change it at any time. It is
//! copied with volatile accesses, or handed on as host-physical segments. Every address that a guest
//! supplied goes through [`GuestMemory`], whose look-up is the one place that decides whether it is RAM.
//!
//! A host address is good for a short while only, since RAM that a guest does not use may go and come back elsewhere:
//! [`chunks`] says who may keep one, and until when.
pub mod chunks;
mod code_walk;
mod guest;
mod layout;
pub mod nested;
#[cfg(any(test, feature = "host-tests"))]
pub mod on_heap;
mod scatter;
mod walk;
mod window;

pub use chunks::{Backing, Chunks, NoMemory};
pub use code_walk::{CodeWalk, translate_code};
pub use guest::{GuestMemory, NotRam, Word};
pub use layout::Layout;
pub use scatter::{MAX_BYTES, ROOM_PIECES, Room, Scatter};
pub use walk::{Access, AccessKind, WalkFault, translate};
pub use window::Window;
