//! Completion queue entries (NVMe 2.0, 3.3.3.2) and what their status means to whoever waits.
use block::BlockError;

/// Bytes of an entry.
pub(super) const COMPLETION_BYTES: usize = 16;

/// A completion queue entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Dword 0: the command's own.
    pub result: u32,
    /// The second half: head and number of the submission queue, identifier, phase and status.
    pub word: u64,
}

impl Entry {
    /// How far the controller has read the submission queue.
    pub const fn head(self) -> u16 {
        self.word as u16
    }

    /// The submission queue.
    pub const fn queue(self) -> u16 {
        (self.word >> 16) as u16
    }

    /// The command.
    pub const fn cid(self) -> u16 {
        (self.word >> 32) as u16
    }

    /// The phase tag: the entry is new if it is that of the round.
    pub const fn phase(word: u64) -> bool {
        word >> 48 & 1 != 0
    }

    /// How it ended.
    pub const fn status(self) -> Status {
        Status((self.word >> 49) as u16)
    }
}

/// Status field: bits 15:1 of the last half dword (NVMe 2.0, 3.3.3.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u16);

impl Status {
    /// Success.
    pub const SUCCESS: Self = Self(0);
    pub(super) const INVALID_OPCODE: u16 = 0x001;
    pub(super) const INVALID_FIELD: u16 = 0x002;
    pub(super) const POWER_LOSS: u16 = 0x005;
    pub(super) const ABORT_REQUESTED: u16 = 0x007;
    pub(super) const QUEUE_DELETED: u16 = 0x008;
    pub(super) const INVALID_NAMESPACE: u16 = 0x00b;
    pub(super) const NAMESPACE_WRITE_PROTECTED: u16 = 0x020;
    pub(super) const OUT_OF_RANGE: u16 = 0x080;
    pub(super) const NAMESPACE_NOT_READY: u16 = 0x082;
    pub(super) const READ_ONLY_RANGE: u16 = 0x182;
    pub(super) const WRITE_FAULT: u16 = 0x280;
    pub(super) const UNRECOVERED_READ: u16 = 0x281;
    pub(super) const GUARD_CHECK: u16 = 0x282;
    pub(super) const REFERENCE_CHECK: u16 = 0x284;
    pub(super) const DEALLOCATED: u16 = 0x287;

    /// Status code type and status code.
    pub const fn code(self) -> u16 {
        self.0 & 0x7ff
    }

    /// Which of the controller's delays to wait before a retry: CRD, 0 for none.
    pub(super) const fn retry_delay(self) -> usize {
        (self.0 >> 11 & 3) as usize
    }

    /// The same command would fail again: DNR.
    pub(super) const fn do_not_retry(self) -> bool {
        self.0 >> 14 & 1 != 0
    }

    /// Whether the command is worth another try. An aborted one is: it is we who aborted it.
    pub(super) const fn transient(self) -> bool {
        // Of a command that makes no sense to the controller, no repetition will.
        let hopeless = matches!(
            self.code(),
            Self::INVALID_OPCODE | Self::INVALID_FIELD | Self::INVALID_NAMESPACE | Self::OUT_OF_RANGE
        );
        !self.do_not_retry() && !hopeless
    }

    /// As a block device's caller understands it.
    pub(super) const fn error(self) -> BlockError {
        match self.code() {
            Self::INVALID_OPCODE => BlockError::Unsupported,
            Self::OUT_OF_RANGE => BlockError::OutOfRange,
            Self::ABORT_REQUESTED | Self::QUEUE_DELETED | Self::NAMESPACE_NOT_READY => BlockError::TimedOut,
            Self::INVALID_NAMESPACE | Self::POWER_LOSS => BlockError::Removed,
            Self::NAMESPACE_WRITE_PROTECTED | Self::READ_ONLY_RANGE => BlockError::ReadOnly,
            Self::WRITE_FAULT => BlockError::WriteFault,
            Self::UNRECOVERED_READ | Self::GUARD_CHECK..=Self::REFERENCE_CHECK | Self::DEALLOCATED => {
                BlockError::UnrecoveredRead
            }
            code => BlockError::Device(code as u32),
        }
    }
}

impl core::fmt::Display for Status {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:x}/{:02x}h", self.0 >> 8 & 7, self.0 & 0xff)
    }
}
