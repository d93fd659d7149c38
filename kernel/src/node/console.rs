//! The console's task: keys from COM1 to the session, the session's output to COM1 and the screen.
use super::this_node::ThisNode;
use crate::console::{self, ACTIVITY, framebuffer, log as kernel_log, serial};
use crate::cpu_loop::Runtime;
use crate::interrupts;
use crate::time;
use crate::vm::{Notice, Vm};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use executor::Timers;
use mgmt::session::{Session, VmEvent};
use mgmt::shell::node::{Terminal, VmState};
use vmm::platform::ConsoleOutput;

/// How often the session is told the time, in nanoseconds: `top` and `log -f` draw then.
const TICK: u64 = 100_000_000;
/// How soon keys are offered again to a VM that did not take all of them.
const RETYPE: u64 = 2_000_000;
/// Keys handed over at once.
const KEYS: usize = 256;
/// Log entries shown at once.
const ENTRIES: usize = 16;
/// A VM's output shown at once.
const OUTPUT: usize = 2048;
/// Room that must be left in the serial port's queue before more is put in.
const ROOM: usize = 8 * 1024;

/// Starts the task. The log is followed from here on.
pub fn start(runtime: &'static Runtime, node: ThisNode) {
    let session = Session::new(&node.config.node.name, 80, 24);
    let attach = node.config.console.attach.clone();
    let shown = kernel_log::next_number();
    kernel_log::follow(|| ACTIVITY.raise());
    let console = Console { session, node, out: Vec::new(), shown, attach };
    runtime.executor.spawn("screen", framebuffer::keep_drawn(runtime.timers.clone()));
    runtime.executor.spawn("console", console.run(runtime.timers.clone()));
}

struct Console {
    session: Session,
    node: ThisNode,
    /// For the terminal.
    out: Vec<u8>,
    /// Number of the log entry to be shown next.
    shown: u64,
    /// The VM whose console is to be entered as soon as it lives.
    attach: Option<String>,
}

impl Console {
    async fn run(mut self, timers: Arc<Timers>) {
        self.session.start(&self.node, &mut self.out);
        loop {
            console::write(&self.out);
            self.out.clear();
            self.wait(&timers).await;
            if serial::room() >= ROOM {
                self.attach_when_alive();
                self.show_log();
                self.take_keys();
                self.show_vm();
            }
            interrupts::log_strays();
            let now = time::now();
            self.session.tick(Duration::from_nanos(now.0), &mut self.node, &mut self.out);
            if self.node.is_to_end(now) {
                self.show_log();
                console::write(&self.out);
                self.node.end_now();
            }
        }
    }

    /// Waits for something to do, or for the next tick.
    async fn wait(&self, timers: &Arc<Timers>) {
        let pause = if self.node.has_untyped() { RETYPE } else { TICK };
        let mut tick = pin!(timers.sleep_until(time::now().0.saturating_add(pause)));
        let mut activity = pin!(ACTIVITY.wait());
        let mut news = pin!(self.node.vms.news.wait());
        if let Some((.., output)) = self.attached() {
            output.watch();
            if output.sequence() > self.node.console_shown.get() {
                ACTIVITY.raise();
            }
        }
        poll_fn(|cx| {
            // All of them, so that each leaves its waker.
            let ready = [
                tick.as_mut().poll(cx).is_ready(),
                activity.as_mut().poll(cx).is_ready(),
                news.as_mut().poll(cx).is_ready(),
            ];
            if ready.contains(&true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The terminal that the session is on: its VM, which it is, and what is printed there.
    fn attached(&self) -> Option<(&Vm, Terminal, &ConsoleOutput)> {
        let (name, terminal) = self.session.attached()?;
        let vm = self.node.vms.get(name)?;
        Some((vm, terminal, vm.terminals.output(terminal)?))
    }

    /// Enters the console that the configuration names, once its VM has begun to start.
    fn attach_when_alive(&mut self) {
        let Some(vm) = self.attach.as_ref().and_then(|name| self.node.vms.get(name)) else { return };
        let status = vm.status();
        if status.is_alive() || status == VmState::Failed {
            let name = vm.config.name.clone();
            self.attach = None;
            self.session.attach(&name, Terminal::Serial, &self.node, &mut self.out);
        }
    }

    /// Shows new log entries above the prompt, and on a VM's console those that an operator must not miss,
    /// but for what this VM tells by itself.
    fn show_log(&mut self) {
        let own = self.session.attached().map(|(vm, _)| format!("vm {vm}:"));
        let mut lines = Vec::new();
        self.shown = kernel_log::read(self.shown, ENTRIES, |entry, text| {
            let time = time::of_stamp(entry.stamp).unwrap_or_default();
            let urgent = entry.level <= log::Level::Warn as u8;
            let foreign = own.as_ref().is_none_or(|own| !text.starts_with(own));
            lines.push((urgent && foreign, format!("[{time}] {}{text}", kernel_log::mark(entry.level))));
        });
        for (alert, line) in &lines {
            if *alert {
                self.session.alert(line, &mut self.out);
            } else {
                self.session.log_line(line, &mut self.out);
            }
        }
        if lines.len() == ENTRIES {
            ACTIVITY.raise();
        }
    }

    fn take_keys(&mut self) {
        if serial::take_overflow() {
            log::warn!("console: keys came faster than they were read, some are lost");
        }
        self.node.type_rest();
        let keys: Vec<u8> = core::iter::from_fn(serial::take).take(KEYS).collect();
        if keys.is_empty() {
            return;
        }
        self.attach = None;
        let now = Duration::from_nanos(time::now().0);
        self.session.input(now, &keys, &mut self.node, &mut self.out);
        if keys.len() == KEYS {
            ACTIVITY.raise();
        }
    }

    /// Shows what the VM of this console printed, and what became of VMs.
    fn show_vm(&mut self) {
        if let Some((vm, terminal, output)) = self.attached() {
            let mut bytes = [0; OUTPUT];
            let got = output.read(self.node.console_shown.get(), &mut bytes);
            self.node.console_shown.set(got.next);
            let name = vm.config.name.clone();
            if got.missed > 0 {
                let lost = format!("\r\n[{} bytes of output came too fast to be shown]\r\n", got.missed);
                self.session.vm_output(&name, terminal, lost.as_bytes(), &mut self.out);
            }
            self.session.vm_output(&name, terminal, &bytes[..got.len], &mut self.out);
            if got.len == OUTPUT {
                ACTIVITY.raise();
                return;
            }
        }
        let Self { session, node, out, .. } = self;
        for vm in node.vms.all() {
            while let Some(notice) = vm.take_notice() {
                let event = match &notice {
                    Notice::Restarts(why) => VmEvent::Restarts(why),
                    Notice::Stopped(why) => VmEvent::Stopped(why),
                };
                session.vm_event(&vm.config.name, event, out);
            }
        }
    }
}
