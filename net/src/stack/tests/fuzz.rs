//! Frames of chance, and sound ones that were changed here and there.
use super::hostile::{echo_request, ipv4_frame, ipv6_frame, tcp};
use super::*;
use crate::frame::Protocol;
use crate::frame::checksum::Sum;

/// Frames of all kinds to begin with.
fn seeds() -> Vec<Vec<u8>> {
    let (IpAddr::V4(one), IpAddr::V4(two)) = (v4(1), v4(2)) else { unreachable!() };
    let (IpAddr::V6(one6), IpAddr::V6(two6)) = (v6(1), v6(2)) else { unreachable!() };
    let all_nodes: Ipv6Addr = "ff02::1".parse().unwrap();
    let mut seeds = vec![
        echo_request(v4(1), v4(2)),
        echo_request(v6(1), v6(2)),
        echo_request(v6(1), IpAddr::V6(all_nodes)),
        neighbour::search(v4(2), v4(1), mac(1)).unwrap(),
        neighbour::search(v6(2), v6(1), mac(1)).unwrap(),
        ipv4_frame(one, two, Protocol::UDP, &[0, 67, 0, 68, 0, 8, 0, 0]),
        ipv6_frame(one6, two6, Protocol::UDP, &[0, 67, 0, 68, 0, 8, 0, 0]),
        ipv4_frame(one, two, Protocol(2), &[0x11, 0, 0xee, 0xff, 0, 0, 0, 0]),
        // Hop-by-hop options with a router alert, then a query for listeners (MLD).
        ipv6_frame(
            one6,
            all_nodes,
            Protocol::HOP_BY_HOP,
            &[58, 0, 5, 2, 0, 0, 1, 0, 130, 0, 0, 0, 0, 1, 0, 0],
        ),
        ipv6_frame(one6, two6, Protocol::HOP_BY_HOP, &[58, 0, 0xc5, 2, 0, 0, 1, 0, 130, 0, 0, 0]),
    ];
    for (kind, code) in [(0, 0), (3, 1), (11, 0), (12, 0)] {
        let message = [&[kind, code, 0, 0, 0, 0, 0, 0], &echo_request(v4(2), v4(1))[14..]].concat();
        seeds.push(ipv4_frame(one, two, Protocol::ICMP, &message));
    }
    for kind in [1, 2, 3, 4, 129, 130, 131, 133, 134, 135, 136, 137, 143] {
        let message = [&[kind, 0, 0, 0, 0, 0, 0, 0], &echo_request(v6(2), v6(1))[14..]].concat();
        seeds.push(ipv6_frame(one6, two6, Protocol::ICMPV6, &message));
    }
    for flags in 0..64 {
        seeds.push(ipv4_frame(one, two, Protocol::TCP, &tcp(one, two, 1000, 80, 1001, 0, flags)));
    }
    seeds
}

/// Puts checksums right, so that a mutated frame gets further than its headers.
fn repair(frame: &mut [u8]) {
    if frame.len() < 54 {
        return;
    }
    let length = (frame.len() - 14) as u16;
    let at = match (frame[12], frame[13]) {
        (8, 0) => {
            frame[14] = 0x45;
            frame[16..18].copy_from_slice(&length.to_be_bytes());
            frame[20..22].fill(0);
            frame[24..26].fill(0);
            let sum = Sum::new().bytes(&frame[14..34]).checksum();
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
            34
        }
        (0x86, 0xdd) => {
            frame[14] = 0x60;
            frame[18..20].copy_from_slice(&(length - 40).to_be_bytes());
            54
        }
        _ => return,
    };
    let is_v4 = at == 34;
    let protocol = Protocol(if is_v4 { frame[23] } else { frame[20] });
    let place = match protocol {
        Protocol::ICMP | Protocol::ICMPV6 => 2,
        Protocol::TCP => 16,
        Protocol::UDP => 6,
        _ => return,
    };
    if frame.len() < at + place + 2 {
        return;
    }
    frame[at + place..at + place + 2].fill(0);
    let bytes = (frame.len() - at) as u32;
    let sum = match (is_v4, protocol) {
        (true, Protocol::ICMP) => Sum::new(),
        (true, _) => Sum::new().bytes(&frame[26..34]).bytes(&bytes.to_be_bytes()).word(protocol.0.into()),
        (false, _) => Sum::new().bytes(&frame[22..54]).bytes(&bytes.to_be_bytes()).word(protocol.0.into()),
    };
    let sum = sum.bytes(&frame[at..]).checksum_udp();
    frame[at + place..at + place + 2].copy_from_slice(&sum.to_be_bytes());
}

