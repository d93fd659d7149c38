//! The virtual PC around the vCPUs.
pub mod map;
