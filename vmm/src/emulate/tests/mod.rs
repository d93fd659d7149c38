//! What the emulator does, by instruction group, against the CPU that runs the tests and against
//! itself.
mod addresses;
mod code;
mod fuzz;
mod native;
mod rig;
mod stacks;
mod strings;
