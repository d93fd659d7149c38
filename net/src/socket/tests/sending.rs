//! What goes out, in which order, and what waits.
use super::*;
use Priority::{Bulk, Normal, Urgent};

#[test]
fn a_frame_is_a_header_the_messages_header_and_the_payload_where_it_lies() {
    let rig = Rig::new();
    let told = Told::new();
    let payload =
        [Segment { address: Hpa::new(0x1000), bytes: 4096 }, Segment { address: Hpa::new(0x8000), bytes: 1 }];
    let message = Message { to: PEER, priority: Normal, header: b"head", payload: &payload };
    rig.socket.send(&message, Some(told.done(1))).unwrap();
    rig.socket.start();
    let taken = rig.card.state.lock().log[0].clone();
    #[rustfmt::skip]
    let expected = [0x52, 0x54, 0, 0, 1, 2, 0x52, 0x54, 0, 0, 0, 1, 0x88, 0xb5, b'h', b'e', b'a', b'd'];
    assert_eq!((taken.beginning, taken.rest), (expected.to_vec(), payload.to_vec()));
    assert_eq!(told.all(), []);
    rig.card.drain();
    assert_eq!(told.all(), [1]);
    assert_eq!(rig.outgoing(Normal).sent.bytes, 18 + 4097);
    assert_eq!((rig.socket.mac(), rig.socket.nic_name()), (OWN, "eth0"));
}

#[test]
fn in_a_vlan_the_tag_tells_the_priority() {
    let config = SocketConfig { vlan: vlan(0x123), ..SocketConfig::new("cluster", CLUSTER) };
    let rig = Rig::with(Card::new(1, 16), config);
    for priority in Priority::ALL {
        let message = Message { to: Mac::BROADCAST, priority, header: b"x", payload: &[] };
        rig.socket.send(&message, None).unwrap();
    }
    let state = rig.card.state.lock();
    let tags: Vec<_> = state.log.iter().map(|taken| taken.beginning[12..18].to_vec()).collect();
    let tag = |first| [0x81, 0, first, 0x23, 0x88, 0xb5].to_vec();
    assert_eq!(tags, [tag(0xc1), tag(0x61), tag(0x21)]);
}

#[test]
fn a_header_may_be_all_of_a_frame_and_a_frame_no_longer_than_the_mtu() {
    let rig = Rig::new();
    let bytes: Vec<u8> = (0..9001).map(|i| i as u8).collect();
    let send = |header: &[u8], payload: &[Segment]| {
        rig.socket.send(&Message { to: PEER, priority: Normal, header, payload }, None)
    };
    for len in [0, 1, 241, 242, 243, 1500, 9000] {
        send(&bytes[..len], &[]).unwrap();
        let taken = rig.card.state.lock().log.pop().unwrap();
        assert_eq!((&taken.beginning[14..], taken.beginning.len()), (&bytes[..len], 14 + len));
    }
    let payload = |bytes| [Segment { address: Hpa::new(0), bytes }];
    assert_eq!(send(&bytes, &[]), Err(SendError::TooLong));
    assert_eq!(send(&bytes[..1], &payload(9000)), Err(SendError::TooLong));
    assert_eq!(send(&bytes[..1], &payload(8999)), Ok(()));
    assert_eq!(send(&[], &[payload(u32::MAX)[0]; SEGMENTS]), Err(SendError::TooLong));
    assert_eq!(rig.socket.state().mtu, 9000);
}

