//! Threads as CPUs: each runs its executor and parks when `listen` allows it, so a lost wake hangs the
//! test, and the test ends that by a time-out.

use crate::{Channel, Event, Executor, Hooks, Signal, Spawner, yield_now};
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::pin;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use core::task::{Context, Waker};
use std::sync::mpsc;
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const CPUS: usize = 4;

/// A pending interrupt per CPU: what a notification sets and a halt waits for.
struct Line {
    pending: Mutex<bool>,
    changed: Condvar,
}

static LINES: [Line; CPUS] = [const { Line { pending: Mutex::new(false), changed: Condvar::new() } }; CPUS];
static NOTIFIED: AtomicUsize = AtomicUsize::new(0);

fn notify(cpu: usize) {
    NOTIFIED.fetch_add(1, Ordering::Relaxed);
    *LINES[cpu].pending.lock().unwrap() = true;
    LINES[cpu].changed.notify_one();
}

/// Halts until a notification; no time-out stands in for one.
fn halt(cpu: usize) {
    let mut pending = LINES[cpu].pending.lock().unwrap();
    while !*pending {
        pending = LINES[cpu].changed.wait(pending).unwrap();
    }
    *pending = false;
}

/// The tests of this file share the lines, so they take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Runs `work` with spawners for all CPUs until something is sent to its sender; fails after a minute.
fn on_cpus(work: impl FnOnce(&[Spawner], mpsc::Sender<()>)) {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let stop = Arc::new(AtomicBool::new(false));
    let (send, receive) = mpsc::channel();
    let cpus: Vec<_> = (0..CPUS)
        .map(|cpu| {
            let (stop, send) = (stop.clone(), send.clone());
            thread::spawn(move || {
                let executor = Executor::new(cpu, Hooks { notify, slow: |_, _, _| {} });
                send.send(executor.spawner()).unwrap();
                drop(send);
                while !stop.load(Ordering::SeqCst) {
                    if !executor.run_ready(16, || 0) && executor.listen() {
                        halt(cpu);
                    }
                }
                executor.stats().len()
            })
        })
        .collect();
    let mut spawners: Vec<Spawner> = (0..CPUS).map(|_| receive.recv().unwrap()).collect();
    spawners.sort_by_key(Spawner::cpu);
    let (done, wait) = mpsc::channel();
    work(&spawners, done);
    wait.recv_timeout(Duration::from_secs(60)).expect("a wake was lost");
    stop.store(true, Ordering::SeqCst);
    (0..CPUS).for_each(notify);
    let left: usize = cpus.into_iter().map(|cpu| cpu.join().unwrap()).sum();
    assert_eq!(left, 0, "tasks were left behind");
}

