use crate::{Changes, Event, Executor, Hooks, Signal, yield_now};
use alloc::rc::Rc;
use alloc::string::String;
use alloc::sync::Arc;
use core::cell::{Cell, RefCell};
use core::future::{pending, poll_fn};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use core::task::{Poll, Waker};
use std::sync::Mutex;

const QUIET: Hooks = Hooks { notify: |_| {}, slow: |_, _, _| {} };

fn executor() -> Executor {
    Executor::new(0, QUIET)
}

fn run(executor: &Executor) {
    assert!(!executor.run_ready(10_000, || 0));
}

/// A waker of a task that never ends, and how often it was polled.
fn sleeper(executor: &Executor) -> (Waker, Rc<Cell<u32>>) {
    let waker: Rc<RefCell<Option<Waker>>> = Rc::default();
    let polls: Rc<Cell<u32>> = Rc::default();
    let (w, p) = (waker.clone(), polls.clone());
    let future = poll_fn(move |cx| {
        *w.borrow_mut() = Some(cx.waker().clone());
        p.set(p.get() + 1);
        Poll::<()>::Pending
    });
    executor.spawn("sleeper", future);
    run(executor);
    let waker = waker.borrow_mut().take().unwrap();
    (waker, polls)
}

#[test]
fn tasks_run_in_the_order_of_their_wakes() {
    let executor = executor();
    let log = Rc::new(RefCell::new(String::new()));
    for name in ["a", "b", "c"] {
        let log = log.clone();
        executor.spawn(name, async move {
            for _ in 0..3 {
                log.borrow_mut().push_str(name);
                yield_now().await;
            }
        });
    }
    run(&executor);
    assert_eq!(*log.borrow(), "abcabcabc");
    assert!(executor.stats().is_empty());
}

#[test]
fn a_budget_bounds_the_polls_and_says_that_more_is_ready() {
    let executor = executor();
    let count = Rc::new(Cell::new(0));
    for _ in 0..5 {
        let count = count.clone();
        executor.spawn("one", async move { count.set(count.get() + 1) });
    }
    assert!(executor.run_ready(3, || 0));
    assert_eq!(count.get(), 3);
    assert!(executor.has_ready());
    assert!(!executor.run_ready(3, || 0));
    assert_eq!(count.get(), 5);
    assert!(!executor.has_ready());
}

#[test]
fn a_task_that_always_wakes_itself_does_not_keep_others_from_running() {
    let executor = executor();
    executor.spawn("greedy", async {
        loop {
            yield_now().await
        }
    });
    assert!(executor.run_ready(10, || 0));
    let done = Rc::new(Cell::new(false));
    let flag = done.clone();
    executor.spawn("modest", async move { flag.set(true) });
    assert!(executor.run_ready(3, || 0));
    assert!(done.get());
}

#[test]
fn many_wakes_before_a_poll_are_one_poll() {
    let executor = executor();
    let (waker, polls) = sleeper(&executor);
    assert_eq!(polls.get(), 1);
    waker.wake_by_ref();
    waker.wake_by_ref();
    let another = waker.clone();
    another.wake();
    run(&executor);
    assert_eq!(polls.get(), 2);
}

#[test]
fn waking_a_finished_task_does_nothing_and_its_header_is_freed_by_the_executor() {
    let executor = executor();
    let slot: Rc<RefCell<Option<Waker>>> = Rc::default();
    let (kept, dropped) = (slot.clone(), Arc::new(()));
    let alive = dropped.clone();
    executor.spawn("short", async move {
        let _alive = alive;
        poll_fn(|cx| {
            *kept.borrow_mut() = Some(cx.waker().clone());
            Poll::Ready(())
        })
        .await
    });
    run(&executor);
    // The future is gone though a waker is left.
    assert_eq!(Arc::strong_count(&dropped), 1);
    let waker = slot.borrow_mut().take().unwrap();
    waker.wake_by_ref();
    assert!(!executor.has_ready());
    drop(executor);
    waker.wake();
}

#[test]
fn a_wake_queued_before_the_task_finishes_is_harmless() {
    let executor = executor();
    executor.spawn("wakes itself and ends", async {
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::Ready(())
        })
        .await
    });
    run(&executor);
    let (_, polls) = sleeper(&executor);
    assert_eq!(polls.get(), 1);
}

#[test]
fn tasks_spawn_tasks_and_are_dropped_with_the_executor() {
    let executor = Rc::new(executor());
    let inner = executor.clone();
    let dropped = Rc::new(());
    let (held, queued) = (dropped.clone(), dropped.clone());
    executor.spawn("parent", async move {
        inner.spawn("child", async move {
            let _held = held;
            pending::<()>().await
        });
    });
    run(&executor);
    assert_eq!(executor.stats().iter().map(|t| t.name).collect::<String>(), "child");
    let sent = Arc::new(());
    let traveller = sent.clone();
    executor.spawner().spawn("never polled", async move { drop(traveller) });
    executor.spawn("never polled either", async move {
        let _queued = queued;
        pending::<()>().await
    });
    drop(executor);
    assert_eq!(Rc::strong_count(&dropped), 1);
    assert_eq!(Arc::strong_count(&sent), 1);
}

