//! Commands that a logical unit knows: their codes, and which bits of their CDBs mean something (SPC-4, SBC-3).
use super::sense::{Code, Sense};
use crate::virtio::channel::Blocks;
use block::Features;

/// Most bytes of a CDB that are looked at: no command here has more.
pub const MAX_CDB: usize = 16;

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    TestUnitReady,
    RequestSense,
    Inquiry,
    ReportLuns,
    ModeSense,
    ModeSelect,
    StartStop,
    PreventAllow,
    ReadCapacity10,
    ReadCapacity16,
    ReportOpcodes,
    Read,
    Write,
    Flush,
    Unmap,
    WriteSame,
}

/// A command.
#[derive(Debug)]
pub struct Command {
    /// What it does.
    pub does: Does,
    /// Its service action, where the operation code has some.
    pub action: Option<u8>,
    /// CDB usage data (SPC-4, 6.35): the operation code, then the bits that may be set; as long as the CDB.
    pub usage: &'static [u8],
}

const fn plain(does: Does, usage: &'static [u8]) -> Command {
    Command { does, action: None, usage }
}

/// All commands. The last byte of each, CONTROL, has no bit that means anything here: no ACA.
pub const COMMANDS: [Command; 26] = [
    plain(Does::TestUnitReady, &[0x00, 0, 0, 0, 0, 0]),
    plain(Does::RequestSense, &[0x03, 0x01, 0, 0, 0xff, 0]),
    plain(Does::Read, &[0x08, 0x1f, 0xff, 0xff, 0xff, 0]),
    plain(Does::Write, &[0x0a, 0x1f, 0xff, 0xff, 0xff, 0]),
    plain(Does::Inquiry, &[0x12, 0x01, 0xff, 0xff, 0xff, 0]),
    plain(Does::ModeSelect, &[0x15, 0x10, 0, 0, 0xff, 0]),
    plain(Does::ModeSense, &[0x1a, 0x08, 0xff, 0xff, 0xff, 0]),
    plain(Does::StartStop, &[0x1b, 0x01, 0, 0, 0x05, 0]),
    plain(Does::PreventAllow, &[0x1e, 0, 0, 0, 0x01, 0]),
    plain(Does::ReadCapacity10, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    // DPO and FUA; the group number counts for nothing, but may be there.
    plain(Does::Read, &[0x28, 0x18, 0xff, 0xff, 0xff, 0xff, 0x3f, 0xff, 0xff, 0]),
    plain(Does::Write, &[0x2a, 0x18, 0xff, 0xff, 0xff, 0xff, 0x3f, 0xff, 0xff, 0]),
    // IMMED and SYNC_NV.
    plain(Does::Flush, &[0x35, 0x06, 0xff, 0xff, 0xff, 0xff, 0x3f, 0xff, 0xff, 0]),
    // UNMAP.
    plain(Does::WriteSame, &[0x41, 0x08, 0xff, 0xff, 0xff, 0xff, 0x3f, 0xff, 0xff, 0]),
    plain(Does::Unmap, &[0x42, 0, 0, 0, 0, 0, 0x3f, 0xff, 0xff, 0]),
    plain(Does::ModeSelect, &[0x55, 0x10, 0, 0, 0, 0, 0, 0xff, 0xff, 0]),
    plain(Does::ModeSense, &[0x5a, 0x18, 0xff, 0xff, 0, 0, 0, 0xff, 0xff, 0]),
    plain(Does::Read, &[0x88, 0x18, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0x3f, 0]),
    plain(Does::Write, &[0x8a, 0x18, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0x3f, 0]),
    plain(Does::Flush, &[0x91, 0x06, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0x3f, 0]),
    // UNMAP and NDOB.
    plain(
        Does::WriteSame,
        &[0x93, 0x09, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0x3f, 0],
    ),
    Command {
        does: Does::ReadCapacity16,
        action: Some(0x10),
        usage: &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0],
    },
    plain(Does::ReportLuns, &[0xa0, 0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0]),
    Command {
        does: Does::ReportOpcodes,
        action: Some(0x0c),
        usage: &[0xa3, 0x0c, 0x87, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
    },
    plain(Does::Read, &[0xa8, 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f, 0]),
    plain(Does::Write, &[0xaa, 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f, 0]),
];

/// Where in [`COMMANDS`] each operation code is, counted from 1; 0 where it is not. No two share one.
const INDEX: [u8; 256] = {
    let mut index = [0; 256];
    let mut i = 0;
    while i < COMMANDS.len() {
        index[COMMANDS[i].usage[0] as usize] = i as u8 + 1;
        i += 1;
    }
    index
};

/// Of each command, the bits of a CDB that must not be set, in the order of the bytes.
const FORBIDDEN: [u128; COMMANDS.len()] = {
    let mut all = [0; COMMANDS.len()];
    let mut i = 0;
    while i < COMMANDS.len() {
        let Command { does, usage, .. } = &COMMANDS[i];
        let mut at = 0;
        while at < usage.len() {
            all[i] |= ((!usage[at]) as u128) << (8 * at);
            at += 1;
        }
        // Where SCSI-2 had the logical unit's number, some drivers still put it; commands that move data have other
        // fields there, which count.
        if !matches!(does, Does::Read | Does::Write | Does::WriteSame) || usage.len() == 6 {
            all[i] &= !(0xe0 << 8);
        }
        i += 1;
    }
    all
};

/// The command of an operation code, if such a disk knows it.
pub fn find(code: u8, features: &Features) -> Option<&'static Command> {
    let index = usize::from(INDEX[usize::from(code)]).checked_sub(1)?;
    COMMANDS.get(index).filter(|command| command.is_known(features))
}

