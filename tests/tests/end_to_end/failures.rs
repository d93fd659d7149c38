//! What the kernel says of its own mistakes, by a kernel that makes them when told to.
use crate::NODE;
use tests::PATIENCE;
use tests::node;
use tests::prepared::prepared;
use tests::terminal::plain;
use tests::volume::Volume;
use xtask::failure::{Failure, Result};
use xtask::rig::Qemu;

/// Boots the kernel that fails, gives it one order, and reads its report.
fn report_of(order: &str) -> Result<String> {
    let volume = Volume::new(NODE)?.artifacts(prepared()?.failing.clone());
    let mut node = node::power_on(&volume, Qemu::parallel)?;
    let session = node.session();
    session.wait_for("boot-tests: waiting for an order", PATIENCE)?;
    session.send(order)?;
    session.wait_for("panic on CPU ", PATIENCE)?;
    let seen = session.wait_for("PureVisor has stopped. Restart the machine", PATIENCE)?;
    Ok(plain(&seen.text))
}

fn has(report: &str, parts: &[&str]) -> Result<()> {
    match parts.iter().find(|part| !report.contains(**part)) {
        None => Ok(()),
        Some(missing) => Err(Failure::new(format!("the report lacks \"{missing}\":\n{report}"))),
    }
}

#[test]
fn a_panic_says_where_it_was_and_who_called() -> Result<()> {
    has(&report_of("p")?, &["0: ordered to", "boot_tests.rs:", "kernel::boot_tests::"])
}

#[test]
fn a_panic_on_another_cpu_stops_all_and_names_that_cpu() -> Result<()> {
    has(&report_of("a")?, &["1: ordered to, on another CPU", "kernel::"])
}

#[test]
fn a_stack_overflow_is_named_with_registers_and_callers() -> Result<()> {
    has(
        &report_of("g")?,
        &["main stack of CPU 0 overflowed into its guard", "rip ", "cr3 ", "boot_tests::overflow"],
    )
}

#[test]
fn a_cpu_whose_timer_s_interrupt_gets_lost_goes_on() -> Result<()> {
    let volume = Volume::new(NODE)?.artifacts(prepared()?.failing.clone());
    let mut node = node::power_on(&volume, |qemu| qemu)?;
    let session = node.session();
    session.wait_for("boot-tests: waiting for an order", PATIENCE)?;
    session.send("t")?;
    session.wait_for("boot-tests: a timer is stopped", PATIENCE)?;
    session.wait_for("boot-tests: the time has come", PATIENCE).map(drop)
}

#[test]
fn a_write_to_code_is_refused_by_the_page_tables() -> Result<()> {
    has(&report_of("w")?, &["writing ", "not permitted there", "rip ", "kernel::"])
}

#[test]
fn data_is_not_executed() -> Result<()> {
    has(&report_of("x")?, &["executing ", "not permitted there"])
}