#[test]
fn what_can_not_go_out_is_refused_and_counted_and_nobody_is_told() {
    let rig = Rig::new();
    let told = Told::new();
    let piece = Segment { address: Hpa::new(0x1000), bytes: 1 };
    let send = |to, payload: &[Segment]| {
        rig.socket.send(&Message { to, priority: Urgent, header: b"x", payload }, Some(told.done(0)))
    };
    for nobody in [OWN, Mac::NONE] {
        assert_eq!(send(nobody, &[]), Err(SendError::Destination));
    }
    assert_eq!(send(PEER, &[piece, Segment { bytes: 0, ..piece }]), Err(SendError::Pieces));
    assert_eq!(send(PEER, &[piece; SEGMENTS + 1]), Err(SendError::Pieces));
    // More than this card takes.
    assert_eq!(send(PEER, &[piece; SEGMENTS]), Err(SendError::Pieces));
    let refusals: Vec<_> = rig.outgoing(Urgent).refusals().collect();
    assert_eq!(refusals, [(SendError::Destination, 2), (SendError::Pieces, 3)]);
    rig.card.drain();
    assert_eq!((told.all(), rig.card.numbers()), (Vec::new(), Vec::new()));
    assert_eq!(Arc::strong_count(&told), 1);
}

#[test]
fn what_a_full_card_refuses_goes_out_by_priority_when_there_is_room() {
    let rig = Rig::with(Card::new(1, 2), SocketConfig::new("cluster", CLUSTER));
    let told = Told::new();
    let order = [Bulk, Bulk, Bulk, Normal, Bulk, Urgent, Normal, Urgent];
    for (number, priority) in order.into_iter().enumerate() {
        assert_eq!(rig.send(priority, number as u64, &told), Ok(()));
    }
    rig.socket.start();
    assert_eq!(rig.card.numbers(), [0, 1]);
    let waiting = |priority| rig.outgoing(priority).waiting.frames;
    assert_eq!(Priority::ALL.map(waiting), [2, 2, 2]);
    rig.card.drain();
    assert_eq!(rig.card.numbers(), [0, 1, 5, 7, 3, 6, 2, 4]);
    assert_eq!(Priority::ALL.map(waiting), [0; 3]);
    let mut all = told.all();
    all.sort_unstable();
    assert_eq!(all, (0..8).collect::<Vec<_>>());
}

#[test]
fn an_urgent_frame_takes_room_that_nobody_was_told_of() {
    let rig = Rig::with(Card::new(1, 2), SocketConfig::new("cluster", CLUSTER));
    let told = Told::new();
    (0..4).for_each(|number| rig.send(Normal, number, &told).unwrap());
    // One is out, and the card's task has not looked.
    rig.card.send(0, 1);
    rig.send(Urgent, 9, &told).unwrap();
    assert_eq!(rig.card.numbers(), [0, 1, 9]);
    rig.card.drain();
    assert_eq!(rig.card.numbers(), [0, 1, 9, 2, 3]);
}

#[test]
fn bulk_leaves_room_in_the_card_for_what_comes_after_it() {
    let card = Card::new(1, 1000);
    let rig = Rig::with(card, SocketConfig::new("cluster", CLUSTER));
    let told = Told::new();
    let payload = [Segment { address: Hpa::new(0x1000), bytes: 8192 }];
    let send = |priority, number: u64| {
        let header = number.to_be_bytes();
        rig.socket.send(
            &Message { to: PEER, priority, header: &header, payload: &payload },
            Some(told.done(number)),
        )
    };
    (0..100).for_each(|number| send(Bulk, number).unwrap());
    (100..200).for_each(|number| send(Normal, number).unwrap());
    rig.socket.start();
    let in_card = |end| rig.card.numbers().into_iter().filter(|&number| number < end).count();
    // 512 KiB, rounded up to whole frames.
    assert_eq!((in_card(100), rig.card.numbers().len()), (64, 164));
    // Each that is out lets another go.
    rig.card.send(0, 10);
    rig.card.poll(0);
    assert_eq!(in_card(100), 74);
    rig.card.drain();
    assert_eq!(told.all().len(), 200);
    let bulk: Vec<_> = rig.card.numbers().into_iter().filter(|&number| number < 100).collect();
    assert_eq!(bulk, (0..100).collect::<Vec<_>>());
}

fn small(frames: usize, bytes: usize) -> SocketConfig {
    SocketConfig { limits: [Limit { frames, bytes }; 3], ..SocketConfig::new("cluster", CLUSTER) }
}