impl Command {
    /// Whether a disk that can do this knows the command.
    pub fn is_known(&self, features: &Features) -> bool {
        match self.does {
            Does::Unmap => features.discard,
            Does::WriteSame => features.write_zeroes,
            _ => true,
        }
    }
}

/// A command descriptor block, with zeroes behind its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cdb(pub [u8; MAX_CDB]);

impl Cdb {
    /// Its operation code.
    #[inline]
    pub fn code(&self) -> u8 {
        self.0[0]
    }

    /// The command that it is for such a disk, if all of it makes sense. `sent` bytes of it were sent.
    ///
    /// # Errors
    /// What is wrong with it.
    #[inline]
    pub fn command(&self, sent: usize, features: &Features) -> Result<Does, Sense> {
        let unknown = Sense::illegal(Code::INVALID_COMMAND_OPERATION_CODE);
        let index = usize::from(INDEX[usize::from(self.code())]).checked_sub(1).ok_or(unknown)?;
        let command = COMMANDS.get(index).filter(|c| c.is_known(features)).ok_or(unknown)?;
        if command.action.is_some_and(|action| self.0[1] & 0x1f != action) {
            return Err(Sense::bad_field(1));
        }
        if command.usage.len() > sent {
            return Err(Sense::bad_field(sent));
        }
        match u128::from_le_bytes(self.0) & FORBIDDEN[index] {
            0 => Ok(command.does),
            wrong => {
                // The first byte that is wrong, and its highest bit.
                let byte = wrong.trailing_zeros() / 8;
                let bit = 7 - ((wrong >> (8 * byte)) as u8).leading_zeros();
                Err(Sense::bad_bit(byte as usize, bit as u8))
            }
        }
    }

