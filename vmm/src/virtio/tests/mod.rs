//! A model of a guest's driver, and what it sees of the devices.
mod disk;
mod requests;
mod rig;
mod ring;
