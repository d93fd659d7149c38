//! Why a command failed, as SCSI tells it: sense data (SPC-4, 4.5).
use block::BlockError;

/// Most bytes of sense data that are made.
pub const MAX_SENSE: usize = 32;

/// Sense key: the kind of failure (SPC-4, 4.5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub u8);

impl Key {
    pub const NO_SENSE: Self = Self(0x0);
    pub const NOT_READY: Self = Self(0x2);
    pub const MEDIUM_ERROR: Self = Self(0x3);
    pub const HARDWARE_ERROR: Self = Self(0x4);
    pub const ILLEGAL_REQUEST: Self = Self(0x5);
    pub const UNIT_ATTENTION: Self = Self(0x6);
    pub const DATA_PROTECT: Self = Self(0x7);
}

/// Additional sense code and its qualifier (SPC-4, numeric order codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub u16);

impl Code {
    pub const NONE: Self = Self(0x0000);
    pub const PERIPHERAL_DEVICE_WRITE_FAULT: Self = Self(0x0300);
    pub const NOT_READY_INITIALIZING_COMMAND_REQUIRED: Self = Self(0x0402);
    pub const NOT_READY_MANUAL_INTERVENTION_REQUIRED: Self = Self(0x0403);
    pub const COMMUNICATION_TIME_OUT: Self = Self(0x0801);
    pub const UNRECOVERED_READ_ERROR: Self = Self(0x1100);
    pub const PARAMETER_LIST_LENGTH_ERROR: Self = Self(0x1a00);
    pub const INVALID_COMMAND_OPERATION_CODE: Self = Self(0x2000);
    pub const BLOCK_ADDRESS_OUT_OF_RANGE: Self = Self(0x2100);
    pub const INVALID_FIELD_IN_CDB: Self = Self(0x2400);
    pub const LOGICAL_UNIT_NOT_SUPPORTED: Self = Self(0x2500);
    pub const INVALID_FIELD_IN_PARAMETER_LIST: Self = Self(0x2600);
    pub const WRITE_PROTECTED: Self = Self(0x2700);
    pub const POWER_ON: Self = Self(0x2901);
    pub const BUS_DEVICE_RESET_FUNCTION_OCCURRED: Self = Self(0x2903);
    pub const I_T_NEXUS_LOSS_OCCURRED: Self = Self(0x2907);
    pub const SAVING_PARAMETERS_NOT_SUPPORTED: Self = Self(0x3900);
    pub const INTERNAL_TARGET_FAILURE: Self = Self(0x4400);
}

/// Which field of a CDB or parameter list is in error (SPC-4, 4.5.2.4, field pointer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    in_cdb: bool,
    byte: u16,
    bit: Option<u8>,
}

impl Field {
    fn bytes(self) -> [u8; 3] {
        let bit = self.bit.map_or(0, |bit| 0x08 | bit & 7);
        let [high, low] = self.byte.to_be_bytes();
        [0x80 | u8::from(self.in_cdb) << 6 | bit, high, low]
    }
}

/// What is told of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense {
    /// Its kind.
    pub key: Key,
    /// What it is.
    pub code: Code,
    /// The block that it is about, if that is known.
    block: Option<u64>,
    field: Option<Field>,
}

impl Sense {
    /// Nothing but key and code is known.
    pub const fn new(key: Key, code: Code) -> Self {
        Self { key, code, block: None, field: None }
    }

    /// The guest asked for what can't be done.
    pub const fn illegal(code: Code) -> Self {
        Self::new(Key::ILLEGAL_REQUEST, code)
    }

    /// A field of the CDB has a value that it can't have.
    pub const fn bad_field(byte: usize) -> Self {
        let field = Some(Field { in_cdb: true, byte: byte as u16, bit: None });
        Self { field, ..Self::illegal(Code::INVALID_FIELD_IN_CDB) }
    }

    /// A bit of the CDB is set that must not be.
    pub const fn bad_bit(byte: usize, bit: u8) -> Self {
        let field = Some(Field { in_cdb: true, byte: byte as u16, bit: Some(bit) });
        Self { field, ..Self::illegal(Code::INVALID_FIELD_IN_CDB) }
    }

    /// A byte of the parameter list has a value that it can't have.
    pub const fn bad_parameter(byte: usize) -> Self {
        let field = Some(Field { in_cdb: false, byte: byte as u16, bit: None });
        Self { field, ..Self::illegal(Code::INVALID_FIELD_IN_PARAMETER_LIST) }
    }

    /// The same, about this block.
    pub const fn at(self, block: Option<u64>) -> Self {
        Self { block, ..self }
    }

    /// What a disk's error is to SCSI; `None` where that is no failure but a lack of resources, after which the guest
    /// is to try again.
    pub fn of(error: BlockError) -> Option<Self> {
        Some(match error {
            BlockError::OutOfRange => Self::illegal(Code::BLOCK_ADDRESS_OUT_OF_RANGE),
            BlockError::ReadOnly => Self::new(Key::DATA_PROTECT, Code::WRITE_PROTECTED),
            BlockError::Unsupported => Self::illegal(Code::INVALID_COMMAND_OPERATION_CODE),
            BlockError::UnrecoveredRead => Self::new(Key::MEDIUM_ERROR, Code::UNRECOVERED_READ_ERROR),
            BlockError::WriteFault => Self::new(Key::MEDIUM_ERROR, Code::PERIPHERAL_DEVICE_WRITE_FAULT),
            BlockError::TimedOut => Self::new(Key::HARDWARE_ERROR, Code::COMMUNICATION_TIME_OUT),
            BlockError::Removed => Self::new(Key::NOT_READY, Code::NOT_READY_MANUAL_INTERVENTION_REQUIRED),
            BlockError::Malformed | BlockError::Device(_) => {
                Self::new(Key::HARDWARE_ERROR, Code::INTERNAL_TARGET_FAILURE)
            }
            BlockError::NoMemory => return None,
        })
    }

