//! `boot.efi`. On the host this builds to a program that says where it belongs.
#![cfg_attr(target_os = "uefi", no_std)]
#![cfg_attr(target_os = "uefi", no_main)]

#[cfg(target_os = "uefi")]
extern crate alloc;
#[cfg(target_os = "uefi")]
mod firmware;

#[cfg(not(target_os = "uefi"))]
fn main() {
    eprintln!("boot.efi runs under UEFI firmware: build it with 'cargo xtask build'");
    std::process::exit(1);
}
