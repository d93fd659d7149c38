//! Submission queue entries (NVMe 2.0, 3.3.3.1; NVM Command Set 1.0, 3.2).
use core::fmt;
use mm::Hpa;

/// A submission queue entry: 64 bytes, as the 8 words that are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command(pub [u64; 8]);

/// Bytes of an entry.
pub(super) const COMMAND_BYTES: usize = 64;

/// An opcode of either command set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opcode(pub u8);

impl Opcode {
    // Admin (NVMe 2.0, 5).
    pub const CREATE_SUBMISSION_QUEUE: Self = Self(0x01);
    pub const GET_LOG_PAGE: Self = Self(0x02);
    pub const CREATE_COMPLETION_QUEUE: Self = Self(0x05);
    pub const IDENTIFY: Self = Self(0x06);
    pub const ABORT: Self = Self(0x08);
    pub const SET_FEATURES: Self = Self(0x09);
    pub const ASYNCHRONOUS_EVENT: Self = Self(0x0c);
    pub const DOORBELL_BUFFER_CONFIG: Self = Self(0x7c);
    // NVM command set.
    pub const FLUSH: Self = Self(0x00);
    pub const WRITE: Self = Self(0x01);
    pub const READ: Self = Self(0x02);
    pub const WRITE_ZEROES: Self = Self(0x08);
    pub const DATASET_MANAGEMENT: Self = Self(0x09);
}

/// Features (NVMe 2.0, 5.27.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Feature(pub u8);

impl Feature {
    pub const NUMBER_OF_QUEUES: Self = Self(0x07);
    pub const INTERRUPT_COALESCING: Self = Self(0x08);
    pub const ASYNCHRONOUS_EVENTS: Self = Self(0x0b);
}

/// Log pages (NVMe 2.0, 5.16.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogPage(pub u8);

impl LogPage {
    pub const HEALTH: Self = Self(0x02);
}

/// What Identify is asked for: CNS (NVMe 2.0, 5.17.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cns(pub u8);

impl Cns {
    pub const NAMESPACE: Self = Self(0x00);
    pub const CONTROLLER: Self = Self(0x01);
    pub const ACTIVE_NAMESPACES: Self = Self(0x02);
    /// What the I/O command set says of the controller; CSI is 0, the NVM command set.
    pub const NVM_CONTROLLER: Self = Self(0x06);
}

/// The data pointer of a command and how it is to be read: PSDT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataPointer {
    /// Two PRP entries.
    Prp(u64, u64),
    /// A SGL descriptor.
    Sgl(u64, u64),
}

impl Command {
    /// A command of an opcode on a namespace (0: none), and nothing else yet.
    pub const fn new(opcode: Opcode, namespace: u32) -> Self {
        Self([opcode.0 as u64 | (namespace as u64) << 32, 0, 0, 0, 0, 0, 0, 0])
    }

    /// With its data pointer.
    #[must_use]
    pub const fn data(mut self, pointer: DataPointer) -> Self {
        let (first, second) = match pointer {
            DataPointer::Prp(first, second) => (first, second),
            DataPointer::Sgl(first, second) => {
                self.0[0] |= 1 << 14;
                (first, second)
            }
        };
        (self.0[3], self.0[4]) = (first, second);
        self
    }

    /// With command dwords 10 and 11.
    #[must_use]
    pub const fn dwords_10(mut self, dword10: u32, dword11: u32) -> Self {
        self.0[5] = dword10 as u64 | (dword11 as u64) << 32;
        self
    }

    /// With command dword 12.
    #[must_use]
    pub const fn dword_12(mut self, dword12: u32) -> Self {
        self.0[6] = dword12 as u64;
        self
    }

    /// With its identifier.
    #[must_use]
    pub const fn identifier(mut self, cid: u16) -> Self {
        self.0[0] = self.0[0] & !0xffff_0000 | (cid as u64) << 16;
        self
    }

    /// Read, Write or Write Zeroes of 1 to 65536 `blocks` from `block` on.
    pub const fn blocks(opcode: Opcode, namespace: u32, block: u64, blocks: u32, flags: u32) -> Self {
        let mut command = Self::new(opcode, namespace).dword_12((blocks - 1) & 0xffff | flags);
        command.0[5] = block;
        command
    }

    /// Identify into a page at `to`.
    pub const fn identify(cns: Cns, namespace: u32, to: Hpa) -> Self {
        let command = Self::new(Opcode::IDENTIFY, namespace).dwords_10(cns.0 as u32, 0);
        command.data(DataPointer::Prp(to.get(), 0))
    }

    /// Set Features.
    pub const fn set_feature(feature: Feature, value: u32) -> Self {
        Self::new(Opcode::SET_FEATURES, 0).dwords_10(feature.0 as u32, value)
    }

    /// The first `bytes` of a log page, at most a page, into memory at `to`. Reading it clears its event.
    pub const fn log_page(page: LogPage, bytes: u32, to: Hpa) -> Self {
        let command = Self::new(Opcode::GET_LOG_PAGE, u32::MAX).data(DataPointer::Prp(to.get(), 0));
        command.dwords_10(page.0 as u32 | (bytes / 4 - 1) << 16, 0)
    }

    /// A completion queue of `entries` at `at` that interrupts by message `vector`.
    pub const fn create_completion_queue(queue: u16, entries: u16, at: Hpa, vector: u16) -> Self {
        let command = Self::new(Opcode::CREATE_COMPLETION_QUEUE, 0).data(DataPointer::Prp(at.get(), 0));
        // Contiguous, interrupts enabled.
        command.dwords_10(queue as u32 | ((entries - 1) as u32) << 16, 3 | (vector as u32) << 16)
    }

    /// A submission queue of `entries` at `at` that completes to the completion queue of the same number.
    pub const fn create_submission_queue(queue: u16, entries: u16, at: Hpa) -> Self {
        let command = Self::new(Opcode::CREATE_SUBMISSION_QUEUE, 0).data(DataPointer::Prp(at.get(), 0));
        command.dwords_10(queue as u32 | ((entries - 1) as u32) << 16, 1 | (queue as u32) << 16)
    }

    /// Abort of a command on a submission queue.
    pub const fn abort(queue: u16, cid: u16) -> Self {
        Self::new(Opcode::ABORT, 0).dwords_10(queue as u32 | (cid as u32) << 16, 0)
    }
}

impl fmt::Display for Command {
    /// An I/O command, for the log, after the controller's name: `n1: read at block 2048`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (opcode, namespace, block) = (Opcode(self.0[0] as u8), self.0[0] >> 32, self.0[5]);
        match opcode {
            Opcode::READ => write!(f, "n{namespace}: read at block {block}"),
            Opcode::WRITE => write!(f, "n{namespace}: write at block {block}"),
            Opcode::WRITE_ZEROES => write!(f, "n{namespace}: write of zeroes at block {block}"),
            Opcode::FLUSH => write!(f, "n{namespace}: flush"),
            Opcode::DATASET_MANAGEMENT => write!(f, "n{namespace}: deallocation"),
            Opcode(other) => write!(f, "n{namespace}: command {other:#04x}"),
        }
    }
}

/// Flags of command dword 12.
pub(super) mod flags {
    /// Read and Write: force unit access.
    pub const FORCE_UNIT_ACCESS: u32 = 1 << 30;
    /// Write Zeroes: deallocate.
    pub const DEALLOCATE: u32 = 1 << 25;
}

/// Dataset Management, dword 11: deallocate.
pub(super) const DSM_DEALLOCATE: u32 = 1 << 2;