#[test]
fn a_wake_notifies_once_and_only_a_listening_cpu() {
    static NOTIFIED: AtomicUsize = AtomicUsize::new(0);
    let hooks = Hooks {
        notify: |cpu| {
            assert_eq!(cpu, 7);
            NOTIFIED.fetch_add(1, Ordering::Relaxed);
        },
        slow: |_, _, _| {},
    };
    let executor = Executor::new(7, hooks);
    let (waker, _) = sleeper(&executor);
    let (other, _) = sleeper(&executor);
    waker.wake_by_ref();
    assert_eq!(NOTIFIED.load(Ordering::Relaxed), 0);
    assert!(!executor.listen(), "something is ready");
    run(&executor);
    assert!(executor.listen());
    waker.wake_by_ref();
    other.wake_by_ref();
    assert_eq!(NOTIFIED.load(Ordering::Relaxed), 1);
    assert!(!executor.listen());
    run(&executor);
    assert!(executor.listen());
    executor.spawner().spawn("remote", async {});
    assert_eq!(NOTIFIED.load(Ordering::Relaxed), 2);
}

#[test]
fn the_watchdog_names_a_long_poll_and_statistics_keep_the_longest() {
    static REPORTS: Mutex<std::vec::Vec<(usize, &str, u64)>> = Mutex::new(std::vec::Vec::new());
    static NOW: AtomicU64 = AtomicU64::new(0);
    let hooks = Hooks { notify: |_| {}, slow: |cpu, name, ns| REPORTS.lock().unwrap().push((cpu, name, ns)) };
    let executor = Executor::new(3, hooks);
    executor.spawn("slow", async {
        NOW.fetch_add(100_001, Ordering::Relaxed);
        yield_now().await;
        NOW.fetch_add(1_000, Ordering::Relaxed);
        pending::<()>().await
    });
    executor.spawn("just in time", async {
        NOW.fetch_add(100_000, Ordering::Relaxed);
    });
    assert!(!executor.run_ready(100, || NOW.load(Ordering::Relaxed)));
    assert_eq!(*REPORTS.lock().unwrap(), [(3, "slow", 100_001)]);
    let stats = executor.stats();
    assert_eq!(stats.len(), 1);
    assert_eq!((stats[0].name, stats[0].polls), ("slow", 2));
    assert_eq!((stats[0].longest_ns, stats[0].total_ns), (100_001, 101_001));
}

#[test]
fn the_running_task_has_a_name_and_cannot_nest_the_executor() {
    let executor = Rc::new(executor());
    let inner = executor.clone();
    executor.spawn("me", async move {
        assert_eq!(inner.current(), Some("me"));
        inner.spawn("later", async {});
        assert!(inner.run_ready(1, || 0));
        assert_eq!(inner.stats().len(), 2);
    });
    run(&executor);
    assert_eq!(executor.current(), None);
}

#[test]
fn a_signal_raised_before_the_wait_ends_it_and_counts_once() {
    let executor = executor();
    let signal = Rc::new(Signal::new());
    let count = Rc::new(Cell::new(0));
    signal.raise();
    signal.raise();
    let (s, c) = (signal.clone(), count.clone());
    executor.spawn("driver", async move {
        loop {
            s.wait().await;
            c.set(c.get() + 1);
        }
    });
    run(&executor);
    assert_eq!(count.get(), 1);
    signal.raise();
    run(&executor);
    assert_eq!(count.get(), 2);
    assert!(!signal.take());
}

#[test]
fn who_waits_for_different_changes_goes_on_with_his_own() {
    let executor = executor();
    let (changes, value) = (Rc::new(Changes::new()), Rc::new(Cell::new(0)));
    let log = Rc::new(RefCell::new(String::new()));
    for (name, least) in [("a", 1), ("b", 2), ("c", 0), ("d", 2)] {
        let (changes, value, log) = (changes.clone(), value.clone(), log.clone());
        executor.spawn(name, async move {
            let found = changes.until(|| (value.get() >= least).then_some(name)).await;
            log.borrow_mut().push_str(found);
        });
    }
    run(&executor);
    assert_eq!(*log.borrow(), "c");
    for (now, done) in [(0, "c"), (1, "ca"), (2, "cabd")] {
        value.set(now);
        changes.announce();
        run(&executor);
        assert_eq!(*log.borrow(), done);
    }
}

#[test]
fn an_event_ends_all_waits_and_cancelled_waits_leave_nothing() {
    let executor = executor();
    let event = Rc::new(Event::new());
    let count = Rc::new(Cell::new(0));
    for _ in 0..3 {
        let (event, count) = (event.clone(), count.clone());
        executor.spawn("waiter", async move {
            {
                let mut cancelled = core::pin::pin!(event.wait());
                let poll = poll_fn(|cx| Poll::Ready(cancelled.as_mut().poll(cx).is_ready())).await;
                assert!(!poll);
            }
            event.wait().await;
            count.set(count.get() + 1);
        });
    }
    run(&executor);
    assert_eq!(count.get(), 0);
    event.set();
    assert!(event.is_set());
    run(&executor);
    assert_eq!(count.get(), 3);
    event.clear();
    assert!(!event.is_set());
}