fn mutate(random: &mut Random, frame: &mut Vec<u8>) {
    for _ in 0..random.below(4) {
        let at = random.below(frame.len());
        frame[at] = match random.below(3) {
            0 => random.number() as u8,
            1 => frame[at] ^ 1 << random.below(8),
            _ => [0, 0xff, 0x7f, 0x80][random.below(4)],
        };
    }
    match random.below(8) {
        0 => frame.truncate(1 + random.below(frame.len())),
        1 => frame.extend((0..random.below(60)).map(|_| random.number() as u8)),
        _ => {}
    }
}

/// Feeds mutations of these to a stack that listens and pings, and lets all of it happen.
fn fuzz(mut stack: Stack, seeds: &[Vec<u8>], rounds: usize, seed: u64) {
    let mut random = Random(seed);
    let mut now = SECOND;
    let listener = stack.listen(80, 4).unwrap();
    let mut streams = Vec::new();
    let mut ping = None;
    for round in 0..rounds {
        let mut frame = seeds[random.below(seeds.len())].clone();
        mutate(&mut random, &mut frame);
        if random.below(4) > 0 {
            repair(&mut frame);
        }
        stack.receive(frame);
        if random.below(3) == 0 {
            now += random.number() % (if random.below(50) == 0 { 100 * SECOND } else { SECOND / 10 });
            sent(&mut stack, now);
        }
        if round % 100 == 0 {
            streams.extend(stack.accept(listener));
            if let Some(ping) = ping.take() {
                stack.close_ping(ping);
            }
            ping = stack.open_ping(if round % 200 == 0 { v4(1) } else { v6(1) }).ok();
            if let Some(ping) = ping {
                let _ = stack.ping(ping, 1, vec![1; 20], now + SECOND);
            }
        }
        if round % 1000 == 0 {
            streams.drain(..).for_each(|stream| stack.close(stream));
        }
        assert!(stack.sockets.iter().count() <= MAX_BACKLOG + MAX_STREAMS + MAX_PINGS + 1);
    }
}

#[test]
fn random_frames_do_no_harm() {
    let mut random = Random(3);
    let seeds: Vec<Vec<u8>> =
        (0..1000).map(|_| (0..1 + random.below(200)).map(|_| random.number() as u8).collect()).collect();
    fuzz(station(2), &seeds, 20_000, 5);
}

#[test]
fn mutated_frames_do_no_harm() {
    for seed in 1..9 {
        fuzz(station(2), &seeds(), 20_000, seed);
    }
}

/// A conversation of one stream: its client's segments are mutated and mixed up on their way.
#[test]
fn mutated_segments_of_a_stream_do_no_harm() {
    for seed in 1..60 {
        let mut random = Random(seed * 77);
        let mut client = station(1);
        let mut server = station(2);
        let listener = server.listen(80, 2).unwrap();
        let stream = connect(&mut client, if seed % 2 == 0 { v4(2) } else { v6(2) }, 80, 1000);
        let (mut now, mut accepted, mut old) = (SECOND, None, Vec::new());
        for _ in 0..400 {
            let _ = client.write(stream, &[5; 2000][..random.below(2000)]);
            accepted = accepted.or_else(|| server.accept(listener));
            if let Some(accepted) = accepted {
                let _ = server.write(accepted, &[6; 2000][..random.below(2000)]);
                let _ = server.read(accepted, &mut [0; 3000][..random.below(3000)]);
            }
            for frame in sent(&mut client, now).0 {
                if random.below(10) == 0 {
                    let mut copy = frame.clone();
                    let header = if seed % 2 == 0 { 34 } else { 54 };
                    if copy.len() >= header + 20 {
                        // Sequence, acknowledgement, header length, flags, window, options.
                        let at = header + 4 + random.below(copy.len().min(header + 32) - header - 4);
                        copy[at] = random.number() as u8;
                    }
                    repair(&mut copy);
                    server.receive(copy);
                }
                if random.below(20) > 0 {
                    server.receive(frame.clone());
                }
                old.push(frame);
            }
            if !old.is_empty() && random.below(10) == 0 {
                server.receive(old[random.below(old.len())].clone());
            }
            for mut frame in sent(&mut server, now).0 {
                if random.below(20) == 0 {
                    mutate(&mut random, &mut frame);
                    repair(&mut frame);
                }
                client.receive(frame);
            }
            now += random.number() % (if random.below(30) == 0 { 3 * SECOND } else { 20 * MILLISECOND });
        }
    }
}
