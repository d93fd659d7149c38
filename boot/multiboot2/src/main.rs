//! What GRUB loads. On the host this builds to a program that says where it belongs.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
extern crate alloc;
#[cfg(target_os = "none")]
mod machine;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("GRUB starts this by its command 'multiboot2': build it with 'cargo xtask image'");
    std::process::exit(1);
}
