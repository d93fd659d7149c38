//! Requests within a driver: what of one is a command already, who is told when, and waiting with a limit.
mod cursor;
pub(crate) mod wait;
mod work;

pub(crate) use cursor::Cursor;
pub(crate) use work::{Finished, Work, all};
