//! `ping`: an echo request a second, and a line for each reply.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use core::fmt::{self, Write};
use core::net::IpAddr;
use core::time::Duration;

use crate::shell::node::{Echo, Node};
use crate::shell::on_one_line;

/// Between two requests.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long a reply is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Requests and replies so far.
#[derive(Clone, Debug)]
pub(super) struct Ping {
    to: IpAddr,
    /// Requests that are still to be sent; `None`: on and on.
    left: Option<usize>,
    /// When the next one is due.
    due: Duration,
    /// Requests without a reply, oldest first.
    waiting: VecDeque<Request>,
    sent: u64,
    answered: u64,
    /// The shortest and the longest round trip, and all together.
    least: Duration,
    most: Duration,
    sum: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    /// Which one it is, from 1 on.
    sequence: u64,
    /// What the node calls it.
    number: u64,
    sent: Duration,
}

impl Ping {
    pub fn new(to: IpAddr, count: Option<usize>) -> Self {
        Self {
            to,
            left: count,
            due: Duration::ZERO,
            waiting: VecDeque::new(),
            sent: 0,
            answered: 0,
            least: Duration::MAX,
            most: Duration::ZERO,
            sum: Duration::ZERO,
        }
    }

    /// Tells of replies and sends what is due. Whether it goes on.
    pub fn tick(&mut self, now: Duration, node: &mut dyn Node, text: &mut String) -> bool {
        self.replies(now, node, text);
        if self.left != Some(0) && now >= self.due {
            match node.ping(self.to) {
                Ok(number) => {
                    self.sent += 1;
                    self.waiting.push_back(Request { sequence: self.sent, number, sent: now });
                    self.left = self.left.map(|left| left - 1);
                    self.due = now + INTERVAL;
                }
                Err(error) => {
                    tell(text, format_args!("{}", on_one_line(&format!("{error}"))));
                    return false;
                }
            }
        }
        self.left != Some(0) || !self.waiting.is_empty()
    }

    fn replies(&mut self, now: Duration, node: &mut dyn Node, text: &mut String) {
        for _ in 0..self.waiting.len() {
            let Some(request) = self.waiting.pop_front() else { return };
            match node.echo(request.number) {
                Echo::Reply(reply) => {
                    self.answered += 1;
                    self.least = self.least.min(reply.time);
                    self.most = self.most.max(reply.time);
                    self.sum = self.sum.saturating_add(reply.time);
                    tell(
                        text,
                        format_args!(
                            "{} bytes from {}: number {}, {}",
                            reply.bytes,
                            reply.from,
                            request.sequence,
                            Millis(reply.time)
                        ),
                    );
                }
                Echo::Failed(why) => {
                    tell(text, format_args!("number {}: {}", request.sequence, on_one_line(&why)));
                }
                Echo::Waiting if now.saturating_sub(request.sent) >= PATIENCE => {
                    tell(
                        text,
                        format_args!("number {}: no reply in {} s", request.sequence, PATIENCE.as_secs()),
                    );
                }
                Echo::Waiting => self.waiting.push_back(request),
            }
        }
    }

    /// What came of it all; nothing if nothing was sent.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        if self.sent > 0 {
            tell(&mut text, format_args!("{} sent, {} answered", self.sent, self.answered));
        }
        if let Some(mean) = self.sum.as_nanos().checked_div(self.answered.into()) {
            let mean = Duration::from_nanos(mean as u64);
            let (least, most) = (Millis(self.least), Millis(self.most));
            tell(
                &mut text,
                format_args!("round trip {least} at least, {} on average, {most} at most", Millis(mean)),
            );
        }
        text
    }
}

/// A span of time as `0.312 ms`.
struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        write!(f, "{}.{:03} ms", micros / 1000, micros % 1000)
    }
}

/// Adds a line.
fn tell(text: &mut String, line: fmt::Arguments<'_>) {
    // Writing to a String never fails.
    let _ = writeln!(text, "{line}");
}
