//! Links that go, cards that are pulled out or reset, sockets that are closed.
use super::*;
use Priority::{Bulk, Normal, Urgent};

/// Three frames in the card, and three that wait, of each priority.
fn busy() -> (Rig, Arc<Told>) {
    let rig = Rig::with(Card::new(1, 3), SocketConfig::new("cluster", CLUSTER));
    let told = Told::new();
    for (number, priority) in [Bulk, Bulk, Bulk, Normal, Urgent, Bulk].into_iter().enumerate() {
        rig.send(priority, number as u64, &told).unwrap();
    }
    rig.socket.start();
    (rig, told)
}

fn sorted(told: &Told) -> Vec<u64> {
    let mut all = told.all();
    all.sort_unstable();
    all
}

#[test]
fn without_a_link_nothing_waits_and_nothing_is_accepted() {
    let (rig, told) = busy();
    let before = *rig.heard.changes.lock();
    rig.card.set_link(false);
    assert_eq!(sorted(&told), [3, 4, 5]);
    assert_eq!(Priority::ALL.map(|priority| rig.outgoing(priority).dropped), [1, 1, 1]);
    assert_eq!(Priority::ALL.map(|priority| rig.outgoing(priority).waiting.frames), [0; 3]);
    assert_eq!(rig.send(Urgent, 9, &told), Err(SendError::Down));
    assert_eq!((*rig.heard.changes.lock(), rig.socket.state().link.up), (before + 1, false));
    rig.card.set_link(true);
    assert!(rig.socket.state().link.up && rig.socket.state().present);
    rig.card.drain();
    assert_eq!(rig.send(Urgent, 10, &told), Ok(()));
    rig.socket.start();
    rig.card.drain();
    assert_eq!(rig.card.numbers(), [0, 1, 2, 10]);
    assert_eq!(sorted(&told), [0, 1, 2, 3, 4, 5, 10]);
}

#[test]
fn a_link_that_is_gone_before_anybody_was_told_refuses_too() {
    let (rig, told) = busy();
    rig.card.state.lock().up = false;
    rig.card.drain();
    // Those that waited found it out.
    assert_eq!(sorted(&told), [0, 1, 2, 3, 4, 5]);
    assert_eq!(rig.send(Normal, 9, &told), Err(SendError::Down));
    assert_eq!(rig.outgoing(Normal).refused(SendError::Down), 1);
}

#[test]
fn a_card_without_a_link_at_first_gets_one() {
    let card = Card::new(1, 16);
    card.state.lock().up = false;
    let rig = Rig::with(card, SocketConfig::new("cluster", CLUSTER));
    let told = Told::new();
    assert_eq!(rig.send(Normal, 0, &told), Err(SendError::Down));
    rig.card.set_link(true);
    assert_eq!(rig.send(Normal, 0, &told), Ok(()));
}

#[test]
fn a_card_that_is_pulled_out_takes_all_with_it_for_ever() {
    let (rig, told) = busy();
    let mut room = std::boxed::Box::pin(rig.socket.room(Normal));
    rig.card.remove();
    assert_eq!(sorted(&told), [0, 1, 2, 3, 4, 5]);
    assert_eq!(rig.send(Normal, 9, &told), Err(SendError::Gone));
    assert!(poll(&mut room).is_ready());
    assert!(!rig.socket.state().present && !rig.socket.state().link.up);
    // Not even a card that says otherwise comes back.
    rig.card.state.lock().present = true;
    rig.interface.link_changed();
    assert_eq!(rig.send(Normal, 9, &told), Err(SendError::Gone));
    assert_eq!(rig.outgoing(Normal).refused(SendError::Gone), 2);
}

