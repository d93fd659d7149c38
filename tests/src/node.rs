//! A machine that runs PureVisor, as its operator uses it.
use crate::guest;
use crate::rig::Rig;
use crate::slot::{self, Slot};
use crate::terminal::plain;
use crate::volume::{Volume, Written};
use std::time::{Duration, Instant};
use xtask::failure::{Failure, Result};
use xtask::rig::bochs::DELIVERS_INTERRUPTS;
use xtask::rig::{Bochs, Medium, Qemu, Session};

/// How a VM's console says that the VM has ended; the reason follows, up to a bracket.
pub const ENDS: [&str; 3] = [" stopped: ", " is off, ", " is failed, "];

/// A node whose console waits for commands.
///
/// Fields are dropped in order: the machine ends before its files and its place go.
#[derive(Debug)]
pub struct Node {
    session: Session,
    patience: Duration,
    /// What it shows when it waits for a command.
    prompt: String,
    marks: u32,
    _volume: Written,
    _slot: Slot,
}

/// Starts a machine from a volume, and waits for nothing. `shape` makes it another than the usual one of
/// 2 processors and 1 GiB.
pub fn power_on(volume: &Volume, shape: impl FnOnce(Qemu) -> Qemu) -> Result<Node> {
    start(volume, Rig::Qemu, |written| shape(qemu(Medium::Folder(written.folder()))).start())
}

/// As [`power_on`], from the disk image.
pub fn power_on_from_disk(volume: &Volume, shape: impl FnOnce(Qemu) -> Qemu) -> Result<Node> {
    start(volume, Rig::Qemu, |written| shape(qemu(Medium::Disk(written.disk()))).start())
}

/// As [`power_on`], from the ISO image as a CD.
pub fn power_on_from_cd(volume: &Volume, shape: impl FnOnce(Qemu) -> Qemu) -> Result<Node> {
    start(volume, Rig::Qemu, |written| shape(qemu(Medium::Cd(written.iso()?))).start())
}

/// As [`power_on`], from the ISO image as a disk, as it is on a USB stick that it was written to.
pub fn power_on_from_iso_disk(volume: &Volume, shape: impl FnOnce(Qemu) -> Qemu) -> Result<Node> {
    start(volume, Rig::Qemu, |written| shape(qemu(Medium::Disk(written.iso()?))).start())
}

/// Starts one of the machines that a test can be run on, and waits for nothing.
pub fn power_on_in(rig: Rig, volume: &Volume) -> Result<Node> {
    start(volume, rig, |written| match rig {
        Rig::Qemu => qemu(Medium::Folder(written.folder())).start(),
        Rig::QemuInParallel => qemu(Medium::Folder(written.folder())).cpus(3).parallel().start(),
        Rig::Bochs { cpus } => Bochs::new(written.iso()?).cpus(cpus).start(),
        // At midnight, in 2000: a machine that nobody types on executes the same each time.
        Rig::BochsDelivers => {
            Bochs::new(written.iso()?).cpu(DELIVERS_INTERRUPTS).cpus(2).starts_at(946_684_800).start()
        }
    })
}

/// Starts Bochs from the ISO image with a machine of another shape than the usual one of 1 processor, and waits
/// for nothing.
pub fn power_on_in_bochs(volume: &Volume, shape: impl FnOnce(Bochs) -> Bochs) -> Result<Node> {
    start(volume, Rig::Bochs { cpus: 1 }, |written| shape(Bochs::new(written.iso()?)).start())
}

fn qemu(medium: Medium) -> Qemu {
    Qemu::new(medium).memory_mib(1024)
}

fn start(volume: &Volume, rig: Rig, power_on: impl FnOnce(&Written) -> Result<Session>) -> Result<Node> {
    let written = volume.write()?;
    let slot = slot::take()?;
    start_at(slot, volume, written, rig, power_on)
}

fn start_at(
    slot: Slot,
    volume: &Volume,
    written: Written,
    rig: Rig,
    power_on: impl FnOnce(&Written) -> Result<Session>,
) -> Result<Node> {
    let session = power_on(&written)?;
    let prompt = format!("{}> ", volume.node_name());
    Ok(Node { session, patience: rig.patience(), prompt, marks: 0, _volume: written, _slot: slot })
}

/// Boots to the node's prompt.
pub fn boot(volume: &Volume) -> Result<Node> {
    boot_on(volume, |qemu| qemu)
}

/// Boots to the node's prompt on a machine of another shape.
pub fn boot_on(volume: &Volume, shape: impl FnOnce(Qemu) -> Qemu) -> Result<Node> {
    let mut node = power_on(volume, shape)?;
    node.wait_for_prompt()?;
    Ok(node)
}

