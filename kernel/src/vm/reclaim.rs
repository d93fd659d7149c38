//! The task that frees memory which guests have given back.
//!
//! ```text
//!  guest ─► Balloon: notes chunks, keeps the guest's buffers ─► WORK
//!                                                                │
//!      Balloon::begin: out of the guest's table and its nested tables, into `GuestRam::leaving`
//!      passing::all_have_passed: no TLB and no access under way has them any more
//!      Balloon::end: the guest gets its buffers back
//!      Board::mark_requests … marked_are_done: nor has any request to a disk that was under way
//!      GuestRam::free_left: the node's
//! ```
//!
//! All VMs' chunks go through the wait for the CPUs together. A VM with a request that does not end waits alone, and
//! keeps what it has given back until then.
use super::passing;
use super::ram::GuestRam;
use super::table::Vm;
use crate::cpu_loop::Runtime;
use crate::time;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use executor::{Signal, Timers};
use vmm::virtio::Balloon;
use vmm::vm::Shared;

/// Some guest has given memory back, or has taken its balloon's buffers into account.
pub static WORK: Signal = Signal::new();

/// How often it is looked whether requests are done, in nanoseconds.
const LOOK: u64 = 2_000_000;
/// How often all CPUs are stopped for a moment, at most: whatever a guest gives up and takes again, others hardly
/// notice.
const PAUSE: u64 = 2_000_000;

/// Chunks of one VM that are on their way out.
struct Batch {
    vm: Arc<Vm>,
    balloon: Arc<Balloon>,
    shared: Arc<Shared>,
    ram: Arc<GuestRam>,
}

impl Batch {
    /// What a VM has to give back, if there is something.
    fn begin(vm: &Arc<Vm>) -> Option<Self> {
        let run = vm.run()?;
        let balloon = run.balloon()?.clone();
        let ram = run.ram().clone();
        let begun = balloon.begin(&mut ram.leaving().lock());
        begun.then(|| Self { vm: vm.clone(), balloon, shared: run.shared.clone(), ram })
    }

    /// Frees what was given back, if no request is left that may use it. Whether that was done.
    fn finish(&self) -> bool {
        let done = self.shared.board.marked_are_done();
        if done {
            #[allow(unsafe_code)] // Frees guest memory.
            // SAFETY: since the chunks left the guest's table every CPU has passed by, so that no address of them is in
            // a TLB or in use by an access; and the requests are done that were under way then
            // ([`vmm::memory::chunks`]).
            unsafe {
                self.ram.free_left();
            }
        }
        done
    }
}

/// Starts the task on the calling CPU.
pub fn spawn(runtime: &Runtime, vms: Vec<Arc<Vm>>) {
    let timers = runtime.timers.clone();
    runtime.executor.spawn("memory of VMs", async move { run(&vms, &timers).await });
}

async fn run(vms: &[Arc<Vm>], timers: &Arc<Timers>) {
    let mut batches: Vec<Batch> = Vec::with_capacity(vms.len());
    let mut next = 0;
    loop {
        timers.sleep_until(next).await;
        let old = batches.len();
        for vm in vms {
            if !batches[..old].iter().any(|batch| Arc::ptr_eq(&batch.vm, vm)) {
                batches.extend(Batch::begin(vm));
            }
        }
        let new = &batches[old..];
        if new.iter().any(|batch| !batch.ram.leaving().lock().is_empty()) {
            passing::all_have_passed().await;
            next = time::now().0.saturating_add(PAUSE);
        }
        for batch in new {
            batch.balloon.end();
            batch.shared.board.mark_requests();
        }
        batches.retain(|batch| !batch.finish());
        wait(!batches.is_empty(), timers).await;
    }
}

/// Waits for work, or until it is to be looked at what is under way.
async fn wait(under_way: bool, timers: &Arc<Timers>) {
    let mut work = pin!(WORK.wait());
    if !under_way {
        return work.await;
    }
    let mut pause = pin!(timers.sleep_until(time::now().0.saturating_add(LOOK)));
    poll_fn(|cx| {
        let ready = [work.as_mut().poll(cx).is_ready(), pause.as_mut().poll(cx).is_ready()];
        if ready.contains(&true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
