//! One operator at one terminal: what the keys mean now, and what the terminal shows.
//!
//! A [`Session`] is in one of five modes: in the shell, attached to a VM's console, in `top`, following the
//! log, or in `ping`. It is sans-I/O: whoever owns the terminal (the kernel for COM1; later a web socket) calls
//!
//! | when | call |
//! |---|---|
//! | once | [`Session::start`], and [`Session::attach`] if the configuration says so |
//! | bytes came from the terminal | [`Session::input`] |
//! | a VM printed | [`Session::vm_output`] |
//! | a VM stopped, restarted, was removed | [`Session::vm_event`] |
//! | something was logged | [`Session::log_line`] |
//! | ten times a second | [`Session::tick`] |
//!
//! and sends what was appended to `out` to the terminal. Sessions share nothing but the [`Node`], so that
//! there can be many; each is told of all VMs and takes what concerns it.
//!
//! Promise: Ctrl-] always leaves a VM's console; every other byte reaches the VM as it came. What was
//! typed for a VM that is gone by then is dropped, not run as a command. Log lines and VM events never
//! damage a half-written line. A VM's earlier output is shown without the queries in it (`replay`).

mod ping;
mod replay;
#[cfg(test)]
mod tests;
mod top;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use crate::line::keys::Decoder;
use crate::line::{Editor, Event, width};
use crate::shell::node::{Node, Terminal};
use crate::shell::{self, Next, complete, log_entry, on_one_line};
use ping::Ping;
use top::Top;

/// Ctrl-], which detaches.
const DETACH: u8 = 0x1d;

/// How long after ESC a further byte of a sequence may come.
const ESCAPE_WAIT: Duration = Duration::from_millis(100);

/// Most log entries shown at one tick: a flood of them must not hold the terminal.
const FOLLOW_AT_ONCE: usize = 50;

