use crate::{Channel, Executor, Hooks, SendError};
use alloc::rc::Rc;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;

fn executor() -> Executor {
    Executor::new(0, Hooks { notify: |_| {}, slow: |_, _, _| {} })
}

#[test]
fn values_arrive_in_order_over_many_rounds_and_a_full_channel_gives_them_back() {
    let channel = Channel::new(3);
    assert_eq!(channel.capacity(), 4);
    for round in 0..10 {
        for i in 0..4 {
            channel.try_send(round * 4 + i).unwrap();
        }
        assert_eq!(channel.try_send(99), Err(SendError::Full(99)));
        for i in 0..4 {
            assert_eq!(channel.try_recv(), Some(round * 4 + i));
        }
        assert_eq!(channel.try_recv(), None);
    }
}

#[test]
fn what_was_sent_before_the_close_is_received_and_what_comes_after_is_refused() {
    let channel = Rc::new(Channel::new(4));
    channel.try_send(1).unwrap();
    channel.close();
    let refused = channel.try_send(2).unwrap_err();
    assert_eq!(refused, SendError::Closed(2));
    assert!(refused.to_string().contains("closed"));
    let (executor, got) = (executor(), Rc::new(RefCell::new(Vec::new())));
    let (c, g) = (channel.clone(), got.clone());
    executor.spawn("receiver", async move {
        for _ in 0..2 {
            let received = c.recv().await;
            g.borrow_mut().push(received);
        }
        assert!(c.send(3).await.is_err());
    });
    executor.run_ready(10, || 0);
    assert_eq!(*got.borrow(), [Some(1), None]);
    assert!(executor.stats().is_empty());
}

#[test]
fn a_close_wakes_the_receiver_and_senders_that_wait_for_room() {
    let executor = executor();
    let (full, empty) = (Rc::new(Channel::new(2)), Rc::new(Channel::<u8>::new(2)));
    full.write(&[1, 2]);
    let (f, e) = (full.clone(), empty.clone());
    executor.spawn("sender", async move { assert_eq!(f.send(3).await, Err(SendError::Closed(3))) });
    executor.spawn("receiver", async move { assert_eq!(e.recv().await, None) });
    executor.run_ready(10, || 0);
    assert_eq!(executor.stats().len(), 2);
    full.close();
    empty.close();
    executor.run_ready(10, || 0);
    assert!(executor.stats().is_empty());
}

#[test]
fn bytes_are_written_as_far_as_there_is_room_and_read_as_far_as_there_are_any() {
    let channel = Channel::new(4);
    assert_eq!(channel.write(b"abcdef"), 4);
    let mut bytes = [0; 8];
    assert_eq!(channel.read(&mut bytes[..3]), 3);
    assert_eq!(channel.write(b"gh"), 2);
    assert_eq!(channel.read(&mut bytes[3..]), 3);
    assert_eq!(&bytes[..6], b"abcdgh");
}

#[test]
fn values_left_inside_are_dropped_with_the_channel() {
    let value = Arc::new(());
    let channel = Channel::new(4);
    for _ in 0..3 {
        channel.try_send(value.clone()).unwrap();
    }
    drop(channel.try_recv());
    assert_eq!(Arc::strong_count(&value), 3);
    drop(channel);
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn a_sender_that_waits_for_room_sends_everything() {
    let (executor, channel) = (executor(), Rc::new(Channel::new(2)));
    let got = Rc::new(RefCell::new(Vec::new()));
    let (send, recv, g) = (channel.clone(), channel.clone(), got.clone());
    executor.spawn("sender", async move {
        for i in 0..100 {
            send.send(i).await.unwrap();
        }
        send.close();
    });
    executor.spawn("receiver", async move {
        while let Some(i) = recv.recv().await {
            g.borrow_mut().push(i);
        }
    });
    assert!(!executor.run_ready(1000, || 0));
    assert!(got.borrow().iter().copied().eq(0..100));
}
