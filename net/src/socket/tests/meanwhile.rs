//! What happens while somebody has a frame in his hands that the card has just refused, or tells it something.
use super::*;
use Priority::{Bulk, Normal, Urgent};

/// A card with room for so many frames, in which there is one that is started.
fn rig(capacity: usize) -> (Arc<Rig>, Arc<Told>) {
    let rig = Rig::with(Card::new(1, capacity), SocketConfig::new("cluster", CLUSTER));
    let told = Told::new();
    rig.send(Normal, 0, &told).unwrap();
    rig.socket.start();
    (Arc::new(rig), told)
}

/// All that the card knows goes out, and its task looks.
fn make_room(card: &Card) {
    card.start();
    card.send(0, usize::MAX);
    card.poll(0);
}

#[test]
fn room_that_comes_before_the_refusal_is_known_is_used_at_once() {
    let (rig, told) = rig(1);
    rig.card.when_full(make_room);
    rig.send(Normal, 1, &told).unwrap();
    assert_eq!(rig.card.numbers(), [0, 1]);
    // It was started, too: whoever was refused may have nothing to start it with.
    assert_eq!(rig.card.state.lock().rings[0].started, 1);
}

#[test]
fn so_is_room_that_comes_while_frames_that_waited_go_out() {
    let (rig, told) = rig(1);
    (1..4).for_each(|number| rig.send(Normal, number, &told).unwrap());
    rig.card.when_full(make_room);
    // The first that waited goes; the second is refused.
    make_room(&rig.card);
    assert_eq!(rig.card.numbers(), [0, 1, 2]);
    rig.card.drain();
    assert_eq!((rig.card.numbers(), told.all()), (std::vec![0, 1, 2, 3], std::vec![0, 1, 2, 3]));
}

#[test]
fn what_others_send_meanwhile_comes_after_it_unless_it_is_more_urgent() {
    let (rig, told) = rig(1);
    let (other, others) = (rig.clone(), told.clone());
    rig.card.when_full(move |_| {
        other.send(Normal, 2, &others).unwrap();
        other.send(Bulk, 3, &others).unwrap();
        other.send(Urgent, 4, &others).unwrap();
    });
    rig.send(Normal, 1, &told).unwrap();
    assert_eq!(rig.outgoing(Normal).waiting.frames, 2);
    rig.card.drain();
    assert_eq!(rig.card.numbers(), [0, 4, 1, 2, 3]);
}

#[test]
fn a_link_that_goes_meanwhile_leaves_nothing_behind() {
    // In the hands of the sender, who is told himself.
    let (first, told) = rig(1);
    first.card.when_full(|card| card.set_link(false));
    assert_eq!(first.send(Normal, 1, &told), Err(SendError::Down));
    assert_eq!((told.all(), first.outgoing(Normal).waiting.frames), (std::vec![], 0));
    // And of one that had waited.
    let (rig, told) = rig(1);
    (1..4).for_each(|number| rig.send(Normal, number, &told).unwrap());
    rig.card.when_full(|card| card.set_link(false));
    make_room(&rig.card);
    assert_eq!((told.all(), rig.outgoing(Normal).waiting.frames), (std::vec![0, 3, 2], 0));
    assert_eq!(rig.outgoing(Normal).dropped, 2);
    rig.card.set_link(true);
    rig.card.drain();
    assert_eq!((rig.card.numbers(), told.all()), (std::vec![0, 1], std::vec![0, 3, 2, 1]));
}

#[test]
fn a_socket_that_is_closed_meanwhile_leaves_nothing_behind() {
    let (rig, told) = rig(1);
    let second = rig.interface.open(SocketConfig::new("second", EtherType(0x88b6))).unwrap();
    for number in 1..4u64 {
        let header = number.to_be_bytes();
        let message = Message { to: PEER, priority: Urgent, header: &header, payload: &[] };
        second.send(&message, Some(told.done(number))).unwrap();
    }
    rig.card.when_full(move |_| drop(second));
    make_room(&rig.card);
    assert_eq!(told.all(), [0, 3, 2]);
    rig.card.drain();
    assert_eq!((rig.card.numbers(), told.all()), (std::vec![0, 1], std::vec![0, 3, 2, 1]));
}

#[test]
fn who_found_no_room_meanwhile_is_woken() {
    let limits = [Limit { frames: 1, bytes: 1000 }; 3];
    let rig =
        Arc::new(Rig::with(Card::new(1, 1), SocketConfig { limits, ..SocketConfig::new("x", CLUSTER) }));
    let told = Told::new();
    rig.send(Normal, 0, &told).unwrap();
    let (other, others) = (rig.clone(), told.clone());
    rig.card.when_full(move |_| assert_eq!(other.send(Normal, 2, &others), Ok(())));
    // The other took the place to wait.
    assert_eq!(rig.send(Normal, 1, &told), Err(SendError::Full));
    let mut room = std::boxed::Box::pin(rig.socket.room(Normal));
    assert!(poll(&mut room).is_pending());
    rig.card.drain();
    assert!(poll(&mut room).is_ready());
    assert_eq!((rig.card.numbers(), told.all()), (std::vec![0, 2], std::vec![0, 2]));
}

#[test]
fn a_group_that_is_joined_while_the_card_is_told_of_another_is_not_forgotten() {
    let (rig, _) = rig(1);
    let second = Mac([0x33, 0x33, 0, 0, 0, 2]);
    let other = rig.clone();
    // The card is told of both first, and then of the first alone.
    rig.card.before_filter(move |_| other.socket.join(second).unwrap());
    rig.socket.join(GROUP).unwrap();
    assert_eq!(rig.card.state.lock().filters.last().unwrap().groups, [second, GROUP]);
}
