//! A disk.
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use std::string::ToString;

/// A disk: what it is, what it holds, and how it misbehaves.
pub struct ModelDisk {
    pub serial: String,
    pub block: u64,
    pub blocks: u64,
    /// Queued commands that it holds; 0: none.
    pub depth: u16,
    /// Volatile write cache: there, and on after a reset; on now.
    pub cache: bool,
    pub cache_now: bool,
    pub fua: bool,
    pub trims: bool,
    pub rotation: u16,
    pub physical_exponent: u16,
    pub signature: u32,
    /// It waits for SET FEATURES to spin up.
    pub standby: bool,
    /// Changed words of its IDENTIFY data; applied last, without a new checksum.
    pub patches: Vec<(usize, u16)>,
    pub data: BTreeMap<u64, Vec<u8>>,
    /// Blocks that can't be read or written, and the error register for them.
    pub bad: BTreeMap<u64, u8>,
    /// It aborts READ LOG EXT; or answers with another tag.
    pub no_log: bool,
    pub wrong_log: Option<[u8; 512]>,
    /// The block of the log, as long as no command but reading it is taken.
    pub error_log: Option<[u8; 512]>,
    /// How long it is busy after a reset, nanoseconds.
    pub spin_up: u64,
    /// The commands that it has executed.
    pub history: Vec<u8>,
}

impl ModelDisk {
    pub fn new(serial: &str, blocks: u64) -> Self {
        Self {
            serial: serial.to_string(),
            block: 512,
            blocks,
            depth: 32,
            cache: true,
            cache_now: true,
            fua: true,
            trims: true,
            rotation: 1,
            physical_exponent: 3,
            signature: 0x101,
            standby: false,
            patches: Vec::new(),
            data: BTreeMap::new(),
            bad: BTreeMap::new(),
            no_log: false,
            wrong_log: None,
            error_log: None,
            spin_up: 0,
            history: Vec::new(),
        }
    }

    pub fn read(&self, block: u64) -> Vec<u8> {
        self.data.get(&block).cloned().unwrap_or_else(|| alloc::vec![0; self.block as usize])
    }

    /// The error register for an access, where it fails.
    pub fn error(&self, block: u64, blocks: u64) -> Option<u8> {
        if block + blocks > self.blocks {
            return Some(0x10);
        }
        self.bad.range(block..block + blocks).next().map(|(_, error)| *error)
    }

    /// COMRESET.
    pub fn reset(&mut self) {
        self.error_log = None;
        self.cache_now = self.cache;
    }

    /// The log of a queued command that failed.
    pub fn fail_queued(&mut self, tag: u8, status: u8, error: u8) {
        let mut log = [0u8; 512];
        (log[0], log[2], log[3]) = (tag, status, error);
        log[511] = log.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
        self.error_log = Some(self.wrong_log.unwrap_or(log));
    }

    pub fn identify(&self) -> [u8; 512] {
        let mut words = [0u16; 256];
        let text = |words: &mut [u16], text: &str| {
            let mut bytes: Vec<u8> = text.bytes().collect();
            bytes.resize(words.len() * 2, b' ');
            for (word, pair) in words.iter_mut().zip(bytes.chunks(2)) {
                *word = u16::from_be_bytes([pair[0], pair[1]]);
            }
        };
        words[0] = 0x40;
        words[2] = if self.standby { 0x37c8 } else { 0xc837 };
        text(&mut words[10..20], &self.serial);
        text(&mut words[23..27], "1.0");
        text(&mut words[27..47], "Model disk");
        words[49] = 0x300;
        words[75] = self.depth.saturating_sub(1);
        words[76] = if self.depth > 0 { 0x10e } else { 0x0e };
        words[82] = (self.cache as u16) << 5;
        words[83] = 0x4000 | 1 << 10 | 1 << 13;
        words[84] = 0x4000 | (self.fua as u16) << 6;
        words[85] = (self.cache_now as u16) << 5;
        words[87] = 0x4000;
        for i in 0..4 {
            words[100 + i] = (self.blocks >> (16 * i)) as u16;
        }
        words[106] = 0x6000 | self.physical_exponent;
        if self.block != 512 {
            words[106] |= 1 << 12;
            words[117] = (self.block / 2) as u16;
        }
        words[169] = self.trims as u16;
        words[217] = self.rotation;
        words[255] = 0xa5;
        let mut bytes = [0; 512];
        for (i, word) in words.iter().enumerate() {
            bytes[i * 2..i * 2 + 2].copy_from_slice(&word.to_le_bytes());
        }
        bytes[511] = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
        for (word, value) in &self.patches {
            bytes[word * 2..word * 2 + 2].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }
}
