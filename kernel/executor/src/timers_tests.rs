use crate::{Executor, Hooks, Timers};
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::task::Poll;

fn expired(timers: &Timers, now: u64) -> Vec<u64> {
    let mut keys = Vec::new();
    timers.expire(now, |key| keys.push(key));
    keys
}

#[test]
fn timers_expire_in_the_order_of_deadlines_and_equal_ones_in_that_of_arming() {
    let timers = Timers::new(4);
    assert_eq!(timers.next_deadline(), None);
    for (key, deadline) in [(1, 30), (2, 10), (3, 20), (4, 10), (5, 40)] {
        timers.arm(key, deadline);
    }
    assert_eq!(timers.next_deadline(), Some(10));
    assert_eq!(expired(&timers, 9), []);
    assert_eq!(expired(&timers, 30), [2, 4, 3, 1]);
    assert_eq!(timers.next_deadline(), Some(40));
    assert_eq!(expired(&timers, u64::MAX), [5]);
    assert_eq!(timers.next_deadline(), None);
}

#[test]
fn a_disarmed_timer_does_not_fire_and_a_stale_name_disarms_nothing() {
    let timers = Timers::new(0);
    let first = timers.arm(1, 10);
    assert!(timers.disarm(first));
    assert!(!timers.disarm(first));
    let second = timers.arm(2, 10);
    assert!(!timers.disarm(first), "the name of a timer whose entry was used again");
    assert_eq!(expired(&timers, 10), [2]);
    assert!(!timers.disarm(second));
}

#[test]
fn a_deadline_at_the_end_of_time_is_still_a_deadline() {
    let timers = Timers::new(0);
    timers.arm(1, u64::MAX);
    assert_eq!(expired(&timers, u64::MAX), [1]);
}

#[test]
fn a_timer_armed_for_the_past_while_expiring_waits_for_the_next_call() {
    let timers = Timers::new(0);
    timers.arm(0, 5);
    let mut calls = 0;
    timers.expire(10, |key| {
        calls += 1;
        timers.arm(key + 1, 0);
    });
    assert_eq!(calls, 1);
    assert_eq!(expired(&timers, 10), [1]);
}

#[test]
fn the_heap_agrees_with_a_sorted_list_under_random_use() {
    let timers = Timers::new(0);
    let mut model = Vec::new();
    let mut seed = 1u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) % below
    };
    let (mut now, mut key) = (0, 0);
    for _ in 0..20_000 {
        match random(4) {
            0 | 1 => {
                let deadline = now + random(1000);
                model.push((deadline, key, timers.arm(key, deadline)));
                key += 1;
            }
            2 if !model.is_empty() => {
                let (_, _, timer) = model.swap_remove(random(model.len() as u64) as usize);
                assert!(timers.disarm(timer));
            }
            _ => {
                now += random(100);
                let mut due: Vec<_> = model.iter().filter(|e| e.0 <= now).map(|e| (e.0, e.1)).collect();
                due.sort();
                model.retain(|e| e.0 > now);
                assert_eq!(expired(&timers, now), due.iter().map(|e| e.1).collect::<Vec<_>>());
            }
        }
        assert_eq!(timers.next_deadline(), model.iter().map(|e| e.0).min());
    }
}

#[test]
fn sleepers_wake_at_their_deadline_and_a_dropped_sleep_is_cancelled() {
    let executor = Executor::new(0, Hooks { notify: |_| {}, slow: |_, _, _| {} });
    let timers = Arc::new(Timers::new(8));
    let log = Rc::new(RefCell::new(vec![]));
    for deadline in [300, 100, 200] {
        let (timers, log) = (timers.clone(), log.clone());
        executor.spawn("sleeper", async move {
            timers.sleep_until(deadline).await;
            log.borrow_mut().push(deadline);
        });
    }
    let own = timers.clone();
    executor.spawn("changes its mind", async move {
        let mut sleep = core::pin::pin!(own.sleep_until(50));
        poll_fn(|cx| {
            // Polled twice: the second poll renews the waker and arms nothing new.
            assert!(sleep.as_mut().poll(cx).is_pending());
            assert!(sleep.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    });
    executor.run_ready(100, || 0);
    assert_eq!(timers.next_deadline(), Some(100));
    assert_eq!(timers.expire(99, |_| unreachable!()), 0);
    for (now, so_far) in [(100, &[100][..]), (250, &[100, 200]), (300, &[100, 200, 300])] {
        assert_eq!(timers.expire(now, |_| unreachable!()), 1);
        executor.run_ready(100, || 0);
        assert_eq!(*log.borrow(), so_far);
    }
    assert_eq!(timers.next_deadline(), None);
}
