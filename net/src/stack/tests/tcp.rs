//! Listeners, streams and their limits.
use super::*;
use crate::frame::{Tcp as Segment, Transport};
use hostile::{Syn, segment};
use smoltcp::socket::tcp::State;

/// Byte `at` of what is sent, told apart from others near it.
fn byte(at: usize, from: u16) -> u8 {
    (at ^ at >> 8 ^ at >> 16) as u8 ^ from as u8
}

/// One direction of a stream: how much was written and read so far.
#[derive(Default)]
struct Flow {
    written: usize,
    read: usize,
    ended: bool,
}

impl Flow {
    fn write(&mut self, stack: &mut Stack, id: StreamId, from: u16, all: usize) {
        let bytes: Vec<u8> = (self.written..all.min(self.written + 5000)).map(|at| byte(at, from)).collect();
        self.written += stack.write(id, &bytes).expect("an open stream");
    }

    fn read(&mut self, stack: &mut Stack, id: StreamId, from: u16) {
        let mut into = [0; 3000];
        match stack.read(id, &mut into).expect("an open stream") {
            Read::Bytes(bytes) => {
                for (at, found) in into[..bytes].iter().enumerate() {
                    assert_eq!(*found, byte(self.read + at, from), "byte {}", self.read + at);
                }
                self.read += bytes;
            }
            Read::Nothing => {}
            Read::End => self.ended = true,
        }
    }
}

/// Sends so much in both directions, and sees to it that it comes.
fn exchange(wire: &mut Wire, to: IpAddr, all: usize) {
    let mut stacks = [station(2), station(3)];
    let listener = stacks[1].listen(80, 2).unwrap();
    let client = connect(&mut stacks[0], to, 80, 50000);
    let mut server = None;
    let (mut there, mut back) = (Flow::default(), Flow::default());
    let done = wire.run(&mut stacks, 600 * SECOND, |stacks| {
        let [one, other] = stacks else { unreachable!() };
        server = server.or_else(|| other.accept(listener));
        let Some(server) = server else { return false };
        there.write(one, client, 1, all);
        there.read(other, server, 1);
        back.write(other, server, 2, all);
        back.read(one, client, 2);
        there.read == all && back.read == all
    });
    assert!(done, "{} there, {} back of {all}", there.read, back.read);
    let server = server.unwrap();
    stacks[0].close(client);
    let done = wire.run(&mut stacks, 100 * SECOND, |stacks| {
        if !there.ended {
            there.read(&mut stacks[1], server, 1);
        }
        there.ended
    });
    assert!(done, "the end comes too");
    stacks[1].close(server);
    wire.pass(&mut stacks, 2 * LINGER);
    for (stack, listening) in stacks.iter().zip([0, 2]) {
        assert_eq!(stack.sockets.iter().count(), listening, "only listening sockets are left");
    }
}

#[test]
fn a_stream_carries_all_bytes_in_both_directions() {
    exchange(&mut Wire::new(), v4(3), 3 << 20);
    exchange(&mut Wire::new(), v6(3), 3 << 20);
}

#[test]
fn a_stream_carries_all_bytes_over_a_wire_that_loses_frames() {
    for seed in 1..6 {
        let mut wire = Wire { loss: 5, random: Random(seed), ..Wire::new() };
        exchange(&mut wire, if seed % 2 == 0 { v4(3) } else { v6(3) }, 200_000);
    }
}

#[test]
fn connections_are_accepted_in_the_order_of_their_coming_and_no_more_than_the_backlog_wait() {
    let (mut wire, mut stacks) = (Wire::new(), [station(2), station(3)]);
    let listener = stacks[1].listen(80, 3).unwrap();
    let clients: Vec<_> = (0..5)
        .map(|number| {
            let client = connect(&mut stacks[0], v4(3), 80, 50000 + number);
            wire.pass(&mut stacks, 100 * MILLISECOND);
            client
        })
        .collect();
    wire.pass(&mut stacks, 2 * SECOND);
    let open = |stacks: &[Stack]| -> Vec<bool> {
        clients.iter().map(|&client| !stacks[0].stream(client).unwrap().broken).collect()
    };
    assert_eq!(open(&stacks), [true, true, true, false, false]);
    for number in 0..3 {
        let stream = stacks[1].accept(listener).unwrap();
        let remote = stacks[1].stream(stream).unwrap().remote.unwrap();
        assert_eq!((remote.ip(), remote.port()), (v4(2), 50000 + number));
    }
    assert_eq!(stacks[1].accept(listener), None);
    let late = connect(&mut stacks[0], v4(3), 80, 50010);
    wire.pass(&mut stacks, SECOND);
    assert!(!stacks[0].stream(late).unwrap().broken);
}

#[test]
fn half_open_connections_cost_no_more_than_the_backlog_and_end() {
    let mut stack = station(2);
    let listener = stack.listen(80, 4).unwrap();
    stack.listen(443, 2).unwrap();
    let mut now = SECOND;
    hostile::introduce(&mut stack, now);
    let (mut accepted, mut reset) = (0, 0);
    for number in 0..1000u16 {
        stack.receive(segment(Syn { from: 1000 + number, to: 80 }));
        for frame in sent(&mut stack, now).0 {
            let headers = Headers::parse(&frame, frame.len()).unwrap();
            if let Transport::Tcp(Segment { flags, .. }) = headers.transport {
                let is_reset = flags.has(crate::frame::TcpFlags::RST);
                reset += usize::from(is_reset);
                accepted += usize::from(!is_reset);
            }
        }
    }
    assert_eq!((accepted, reset), (4, 996));
    assert_eq!(sockets(&stack, State::SynReceived), 4);
    assert_eq!(stack.sockets.iter().count(), 6);
    // Polled when it asks for it, it listens again when their time is over.
    while sockets(&stack, State::SynReceived) > 0 {
        now = sent(&mut stack, now).1.expect("a time when they end");
        assert!(now <= SECOND + HALF_OPEN, "{now}");
        sent(&mut stack, now);
    }
    assert_eq!((sockets(&stack, State::Listen), stack.accept(listener)), (6, None));
}

