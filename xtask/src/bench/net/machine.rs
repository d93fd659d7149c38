//! A machine whose Linux waits to be told what to do with its network.
use crate::bench::exits::{Exits, node_says};
use crate::bench::guests::NAME;
use crate::bench::reading::number;
use crate::failure::{Failure, Result};
use crate::rig::Session;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(180);
/// What the guest's program says when it cannot go on.
const FAILED: &str = "BENCH-FAILED";
/// Seconds of the turn in which frames and exits are counted.
const COUNTED: f64 = 3.0;

pub(super) struct Machine {
    session: Session,
    /// Turns that it had.
    turns: u32,
}

/// What a machine has done in a turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    /// Bytes sent or received, or round trips.
    pub count: f64,
    pub seconds: f64,
    /// Of the thread that fills the time that is left.
    pub laps: f64,
    /// Segments that had to be sent again,
    again: f64,
    /// and that came before one that should have come first.
    disordered: f64,
}

impl Done {
    pub fn per_second(self) -> f64 {
        self.count / self.seconds
    }
}

/// What the node counted in a turn.
pub(super) struct Counted {
    pub done: Done,
    /// Of all VMs together.
    pub exits: Exits,
    /// Frames that the guest sent, each of which may be many segments to be,
    sent: f64,
    /// and got.
    got: f64,
    /// Why frames were dropped at its port, since the start.
    dropped: String,
}

impl Counted {
    /// What else it says than exits.
    pub fn details(&self) -> String {
        let Self { done: Done { again, disordered, .. }, sent, got, dropped, .. } = self;
        let mut text = format!("{sent:.0} frames out, {got:.0} in");
        for (count, what) in [(again, "sent again"), (disordered, "out of order")] {
            if *count > 0.0 {
                text += &format!(", {count:.0} segments {what}");
            }
        }
        if !dropped.is_empty() {
            text += &format!(", dropped since the start: {dropped}");
        }
        text
    }
}

impl Machine {
    /// When its guest's program has found somebody who listens.
    pub fn ready(mut session: Session, patience: Duration) -> Result<Self> {
        let (which, _) = session.wait_for_any(&["NET-READY", FAILED], patience)?;
        if which > 0 {
            return Err(failure(&mut session));
        }
        Ok(Self { session, turns: 0 })
    }

    /// Lets it have a turn.
    pub fn turn(&mut self, what: &str, seconds: f64) -> Result<Done> {
        self.turn_of(&format!("{what} {seconds}"))
    }

    /// Lets it have a turn in which a thread fills the time that is left.
    pub fn filled_turn(&mut self, what: &str, seconds: f64) -> Result<Done> {
        self.turn_of(&format!("{what} {seconds} filled"))
    }

    fn turn_of(&mut self, what: &str) -> Result<Done> {
        // By a name of its own: on coming back to a VM's console, what it has shown before is shown again.
        self.turns += 1;
        let name = format!("turn{}", self.turns);
        self.session.send(&format!("{name} {what}\r"))?;
        let (which, _) = self.session.wait_for_any(&[&format!("NET {name} count="), FAILED], PATIENCE)?;
        if which > 0 {
            return Err(failure(&mut self.session));
        }
        let text = format!("count={}", self.session.wait_for("END", PATIENCE)?.text);
        Ok(Done {
            count: number(&text, "count=", " ")?,
            seconds: number(&text, "nanos=", " ")? / 1e9,
            laps: number(&text, "laps=", " ")?,
            again: number(&text, "again=", " ")?,
            disordered: number(&text, "disordered=", " ")?,
        })
    }

    /// Lets it have a turn of which the node, on whose console it is, counts frames on `network` and the exits of `vms`.
    pub fn counted_turn(&mut self, what: &str, network: &str, vms: &[&str]) -> Result<Counted> {
        let infos: String = vms.iter().map(|vm| format!("vm info {vm}\r")).collect();
        let commands = format!("{infos}net info {network}");
        let (first, _) = self.counters(&commands)?;
        // A turn of nothing has the exits of the words that are typed and printed.
        self.turn("nothing", 0.0)?;
        let (second, port) = self.counters(&commands)?;
        let done = self.turn(what, COUNTED)?;
        let (third, after) = self.counters(&commands)?;
        Ok(Counted {
            done,
            exits: third.less(&second).less(&second.less(&first)),
            sent: after.sent - port.sent,
            got: after.got - port.got,
            dropped: after.dropped,
        })
    }

    fn counters(&mut self, commands: &str) -> Result<(Exits, Port)> {
        let text = node_says(&mut self.session, commands, PATIENCE)?;
        Ok((Exits::read(&text)?, Port::read(&text)?))
    }
}

fn failure(session: &mut Session) -> Failure {
    let why = session.wait_for("\n", PATIENCE).map(|seen| seen.text).unwrap_or_default();
    Failure::new(format!("the guest's program failed: {}", why.trim()))
}

/// The guest's port as `net info` shows it.
struct Port {
    sent: f64,
    got: f64,
    dropped: String,
}

impl Port {
    fn read(info: &str) -> Result<Self> {
        let name = format!("{NAME}/0");
        let read = |line: &str| {
            // Port, MAC, state, frames and bytes in, frames and bytes out, limit, and what was dropped.
            let words: Vec<&str> = line.split_whitespace().collect();
            let frames = |at: usize| words.get(at)?.replace(',', "").parse::<f64>().ok();
            let (sent, got) = (frames(3)?, frames(6)?);
            let limited = words.get(9).is_some_and(|limit| *limit != "-");
            let dropped = words.get(if limited { 11 } else { 10 }..).unwrap_or_default().join(" ");
            Some(Self { sent, got, dropped })
        };
        let row = info.lines().find(|line| line.trim_start().starts_with(&name));
        row.and_then(read).ok_or_else(|| Failure::new(format!("'net info' shows no port {name}:\n{info}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "PORT     MAC                STATE     IN     BYTES     OUT      BYTES  LIMIT  DROPPED\n\
        peer/0   e2:84:07:0c:28:63  up     4,193  93.9 MiB  4,518  99.2 MiB      -\n\
        bench/0  c2:92:f9:5c:4c:28  up     4,518  99.2 MiB  4,193  93.9 MiB      -  5 for nobody here\n";

    #[test]
    fn a_port_is_read_from_what_net_info_shows() {
        let port = Port::read(INFO).unwrap();
        assert_eq!((port.sent, port.got, port.dropped.as_str()), (4518.0, 4193.0, "5 for nobody here"));
        let limited = INFO.replace("-  5 for", "1 Gbit/s  7 for");
        assert_eq!(Port::read(&limited).unwrap().dropped, "7 for nobody here");
        let sound = INFO.replace("5 for nobody here", "");
        assert_eq!(Port::read(&sound).unwrap().dropped, "");
    }

    #[test]
    fn a_console_that_shows_no_such_port_is_an_error() {
        assert!(Port::read("there is no network 'lan'\n").is_err());
        assert!(Port::read("bench/0 c2:92:f9:5c:4c:28 up\n").is_err());
        assert!(Port::read(&INFO.replace("bench/0", "other/0")).is_err());
    }
}
