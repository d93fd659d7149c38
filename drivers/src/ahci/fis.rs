//! What a disk is told and what it answers: register FISes (SATA 3, 10.5) with ATA commands (ACS-3, 7).
use block::BlockError;

/// An ATA command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opcode(pub u8);

impl Opcode {
    pub const DATA_SET_MANAGEMENT: Self = Self(0x06);
    pub const READ_DMA_EXT: Self = Self(0x25);
    pub const READ_LOG_EXT: Self = Self(0x2f);
    pub const WRITE_DMA_EXT: Self = Self(0x35);
    pub const WRITE_DMA_FUA_EXT: Self = Self(0x3d);
    pub const READ_FPDMA_QUEUED: Self = Self(0x60);
    pub const WRITE_FPDMA_QUEUED: Self = Self(0x61);
    pub const STANDBY_IMMEDIATE: Self = Self(0xe0);
    pub const FLUSH_CACHE_EXT: Self = Self(0xea);
    pub const IDENTIFY_DEVICE: Self = Self(0xec);
    pub const SET_FEATURES: Self = Self(0xef);
}

/// SET FEATURES: spin up (ACS-3, 7.45.7).
pub(super) const SPIN_UP: u8 = 0x07;
/// SET FEATURES: no volatile write cache.
pub(super) const DISABLE_CACHE: u8 = 0x82;
/// DATA SET MANAGEMENT: TRIM.
const TRIM: u16 = 1;
/// The log of the queued command that failed (ACS-3, A.13).
const QUEUED_ERROR_LOG: u64 = 0x10;

/// Device register: addresses are blocks.
const LBA: u8 = 1 << 6;
/// Device register of a queued write: force unit access.
const FUA: u8 = 1 << 7;

/// Bytes of a register FIS.
pub(super) const FIS_BYTES: u32 = 20;
/// Most blocks of a read or write: a count of 0.
pub(super) const MOST_BLOCKS: u64 = 1 << 16;

/// A command as its registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub opcode: Opcode,
    features: u16,
    count: u16,
    pub block: u64,
    device: u8,
}

impl Command {
    pub const IDENTIFY: Self = Self::simple(Opcode::IDENTIFY_DEVICE);
    pub const FLUSH: Self = Self::simple(Opcode::FLUSH_CACHE_EXT);
    pub const STAND_BY: Self = Self::simple(Opcode::STANDBY_IMMEDIATE);

    const fn simple(opcode: Opcode) -> Self {
        Self { opcode, features: 0, count: 0, block: 0, device: LBA }
    }

    pub const fn set_features(what: u8) -> Self {
        Self { features: what as u16, ..Self::simple(Opcode::SET_FEATURES) }
    }

    /// One block of the log of the queued command that failed.
    pub const fn read_error_log() -> Self {
        Self { count: 1, block: QUEUED_ERROR_LOG, ..Self::simple(Opcode::READ_LOG_EXT) }
    }

    /// A list of ranges to trim, as so many times 512 bytes.
    pub const fn trim(count: u16) -> Self {
        Self { features: TRIM, count, ..Self::simple(Opcode::DATA_SET_MANAGEMENT) }
    }

    /// A read or write of at most [`MOST_BLOCKS`], that is not queued.
    pub const fn transfer(opcode: Opcode, block: u64, blocks: u64) -> Self {
        Self { count: blocks as u16, block, ..Self::simple(opcode) }
    }

    /// A queued one.
    pub const fn queued(opcode: Opcode, block: u64, blocks: u64, tag: u32, durable: bool) -> Self {
        let device = if durable { LBA | FUA } else { LBA };
        Self { opcode, features: blocks as u16, count: (tag << 3) as u16, block, device }
    }

    /// Whether it is one of the driver's own that read a block.
    pub const fn reads_block(self) -> bool {
        matches!(self.opcode, Opcode::IDENTIFY_DEVICE | Opcode::READ_LOG_EXT)
    }

    /// As a host to device register FIS (SATA 3, 10.5.5).
    pub const fn fis(self) -> [u32; 5] {
        let Self { opcode, features, count, block, device } = self;
        /// FIS type, and bit C: a command.
        const TO_DEVICE: u32 = 0x27 | 1 << 15;
        [
            TO_DEVICE | (opcode.0 as u32) << 16 | (features as u32 & 0xff) << 24,
            (block & 0xff_ffff) as u32 | (device as u32) << 24,
            (block >> 24 & 0xff_ffff) as u32 | (features as u32 >> 8) << 24,
            count as u32,
            0,
        ]
    }
}

/// Status register: busy, device fault, data request, error.
pub(super) const BUSY: u8 = 1 << 7;
pub(super) const FAULT: u8 = 1 << 5;
pub(super) const DATA_REQUEST: u8 = 1 << 3;
pub(super) const ERROR: u8 = 1 << 0;

/// Error register: the interface garbled data.
const INTERFACE_CRC: u8 = 1 << 7;
/// Data can't be read.
const UNCORRECTABLE: u8 = 1 << 6;
/// No such block.
const NOT_FOUND: u8 = 1 << 4;

