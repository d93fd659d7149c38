//! The operator's console.
use crate::{NODE, debian};
use tests::node;
use tests::terminal::plain;
use tests::volume::Volume;
use tests::{PATIENCE, guest};
use xtask::failure::{Failure, Result};

#[test]
fn the_console_attaches_detaches_keeps_what_was_printed_and_answers_every_command() -> Result<()> {
    let attach = "[console]\nattach = \"debian\"\n\n";
    let config = NODE.to_string() + attach + &debian("debian", 1, 96, "", "");
    let mut node = node::power_on(&Volume::new(config)?, |qemu| qemu)?;
    // As configured, the console is the guest's from the start on.
    node.wait_for(&["[debian: Ctrl-] comes back to the node]"])?;
    node.wait_for_shell()?;
    node.type_text("echo first-$((40 + 2))\n")?;
    node.wait_for(&["first-42"])?;
    node.detach()?;
    // Printed while nobody looks, and shown with the rest on the next attachment.
    node.command("vm list")?;
    node.attach("debian")?;
    node.wait_for(&["first-42"])?;
    node.type_text("(sleep 2; echo second-$((40 + 3))) &\n")?;
    node.wait_for(&[guest::PROMPT])?;
    node.detach()?;
    for (command, expected) in [
        ("help", "vm console NAME"),
        ("node info", "n1"),
        ("cpu", "0"),
        ("mem", "free"),
        ("log", "purevisor"),
        ("vm info debian", "console=ttyS0 quiet"),
        ("vm lsit", "did you mean vm list?"),
        ("vm start nobody", "there is no VM \"nobody\""),
        ("vm console", "which VM?"),
    ] {
        node.expect(command, expected)?;
    }
    // Completion and history: the command is written by TAB, and then again by the arrow.
    node.type_text("vm in\tdeb\t\r")?;
    node.wait_for(&["kernel    vmlinuz"])?;
    node.type_text("\x1b[A\r")?;
    node.wait_for(&["kernel    vmlinuz"])?;
    // The overview draws until a key is pressed.
    node.type_text("top\r")?;
    node.wait_for(&["debian"])?;
    node.type_text("q")?;
    node.expect("vm list", "debian")?;
    node.attach("debian")?;
    node.wait_for(&["second-43"])?;
    node.detach()?;
    // Keys that mean nothing are survived.
    let noise: String = (1u8..=127).filter(|byte| !b"\r\n\x1d".contains(byte)).map(char::from).collect();
    node.session().send(&noise)?;
    node.session().send("\x03")?;
    let list = node.expect("vm list", "running")?;
    if plain(&list).contains("panic") {
        return Err(Failure::new(node.tail()));
    }
    // Without --now the guest is asked first; it does not listen, and the node says that it waits.
    node.type_text("poweroff\r")?;
    node.wait_for(&["waiting for VMs to shut down"])?;
    node.type_text("poweroff --now\r")?;
    node.session().wait_for_end(PATIENCE).map(drop)
}

#[test]
fn what_is_typed_faster_than_a_guest_reads_reaches_it_whole_and_in_order() -> Result<()> {
    let config = NODE.to_string() + &debian("slow", 1, 96, "act=tick", "cap = 30");
    let mut node = node::boot(&Volume::new(config)?)?;
    node.attach("slow")?;
    node.wait_for(&["GUEST tick 2\r"])?;
    let lines: Vec<String> = (0..100).map(|n| format!("line-{n}-of-it")).collect();
    node.type_text(&(lines.join("\n") + "\n"))?;
    let text = node.wait_for(&["GUEST hears line-99-of-it\r"])?;
    let heard: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("GUEST hears ")).map(str::trim_end).collect();
    if heard != lines {
        return Err(Failure::new(format!("the guest heard {heard:?}")));
    }
    if text.contains("\r\r") {
        return Err(Failure::new(format!("the guest's line ends were doubled: {text:?}")));
    }
    node.detach()
}
