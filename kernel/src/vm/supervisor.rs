//! The task of one VM: starts its runs, pauses them, ends them, and starts the next if that is called for.
use super::disks;
use super::ram::{self, GuestRam};
use super::run::{Run, StartError};
use super::table::{Status, Vm};
use crate::cpu_loop::Runtime;
use crate::time;
use alloc::string::ToString;
use alloc::sync::Arc;
use core::time::Duration;
use executor::Timers;
use mgmt::config::Restart;
use mgmt::shell::node::VmAction;
use vmm::vm::{End, RestartPolicy};

/// A run that ended sooner than this is not restarted at once.
const STABLE_NS: u64 = 10_000_000_000;
/// The same for a guest that resets itself, which most do for a reason: sooner than any kernel has booted.
const STABLE_BEFORE_RESET_NS: u64 = 1_000_000_000;
/// First and longest wait before a restart after a short run.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Starts the VM's task on the calling CPU.
pub fn spawn(runtime: &Runtime, vm: Arc<Vm>) {
    let timers = runtime.timers.clone();
    runtime.executor.spawn("vm supervisor", async move { supervise(&vm, &timers).await });
}

async fn supervise(vm: &Arc<Vm>, timers: &Arc<Timers>) {
    loop {
        if vm.next_order().await == VmAction::Start {
            live(vm, timers).await;
            vm.stopped();
        }
    }
}

/// From a start until the VM stays down.
async fn live(vm: &Arc<Vm>, timers: &Arc<Timers>) {
    vm.set_status(Status::Starting, None);
    log::info!("vm {}: starting", vm.config.name);
    let free = ram::free();
    let Some(ram) = GuestRam::take(vm.config.memory).await else {
        return failed(vm, &StartError::Memory { needed: vm.config.memory, free });
    };
    let ram = Arc::new(ram);
    let mut backoff = BACKOFF.0;
    loop {
        let disks = match disks::find(&vm.config, &vm.files, timers).await {
            Ok(disks) => disks,
            Err(error) => return failed(vm, &error),
        };
        let given_back = vm.given_back();
        let run = Run::build(&vm.config, &ram, &vm.terminals, &vm.signal, disks, given_back).await;
        let run = match run {
            Ok(run) => run,
            Err(error) => return failed(vm, &error),
        };
        let started = run.started;
        vm.set_run(Some(run.clone()));
        vm.set_status(Status::Running, None);
        log::info!("vm {}: started, {} vCPUs, {} MiB", vm.config.name, vm.config.vcpus, ram.bytes() >> 20);
        run.start();
        let (end, ordered) = until_end(vm, &run).await;
        run.drain().await;
        run.dismantle();
        vm.set_run(None);
        drop(run);
        let ran = time::now().0.saturating_sub(started);
        // Whom the operator asked to shut down stays down.
        let again = end.restarts(policy(vm.config.restart)) && !(ordered && end == End::PowerOff);
        report(vm, &end, again);
        if !again {
            let status = if matches!(end, End::Crash(_)) { Status::Failed } else { Status::Off };
            return vm.set_status(status, Some(end.to_string()));
        }
        vm.count_restart();
        vm.set_status(Status::Starting, Some(end.to_string()));
        let stable = match end {
            End::ResetByOperator => 0,
            End::Reset(_) => STABLE_BEFORE_RESET_NS,
            End::PowerOff | End::Killed | End::Crash(_) => STABLE_NS,
        };
        if ran >= stable {
            backoff = BACKOFF.0;
            continue;
        }
        log::warn!(
            "vm {}: ran for {} ms only, next start in {} s",
            vm.config.name,
            ran / 1_000_000,
            backoff.as_secs()
        );
        if wait_or_kill(vm, timers, backoff).await {
            return vm.set_status(Status::Off, Some(End::Killed.to_string()));
        }
        backoff = (backoff * 2).min(BACKOFF.1);
    }
}

/// Serves orders until the run has ended and all its vCPUs rest. How it ended, and whether the operator had
/// asked the guest to shut down.
async fn until_end(vm: &Vm, run: &Run) -> (End, bool) {
    let mut ordered = false;
    loop {
        // Orders first: a guest that resets itself again and again must not get ahead of them.
        let order = vm.take_order();
        match order {
            Some(VmAction::Kill) => run.overrule(End::Killed),
            Some(VmAction::Reset) => run.ended(End::ResetByOperator),
            Some(VmAction::Stop) => {
                ordered = true;
                vm.set_status(Status::Stopping, None);
                run.shared.board.power_button();
            }
            Some(VmAction::Pause) => {
                run.shared.park();
                while !run.is_parked() && run.end().is_none() {
                    vm.signal.wait().await;
                }
                vm.set_status(Status::Paused, None);
                log::info!("vm {}: paused", vm.config.name);
            }
            Some(VmAction::Resume) => {
                run.resume();
                vm.set_status(Status::Running, None);
                log::info!("vm {}: goes on", vm.config.name);
            }
            Some(VmAction::Start) | None => {}
        }
        if let Some(end) = run.end() {
            run.shared.park();
            while !run.is_parked() {
                vm.signal.wait().await;
            }
            return (end, ordered);
        }
        if order.is_none() {
            vm.signal.wait().await;
        }
    }
}

/// Waits before a restart; `true` if the operator does not want it any more.
async fn wait_or_kill(vm: &Vm, timers: &Arc<Timers>, wait: Duration) -> bool {
    let until = time::now().0.saturating_add(wait.as_nanos() as u64);
    loop {
        match vm.take_order() {
            Some(VmAction::Kill | VmAction::Stop) => return true,
            Some(VmAction::Start) => return false,
            Some(VmAction::Reset | VmAction::Pause | VmAction::Resume) => {}
            None if time::now().0 >= until => return false,
            // Orders are looked at four times a second meanwhile.
            None => timers.sleep_until(until.min(time::now().0 + 250_000_000)).await,
        }
    }
}

fn failed(vm: &Vm, error: &StartError) {
    log::error!("vm {}: cannot start: {error}", vm.config.name);
    vm.tell_stop(&error.to_string());
    vm.set_status(Status::Failed, Some(error.to_string()));
}

fn report(vm: &Vm, end: &End, again: bool) {
    let then = if again { ", starting again" } else { "" };
    match end {
        End::Crash(_) => log::error!("vm {}: {end}{then}", vm.config.name),
        End::PowerOff | End::Reset(_) | End::ResetByOperator | End::Killed => {
            log::info!("vm {}: {end}{then}", vm.config.name);
        }
    }
    if again {
        vm.tell_restart(&end.to_string());
    } else {
        vm.tell_stop(&end.to_string());
    }
}

fn policy(restart: Restart) -> RestartPolicy {
    match restart {
        Restart::Never => RestartPolicy::Never,
        Restart::OnCrash => RestartPolicy::OnCrash,
        Restart::Always => RestartPolicy::Always,
    }
}