#[test]
fn who_has_as_much_waiting_as_he_may_waits_himself() {
    let rig = Rig::with(Card::new(1, 1), small(4, 1000));
    let told = Told::new();
    let mut room = std::boxed::Box::pin(rig.socket.room(Normal));
    assert!(poll(&mut room).is_ready());
    (0..5).for_each(|number| rig.send(Normal, number, &told).unwrap());
    assert_eq!(rig.send(Normal, 5, &told), Err(SendError::Full));
    let mut room = std::boxed::Box::pin(rig.socket.room(Normal));
    assert!(poll(&mut room).is_pending());
    // Each priority has its own.
    assert_eq!(rig.send(Urgent, 6, &told), Ok(()));
    assert!(poll(&mut std::boxed::Box::pin(rig.socket.room(Urgent))).is_ready());
    for left in [4, 3] {
        // Each of these makes room for one frame.
        rig.card.send(0, 1);
        rig.card.poll(0);
        assert_eq!((rig.outgoing(Normal).waiting.frames, poll(&mut room).is_ready()), (left, false));
    }
    rig.card.send(0, 1);
    rig.card.poll(0);
    // Half of it is out.
    assert!(poll(&mut room).is_ready());
    assert_eq!(rig.send(Normal, 7, &told), Ok(()));
    rig.card.drain();
    assert_eq!(rig.card.numbers(), [0, 6, 1, 2, 3, 4, 7]);
    assert_eq!(rig.outgoing(Normal).refused(SendError::Full), 1);
}

#[test]
fn bytes_are_limited_as_frames_are_and_one_frame_may_always_wait() {
    let rig = Rig::with(Card::new(1, 1), small(100, 50));
    let told = Told::new();
    // Each has 22 bytes.
    let results: Vec<_> = (0..5).map(|number| rig.send(Normal, number, &told)).collect();
    assert_eq!(results, [Ok(()), Ok(()), Ok(()), Err(SendError::Full), Err(SendError::Full)]);
    let long = Message { to: PEER, priority: Urgent, header: &[0; 1000], payload: &[] };
    assert_eq!(rig.socket.send(&long, None), Ok(()));
    assert_eq!(rig.socket.send(&long, None), Err(SendError::Full));
}

#[test]
fn who_is_refused_has_nothing_left_to_start() {
    let rig = Rig::with(Card::new(1, 3), small(2, 10000));
    let told = Told::new();
    (0..5).for_each(|number| rig.send(Normal, number, &told).unwrap());
    assert_eq!(rig.send(Normal, 5, &told), Err(SendError::Full));
    assert_eq!(rig.card.state.lock().rings[0].started, 3);
    rig.card.drain();
    assert_eq!(told.all(), [0, 1, 2, 3, 4]);
    // Nor is that so where bulk waits for other bulk.
    let rig = Rig::with(Card::new(1, 1000), small(1, 0));
    let payload = [Segment { address: Hpa::new(0), bytes: 8192 }];
    let bulk = Message { to: PEER, priority: Bulk, header: &[0; 8], payload: &payload };
    let refused = (0..1000).find(|&number| rig.socket.send(&bulk, Some(told.done(100 + number))).is_err());
    assert_eq!(refused, Some(65));
    assert_eq!(rig.card.state.lock().rings[0].started, 64);
}

/// Sends another frame whenever one is out.
struct Chain {
    socket: Mutex<Option<Arc<Socket>>>,
    told: Mutex<Vec<u64>>,
}

impl Sent for Chain {
    fn sent(&self, tag: u64) {
        self.told.lock().push(tag);
        let Some(socket) = self.socket.lock().clone() else { return };
        let header = (tag + 10).to_be_bytes();
        let message = Message { to: PEER, priority: Bulk, header: &header, payload: &[] };
        // This chain has no end but the card's.
        let _ = socket.send(&message, None);
    }
}