/// Boots two machines side by side to their prompts, each from its volume and with its shape.
pub fn boot_two(volumes: [&Volume; 2], shapes: [impl FnOnce(Qemu) -> Qemu; 2]) -> Result<[Node; 2]> {
    let written = [volumes[0].write()?, volumes[1].write()?];
    let (slots, mut nodes) = (slot::take_two()?, Vec::new());
    for (((slot, volume), written), shape) in slots.into_iter().zip(volumes).zip(written).zip(shapes) {
        let power_on = |written: &Written| shape(qemu(Medium::Folder(written.folder()))).start();
        nodes.push(start_at(slot, volume, written, Rig::Qemu, power_on)?);
    }
    for node in &mut nodes {
        node.wait_for_prompt()?;
    }
    nodes.try_into().map_err(|_| Failure::new("there are not two nodes"))
}

/// Boots one of the machines that a test can be run on to the node's prompt.
pub fn boot_in(rig: Rig, volume: &Volume) -> Result<Node> {
    let mut node = power_on_in(rig, volume)?;
    node.wait_for_prompt()?;
    Ok(node)
}

impl Node {
    /// How long a text may take that comes within seconds on an idle machine.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// The machine's console itself.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Waits until the node greets, and whatever it said before.
    pub fn wait_for_prompt(&mut self) -> Result<String> {
        let before = self.wait_for(&["'help' lists the commands."])?;
        self.session.wait_for(&self.prompt, self.patience)?;
        Ok(before)
    }

    /// Waits for one of several texts on the console, but for no panic: the text up to it.
    pub fn wait_for(&mut self, texts: &[&str]) -> Result<String> {
        self.wait_long(texts, self.patience)
    }

    /// As [`Node::wait_for`], for what takes its time.
    pub fn wait_long(&mut self, texts: &[&str], patience: Duration) -> Result<String> {
        self.wait(texts, patience, true)
    }

    /// As [`Node::wait_long`], for what may well not come: the console then stays as it is.
    pub fn wait_whether(&mut self, texts: &[&str], patience: Duration) -> Result<String> {
        self.wait(texts, patience, false)
    }

    fn wait(&mut self, texts: &[&str], patience: Duration, must_come: bool) -> Result<String> {
        let mut all = vec!["panic on CPU"];
        all.extend(texts);
        let waited = self.session.wait_for_any(&all, patience);
        let waited = waited.map_err(|failure| if must_come { self.examine(failure) } else { failure });
        let (which, seen) = waited?;
        if which == 0 {
            let report = self.session.wait_for("PureVisor has stopped", self.patience);
            let report = report.map_or_else(|failure| failure.to_string(), |seen| plain(&seen.text));
            return Err(Failure::new(format!("the node panicked:{report}")));
        }
        Ok(plain(&seen.text))
    }

    /// A text has not come: what the node says of itself, if it still answers.
    fn examine(&mut self, failure: Failure) -> Failure {
        let state = self.state().unwrap_or_else(|_| "it does not answer any more".into());
        Failure::new(format!("{failure}\nthe node, asked for its state: {state}"))
    }

    fn state(&mut self) -> Result<String> {
        // From a VM's console back to the node's, without what was typed there last.
        self.session.send("\x1d\x15")?;
        let mut state = self.ask("cpu")? + &self.ask("log")?;
        let list = self.ask("vm list")?;
        let rows = list.lines().skip_while(|line| !line.starts_with("NAME")).skip(1);
        let prompt = self.prompt.clone();
        for row in rows.take_while(|line| !line.starts_with(&prompt)) {
            if let Some(vm) = row.split_whitespace().next() {
                state += &self.ask(&format!("vm info {vm}"))?;
            }
        }
        Ok(state + &list)
    }

    /// What a node that may be in a bad state prints for a command.
    fn ask(&mut self, command: &str) -> Result<String> {
        const PATIENCE: Duration = Duration::from_secs(20);
        self.session.send(&format!("{command}\rend\r"))?;
        Ok(plain(&self.session.wait_for("unknown command \"end\"", PATIENCE)?.text))
    }

    /// Enters a command; what it printed.
    pub fn command(&mut self, line: &str) -> Result<String> {
        // The prompt comes again whenever something is logged: the answer's end is known by that to
        // another line, which nobody takes for a command.
        self.marks += 1;
        let mark = format!("mark{}", self.marks);
        self.session.send(&format!("{line}\r{mark}\r"))?;
        let text = self.wait_for(&[&format!("unknown command \"{mark}\"")])?;
        self.wait_for(&["\n"])?;
        let answer = text.split_once(line).map_or(text.as_str(), |(_, answer)| answer);
        Ok(answer.to_string())
    }