/// What a disk's error means for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Once more may help.
    Again,
    /// It has failed.
    Failed(BlockError),
}

/// What the status and error registers of a failed command say (ACS-3, 6.2 and 6.3).
pub(super) fn judge(opcode: Opcode, status: u8, error: u8) -> Verdict {
    if error & INTERFACE_CRC != 0 && status & FAULT == 0 {
        return Verdict::Again;
    }
    Verdict::Failed(final_error(opcode, status, error))
}

/// What a command has failed with that was garbled too often, or never.
pub(super) fn final_error(opcode: Opcode, status: u8, error: u8) -> BlockError {
    let writes = [Opcode::WRITE_DMA_EXT, Opcode::WRITE_DMA_FUA_EXT, Opcode::WRITE_FPDMA_QUEUED];
    let reads = [Opcode::READ_DMA_EXT, Opcode::READ_FPDMA_QUEUED];
    if error & NOT_FOUND != 0 {
        BlockError::OutOfRange
    } else if writes.contains(&opcode) || opcode == Opcode::FLUSH_CACHE_EXT {
        BlockError::WriteFault
    } else if reads.contains(&opcode) && error & UNCORRECTABLE != 0 {
        BlockError::UnrecoveredRead
    } else if opcode == Opcode::DATA_SET_MANAGEMENT && status & FAULT == 0 {
        BlockError::Unsupported
    } else {
        BlockError::Device(u32::from(status) | u32::from(error) << 8)
    }
}

/// The queued command that failed, as the disk's log tells (ACS-3, A.13): tag, status and error.
pub(super) fn failed_tag(log: &[u8; 512]) -> Option<(u32, u8, u8)> {
    let sum = log.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    // NQ: the error was that of a command that is not queued.
    let queued = log[0] & 1 << 7 == 0;
    (sum == 0 && queued).then_some((u32::from(log[0] & 0x1f), log[2], log[3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_the_bytes_of_the_specification() {
        let bytes = |command: Command| command.fis().map(u32::to_le_bytes).concat();
        assert_eq!(
            bytes(Command::transfer(Opcode::READ_DMA_EXT, 0x1234_5678_9abc, 0x0102)),
            [0x27, 0x80, 0x25, 0, 0xbc, 0x9a, 0x78, 0x40, 0x56, 0x34, 0x12, 0, 0x02, 0x01, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(
            bytes(Command::queued(Opcode::WRITE_FPDMA_QUEUED, 1, 0x0102, 31, true)),
            [0x27, 0x80, 0x61, 2, 1, 0, 0, 0xc0, 0, 0, 0, 1, 0xf8, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(bytes(Command::queued(Opcode::READ_FPDMA_QUEUED, 0, 65536, 0, false))[3], 0);
        assert_eq!(bytes(Command::trim(1))[..4], [0x27, 0x80, 0x06, 1]);
        assert_eq!(bytes(Command::read_error_log())[2..5], [0x2f, 0, 0x10]);
    }

    #[test]
    fn an_error_says_what_became_of_the_request() {
        let cases = [
            (Opcode::READ_FPDMA_QUEUED, 0x41, 0x40, Verdict::Failed(BlockError::UnrecoveredRead)),
            (Opcode::READ_DMA_EXT, 0x41, 0x10, Verdict::Failed(BlockError::OutOfRange)),
            (Opcode::READ_DMA_EXT, 0x41, 0x04, Verdict::Failed(BlockError::Device(0x441))),
            (Opcode::WRITE_DMA_EXT, 0x41, 0x40, Verdict::Failed(BlockError::WriteFault)),
            (Opcode::WRITE_FPDMA_QUEUED, 0x61, 0x84, Verdict::Failed(BlockError::WriteFault)),
            (Opcode::WRITE_FPDMA_QUEUED, 0x41, 0x84, Verdict::Again),
            (Opcode::FLUSH_CACHE_EXT, 0x41, 0x04, Verdict::Failed(BlockError::WriteFault)),
            (Opcode::DATA_SET_MANAGEMENT, 0x41, 0x04, Verdict::Failed(BlockError::Unsupported)),
        ];
        for (opcode, status, error, verdict) in cases {
            assert_eq!(judge(opcode, status, error), verdict, "{opcode:?} {status:#x} {error:#x}");
        }
    }

    #[test]
    fn a_log_with_a_wrong_sum_or_of_no_queued_command_names_nobody() {
        let mut log = [0; 512];
        (log[0], log[2], log[3]) = (17, 0x41, 0x40);
        assert_eq!(failed_tag(&log), None);
        log[511] = 0u8.wrapping_sub(17 + 0x41 + 0x40);
        assert_eq!(failed_tag(&log), Some((17, 0x41, 0x40)));
        log[0] |= 0x80;
        log[511] = log[511].wrapping_sub(0x80);
        assert_eq!(failed_tag(&log), None);
    }
}