#[test]
fn no_wake_is_lost_when_signals_go_round_a_ring_of_cpus() {
    const ROUNDS: usize = 5_000;
    on_cpus(|spawners, done| {
        let ring: Arc<Vec<Signal>> = Arc::new((0..CPUS).map(|_| Signal::new()).collect());
        for spawner in spawners {
            let (ring, done, cpu) = (ring.clone(), done.clone(), spawner.cpu());
            spawner.spawn("ring", async move {
                for _ in 0..ROUNDS {
                    ring[cpu].wait().await;
                    ring[(cpu + 1) % CPUS].raise();
                }
                if cpu == CPUS - 1 {
                    done.send(()).unwrap();
                }
            });
        }
        ring[0].raise();
    });
    assert!(NOTIFIED.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_channel_from_all_cpus_to_one_loses_repeats_and_reorders_nothing() {
    const EACH: u64 = 20_000;
    on_cpus(|spawners, done| {
        let channel = Arc::new(Channel::new(16));
        for spawner in &spawners[1..] {
            let (channel, cpu) = (channel.clone(), spawner.cpu() as u64);
            spawner.spawn("sender", async move {
                for i in 0..EACH {
                    channel.send((cpu, i)).await.unwrap();
                }
            });
        }
        spawners[0].spawn("receiver", async move {
            let mut next = [0; CPUS];
            for _ in 0..EACH * (CPUS as u64 - 1) {
                let (cpu, i) = channel.recv().await.unwrap();
                assert_eq!(i, next[cpu as usize]);
                next[cpu as usize] += 1;
            }
            assert_eq!(channel.try_recv(), None);
            done.send(()).unwrap();
        });
    });
}

#[test]
fn tasks_sent_between_cpus_while_others_finish_all_run_once() {
    const TASKS: u64 = 20_000;
    on_cpus(|spawners, done| {
        let ran = Arc::new(AtomicU64::new(0));
        let spawners: Arc<Vec<Spawner>> = Arc::new(spawners.to_vec());
        for from in 0..CPUS {
            let (all, ran, done) = (spawners.clone(), ran.clone(), done.clone());
            spawners[from].spawn("source", async move {
                for i in 0..TASKS {
                    let (ran, done) = (ran.clone(), done.clone());
                    all[(from + i as usize) % CPUS].spawn("short", async move {
                        yield_now().await;
                        if ran.fetch_add(1, Ordering::Relaxed) + 1 == TASKS * CPUS as u64 {
                            done.send(()).unwrap();
                        }
                    });
                    if i % 64 == 0 {
                        yield_now().await;
                    }
                }
            });
        }
    });
}

#[test]
fn an_event_set_once_releases_every_task_of_every_cpu() {
    for _ in 0..200 {
        on_cpus(|spawners, done| {
            let (event, left) = (Arc::new(Event::new()), Arc::new(AtomicUsize::new(8 * CPUS)));
            for i in 0..8 * CPUS {
                let (event, left, done) = (event.clone(), left.clone(), done.clone());
                spawners[i % CPUS].spawn("waiter", async move {
                    event.wait().await;
                    if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                        done.send(()).unwrap();
                    }
                });
            }
            event.set();
        });
    }
}

#[test]
fn foreign_threads_may_wake_one_task_all_at_once() {
    const RAISES: usize = 20_000;
    on_cpus(|spawners, done| {
        let signal = Arc::new(Signal::new());
        let raised = Arc::new(AtomicUsize::new(0));
        let (s, r) = (signal.clone(), raised.clone());
        spawners[0].spawn("driver", async move {
            while r.load(Ordering::SeqCst) < 4 * RAISES {
                s.wait().await;
            }
            done.send(()).unwrap();
        });
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (signal, raised) = (signal.clone(), raised.clone());
                thread::spawn(move || {
                    for _ in 0..RAISES {
                        raised.fetch_add(1, Ordering::SeqCst);
                        signal.raise();
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
    });
}

/// A waker that sets a flag, for a thread that polls by hand and so spends most of its time near the
/// moment of registration.
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Polls `future` whenever its waker fires; panics if that takes ten seconds.
fn block_on(future: impl Future<Output = ()>) {
    let flag = Arc::new(Flag(AtomicBool::new(true)));
    let waker = Waker::from(flag.clone());
    let mut future = pin!(future);
    let start = Instant::now();
    loop {
        for spin in 0u64.. {
            if flag.0.swap(false, Ordering::SeqCst) {
                break;
            }
            if spin % 1000 == 999 {
                thread::yield_now();
                assert!(start.elapsed() < Duration::from_secs(10), "a wake was lost");
            }
        }
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            return;
        }
    }
}

/// Lets `wake` race with a wait over and over: each round begins when the last wait has ended.
fn race(rounds: u64, wake: impl Fn() + Send + 'static, wait: impl AsyncFn()) {
    let ended = Arc::new(AtomicU64::new(0));
    let seen = ended.clone();
    let waking = thread::spawn(move || {
        for round in 0..rounds {
            while seen.load(Ordering::SeqCst) < round {
                if Arc::strong_count(&seen) == 1 {
                    return; // The other side has failed.
                }
                thread::yield_now();
            }
            (0..round * 7919 % 61).for_each(|_| core::hint::spin_loop());
            wake();
        }
    });
    for _ in 0..rounds {
        block_on(wait());
        ended.fetch_add(1, Ordering::SeqCst);
    }
    drop(ended);
    waking.join().unwrap();
}

#[test]
fn a_signal_raised_while_its_task_registers_is_not_lost() {
    let signal = Arc::new(Signal::new());
    let raised = signal.clone();
    race(200_000, move || raised.raise(), async || signal.wait().await);
}

#[test]
fn an_event_set_while_a_task_registers_is_not_lost() {
    let event = Arc::new(Event::new());
    let set = event.clone();
    race(
        100_000,
        move || set.set(),
        async || {
            event.wait().await;
            event.clear();
        },
    );
}

#[test]
fn room_made_while_a_sender_registers_is_not_lost() {
    let channel = Arc::new(Channel::new(2));
    assert_eq!(channel.write(&[0, 0]), 2);
    let emptied = channel.clone();
    race(100_000, move || assert!(emptied.try_recv().is_some()), async || channel.send(1u8).await.unwrap());
}