/// What became of a VM, as far as its console is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmEvent<'a> {
    /// It starts anew at once, and why: `reboot by the guest`.
    Restarts(&'a str),
    /// It stopped, and why: `powered off by the guest`, `triple fault at 0xffffffff81000000`.
    Stopped(&'a str),
    /// It is no longer configured.
    Removed,
}

/// What keys mean.
#[derive(Clone, Debug)]
enum Mode {
    Shell,
    /// On this terminal of this VM.
    Attached(String, Terminal),
    Top(Top),
    /// Shows log entries after this one.
    Follow(Option<u64>),
    Ping(Ping),
}

/// An operator's session.
#[derive(Clone, Debug)]
pub struct Session {
    mode: Mode,
    editor: Editor,
    rows: usize,
    columns: usize,
    /// Tells keys apart in the modes that any key ends.
    any_key: Decoder,
    /// When the last byte came.
    last_input: Duration,
    /// Whether the last byte was a CR that was not the VM's: the LF of CR LF means nothing in any mode.
    after_return: bool,
}

impl Session {
    /// A session on a terminal of this many columns and rows; a serial line is taken for 80 by 24.
    /// `name` is the node's, and the prompt.
    pub fn new(name: &str, columns: usize, rows: usize) -> Self {
        // What is smaller is no terminal, and `top` needs some room.
        let (columns, rows) = (columns.max(20), rows.max(5));
        Self {
            mode: Mode::Shell,
            editor: Editor::new(&format!("{name}> "), columns),
            rows,
            columns,
            any_key: Decoder::default(),
            last_input: Duration::ZERO,
            after_return: false,
        }
    }

    /// Greets and shows the prompt.
    pub fn start(&mut self, node: &dyn Node, out: &mut Vec<u8>) {
        let info = node.info();
        say(&format!("PureVisor {} on {}. 'help' lists the commands.\n", info.version, info.name), out);
        self.editor.show(out);
    }

    /// Goes to a VM's terminal, as `vm console` does. If that is not possible: says why and stays.
    pub fn attach(&mut self, vm: &str, terminal: Terminal, node: &dyn Node, out: &mut Vec<u8>) {
        self.leave_live(out);
        self.editor.hide(out);
        let history = match node.console_history(vm, terminal) {
            Ok(history) => history,
            Err(error) => {
                say(&format!("{}\n", on_one_line(&error.to_string())), out);
                return self.prompt(out);
            }
        };
        let name = match terminal {
            Terminal::Serial => vm.to_string(),
            Terminal::Virtio => format!("{vm}, {}", Terminal::VIRTIO),
        };
        say(&format!("[{name}: Ctrl-] comes back to the node]\n"), out);
        out.extend(replay::without_queries(&history));
        match node.vm(vm) {
            Ok(info) if info.summary.state.is_alive() => self.mode = Mode::Attached(vm.into(), terminal),
            Ok(info) => {
                let reason = info.summary.reason.map(|reason| format!(", {reason}")).unwrap_or_default();
                self.detach(&format!("{vm} is {}{reason}", info.summary.state), out);
            }
            Err(error) => self.detach(&error.to_string(), out),
        }
    }

    /// The VM that this session is on, and the terminal.
    pub fn attached(&self) -> Option<(&str, Terminal)> {
        match &self.mode {
            Mode::Attached(vm, terminal) => Some((vm, *terminal)),
            Mode::Shell | Mode::Top(_) | Mode::Follow(_) | Mode::Ping(_) => None,
        }
    }

    /// Takes bytes from the terminal. `now` is any clock that only goes forward, the same for
    /// [`Session::tick`].
    pub fn input(&mut self, now: Duration, bytes: &[u8], node: &mut dyn Node, out: &mut Vec<u8>) {
        self.last_input = now;
        let mut rest = bytes;
        while let [byte, tail @ ..] = rest {
            if core::mem::take(&mut self.after_return) && *byte == b'\n' {
                rest = tail;
                continue;
            }
            if let Mode::Attached(vm, terminal) = &self.mode {
                let end = rest.iter().position(|byte| *byte == DETACH);
                let (typed, after) = rest.split_at(end.unwrap_or(rest.len()));
                if !typed.is_empty()
                    && let Err(error) = node.console_input(vm, *terminal, typed)
                {
                    // The rest was meant for the VM too.
                    return self.detach(&error.to_string(), out);
                }
                rest = after;
                if end.is_some() {
                    rest = &after[1..];
                    self.detach("back on the node", out);
                }
                continue;
            }
            self.after_return = *byte == b'\r';
            rest = tail;
            match &self.mode {
                Mode::Top(_) | Mode::Follow(_) | Mode::Ping(_) => {
                    if self.any_key.decode(*byte).is_some() {
                        self.end_live(out);
                    }
                }
                Mode::Shell | Mode::Attached(..) => {
                    if let Some(event) = self.editor.push(*byte, out) {
                        self.event(now, event, node, out);
                    }
                }
            }
        }
        self.editor.refresh(out);
    }

    /// Lets time pass: draws `top`, follows the log, sends echo requests.
    pub fn tick(&mut self, now: Duration, node: &mut dyn Node, out: &mut Vec<u8>) {
        match &mut self.mode {
            Mode::Shell | Mode::Attached(..) => return,
            Mode::Top(top) => top.tick(now, node, out),
            Mode::Ping(ping) => {
                let mut text = String::new();
                let goes_on = ping.tick(now, node, &mut text);
                say(&text, out);
                if !goes_on {
                    return self.end_live(out);
                }
            }
            Mode::Follow(last) => {
                let entries = node.log(*last, FOLLOW_AT_ONCE);
                let mut text = String::new();
                for entry in &entries {
                    if last.is_some_and(|last| entry.sequence > last.saturating_add(1)) {
                        text.push_str("[…]\n");
                    }
                    *last = Some(entry.sequence);
                    // Writing to a String never fails.
                    let _ = log_entry(entry, &mut text);
                }
                say(&text, out);
            }
        }
        if self.any_key.after_escape() && now.saturating_sub(self.last_input) >= ESCAPE_WAIT {
            self.end_live(out);
        }
    }

    /// Shows what a VM printed on a terminal, if this session is on it.
    pub fn vm_output(&mut self, vm: &str, terminal: Terminal, bytes: &[u8], out: &mut Vec<u8>) {
        if self.attached() == Some((vm, terminal)) {
            out.extend(bytes);
        }
    }

    /// Tells what became of a VM, if this session is on its console. A VM that restarts keeps it.
    pub fn vm_event(&mut self, vm: &str, event: VmEvent<'_>, out: &mut Vec<u8>) {
        if self.attached().is_none_or(|(attached, _)| attached != vm) {
            return;
        }
        match event {
            VmEvent::Restarts(why) => say(&format!("\n[{vm} restarts: {}]\n", on_one_line(why)), out),
            VmEvent::Stopped(why) => self.detach(&format!("{vm} stopped: {why}"), out),
            VmEvent::Removed => self.detach(&format!("{vm} was removed"), out),
        }
    }

    /// Shows a line of the log above the prompt. In other modes it stays in the log only.
    pub fn log_line(&mut self, text: &str, out: &mut Vec<u8>) {
        if matches!(self.mode, Mode::Shell) {
            let visible = self.editor.hide(out);
            say(&format!("{}\n", on_one_line(text)), out);
            if visible {
                self.editor.show(out);
            }
        }
    }

    /// Shows a line of the log that an operator must not miss: also between the output of a VM on whose
    /// console the session is. What that VM itself does comes by [`Self::vm_event`].
    pub fn alert(&mut self, text: &str, out: &mut Vec<u8>) {
        match self.mode {
            Mode::Attached(..) => say(&format!("\n[node: {}]\n", on_one_line(text)), out),
            Mode::Shell | Mode::Top(_) | Mode::Follow(_) | Mode::Ping(_) => self.log_line(text, out),
        }
    }

    /// Does what a line, or another event of the editor, asks for.
    fn event(&mut self, now: Duration, event: Event, node: &mut dyn Node, out: &mut Vec<u8>) {
        match event {
            Event::Line(line) => {
                let mut text = String::new();
                // Writing to a String never fails.
                let next = shell::run(&line, node, &mut text).unwrap_or(Next::Prompt);
                say(&text, out);
                match next {
                    Next::Prompt => self.editor.show(out),
                    Next::Clear => {
                        out.extend(b"\x1b[H\x1b[2J");
                        self.editor.show(out);
                    }
                    Next::Attach(vm, terminal) => self.attach(&vm, terminal, node, out),
                    Next::Top => {
                        self.live(Mode::Top(Top::new(self.rows, self.columns)));
                        self.tick(now, node, out);
                    }
                    Next::Follow(last) => self.live(Mode::Follow(last)),
                    Next::Ping(to, count) => {
                        self.live(Mode::Ping(Ping::new(to, count)));
                        self.tick(now, node, out);
                    }
                }
            }
            Event::Complete => {
                let (word, candidates) = complete(&self.editor.before_cursor(), node);
                self.editor.offer(word, &candidates, out);
            }
            Event::Interrupt => self.editor.show(out),
            Event::EndOfInput => {
                say(
                    "This is the node's own console: there is nothing to leave. 'poweroff' ends the node.\n",
                    out,
                );
                self.editor.show(out);
            }
        }
    }

    /// Enters a mode that any key ends.
    fn live(&mut self, mode: Mode) {
        self.any_key = Decoder::default();
        self.mode = mode;
    }

    /// Leaves a mode that any key ends.
    fn end_live(&mut self, out: &mut Vec<u8>) {
        self.leave_live(out);
        self.prompt(out);
    }

    /// Puts the terminal in order after a live mode.
    fn leave_live(&mut self, out: &mut Vec<u8>) {
        match &self.mode {
            Mode::Top(_) => out.extend(b"\x1b[?25h\r\n"),
            Mode::Ping(ping) => say(&ping.summary(), out),
            Mode::Shell | Mode::Attached(..) | Mode::Follow(_) => {}
        }
        self.any_key = Decoder::default();
        self.mode = Mode::Shell;
    }

    /// Leaves a VM's console and says why. The guest may have left colours on and the cursor hidden.
    fn detach(&mut self, why: &str, out: &mut Vec<u8>) {
        out.extend(b"\x1b[0m\x1b[?25h");
        say(&format!("\n[{}]\n", on_one_line(why)), out);
        self.prompt(out);
    }

    fn prompt(&mut self, out: &mut Vec<u8>) {
        self.mode = Mode::Shell;
        self.editor.show(out);
    }
}

/// Sends text to the terminal: its lines end with CR LF, and what would act on it becomes a space
/// (names of machines, reasons and messages come from firmware and guests).
fn say(text: &str, out: &mut Vec<u8>) {
    for c in text.chars() {
        match c {
            '\n' => out.extend(b"\r\n"),
            c if width::is_shown(c) => out.extend(c.encode_utf8(&mut [0; 4]).bytes()),
            _ => out.push(b' '),
        }
    }
}
