//! Echo requests of the node, for an operator.
use super::Station;
use crate::time;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;
use mgmt::shell::node::{Echo, PingReply};
use net::stack::{PingId, PingOutcome, PingRefused, Stack};

/// How long what came of a request is kept, and a station remembered that was pinged.
const KEPT: u64 = 10_000_000_000;
/// What a request has behind its header, as everybody else's.
const DATA: usize = 56;
/// Bytes of an ICMP header.
const HEADER: usize = 8;

/// What was asked of whom.
#[derive(Default)]
pub(super) struct Pings {
    /// By station.
    sessions: BTreeMap<IpAddr, Session>,
    /// Requests by the numbers that the operator knows them by.
    asked: BTreeMap<u64, Asked>,
    next: u64,
}

struct Session {
    id: PingId,
    sequence: u16,
    used: u64,
}

struct Asked {
    to: IpAddr,
    sequence: u16,
    at: u64,
    came: Option<Echo>,
}

impl Station {
    /// Sends an echo request. Its number.
    ///
    /// # Errors
    /// Why there is none.
    pub fn ping(&self, to: IpAddr) -> Result<u64, PingRefused> {
        let now = time::now().0;
        let mut pings = self.pings.lock();
        let mut stack = self.stack.lock();
        pings.forget(&mut stack, now);
        let session = match pings.sessions.get_mut(&to) {
            Some(session) => session,
            None => {
                let id = stack.open_ping(to)?;
                pings.sessions.entry(to).or_insert(Session { id, sequence: 0, used: now })
            }
        };
        let sequence = session.sequence;
        stack.ping(session.id, sequence, (0..DATA as u8).collect(), now + KEPT)?;
        session.sequence = sequence.wrapping_add(1);
        session.used = now;
        drop(stack);
        let number = pings.next;
        pings.next += 1;
        pings.asked.insert(number, Asked { to, sequence, at: now, came: None });
        self.work.raise();
        Ok(number)
    }

    /// What came of it; other than [`Echo::Waiting`] once.
    pub fn echo(&self, number: u64) -> Echo {
        let mut pings = self.pings.lock();
        pings.hear(&mut self.stack.lock());
        let came = pings.asked.get_mut(&number).and_then(|asked| asked.came.take());
        if came.is_some() {
            pings.asked.remove(&number);
        }
        came.unwrap_or(Echo::Waiting)
    }
}

impl Pings {
    /// Takes what has come.
    fn hear(&mut self, stack: &mut Stack) {
        for (to, session) in &self.sessions {
            while let Some(result) = stack.take_ping(session.id) {
                let asked = self.asked.values_mut();
                let mut asked = asked.filter(|asked| asked.to == *to && asked.sequence == result.sequence);
                if let Some(asked) = asked.next() {
                    asked.came = Some(echo(*to, result.outcome));
                }
            }
        }
    }

    /// Forgets what nobody has asked for, and stations that nobody pings any more.
    fn forget(&mut self, stack: &mut Stack, now: u64) {
        self.hear(stack);
        let fresh = |at: u64| now < at.saturating_add(KEPT);
        self.asked.retain(|_, asked| fresh(asked.at));
        let old: Vec<IpAddr> =
            self.sessions.iter().filter(|(_, session)| !fresh(session.used)).map(|(to, _)| *to).collect();
        for session in old.iter().filter_map(|to| self.sessions.remove(to)) {
            stack.close_ping(session.id);
        }
    }
}

fn echo(to: IpAddr, outcome: PingOutcome) -> Echo {
    match outcome {
        PingOutcome::Reply { round_trip } => {
            Echo::Reply(PingReply { from: to, bytes: HEADER + DATA, time: Duration::from_nanos(round_trip) })
        }
        PingOutcome::Failed { from, failure } => Echo::Failed(format!("{from} says: {failure}")),
        PingOutcome::TimedOut => Echo::Failed(String::from("no reply")),
    }
}
