//! The interruptibility state of a guest (SDM vol. 3C, 24.4.2, table 24-3).

/// The instruction before was STI.
pub const BY_STI: u64 = 1 << 0;
/// The instruction before was MOV SS or POP SS.
pub const BY_MOV_SS: u64 = 1 << 1;
/// An NMI handler runs.
pub const BY_NMI: u64 = 1 << 3;
/// The interrupt shadow.
pub const SHADOW: u64 = BY_STI | BY_MOV_SS;
