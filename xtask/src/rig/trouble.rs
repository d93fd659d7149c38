//! Trouble with a drive: what QEMU's monitor is told to make it begin, and to end it.
//!
//! A drive's device stays as it is. What is below it changes (QEMU Storage Daemon, QMP Reference Manual, `blkdebug`,
//! `throttle`, `blockdev-reopen`):
//!
//! ```text
//! device ─► throttle, where the drive is limited ─► raw ─► blkdebug, while requests fail ─► file
//! ```
//!
//! What QEMU 7.2 does with requests that are held: NVMe's Abort does nothing; a reset of the controller drains the
//! drive, for which the throttle lets go of what it holds, but only if it is right below the device. A reset of an AHCI
//! port waits for them, and the whole machine with it: to hold them longer than the driver's patience stops QEMU.
use super::drive::Drive;
use super::monitor;
use crate::failure::Result;
use serde_json::{Value, json};
use std::path::Path;

/// Linux's number of an I/O error.
const EIO: u32 = 5;

/// What goes wrong, from a certain request on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Reads of this block of 512 bytes fail.
    Read(u64),
    /// Writes of this block fail.
    Write(u64),
    /// So many flushes fail. They must have failed before the trouble ends, for which QEMU flushes itself.
    Flushes(usize),
}

/// Trouble that can begin and end while a machine runs.
#[derive(Clone, Debug)]
pub struct Trouble {
    begin: Vec<Value>,
    end: Vec<Value>,
}

impl Drive {
    /// These requests fail, all others work.
    pub fn fails(&self, faults: &[Fault]) -> Trouble {
        let name = format!("{}-trouble", self.name());
        let rules: Vec<Value> = faults.iter().flat_map(rules).collect();
        let node = json!({ "driver": "blkdebug", "node-name": name, "image": self.file_node(), "inject-error": rules });
        Trouble {
            begin: vec![command("blockdev-add", node), self.over(&name)],
            end: vec![self.over(&self.file_node()), command("blockdev-del", json!({ "node-name": name }))],
        }
    }

    /// The next request is the last that a [limited](Drive::limited) drive answers.
    pub fn holds(&self) -> Trouble {
        let limit = |bytes: u32| {
            let path = format!("/objects/{}", self.limits());
            let limits = json!({ "bps-total": bytes });
            command("qom-set", json!({ "path": path, "property": "limits", "value": limits }))
        };
        // What waits already would go on waiting, but for this, which has QEMU drain the drive.
        Trouble { begin: vec![limit(1)], end: vec![limit(0), self.over(&self.file_node())] }
    }

    /// Puts the drive's format over another node.
    fn over(&self, below: &str) -> Value {
        let raw = json!({ "driver": "raw", "node-name": self.raw_node(), "file": below });
        command("blockdev-reopen", json!({ "options": [raw] }))
    }
}

fn command(name: &str, arguments: Value) -> Value {
    json!({ "execute": name, "arguments": arguments })
}

/// As blkdebug takes them.
fn rules(fault: &Fault) -> Vec<Value> {
    let rule = |kind: &str| json!({ "event": "none", "iotype": kind, "errno": EIO });
    let (mut rule, block) = match *fault {
        Fault::Read(block) => (rule("read"), block),
        Fault::Write(block) => (rule("write"), block),
        Fault::Flushes(count) => {
            let mut once = rule("flush");
            once["once"] = true.into();
            return vec![once; count];
        }
    };
    rule["sector"] = block.into();
    vec![rule]
}

impl Trouble {
    /// Begins in the machine whose monitor is there.
    pub fn begin(&self, socket: &Path) -> Result<()> {
        tell_all(socket, &self.begin)
    }

    /// Ends there. What was held goes on.
    pub fn end(&self, socket: &Path) -> Result<()> {
        tell_all(socket, &self.end)
    }
}

fn tell_all(socket: &Path, commands: &[Value]) -> Result<()> {
    commands.iter().try_for_each(|command| monitor::tell(socket, &command.to_string()).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::Connection;

    fn texts(commands: &[Value]) -> Vec<String> {
        commands.iter().map(Value::to_string).collect()
    }

    #[test]
    fn failing_requests_are_put_between_the_format_and_the_file_and_taken_out_again() {
        let drive = Drive::new("d", "/d", Connection::Nvme);
        let Trouble { begin, end } = drive.fails(&[Fault::Read(7), Fault::Flushes(2)]);
        let node = &begin[0]["arguments"];
        assert_eq!((&node["driver"], &node["image"]), (&json!("blkdebug"), &json!("d-file")));
        let rules = node["inject-error"].as_array().unwrap();
        assert_eq!(rules.len(), 3);
        assert_eq!((&rules[0]["iotype"], &rules[0]["sector"]), (&json!("read"), &json!(7)));
        assert!(rules[0].get("once").is_none() && rules[2]["once"] == json!(true));
        let over = |options: &Value, file: &str| {
            let raw = &options["arguments"]["options"][0];
            assert_eq!((&raw["node-name"], &raw["file"]), (&json!("d"), &json!(file)));
        };
        over(&begin[1], "d-trouble");
        over(&end[0], "d-file");
        assert!(texts(&end)[1].contains("blockdev-del"));
    }

    #[test]
    fn a_limited_drive_holds_requests_by_its_own_limits() {
        let drive = Drive::new("d", "/d", Connection::Nvme).limited();
        let Trouble { begin, end } = drive.holds();
        assert_eq!(begin[0]["arguments"]["path"], json!("/objects/d-limits"));
        assert_eq!(begin[0]["arguments"]["value"]["bps-total"], json!(1));
        assert_eq!(end[0]["arguments"]["value"]["bps-total"], json!(0));
        assert_eq!(end[1]["arguments"]["options"][0]["node-name"], json!("d-raw"));
        let line = drive.args().unwrap().join(" ");
        let nodes = "-object throttle-group,id=d-limits -blockdev driver=file,node-name=d-file,filename=/d \
                     -blockdev driver=raw,node-name=d-raw,file=d-file \
                     -blockdev driver=throttle,node-name=d,throttle-group=d-limits,file=d-raw -device nvme,drive=d,";
        assert!(line.starts_with(nodes), "{line}");
    }
}
