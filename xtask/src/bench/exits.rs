//! A VM's exits, as the node's console shows them.
use super::guests::NAME;
use crate::failure::{Failure, Result};
use crate::rig::Session;
use std::time::Duration;

/// What the node's console says to these commands, one on each line, when it is attached to the VM [`NAME`], to which it
/// goes back.
pub(super) fn node_says(session: &mut Session, commands: &str, patience: Duration) -> Result<String> {
    session.send("\x1d")?;
    session.wait_for("back on the node]", patience)?;
    session.send(&format!("{commands}\rno-such-command\r"))?;
    let text = session.wait_for("unknown command", patience)?.text;
    session.send(&format!("vm console {NAME}\r"))?;
    session.wait_for("comes back to the node]", patience)?;
    Ok(text)
}

/// Exits by kind.
pub(super) struct Exits(Vec<(String, f64)>);

impl Exits {
    /// From what `vm info` shows of one VM, or of several, whose exits are added.
    pub fn read(info: &str) -> Result<Self> {
        let table = info.split_once("NUMBER").ok_or_else(|| Failure::new("'vm info' shows no exits"))?.1;
        let row = |line: &str| {
            // Kind, number, share in percent.
            let mut words: Vec<&str> = line.split_whitespace().collect();
            words.pop().filter(|word| *word == "%")?;
            words.pop()?;
            let count: f64 = words.pop()?.replace(',', "").parse().ok()?;
            Some((words.join(" "), count))
        };
        let mut kinds: Vec<(String, f64)> = Vec::new();
        for (kind, count) in table.lines().filter_map(row) {
            match kinds.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, all)) => *all += count,
                None => kinds.push((kind, count)),
            }
        }
        Ok(Self(kinds))
    }

    pub fn all(&self) -> f64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// Those that are not in `other`.
    pub fn less(&self, other: &Self) -> Self {
        let there = |kind: &str| other.0.iter().find(|(k, _)| k == kind).map_or(0.0, |(_, count)| *count);
        Self(self.0.iter().map(|(kind, count)| (kind.clone(), count - there(kind))).collect())
    }

    /// The most frequent, per operation.
    pub fn per(&self, operations: f64) -> String {
        let each = self.0.iter().map(|(kind, count)| (kind, count / operations));
        let frequent = each.filter(|(_, share)| *share > 0.01);
        frequent.map(|(kind, share)| format!("{kind} {share:.2}")).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_are_read_from_what_vm_info_shows() {
        let before = "VCPU EXITS\n0 1\n\nEXIT  NUMBER  SHARE\nHLT   1,000  98.9 %\nport in 11 1.1 %\n";
        let before = Exits::read(before).unwrap();
        let after = Exits::read("EXIT NUMBER SHARE\nHLT 1,600 99.3 %\nport in 11 0.7 %\n").unwrap();
        assert_eq!((before.all(), after.all()), (1011.0, 1611.0));
        assert_eq!(after.less(&before).all(), 600.0);
        assert_eq!(after.less(&before).per(300.0), "HLT 2.00");
    }

    #[test]
    fn exits_of_several_vms_are_added() {
        let one = "EXIT NUMBER SHARE\nHLT 10 50.0 %\nport 10 50.0 %\n";
        let both = Exits::read(&format!("{one}node> vm info two\nname two\n{one}MMIO 4 2.0 %\n")).unwrap();
        assert_eq!((both.all(), both.per(20.0)), (44.0, "HLT 1.00, port 1.00, MMIO 0.20".to_string()));
    }

    #[test]
    fn a_console_that_shows_no_exits_is_an_error() {
        assert!(Exits::read("there is no VM 'bench'\n").is_err());
    }
}
