//! PureVisor as a whole, in emulated machines.
//!
//! | module | what it shows |
//! |---|---|
//! | `hostile` | guests that do what they should not: the table of `payload`, on this back end |
mod hostile;
