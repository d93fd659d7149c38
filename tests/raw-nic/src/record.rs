//! What is to be sent.
use std::io;

/// A frame, the header before it, and how often.
pub struct Record {
    pub times: u32,
    pub header: Vec<u8>,
    pub frame: Vec<u8>,
}

impl Record {
    /// All of a file.
    pub fn all(mut bytes: &[u8]) -> io::Result<Vec<Self>> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let times = u32::from_le_bytes(*take(&mut bytes)?);
            let [header, frame] =
                [u32::from_le_bytes(*take(&mut bytes)?), u32::from_le_bytes(*take(&mut bytes)?)];
            let mut part = |length: u32| -> io::Result<Vec<u8>> {
                let part = bytes.split_off(..length as usize).ok_or_else(cut)?;
                Ok(part.to_vec())
            };
            all.push(Self { times, header: part(header)?, frame: part(frame)? });
        }
        Ok(all)
    }
}

fn take<'a>(bytes: &mut &'a [u8]) -> io::Result<&'a [u8; 4]> {
    let (word, rest) = bytes.split_first_chunk().ok_or_else(cut)?;
    *bytes = rest;
    Ok(word)
}

fn cut() -> io::Error {
    io::Error::other("the file ends within a frame")
}