    /// Enters a command whose answer must have this in it.
    pub fn expect(&mut self, line: &str, expected: &str) -> Result<String> {
        let answer = self.command(line)?;
        if answer.contains(expected) {
            return Ok(answer);
        }
        Err(Failure::new(format!("'{line}' should have answered \"{expected}\":\n{answer}{}", self.tail())))
    }

    /// Enters a command until its answer has this in it: for what comes about in its own time.
    pub fn wait_until(&mut self, line: &str, expected: &str) -> Result<String> {
        let end = Instant::now() + self.patience;
        loop {
            let answer = self.command(line)?;
            if answer.contains(expected) {
                return Ok(answer);
            }
            if Instant::now() > end {
                return Err(Failure::new(format!(
                    "'{line}' never answered \"{expected}\":\n{answer}{}",
                    self.tail()
                )));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Starts a VM, and waits until that has begun.
    pub fn start(&mut self, vm: &str) -> Result<()> {
        self.expect(&format!("vm start {vm}"), &format!("{vm} starts."))?;
        let end = Instant::now() + self.patience;
        loop {
            let row = self.row(vm)?;
            // One that has ended already has a reason behind: name, state, vCPUs, memory with its unit, CPU
            // time with its unit, no up time, restarts.
            if row.get(1).is_some_and(|state| state != "off") || row.len() > 9 {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(Failure::new(format!("{vm} does not start: {row:?}{}", self.tail())));
            }
        }
    }

    /// Waits on a VM's console until the VM has ended; what the console showed until then.
    pub fn wait_for_vm_end_text(&mut self) -> Result<String> {
        self.wait_for(&ENDS)
    }

    /// Waits on a VM's console until the VM has ended; why.
    pub fn wait_for_vm_end(&mut self) -> Result<String> {
        self.wait_for(&ENDS)?;
        let why = self.wait_for(&["]\n", "]\r"])?;
        Ok(why.trim_end().trim_end_matches(']').to_string())
    }

    /// Goes to a VM's console.
    pub fn attach(&mut self, vm: &str) -> Result<()> {
        self.session.send(&format!("vm console {vm}\r"))?;
        self.wait_for(&[&format!("[{vm}: Ctrl-] comes back to the node]")]).map(drop)
    }

    /// Comes back from a VM's console that is still alive.
    pub fn detach(&mut self) -> Result<()> {
        self.session.send("\x1d")?;
        self.wait_for(&["back on the node]"]).map(drop)
    }

    /// Types into what the console is attached to.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        self.session.send(text)
    }

    /// Waits on a VM's console for its Linux to have a shell; what it reported.
    pub fn wait_for_shell(&mut self) -> Result<guest::Report> {
        let text = self.wait_for(&[guest::PROMPT])?;
        guest::Report::find(&text).ok_or_else(|| Failure::new(format!("the guest did not report:\n{text}")))
    }

    /// The row of `vm list` for a VM.
    pub fn row(&mut self, vm: &str) -> Result<Vec<String>> {
        let list = self.command("vm list")?;
        let row = list.lines().map(str::trim).find(|line| line.split_whitespace().next() == Some(vm));
        let row = row.ok_or_else(|| Failure::new(format!("no VM {vm} in:\n{list}")))?;
        Ok(row.split_whitespace().map(String::from).collect())
    }

    /// Asks `vm list` until a VM is in this state; its row.
    pub fn wait_for_state(&mut self, vm: &str, state: &str) -> Result<Vec<String>> {
        let end = Instant::now() + self.patience;
        loop {
            let row = self.row(vm)?;
            if row.get(1).is_some_and(|found| found == state) {
                return Ok(row);
            }
            if Instant::now() > end {
                return Err(Failure::new(format!("{vm} did not become {state}: {row:?}{}", self.tail())));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Powers the machine off at once and waits for its end.
    pub fn power_off(mut self) -> Result<()> {
        self.session.send("poweroff --now\r")?;
        self.wait_for_end()
    }

    /// Waits until the machine has switched itself off.
    pub fn wait_for_end(&mut self) -> Result<()> {
        self.session.wait_for_end(self.patience).map(drop)
    }

    /// All that the console has shown, for a failure's message.
    pub fn tail(&self) -> String {
        let text = plain(&self.session.text());
        let lines: Vec<&str> = text.lines().collect();
        format!("\nthe console's last lines:\n  {}", lines[lines.len().saturating_sub(40)..].join("\n  "))
    }

    /// All that the console has shown, as plain text.
    pub fn text(&self) -> String {
        plain(&self.session.text())
    }
}
