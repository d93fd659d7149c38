//! Whole sessions: bytes in, what the operator sees, what reaches the VM.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::shell::node::{CpuInfo, Echo, LogEntry, LogLevel, PingReply, VmState};
use crate::shell::tests::{TestNode, summary};

struct Rig {
    session: Session,
    node: TestNode,
    now: Duration,
}

impl Rig {
    /// A session at its prompt.
    fn new() -> Self {
        let mut rig =
            Self { session: Session::new("n1", 80, 24), node: TestNode::new(), now: Duration::from_secs(1) };
        let mut out = Vec::new();
        rig.session.start(&rig.node, &mut out);
        assert!(text(&out).starts_with("PureVisor 0.1.0 on n1. 'help' lists the commands.\r\n"));
        rig
    }

    fn attached() -> Self {
        let mut rig = Self::new();
        rig.keys("vm console debian\r");
        assert_eq!(rig.session.attached(), Some(("debian", Terminal::Serial)));
        rig
    }

    fn keys(&mut self, bytes: impl AsRef<[u8]>) -> String {
        let mut out = Vec::new();
        self.session.input(self.now, bytes.as_ref(), &mut self.node, &mut out);
        text(&out)
    }

    fn pass(&mut self, millis: u64) -> String {
        self.now += Duration::from_millis(millis);
        let mut out = Vec::new();
        self.session.tick(self.now, &mut self.node, &mut out);
        text(&out)
    }

    fn output(&mut self, vm: &str, bytes: &str) -> String {
        let mut out = Vec::new();
        self.session.vm_output(vm, Terminal::Serial, bytes.as_bytes(), &mut out);
        text(&out)
    }

    fn happens(&mut self, vm: &str, event: VmEvent<'_>) -> String {
        let mut out = Vec::new();
        self.session.vm_event(vm, event, &mut out);
        text(&out)
    }

