//! The names of the x86 architecture, spelled as the manuals spell them.
mod control;
mod exception;
#[cfg(any(test, feature = "host-tests"))]
pub mod plain;
mod registers;
mod segment;

pub use control::{Cr0, Cr4, Efer, Rflags};
pub use exception::{Exception, PageFaultCode, Vector};
pub use registers::{Gpr, Registers};
pub use segment::{DescriptorTable, Segment, SegmentAttributes, SegmentRegister};