#[test]
fn an_interface_that_is_closed_is_gone_to_its_sockets() {
    let (rig, told) = busy();
    let before = *rig.heard.changes.lock();
    rig.interface.close();
    assert!(!rig.card.has_receiver() && !rig.socket.state().present);
    assert_eq!(*rig.heard.changes.lock(), before + 1);
    assert_eq!(sorted(&told), [3, 4, 5]);
    assert_eq!(rig.send(Normal, 9, &told), Err(SendError::Gone));
    // What the card has is still its own.
    rig.card.drain();
    assert_eq!(sorted(&told), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn who_waits_for_room_is_woken_by_a_link_that_goes() {
    let limits = [Limit { frames: 2, bytes: 1000 }; 3];
    let rig = Rig::with(Card::new(1, 1), SocketConfig { limits, ..SocketConfig::new("cluster", CLUSTER) });
    let told = Told::new();
    (0..3).for_each(|number| rig.send(Normal, number, &told).unwrap());
    assert_eq!(rig.send(Normal, 3, &told), Err(SendError::Full));
    let mut room = std::boxed::Box::pin(rig.socket.room(Normal));
    assert!(poll(&mut room).is_pending());
    rig.card.set_link(false);
    assert!(poll(&mut room).is_ready());
    assert_eq!(rig.send(Normal, 3, &told), Err(SendError::Down));
}

#[test]
fn a_closed_socket_lets_go_of_what_waits_and_of_nothing_else() {
    let (rig, told) = busy();
    let second = rig.interface.open(SocketConfig::new("second", EtherType(0x88b6))).unwrap();
    let header = 20u64.to_be_bytes();
    let message = Message { to: PEER, priority: Normal, header: &header, payload: &[] };
    second.send(&message, Some(told.done(20))).unwrap();
    let Rig { card, interface, socket, .. } = rig;
    drop(socket);
    assert_eq!(sorted(&told), [3, 4, 5]);
    card.drain();
    assert_eq!(sorted(&told), [0, 1, 2, 3, 4, 5, 20]);
    assert_eq!(card.numbers(), [0, 1, 2, 20]);
    assert_eq!(interface.sockets().len(), 1);
}

#[test]
fn bulk_goes_on_after_a_reset_that_another_cpu_has_watched() {
    let rig = Rig::with(Card::new(2, 1000), SocketConfig::new("cluster", CLUSTER));
    let told = Told::new();
    let payload = [Segment { address: Hpa::new(0), bytes: 8192 }];
    for number in 0..100u64 {
        let header = number.to_be_bytes();
        let message = Message { to: PEER, priority: Bulk, header: &header, payload: &payload };
        rig.socket.send(&message, Some(told.done(number))).unwrap();
    }
    assert_eq!(rig.outgoing(Bulk).waiting.frames, 36);
    // The card is full when the first is let go of, on a CPU with another queue.
    rig.card.reset(1);
    rig.card.drain();
    assert_eq!(sorted(&told), (0..100).collect::<Vec<_>>());
    assert_eq!(rig.outgoing(Bulk).sent.frames, 100);
}

#[test]
fn a_frame_that_waited_and_that_the_card_will_not_take_is_let_go() {
    let rig = Rig::with(Card::new(1, 1), SocketConfig::new("cluster", CLUSTER));
    let told = Told::new();
    let payload = [Segment { address: Hpa::new(0), bytes: 1 }; SEGMENTS];
    rig.send(Normal, 0, &told).unwrap();
    rig.send(Normal, 1, &told).unwrap();
    let message = Message { to: PEER, priority: Normal, header: &[0; 8], payload: &payload };
    rig.socket.send(&message, Some(told.done(2))).unwrap();
    rig.send(Normal, 3, &told).unwrap();
    rig.socket.start();
    rig.card.drain();
    assert_eq!(sorted(&told), [0, 1, 2, 3]);
    assert_eq!((rig.card.numbers(), rig.outgoing(Normal).dropped), (std::vec![0, 1, 3], 1));
}

#[test]
fn others_hear_of_links_and_room_as_sockets_do() {
    let (rig, _) = busy();
    let changes = *rig.others.changes.lock();
    assert!(changes >= 1);
    rig.card.set_link(false);
    assert_eq!(*rig.others.changes.lock(), changes + 1);
    rig.interface.room();
    assert_eq!(*rig.others.rooms.lock(), 1);
}