#[test]
fn no_more_streams_are_accepted_than_there_may_be() {
    let (mut wire, mut stacks) = (Wire::new(), [station(2), station(3)]);
    let listener = stacks[1].listen(80, 4).unwrap();
    let mut held = Vec::new();
    for number in 0..MAX_STREAMS as u16 + 2 {
        connect(&mut stacks[0], v4(3), 80, 50000 + number);
        wire.pass(&mut stacks, 50 * MILLISECOND);
        held.extend(stacks[1].accept(listener));
    }
    assert_eq!(held.len(), MAX_STREAMS);
    stacks[1].abort(held[0]);
    wire.pass(&mut stacks, SECOND);
    assert!(stacks[1].accept(listener).is_some(), "what waited is accepted when there is room");
    assert_eq!(stacks[1].accept(listener), None);
    assert_eq!(stacks[1].read(held[0], &mut [0]), Err(StreamError::Unknown));
}

#[test]
fn a_stream_whose_other_side_does_not_close_is_ended() {
    let (mut wire, mut stacks) = (Wire::new(), [station(2), station(3)]);
    let listener = stacks[1].listen(80, 1).unwrap();
    let client = connect(&mut stacks[0], v4(3), 80, 50000);
    wire.pass(&mut stacks, SECOND);
    let stream = stacks[1].accept(listener).unwrap();
    stacks[1].close(stream);
    wire.pass(&mut stacks, SECOND);
    assert_eq!(stacks[0].read(client, &mut [0]), Ok(Read::End));
    assert_eq!(sockets(&stacks[1], State::FinWait2), 1);
    wire.pass(&mut stacks, LINGER + 2 * SECOND);
    assert_eq!(stacks[1].sockets.iter().count(), 1);
    assert_eq!(stacks[0].write(client, b"more"), Err(StreamError::Broken));
}

#[test]
fn a_stream_to_a_station_that_is_gone_breaks() {
    let (mut wire, mut stacks) = (Wire::new(), [station(2), station(3)]);
    let listener = stacks[1].listen(80, 1).unwrap();
    connect(&mut stacks[0], v4(3), 80, 50000);
    wire.pass(&mut stacks, SECOND);
    let stream = stacks[1].accept(listener).unwrap();
    stacks[0].set_link(false);
    wire.pass(&mut stacks, 100 * SECOND);
    assert!(stacks[1].stream(stream).unwrap().broken);
    assert_eq!(stacks[1].read(stream, &mut [0]), Err(StreamError::Broken));
    stacks[1].abort(stream);
    wire.pass(&mut stacks, 5 * SECOND);
    assert_eq!(stacks[1].sockets.iter().count(), 1);
}

#[test]
fn a_station_that_does_not_read_is_sent_no_more_than_fits() {
    let (mut wire, mut stacks) = (Wire::new(), [station(2), station(3)]);
    let listener = stacks[1].listen(80, 1).unwrap();
    let client = connect(&mut stacks[0], v4(3), 80, 50000);
    wire.pass(&mut stacks, SECOND);
    let stream = stacks[1].accept(listener).unwrap();
    let mut written = 0;
    wire.run(&mut stacks, 120 * SECOND, |stacks| {
        written += stacks[1].write(stream, &[7; 4096]).unwrap();
        false
    });
    assert_eq!(written, 2 * BUFFER);
    let status = stacks[1].stream(stream).unwrap();
    assert_eq!((status.writable, status.unacknowledged, status.broken), (0, BUFFER, false));
    let mut read = 0;
    wire.run(&mut stacks, 60 * SECOND, |stacks| {
        if let Ok(Read::Bytes(bytes)) = stacks[0].read(client, &mut [0; 2048]) {
            read += bytes;
        }
        read == written
    });
    assert_eq!(read, written);
}

#[test]
fn a_port_is_listened_at_once_and_within_the_limits() {
    let mut stack = station(2);
    assert_eq!(stack.listen(0, 1), Err(ListenRefused::Port));
    assert_eq!(stack.listen(80, 0), Err(ListenRefused::Backlog { left: MAX_BACKLOG }));
    let web = stack.listen(80, 10).unwrap();
    assert_eq!(stack.listen(80, 1), Err(ListenRefused::Taken(80)));
    assert_eq!(stack.listen(443, 7), Err(ListenRefused::Backlog { left: 6 }));
    stack.listen(443, 6).unwrap();
    stack.unlisten(web);
    assert_eq!(stack.accept(web), None);
    stack.listen(80, 10).unwrap();
    sent(&mut stack, SECOND);
    assert_eq!(stack.sockets.iter().count(), 16);
}

#[test]
fn where_nobody_listens_a_connection_is_reset() {
    let mut stack = station(2);
    hostile::introduce(&mut stack, SECOND);
    stack.receive(segment(Syn { from: 1000, to: 81 }));
    let (frames, _) = sent(&mut stack, SECOND);
    let headers = Headers::parse(&frames[0], frames[0].len()).unwrap();
    let Transport::Tcp(answer) = headers.transport else { panic!("{headers:?}") };
    assert!(answer.flags.has(crate::frame::TcpFlags::RST));
    assert_eq!(frames.len(), 1);
}