#[test]
fn who_is_told_may_send_at_once() {
    let rig = Rig::with(Card::new(1, 2), SocketConfig::new("cluster", CLUSTER));
    let Rig { card, socket, .. } = rig;
    let socket = Arc::new(socket);
    let chain = Arc::new(Chain { socket: Mutex::new(Some(socket.clone())), told: Mutex::default() });
    for number in 0..5u64 {
        let header = number.to_be_bytes();
        let message = Message { to: PEER, priority: Bulk, header: &header, payload: &[] };
        socket.send(&message, Some(Done { to: chain.clone(), tag: number })).unwrap();
    }
    socket.start();
    card.drain();
    socket.start();
    card.drain();
    assert_eq!(*chain.told.lock(), [0, 1, 2, 3, 4]);
    let mut numbers = card.numbers();
    assert!(numbers.iter().filter(|&&number| number < 10).is_sorted());
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]);
    *chain.socket.lock() = None;
}

#[test]
fn each_of_a_cards_queues_has_frames_that_wait_for_it_alone() {
    let rig = Rig::with(Card::new(2, 1), SocketConfig::new("cluster", CLUSTER));
    let told = Told::new();
    for number in [0, 1, 2] {
        on_queue(0, || rig.send(Normal, number, &told).unwrap());
        on_queue(1, || rig.send(Normal, number + 10, &told).unwrap());
    }
    let numbers_of = |queue| -> Vec<u64> {
        let state = rig.card.state.lock();
        state.log.iter().filter(|taken| taken.queue == queue).map(card::Taken::number).collect()
    };
    assert_eq!((numbers_of(0), numbers_of(1)), (std::vec![0], std::vec![10]));
    rig.card.send(1, 1);
    rig.card.poll(1);
    // The other's room is none for what waits here.
    assert_eq!((numbers_of(0), numbers_of(1)), (std::vec![0], std::vec![10, 11]));
    rig.card.drain();
    assert_eq!((numbers_of(0), numbers_of(1)), (std::vec![0, 1, 2], std::vec![10, 11, 12]));
}

/// A guest's frame, by a switch that makes way.
fn guest(rig: &Rig) -> bool {
    let bytes = frame(PEER, OWN, None, EtherType(0x1234), &[0; 46]);
    let frame = Frame { beginning: &bytes, rest: &[], offload: Offload::default() };
    let sent = rig.interface.make_way() && rig.card.transmit(&frame, None).is_ok();
    rig.card.start();
    sent
}

#[test]
fn guests_that_never_cease_to_send_keep_no_urgent_frame_waiting() {
    let rig = Rig::with(Card::new(1, 4), SocketConfig::new("cluster", CLUSTER));
    let told = Told::new();
    while guest(&rig) {}
    rig.send(Urgent, 1, &told).unwrap();
    rig.send(Normal, 2, &told).unwrap();
    assert_eq!(rig.outgoing(Urgent).waiting.frames, 1);
    // One place gets free at a time, of which the card tells nobody. First come those who have waited.
    for (waiting, guests) in [((0, 1), false), ((0, 0), false), ((0, 0), true)] {
        rig.card.send(0, 1);
        assert_eq!(guest(&rig), guests);
        let frames = |priority| rig.outgoing(priority).waiting.frames;
        assert_eq!((frames(Urgent), frames(Normal)), waiting);
    }
    assert_eq!(rig.card.numbers()[4..6], [1, 2]);
}

#[test]
fn guests_need_not_make_way_for_bulk_nor_for_what_is_dropped() {
    let rig = Rig::with(Card::new(1, 2), SocketConfig::new("cluster", CLUSTER));
    let told = Told::new();
    while guest(&rig) {}
    rig.send(Bulk, 1, &told).unwrap();
    assert!(rig.interface.make_way());
    rig.card.send(0, 1);
    assert!(guest(&rig));
    assert_eq!(rig.outgoing(Bulk).waiting.frames, 1);
    rig.send(Normal, 2, &told).unwrap();
    assert!(!rig.interface.make_way());
    rig.card.set_link(false);
    rig.card.set_link(true);
    assert!(rig.interface.make_way());
    // Nor for a socket that is closed.
    rig.send(Normal, 3, &told).unwrap();
    assert!(!rig.interface.make_way());
    let Rig { interface, socket, .. } = rig;
    drop(socket);
    assert!(interface.make_way());
}
