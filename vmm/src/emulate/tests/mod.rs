//! What the emulator does, by instruction group, against the CPU that runs the tests and against
//! itself.
mod native;
mod rig;