    fn logged(&mut self, line: &str) -> String {
        let mut out = Vec::new();
        self.session.log_line(line, &mut out);
        text(&out)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const PROMPT: &str = "\rn1> \x1b[K";

#[test]
fn a_line_gets_its_answer_and_a_new_prompt() {
    let shown = Rig::new().keys("vm start web\r");
    assert_eq!(shown, format!("vm start web\r\nweb starts.\r\n{PROMPT}"));
}

#[test]
fn several_lines_in_one_chunk_are_all_done() {
    let mut rig = Rig::new();
    rig.keys("vm pause debian\r\nvm resume debian\nvm kill deb\t\r");
    assert_eq!(rig.node.orders, ["pause debian", "resume debian", "kill debian"]);
}

#[test]
fn attaching_shows_what_the_vm_printed_before() {
    let mut rig = Rig::new();
    rig.node.history = b"boot\r\nlogin: \x1b[6n".to_vec();
    let shown = rig.keys("vm console debian\r");
    assert!(shown.ends_with("[debian: Ctrl-] comes back to the node]\r\nboot\r\nlogin: "), "{shown:?}");
    assert_eq!(rig.output("debian", "\x1b[6nmore"), "\x1b[6nmore");
    assert_eq!(rig.output("web", "not here"), "");
}

#[test]
fn the_virtio_console_is_a_terminal_of_its_own() {
    let mut rig = Rig::new();
    let shown = rig.keys("vm console debian hvc0\r");
    assert!(shown.ends_with("[debian, hvc0: Ctrl-] comes back to the node]\r\nhvc: "), "{shown:?}");
    assert_eq!(rig.output("debian", "on the serial port"), "");
    let mut out = Vec::new();
    rig.session.vm_output("debian", Terminal::Virtio, b"here", &mut out);
    assert_eq!((text(&out), rig.keys("ls\r")), ("here".into(), String::new()));
    assert_eq!((&rig.node.typed[..], &rig.node.typed_virtio[..]), (&b""[..], &b"ls\r"[..]));
    assert!(rig.happens("debian", VmEvent::Stopped("killed")).contains("[debian stopped: killed]"));
}

#[test]
fn a_vm_without_a_virtio_console_says_so_and_the_prompt_stays() {
    let mut rig = Rig::new();
    let shown = rig.keys("vm console web hvc0\r");
    assert!(shown.contains("cannot go to web's hvc0: it has none\r\n"), "{shown:?}");
    assert_eq!(rig.session.attached(), None);
}

#[test]
fn all_keys_but_one_go_to_the_vm() {
    let mut rig = Rig::attached();
    let keys: Vec<u8> = (0..=255u8).filter(|byte| *byte != DETACH).collect();
    assert_eq!(rig.keys(&keys), "");
    rig.keys("\x1b[A\x03\r\n");
    assert_eq!(rig.node.typed, [&keys[..], b"\x1b[A\x03\r\n"].concat());
}

#[test]
fn detaching_comes_back_to_the_shell_within_a_chunk() {
    let mut rig = Rig::new();
    let shown = rig.keys("vm console debian\r\nls\r\x1dvm start web\r");
    assert_eq!(text(&rig.node.typed), "ls\r", "neither the LF of CR LF nor the command");
    assert!(shown.contains("[back on the node]\r\n"), "{shown:?}");
    assert_eq!(rig.node.orders, ["start web"]);
    assert_eq!(rig.session.attached(), None);
    assert_eq!(rig.output("debian", "x"), "");
}

#[test]
fn a_vm_that_stops_gives_the_terminal_back_with_the_reason() {
    let mut rig = Rig::attached();
    let shown = rig.happens("debian", VmEvent::Stopped("triple fault at 0x1000"));
    assert_eq!(shown, format!("\x1b[0m\x1b[?25h\r\n[debian stopped: triple fault at 0x1000]\r\n{PROMPT}"));
    assert_eq!(rig.happens("debian", VmEvent::Stopped("again")), "");
    assert!(rig.keys("cpu\r").contains("APIC"));
}

#[test]
fn a_vm_that_restarts_keeps_the_terminal() {
    let mut rig = Rig::attached();
    assert_eq!(
        rig.happens("debian", VmEvent::Restarts("reboot by the guest")),
        "\r\n[debian restarts: reboot by the guest]\r\n"
    );
    assert_eq!(rig.output("debian", "boot"), "boot");
    assert_eq!(rig.happens("web", VmEvent::Removed), "");
}

#[test]
fn what_was_typed_for_a_vm_that_is_gone_is_no_command() {
    let mut rig = Rig::attached();
    rig.node.vms.clear();
    let shown = rig.keys("poweroff\r\x1dpoweroff --now\r");
    assert!(shown.contains("[there is no VM debian"), "{shown:?}");
    assert!(rig.node.orders.is_empty());
    assert_eq!(rig.session.attached(), None);
}

#[test]
fn the_console_of_a_vm_that_is_off_shows_its_last_words() {
    let mut rig = Rig::new();
    rig.node.history = b"Kernel panic".to_vec();
    let shown = rig.keys("vm console web\r");
    assert!(shown.contains("Kernel panic"), "{shown:?}");
    assert!(shown.contains("[web is failed, triple fault at 0xffffffff81000000]\r\n"), "{shown:?}");
    assert_eq!(rig.session.attached(), None);
}

#[test]
fn the_configuration_may_attach_at_once_and_its_failure_is_told() {
    let mut rig = Rig::new();
    let mut out = Vec::new();
    rig.session.attach("debian", Terminal::Serial, &rig.node, &mut out);
    assert_eq!(rig.session.attached(), Some(("debian", Terminal::Serial)));
    assert!(text(&out).starts_with("\r\x1b[K[debian: "), "the prompt is taken away: {:?}", text(&out));
    out.clear();
    rig.session.attach("nobody", Terminal::Serial, &rig.node, &mut out);
    assert_eq!(rig.session.attached(), None);
    assert_eq!(text(&out), format!("there is no VM nobody; 'vm list' shows those that are\r\n{PROMPT}"));
}

#[test]
fn log_lines_come_above_a_half_written_line() {
    let mut rig = Rig::new();
    rig.keys("vm li");
    assert_eq!(rig.logged("disk\x1b[2J slow\n"), "\r\x1b[Kdisk [2J slow\r\n\rn1> vm li\x1b[K");
    assert!(rig.keys("st\r").contains("NAME"));
}

#[test]
fn log_lines_stay_out_of_a_vms_console_and_of_top() {
    assert_eq!(Rig::attached().logged("x"), "");
    let mut rig = Rig::new();
    rig.keys("top\r");
    assert_eq!(rig.logged("x"), "");
}

#[test]
fn an_alert_is_shown_between_the_output_of_a_vm_and_above_the_prompt() {
    let alert = |rig: &mut Rig| {
        let mut out = Vec::new();
        rig.session.alert("vm two: triple fault\x1b[2J", &mut out);
        text(&out)
    };
    assert_eq!(alert(&mut Rig::attached()), "\r\n[node: vm two: triple fault [2J]\r\n");
    assert_eq!(alert(&mut Rig::new()), "\r\x1b[Kvm two: triple fault [2J\r\n\rn1> \x1b[K");
    let mut rig = Rig::new();
    rig.keys("top\r");
    assert_eq!(alert(&mut rig), "");
}

#[test]
fn top_draws_once_a_second_and_any_key_ends_it() {
    let mut rig = Rig::new();
    let first = rig.keys("top\r\n");
    assert!(first.contains("\x1b[2J") && first.contains("rates since the start"), "{first:?}");
    assert!(first.contains("nvme0n1  1,234  4 MiB"), "{first:?}");
    assert_eq!(rig.pass(500), "");
    rig.node.disk_reads += 7;
    rig.node.cpus[0].guest += Duration::from_millis(250);
    rig.node.cpus[0].idle += Duration::from_millis(750);
    rig.node.vms[0].cpu_time += Duration::from_millis(250);
    rig.node.networks[0].ports[1].incoming.frames += 9;
    let second = rig.pass(500);
    assert!(second.contains("rates in the last 1.0 s"), "{second:?}");
    assert!(second.contains("  0  25.0 %       0.0 %  75.0 %      0           0  debian/1"), "{second:?}");
    assert!(second.contains("nvme0n1      7   0 B"), "{second:?}");
    assert!(first.contains("debian/0  lan        234  2 KiB"), "{first:?}");
    assert!(second.contains("debian/0  lan       9    0 B    0    0 B        0"), "{second:?}");
    assert!(second.contains("debian  running      2  512 MiB  25.0 %      0  4 min 05 s"), "{second:?}");
    assert!(second.lines().count() <= 24);
    assert_eq!(rig.keys("q"), format!("\x1b[?25h\r\n{PROMPT}"), "the key itself is not typed");
    assert_eq!(rig.pass(5000), "");
}

#[test]
fn an_arrow_key_ends_top_without_leaving_letters() {
    let mut rig = Rig::new();
    rig.keys("top\r");
    assert_eq!(rig.keys("\x1b"), "");
    assert_eq!(rig.keys("["), "");
    assert_eq!(rig.keys("A"), format!("\x1b[?25h\r\n{PROMPT}"));
}

#[test]
fn the_escape_key_alone_ends_top_after_a_moment() {
    let mut rig = Rig::new();
    rig.keys("top\r\x1b");
    assert!(!rig.pass(50).contains("n1> "));
    assert!(rig.pass(60).ends_with(PROMPT));
}

#[test]
fn top_fits_the_terminal_whatever_there_is_to_show() {
    let mut rig = Rig::new();
    rig.node.cpus = (0..64).map(|number| CpuInfo { number, ..CpuInfo::default() }).collect();
    rig.node.vms = (0..100).map(|n| summary(&format!("vm{n}"), VmState::Running)).collect();
    rig.node.vms[0].reason = Some("long ".repeat(100));
    let shown = rig.keys("top\r");
    let screen = shown.split("\x1b[H").last().unwrap_or_default();
    assert!(screen.contains("56 more"), "{screen}");
    assert_eq!(screen.split("\r\n").count(), 23);
    assert!(
        screen
            .split("\r\n")
            .all(|line| line.replace("\x1b[K", "").replace("\x1b[J", "").chars().count() < 80)
    );
}

#[test]
fn following_the_log_shows_new_entries_and_gaps() {
    let mut rig = Rig::new();
    assert!(rig.keys("log 1 -f\r").ends_with("[   29.000029] info  message 29\r\n"));
    assert_eq!(rig.pass(100), "");
    let entry = |sequence| LogEntry {
        sequence,
        time: Duration::from_secs(31),
        level: LogLevel::Warn,
        text: "new".into(),
    };
    rig.node.log = vec![entry(30), entry(33)];
    assert_eq!(rig.pass(100), "[   31.000000] warn  new\r\n[…]\r\n[   31.000000] warn  new\r\n");
    assert_eq!(rig.keys("\x03"), PROMPT);
}

fn reply(micros: u64) -> Echo {
    let time = Duration::from_micros(micros);
    Echo::Reply(PingReply { from: [10, 0, 2, 2].into(), bytes: 64, time })
}

#[test]
fn ping_sends_a_request_a_second_and_ends_with_the_last_reply() {
    let mut rig = Rig::new();
    rig.node.echoes = vec![reply(312), Echo::Failed("no answer\x1b[2J".into()), Echo::Waiting];
    assert_eq!(rig.keys("ping 10.0.2.2 3\r\n"), "ping 10.0.2.2 3\r\n");
    assert_eq!(rig.pass(100), "64 bytes from 10.0.2.2: number 1, 0.312 ms\r\n");
    assert_eq!((rig.pass(800), rig.node.pings), (String::new(), 1));
    assert_eq!((rig.pass(100), rig.node.pings), (String::new(), 2));
    assert_eq!(rig.pass(100), "number 2: no answer [2J\r\n");
    assert_eq!((rig.pass(900), rig.node.pings), (String::new(), 3));
    assert_eq!(rig.pass(1900), "");
    assert_eq!(
        rig.pass(100),
        format!(
            "number 3: no reply in 2 s\r\n3 sent, 1 answered\r\n\
             round trip 0.312 ms at least, 0.312 ms on average, 0.312 ms at most\r\n{PROMPT}"
        )
    );
    assert_eq!((rig.pass(5000), rig.node.pings), (String::new(), 3));
}

#[test]
fn a_key_ends_ping_with_what_came_of_it() {
    let mut rig = Rig::new();
    rig.node.echoes = vec![reply(1000), reply(3000)];
    rig.keys("ping 10.0.2.2\r");
    rig.pass(1000);
    rig.pass(1000);
    let shown = rig.keys("\x03");
    let told =
        "3 sent, 2 answered\r\nround trip 1.000 ms at least, 2.000 ms on average, 3.000 ms at most\r\n";
    assert_eq!(shown, format!("{told}{PROMPT}"));
    assert_eq!(rig.logged("x"), "\r\x1b[Kx\r\n\rn1> \x1b[K", "the session is in the shell");
}

#[test]
fn a_ping_that_is_not_possible_says_why() {
    let shown = Rig::new().keys("ping fd00::2\r");
    assert_eq!(
        shown,
        format!("ping fd00::2\r\ncannot ping fd00::2: the node has no IPv6 address\r\n{PROMPT}")
    );
}

#[test]
fn control_d_and_control_c_stay_in_the_shell() {
    let mut rig = Rig::new();
    assert!(rig.keys("\x04").contains("'poweroff' ends the node"));
    assert_eq!(rig.keys("vm kill debian\x03"), format!("vm kill debian^C\r\n{PROMPT}"));
    assert!(rig.node.orders.is_empty());
}

#[test]
fn two_sessions_on_one_node_do_not_disturb_each_other() {
    let mut rig = Rig::attached();
    let mut other = Session::new("n1", 100, 40);
    let mut out = Vec::new();
    other.start(&rig.node, &mut out);
    other.input(rig.now, b"vm console debian\rfrom other", &mut rig.node, &mut out);
    rig.keys("from first");
    assert_eq!(text(&rig.node.typed), "from otherfrom first");
    rig.keys("\x1d");
    assert_eq!(other.attached(), Some(("debian", Terminal::Serial)));
}

#[test]
fn random_sessions_never_panic() {
    let pieces = [
        "vm console debian\r",
        "\x1d",
        "top\r",
        "log -f\r",
        "ping 10.0.2.2 2\r",
        "\x1b",
        "[A",
        "\r",
        "\n",
        "x",
        "\t",
        "help\r",
        "\x03",
        "\x04",
        "clear\r",
        "\u{fffd}",
        "\x1b]",
        "vm console web\r",
        "é",
    ];
    let mut random = 3u64;
    let mut rig = Rig::new();
    for _ in 0..20_000 {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let choice = (random >> 33) as usize;
        match choice % 24 {
            0 => drop(rig.happens("debian", VmEvent::Stopped("x"))),
            1 => drop(rig.happens("debian", VmEvent::Restarts("x"))),
            2 => drop(rig.logged("line")),
            3 => drop(rig.pass(150)),
            4 => drop(rig.output("debian", "out\x1b[")),
            piece => drop(rig.keys(pieces[piece - 5])),
        }
    }
    rig.keys("\x1d\x1d\x03");
    rig.keys("\x03");
    assert!(rig.keys("cpu\r").contains("APIC"), "the session is still usable");
}
