//! A model of a guest's driver, and what it sees of the devices.
mod balloon;
mod blk;
mod console;
mod disk;
mod flow;
mod net;
mod requests;
mod rig;
mod ring;
mod rng;
mod scsi;
mod transport;