    /// Writes it in one of the two formats; how many bytes it has.
    pub fn put(&self, descriptors: bool, out: &mut [u8; MAX_SENSE]) -> usize {
        if descriptors { self.put_descriptors(out) } else { self.put_fixed(out) }
    }

    /// Fixed format (SPC-4, 4.5.3).
    fn put_fixed(&self, out: &mut [u8; MAX_SENSE]) -> usize {
        const BYTES: usize = 18;
        out[..BYTES].fill(0);
        out[0] = 0x70;
        out[2] = self.key.0;
        out[7] = (BYTES - 8) as u8;
        out[12..14].copy_from_slice(&self.code.0.to_be_bytes());
        // A block's number that needs more than four bytes can't be told here.
        if let Some(block) = self.block.and_then(|block| u32::try_from(block).ok()) {
            out[0] |= 0x80;
            out[3..7].copy_from_slice(&block.to_be_bytes());
        }
        if let Some(field) = self.field {
            out[15..18].copy_from_slice(&field.bytes());
        }
        BYTES
    }

    /// Descriptor format (SPC-4, 4.5.2).
    fn put_descriptors(&self, out: &mut [u8; MAX_SENSE]) -> usize {
        const HEADER: usize = 8;
        out.fill(0);
        let [code, qualifier] = self.code.0.to_be_bytes();
        out[..4].copy_from_slice(&[0x72, self.key.0, code, qualifier]);
        let mut end = HEADER;
        if let Some(block) = self.block {
            out[end..end + 3].copy_from_slice(&[0, 0x0a, 0x80]);
            out[end + 4..end + 12].copy_from_slice(&block.to_be_bytes());
            end += 12;
        }
        if let Some(field) = self.field {
            out[end..end + 2].copy_from_slice(&[2, 6]);
            out[end + 4..end + 7].copy_from_slice(&field.bytes());
            end += 8;
        }
        out[7] = (end - HEADER) as u8;
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn bytes(sense: Sense, descriptors: bool) -> Vec<u8> {
        let mut out = [0xee; MAX_SENSE];
        let length = sense.put(descriptors, &mut out);
        out[..length].to_vec()
    }

    #[test]
    fn a_medium_error_names_its_block_in_both_formats() {
        let sense = Sense { block: Some(0x0102_0304), ..Sense::of(BlockError::UnrecoveredRead).unwrap() };
        let fixed = [0xf0, 0, 3, 1, 2, 3, 4, 10, 0, 0, 0, 0, 0x11, 0, 0, 0, 0, 0];
        assert_eq!(bytes(sense, false), fixed);
        let descriptors = [0x72, 3, 0x11, 0, 0, 0, 0, 12, 0, 10, 0x80, 0, 0, 0, 0, 0, 1, 2, 3, 4];
        assert_eq!(bytes(sense, true), descriptors);
        // Beyond four bytes only descriptors can say it.
        let far = Sense { block: Some(1 << 32), ..sense };
        assert_eq!((bytes(far, false)[0], &bytes(far, true)[15..17]), (0x70, &[1, 0][..]));
    }

    #[test]
    fn a_field_in_error_is_pointed_at() {
        assert_eq!(bytes(Sense::bad_bit(1, 3), false)[12..], [0x24, 0, 0, 0xcb, 0, 1]);
        assert_eq!(bytes(Sense::bad_field(0x102), false)[15..], [0xc0, 1, 2]);
        assert_eq!(bytes(Sense::bad_parameter(6), false)[12..], [0x26, 0, 0, 0x80, 0, 6]);
        assert_eq!(bytes(Sense::bad_parameter(6), true)[7..], [8, 2, 6, 0, 0, 0x80, 0, 6, 0]);
    }

    #[test]
    fn the_longest_there_is_fits() {
        let all = Sense { block: Some(u64::MAX), ..Sense::bad_bit(15, 7) };
        assert_eq!((bytes(all, true).len(), bytes(all, false).len()), (28, 18));
    }

    #[test]
    fn each_error_of_a_disk_has_its_key_and_code() {
        for (error, key, code) in [
            (BlockError::OutOfRange, 5, 0x2100),
            (BlockError::ReadOnly, 7, 0x2700),
            (BlockError::Unsupported, 5, 0x2000),
            (BlockError::Malformed, 4, 0x4400),
            (BlockError::UnrecoveredRead, 3, 0x1100),
            (BlockError::WriteFault, 3, 0x0300),
            (BlockError::TimedOut, 4, 0x0801),
            (BlockError::Removed, 2, 0x0403),
            (BlockError::Device(7), 4, 0x4400),
        ] {
            assert_eq!(Sense::of(error), Some(Sense::new(Key(key), Code(code))), "{error:?}");
        }
        assert_eq!(Sense::of(BlockError::NoMemory), None);
    }
}
