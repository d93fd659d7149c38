//! A node with four processors and 2 GiB: how soon it is ready, and what memory it uses.
use super::reading::{hypervisor_kib, stamp};
use super::{Values, guests};
use crate::artifacts::Artifacts;
use crate::failure::Result;
use crate::progress::step;
use crate::rig::{Accelerator, Medium, Qemu, Session};
use crate::setup::guest::Guest;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(180);

/// VMs by which two nodes differ. What `mem` rounds away is spread over as many.
const MORE_VMS: usize = 8;

/// The node's own measurement of the time from hand-over to ready, the middle one of `runs`; and the memory
/// that it uses then.
pub(super) fn ready(built: &Artifacts, runs: usize) -> Result<Values> {
    let medium = guests::none(built)?;
    let mut times = Vec::new();
    let mut memory = 0.0;
    for run in 0..runs {
        step(&format!("starting a node with 4 processors, {} of {runs}", run + 1), || -> Result<()> {
            let mut session = start(&medium)?;
            // The line's stamp says the same as its text, with more digits.
            let ready = session.wait_for("after hand-over", PATIENCE)?;
            times.push(stamp(&ready.text, "ready, 4 CPUs")? * 1000.0);
            memory = used(&mut session)?;
            Ok(())
        })?;
    }
    times.sort_by(f64::total_cmp);
    Ok([("node.ready", times[times.len() / 2]), ("node.memory", memory)]
        .map(|(name, value)| (name.to_string(), value))
        .into())
}

/// What each of many VMs adds to the memory in use, beside its own.
pub(super) fn per_vm(built: &Artifacts, guest: &Guest) -> Result<Values> {
    let with = |count: usize| {
        let medium = guests::many(built, guest, count)?;
        step(&format!("starting a node with {count} VMs"), || {
            let mut session = start(&medium)?;
            for _ in 0..count {
                session.wait_for(": started, 4 vCPUs", PATIENCE)?;
            }
            used(&mut session)
        })
    };
    let (few, many) = (with(1)?, with(1 + MORE_VMS)?);
    Ok([("vm.memory".to_string(), (many - few) / MORE_VMS as f64)].into())
}

fn start(medium: &Medium) -> Result<Session> {
    Qemu::new(medium.clone()).accelerator(Accelerator::Software).cpus(4).memory_mib(2048).start()
}

/// KiB in use beside the VMs' memory.
fn used(session: &mut Session) -> Result<f64> {
    session.wait_for("> ", PATIENCE)?;
    session.send("mem\r")?;
    session.wait_for("USE ", PATIENCE)?;
    let table = session.wait_for("free ", PATIENCE)?;
    hypervisor_kib(&table.text)
}
