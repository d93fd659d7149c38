//! Requests within a driver: what of one is a command already, who is told when, and waiting with a limit.
mod batch;
mod cursor;
pub(crate) mod wait;
mod work;

pub(crate) use batch::Batch;
pub(crate) use cursor::Cursor;
pub(crate) use work::{Work, all};
