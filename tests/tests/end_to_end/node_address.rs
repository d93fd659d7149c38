//! The node's own address: what it reaches, and who reaches it.
use crate::NODE;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;
use tests::drive::Image;
use tests::node;
use tests::volume::Volume;
use xtask::failure::{Context, Failure, Result};
use xtask::rig::monitor;

/// How long the echo service may take for what is sent to it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends what cannot be guessed to a TCP port of the emulator's host, and compares what comes back.
fn is_echoed_at(port: u16) -> Result<()> {
    let mut sent = Vec::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    while sent.len() < 2_000_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        sent.extend(state.to_le_bytes());
    }
    let mut stream = TcpStream::connect(("127.0.0.1", port)).context(|| "no connection to the node")?;
    stream.set_read_timeout(Some(PATIENCE)).context(|| "no time-out")?;
    let mut writer = stream.try_clone().context(|| "no second half")?;
    let copy = sent.clone();
    let writing =
        thread::spawn(move || writer.write_all(&copy).and_then(|()| writer.shutdown(Shutdown::Write)));
    let mut came = Vec::new();
    stream.read_to_end(&mut came).context(|| format!("the echo ended after {} bytes", came.len()))?;
    writing.join().map_err(|_| Failure::new("the writer panicked"))?.context(|| "cannot send")?;
    if came != sent {
        let same = came.iter().zip(&sent).take_while(|(one, other)| one == other).count();
        return Err(Failure::new(format!(
            "{} of {} bytes came back, {same} as sent",
            came.len(),
            sent.len()
        )));
    }
    Ok(())
}

/// The port of the emulator's host that leads to the node, as QEMU chose it: in the row of its table of connections that
/// has `HOST_FORWARD` in it the fourth column (`net/slirp.c`: protocol, descriptor, source address, port).
fn forwarded(table: &str) -> Result<u16> {
    let row = table.lines().find(|line| line.contains("HOST_FORWARD"));
    let port = row.and_then(|row| row.split_whitespace().nth(3)).and_then(|port| port.parse().ok());
    port.ok_or_else(|| Failure::new(format!("no port leads to the node:\n{table}")))
}

/// The node gets an address by this card, pings its router, and answers whoever connects to it.
fn the_node_is_on_the_network_by(card: &str) -> Result<()> {
    let config = format!(
        "{}address = \"dhcp\"\necho = true\n\n[[network]]\nname = \"lan\"\nuplink = \"eth0\"\n",
        NODE.trim_end().to_owned() + "\n"
    );
    let image = Image::new(1)?;
    let socket = image.monitor();
    let device = format!("{card},netdev=net0,mac=52:54:00:12:34:99");
    let mut node = node::boot_on(&Volume::new(config)?, |qemu| {
        qemu.monitor(&socket).args(["-netdev", "user,id=net0,hostfwd=tcp:127.0.0.1:0-:7", "-device", &device])
    })?;
    node.wait_for(&["network lan: DHCP: 10.0.2.15/24 from 10.0.2.2, gateway 10.0.2.2"])?;
    node.expect("node info", "10.0.2.15/24")?;
    node.expect("net info lan", "52:54:00:12:34:99")?;
    node.expect("net capture lan show", "nothing was captured there")?;
    node.expect("net capture lan icmp host 10.0.2.2 count 3", "The next 3 frames")?;
    node.type_text("ping 10.0.2.2 2\r")?;
    node.wait_for(&["2 sent, 2 answered"])?;
    let frames = node.command("net capture lan show")?;
    let between = |line: &&str| {
        line.contains("10.0.2.15 > 10.0.2.2 ICMP") || line.contains("10.0.2.2 > 10.0.2.15 ICMP")
    };
    if frames.lines().filter(between).count() != 3 {
        return Err(Failure::new(format!("these are not three of the ping's four frames:\n{frames}")));
    }
    node.expect("net info lan", "has ended: 3 of 3 frames, icmp host 10.0.2.2")?;
    let usernet = r#"{"execute":"human-monitor-command","arguments":{"command-line":"info usernet"}}"#;
    let table = monitor::tell(&socket, usernet)?;
    is_echoed_at(forwarded(table.as_str().unwrap_or_default())?)?;
    node.power_off()
}

#[test]
fn the_node_is_on_the_network_by_an_e1000e() -> Result<()> {
    the_node_is_on_the_network_by("e1000e")
}

#[test]
fn the_node_is_on_the_network_by_a_virtio_card() -> Result<()> {
    the_node_is_on_the_network_by("virtio-net-pci,disable-legacy=on")
}
