//! Everything around the image, as a library: the `cargo xtask` commands, the end-to-end tests and the
//! benchmark are built from the same parts.
//!
//! | module | what it gives |
//! |---|---|
//! | [`setup`] | what the commands need, installed and fetched; the Debian guest's files |
//! | [`artifacts`] | the loader and the kernel, built |
//! | [`image`] | the boot volume as a folder and as a bootable disk image |
//! | [`initramfs`] | a guest's first file system |
//! | [`debian`] | the way from it to a Debian on a disk |
//! | [`rig`] | an emulated machine: its command line, its console, its end |
//! | [`run`], [`test`], [`bench`] | the commands of those names |
//!
//! Files made on the way are kept under cargo's target folder ([`workspace::target`]). Nothing is ever
//! written elsewhere, but for packages that set-up installs and the folder that `image --out` names.
pub mod args;
pub mod artifacts;
pub mod bench;
pub mod debian;
pub mod failure;
pub mod image;
pub mod initramfs;
pub mod progress;
pub mod rig;
pub mod run;
pub mod setup;
pub mod test;
pub mod workspace;
