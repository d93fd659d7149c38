//! The node as its operator sees it: what the shell asks of the kernel, answered from where it is kept.
//!
//! [`start`] reads `purevisor.toml`, makes the VMs, and starts the console's task on the booting CPU
//! ([`console`]). From then on the console belongs to the shell: log lines appear above its prompt.
//!
//! - `console`: moves bytes between COM1, the screen, the session, and the console of the VM it is on.
//! - `this_node`: what the shell asks and orders (`mgmt::shell::node::Node`).
//! - `ending`: how the node powers off or reboots.
mod console;
mod ending;
mod this_node;

use crate::cpu_loop::Runtime;
use crate::{boot_info, devices, network, vm};
use mgmt::config::Config;
use this_node::ThisNode;

/// Reads the configuration and starts the search for devices, VMs and console.
pub fn start(runtime: &'static Runtime) {
    let file = boot_info::get().map_or(&[][..], |i| boot_info::bytes(i.config));
    let parsed = Config::parse(file);
    for problem in &parsed.problems {
        log::error!("{problem}");
    }
    network::start(runtime, &parsed.config.networks, &parsed.config.node);
    devices::start(runtime);
    let vms = vm::start(runtime, &parsed.config.vms);
    console::start(runtime, ThisNode::new(parsed.config, vms));
}
