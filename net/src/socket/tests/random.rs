//! Frames, room, links and resets in any order: what never happens.
use super::*;
use std::collections::BTreeSet;

/// xorshift.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn chance(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// Which frame a number stands for: its queue, socket and priority, and the how manieth it is.
fn number(queue: usize, socket: usize, priority: Priority, count: u64) -> u64 {
    (queue as u64) << 62 | (socket as u64) << 60 | (priority as u64) << 56 | count
}

const SOCKETS: usize = 2;
const QUEUES: usize = 2;

struct Play {
    random: Random,
    card: Arc<Card>,
    interface: Arc<Interface>,
    sockets: [Socket; SOCKETS],
    /// What each was asked to send, by priority.
    asked: [[u64; Priority::COUNT]; SOCKETS],
    told: Arc<Told>,
    accepted: BTreeSet<u64>,
    next: u64,
}

fn open(interface: &Arc<Interface>, socket: usize) -> Socket {
    let limits = [(4, 3000), (8, 40_000), (60, 500_000)].map(|(frames, bytes)| Limit { frames, bytes });
    let ether_type = EtherType(CLUSTER.0 + socket as u16);
    interface.open(SocketConfig { limits, ..SocketConfig::new("x", ether_type) }).unwrap()
}

impl Play {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let card = Card::new(QUEUES as u16, random.pick(&[1, 3, 16, 200]));
        let interface = Interface::new(card.clone(), None, Filter::default());
        interface.start();
        let sockets = [0, 1].map(|socket| open(&interface, socket));
        let (asked, told, accepted) = (Default::default(), Told::new(), BTreeSet::new());
        Self { random, card, interface, sockets, asked, told, accepted, next: 0 }
    }

    fn send(&mut self) {
        let queue = self.random.below(QUEUES as u64) as usize;
        let socket = self.random.below(SOCKETS as u64) as usize;
        let priority = self.random.pick(&Priority::ALL);
        self.next += 1;
        let number = number(queue, socket, priority, self.next);
        let header = number.to_be_bytes();
        let piece = |bytes| Segment { address: Hpa::new(0x1000), bytes };
        let payload = match self.random.below(5) {
            0 | 1 => std::vec![],
            2 | 3 => std::vec![piece(8192)],
            // Now and then more than the card takes.
            _ => std::vec![piece(10); self.random.below(SEGMENTS as u64 + 2) as usize],
        };
        let message = Message { to: PEER, priority, header: &header, payload: &payload };
        self.asked[socket][priority as usize] += 1;
        let done = self.told.done(number);
        match on_queue(queue, || self.sockets[socket].send(&message, Some(done))) {
            Ok(()) => assert!(self.accepted.insert(number)),
            Err(_) => assert!(!self.told.all().contains(&number)),
        }
    }

    fn step(&mut self, faults: bool) {
        let queue = self.random.below(QUEUES as u64) as usize;
        match self.random.below(if faults { 103 } else { 97 }) {
            0..70 => self.send(),
            70..78 => on_queue(queue, || self.card.start()),
            78..80 => _ = on_queue(queue, || self.interface.make_way()),
            80..88 => _ = self.card.send(queue, self.random.below(5) as usize),
            88..97 => self.card.poll(queue),
            97 => self.card.set_link(false),
            98 | 99 => self.card.set_link(true),
            100 => self.card.reset(queue),
            // Of which nobody is told yet.
            101 => self.card.state.lock().up ^= true,
            _ => self.reopen(),
        }
    }

    fn reopen(&mut self) {
        self.check_counters();
        let socket = self.random.below(SOCKETS as u64) as usize;
        // Nobody else has it while there is none.
        let other = self.interface.open(SocketConfig::new("y", EtherType(0x9999))).unwrap();
        self.sockets[socket] = other;
        self.sockets[socket] = open(&self.interface, socket);
        self.asked[socket] = Default::default();
    }

    fn check_counters(&self) {
        for (socket, asked) in self.sockets.iter().zip(&self.asked) {
            for priority in Priority::ALL {
                let counters = *socket.counters().outgoing(priority);
                let refused: u64 = counters.refusals().map(|(_, frames)| frames).sum();
                let all = counters.sent.frames + counters.waiting.frames + counters.dropped + refused;
                assert_eq!(all, asked[priority as usize], "{counters:?}");
            }
        }
    }

    fn play(&mut self, steps: u32, faults: bool) {
        for _ in 0..steps {
            self.step(faults);
        }
        self.check_counters();
        self.card.set_link(true);
        for queue in 0..QUEUES {
            on_queue(queue, || self.card.start());
        }
        self.card.drain();
        self.check_counters();
        assert!((0..QUEUES).all(|queue| on_queue(queue, || self.interface.make_way())));
        let mut told = self.told.all();
        told.sort_unstable();
        assert!(told.iter().eq(&self.accepted), "each that was accepted is told of once, and no other");
        for socket in &self.sockets {
            assert!(
                Priority::ALL
                    .iter()
                    .all(|&priority| socket.counters().outgoing(priority).waiting.frames == 0)
            );
        }
        let numbers = self.card.numbers();
        for stream in numbers.iter().map(|number| number >> 56).collect::<BTreeSet<_>>() {
            let of_stream = numbers.iter().filter(|&number| number >> 56 == stream);
            assert!(of_stream.is_sorted(), "what one CPU sends by a socket with a priority keeps its order");
        }
        if !faults {
            // More pieces than the card takes is all for which one is lost.
            let lost = self.accepted.len() - numbers.len();
            let dropped = |socket: &Socket| {
                Priority::ALL
                    .iter()
                    .map(|&priority| socket.counters().outgoing(priority).dropped)
                    .sum::<u64>()
            };
            assert_eq!(self.sockets.iter().map(dropped).sum::<u64>(), lost as u64);
        }
    }
}

#[test]
fn whatever_is_sent_is_told_of_once_and_in_order() {
    (0..60).for_each(|seed| Play::new(seed).play(1500, false));
}

#[test]
fn links_resets_and_closed_sockets_lose_frames_and_no_done() {
    (100..160).for_each(|seed| Play::new(seed).play(1500, true));
}