    /// Bit `bit` of byte `at`.
    #[inline]
    pub fn bit(&self, at: usize, bit: u8) -> bool {
        self.0[at] >> bit & 1 != 0
    }

    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        core::array::from_fn(|i| self.0[at + i])
    }

    /// Two bytes from `at` on.
    #[inline]
    pub fn u16(&self, at: usize) -> u16 {
        u16::from_be_bytes(self.bytes(at))
    }

    /// Four bytes.
    #[inline]
    pub fn u32(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.bytes(at))
    }

    /// Eight bytes.
    #[inline]
    pub fn u64(&self, at: usize) -> u64 {
        u64::from_be_bytes(self.bytes(at))
    }

    /// Where the length is that [`Self::blocks`] finds.
    pub fn length_at(&self) -> usize {
        match self.code() >> 5 {
            0 => 4,
            1 | 2 => 7,
            4 => 10,
            _ => 6,
        }
    }

    /// Address and length of a command on blocks, as CDBs of its length have them (SPC-4, 4.2.2).
    #[inline]
    pub fn blocks(&self) -> Blocks {
        let (first, count) = match self.code() >> 5 {
            0 => {
                let first = self.u32(0) & 0x1f_ffff;
                // SBC-3, READ (6): in 6 bytes, 0 stands for 256.
                let count = if self.0[4] == 0 { 256 } else { self.0[4].into() };
                (first.into(), count)
            }
            1 | 2 => (self.u32(2).into(), self.u16(7).into()),
            4 => (self.u64(2), self.u32(10)),
            _ => (self.u32(2).into(), self.u32(6)),
        };
        Blocks { first, count: count.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const ALL: Features = Features {
        read_only: false,
        volatile_cache: true,
        discard: true,
        write_zeroes: true,
        solid_state: true,
    };

    fn cdb(bytes: &[u8]) -> Cdb {
        let mut all = [0; MAX_CDB];
        all[..bytes.len()].copy_from_slice(bytes);
        Cdb(all)
    }

    #[test]
    fn each_command_is_found_by_its_code_and_is_as_long_as_its_code_says() {
        for (i, command) in COMMANDS.iter().enumerate() {
            let code = command.usage[0];
            assert_eq!(usize::from(INDEX[usize::from(code)]), i + 1, "{code:#x} is there twice");
            let length = match code >> 5 {
                0 => 6,
                1 | 2 => 10,
                4 => 16,
                _ => 12,
            };
            assert_eq!(command.usage.len(), length, "{code:#x}");
            let action = command.action.unwrap_or(0);
            assert_eq!(cdb(&[code, action]).command(length, &ALL), Ok(command.does));
            assert_eq!(cdb(&[code, action]).command(length - 1, &ALL), Err(Sense::bad_field(length - 1)));
        }
        let known = (0..=255).filter(|&code| find(code, &ALL).is_some()).count();
        assert_eq!(known, COMMANDS.len());
    }

    #[test]
    fn bits_that_mean_nothing_here_are_pointed_at() {
        let wrong = |bytes: &[u8]| cdb(bytes).command(32, &ALL).unwrap_err();
        // Protection information; ACA; a page without EVPD's neighbour CMDDT; two at once: the first byte, its highest.
        assert_eq!(wrong(&[0x28, 0x20]), Sense::bad_bit(1, 5));
        assert_eq!(wrong(&[0x00, 0, 0, 0, 0, 4]), Sense::bad_bit(5, 2));
        assert_eq!(wrong(&[0x12, 2]), Sense::bad_bit(1, 1));
        assert_eq!(wrong(&[0x35, 0x18, 0, 0, 0, 0, 0xff]), Sense::bad_bit(1, 4));
        // The logical unit's number of SCSI-2.
        assert_eq!(cdb(&[0x12, 0xe0]).command(32, &ALL), Ok(Does::Inquiry));
        assert_eq!(cdb(&[0x08, 0xe0]).command(32, &ALL), Ok(Does::Read));
    }

    #[test]
    fn unknown_codes_and_actions_and_what_the_disk_cannot_do_are_refused() {
        let invalid = Err(Sense::illegal(Code::INVALID_COMMAND_OPERATION_CODE));
        for code in [0x01, 0x2f, 0x7f, 0x9f, 0xff] {
            assert_eq!(cdb(&[code]).command(32, &ALL), invalid, "{code:#x}");
        }
        assert_eq!(cdb(&[0x9e, 0x12]).command(32, &ALL), Err(Sense::bad_field(1)));
        let little = Features::default();
        for code in [0x41, 0x42, 0x93] {
            assert_eq!(cdb(&[code]).command(32, &little), invalid, "{code:#x}");
            assert!(find(code, &little).is_none());
        }
    }

    #[test]
    fn address_and_length_are_found_in_each_length_of_cdb() {
        let bytes: Vec<u8> = (1..=15).collect();
        let blocks = |code: u8| cdb(&[&[code][..], &bytes].concat()).blocks();
        assert_eq!(blocks(0x08), Blocks { first: 0x01_0203, count: 4 });
        assert_eq!(blocks(0x28), Blocks { first: 0x0203_0405, count: 0x0708 });
        assert_eq!(blocks(0xa8), Blocks { first: 0x0203_0405, count: 0x0607_0809 });
        assert_eq!(blocks(0x88), Blocks { first: 0x0203_0405_0607_0809, count: 0x0a0b_0c0d });
        assert_eq!(cdb(&[0x0a, 0xff, 0xff, 0xff, 0]).blocks(), Blocks { first: 0x1f_ffff, count: 256 });
    }
}
