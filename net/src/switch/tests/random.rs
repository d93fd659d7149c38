//! Whatever comes from whom, while ports come and go: what never happens.
use super::*;

/// xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn chance(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// What the test knows of a port.
struct Known {
    config: PortConfig,
    up: bool,
    /// Frames that it sent.
    sent: u64,
    /// Of these, what was forwarded, or dropped for its receivers.
    passed: u64,
}

impl Known {
    fn station(&self) -> Option<Mac> {
        match self.config.kind {
            PortKind::Guest { mac, .. } | PortKind::Node { mac } => Some(mac),
            PortKind::Uplink { .. } => None,
        }
    }

    fn is_uplink(&self) -> bool {
        matches!(self.config.kind, PortKind::Uplink { .. })
    }

    fn is_open(&self) -> bool {
        matches!(self.config.kind, PortKind::Guest { allow_any_mac: true, .. })
    }

    /// Number of the VLAN of a frame without a tag, 0 for none.
    fn untagged(&self) -> Option<u16> {
        match &self.config.vlan {
            Vlan::None => Some(0),
            Vlan::Access(vlan) => Some(vlan.number()),
            Vlan::Trunk(trunk) => match trunk.untagged {
                Untagged::Dropped => None,
                Untagged::Plain => Some(0),
                Untagged::Vlan(vlan) => Some(vlan.number()),
            },
        }
    }

    /// Which tag a frame of a VLAN has here; None where it must not be.
    fn tag(&self, number: u16) -> Option<Option<u16>> {
        if self.untagged() == Some(number) {
            return Some(None);
        }
        match &self.config.vlan {
            Vlan::Trunk(trunk) if VlanId::new(number).is_some_and(|vlan| trunk.tagged.contains(vlan)) => {
                Some(Some(number))
            }
            _ => None,
        }
    }

    fn enters(&self, tag: Option<Tag>) -> Option<u16> {
        match tag.map_or(0, |tag| tag.0 & 0xfff) {
            0 => self.untagged(),
            number => match &self.config.vlan {
                Vlan::Trunk(trunk) => {
                    VlanId::new(number).filter(|&vlan| trunk.tagged.contains(vlan)).map(VlanId::number)
                }
                _ => None,
            },
        }
    }
}

struct World {
    random: Random,
    switch: Switch,
    known: Vec<Option<Known>>,
    mirrors: Ports,
    now: u64,
    forwarded: u64,
}

const NUMBERS: [u16; 3] = [10, 20, 4094];

impl World {
    fn new(seed: u64) -> Self {
        let config = SwitchConfig { addresses: 32, aging: 5 * SECOND, seed: [seed, !seed] };
        let known = std::iter::repeat_with(|| None).take(12).collect();
        let (switch, random) = (Switch::new(config), Random(seed));
        Self { random, switch, known, mirrors: Ports::EMPTY, now: 0, forwarded: 0 }
    }

    fn mac(&mut self) -> Mac {
        match self.random.below(8) {
            0 => Mac::BROADCAST,
            1 => Mac([0x33, 0x33, 0, 0, 0, 1]),
            2 => Mac([2, 0, 0, 0, 1, self.random.next() as u8]),
            3 => Mac([1, 0x80, 0xc2, 0, 0, self.random.below(32) as u8]),
            4 if self.random.chance(8) => Mac::NONE,
            _ => mac(self.random.below(8) as u8),
        }
    }

    fn rate(&mut self) -> Option<Rate> {
        let rate = Rate { per_second: 1 + self.random.below(100_000), burst: 1 + self.random.below(3000) };
        self.random.chance(6).then_some(rate)
    }

    fn config(&mut self) -> PortConfig {
        let mac = mac(self.random.below(8) as u8);
        let kind = match self.random.below(6) {
            0 | 1 => PortKind::Uplink { priority: self.random.below(3) as u16 },
            2 => PortKind::Node { mac },
            _ => PortKind::Guest { mac, allow_any_mac: self.random.chance(3), addresses: None },
        };
        let number = vlan(self.random.pick(&NUMBERS));
        let untagged = self.random.pick(&[Untagged::Dropped, Untagged::Plain, Untagged::Vlan(number)]);
        let tagged = NUMBERS.into_iter().filter(|_| self.random.chance(2)).map(vlan).collect();
        let vlan = match self.random.below(6) {
            0 => Vlan::Access(number),
            1 => Vlan::Trunk(Trunk { tagged, untagged }),
            2 => Vlan::all(),
            _ => Vlan::None,
        };
        let [send_limit, receive_limit, groups_limit] = [self.rate(), self.rate(), self.rate()];
        PortConfig { kind, vlan, send_limit, receive_limit, groups_limit }
    }

    fn change(&mut self) {
        let id = PortId::new(self.random.below(12) as usize).unwrap();
        match self.random.below(10) {
            0..4 => {
                let config = self.config();
                if self.switch.ports().len() == self.known.len() {
                    return;
                }
                let Ok(id) = self.switch.attach(config.clone()) else { return };
                assert!(self.known[id.index()].is_none());
                self.known[id.index()] = Some(Known { config, up: false, sent: 0, passed: 0 });
            }
            4 => {
                self.switch.detach(id);
                self.known[id.index()] = None;
                self.mirrors.remove(id);
            }
            5 => {
                let config = self.config();
                if self.switch.configure(id, config.clone()).is_ok() {
                    self.known[id.index()].as_mut().unwrap().config = config;
                }
            }
            6 => {
                let of = Ports::from_iter((0..12).filter(|_| self.random.chance(4)).filter_map(PortId::new));
                if self.switch.mirror(of, id).is_ok() {
                    self.mirrors.set(id, true);
                }
            }
            _ => {
                let up = !self.random.chance(4);
                self.switch.set_up(id, up);
                if let Some(known) = &mut self.known[id.index()] {
                    known.up = up;
                }
            }
        }
    }

    fn send(&mut self) {
        let id = PortId::new(self.random.below(12) as usize).unwrap();
        let (source, destination) = (self.mac(), self.mac());
        // Most guests are honest.
        let own = self.known[id.index()].as_ref().and_then(Known::station);
        let source = own.filter(|_| !self.random.chance(4)).unwrap_or(source);
        let number = self.random.pick(&[0, 10, 20, 4094, 4095, 30]);
        let tag = self.random.chance(2).then_some(Tag(number | (self.random.next() as u16) << 12));
        let frame = tag.map_or(headers(source, destination), |tag| tagged(tag, source, destination));
        self.now += self.random.below(SECOND / 20);
        let bytes = 60 + self.random.below(1500) as usize;
        let before = self.drops(id);
        let verdict = self.switch.forward(self.now, id, &frame, bytes, 1);
        let dropped = self.drops(id) - before;
        let Some(known) = &mut self.known[id.index()] else {
            return assert_eq!(verdict, Verdict::Drop(Reason::Down));
        };
        known.sent += 1;
        match verdict {
            Verdict::Drop(reason) if !reason.is_receivers() => assert_eq!(dropped, 1),
            Verdict::Drop(_) => (known.passed, _) = (known.passed + 1, assert_eq!(dropped, 0)),
            Verdict::Forward(forward) => {
                known.passed += 1;
                self.forwarded += 1;
                assert_eq!(dropped, 0);
                self.check(id, &frame, &forward);
            }
        }
    }

    /// Drops that were counted for what the port sent.
    fn drops(&self, id: PortId) -> u64 {
        let drops = self.switch.counters(id).into_iter().flat_map(|counters| counters.drops());
        drops.filter(|(reason, _)| !reason.is_receivers()).map(|(_, frames)| frames).sum()
    }

    fn check(&self, from: PortId, frame: &Headers, forward: &Forward) {
        let port = |id: PortId| self.known[id.index()].as_ref().unwrap();
        let (sender, Ethernet { source, destination, .. }) = (port(from), frame.ethernet);
        let all = forward.to | forward.mirror;
        assert!(!all.is_empty() && (forward.to & forward.mirror).is_empty() && !all.contains(from));
        assert!((forward.tagged - all).is_empty() && (forward.mirror - self.mirrors).is_empty());
        assert!(sender.up && all.into_iter().all(|id| port(id).up));
        // One uplink, and never from one to another.
        let uplinks = all.into_iter().filter(|&id| port(id).is_uplink()).count();
        assert!(uplinks + usize::from(sender.is_uplink()) <= 1);
        // Never across VLANs, and everywhere in the form of the port.
        let number = sender.enters(frame.ethernet.tag).unwrap();
        for id in forward.to {
            let tag = forward.tag_at(id);
            assert_eq!(port(id).tag(number), Some(tag.and_then(Tag::vlan).map(VlanId::number)));
            let priority = frame.ethernet.tag.map_or(0, Tag::priority);
            assert!(tag.is_none_or(|tag| tag.priority() == priority));
        }
        // Nobody speaks for others.
        assert!(source.is_station());
        let owner = |mac| {
            let known = self.known.iter().enumerate().filter_map(|(at, known)| Some((at, known.as_ref()?)));
            let mut own =
                known.filter(|(_, known)| known.station() == Some(mac) && known.tag(number).is_some());
            let first = own.next().and_then(|(at, _)| PortId::new(at));
            assert!(own.next().is_none());
            first
        };
        if let Some(own) = sender.station() {
            assert!(source == own || sender.is_open());
        }
        if let Some(owner) = owner(source) {
            assert!(owner == from || (sender.is_uplink() && !port(owner).up));
        }
        // An own address gets its frames alone; a guest gets no others but those of groups and of nobody.
        if destination.is_group() {
            assert!(!matches!(destination.0, [1, 0x80, 0xc2, 0, 0, 0..16]));
        } else if let Some(owner) = owner(destination) {
            let outside = || forward.to.into_iter().all(|id| port(id).is_uplink());
            assert!(
                forward.to == Ports::of(owner) || (!port(owner).up && outside()) || forward.to.is_empty()
            );
        } else {
            assert!(forward.to.into_iter().all(|id| {
                port(id).is_uplink() || port(id).is_open() || matches!(port(id).config.vlan, Vlan::Trunk(_))
            }));
        }
    }

    /// All counters add up, and the table is no larger than it is.
    fn check_all(&self) {
        assert!(self.switch.learned(self.now).count() <= self.switch.capacity());
        for (index, known) in self.known.iter().enumerate() {
            let id = PortId::new(index).unwrap();
            assert_eq!(self.switch.counters(id).is_some(), known.is_some());
            let Some(known) = known else { continue };
            assert_eq!(self.switch.counters(id).unwrap().received.frames, known.sent);
            assert_eq!(self.drops(id) + known.passed, known.sent);
        }
        let up = |id: PortId| self.known[id.index()].as_ref().filter(|known| known.up);
        for id in self.switch.live() {
            assert_eq!(up(id).unwrap().is_uplink(), self.switch.active_uplink() == Some(id));
        }
        let best =
            (0..12).filter_map(PortId::new).filter_map(up).filter_map(|known| match known.config.kind {
                PortKind::Uplink { priority } => Some(priority),
                _ => None,
            });
        let active = self.switch.active_uplink().map(|id| match up(id).unwrap().config.kind {
            PortKind::Uplink { priority } => priority,
            _ => panic!("{id} is no uplink"),
        });
        assert_eq!(best.max(), active);
    }
}

#[test]
fn whatever_comes_nothing_happens_that_must_not() {
    let mut forwarded = 0;
    for seed in 1..=40 {
        let mut world = World::new(seed);
        for _ in 0..40 {
            world.change();
        }
        for round in 0..10_000 {
            if world.random.chance(20) {
                world.change();
            }
            if world.random.chance(50) {
                world.switch.take_announcement(world.now);
            }
            world.send();
            if round % 500 == 0 {
                world.check_all();
            }
        }
        world.check_all();
        forwarded += world.forwarded;
    }
    assert!(forwarded > 30_000, "{forwarded} were forwarded");
}

#[test]
fn the_same_frames_have_the_same_ways() {
    let run = || {
        let mut world = World::new(99);
        (0..20_000).for_each(|round| if round % 10 == 0 { world.change() } else { world.send() });
        let learned: Vec<_> = world.switch.learned(world.now).collect();
        (learned, world.forwarded, world.switch.live())
    };
    assert_eq!(run(), run());
}

/// A station that is up and without a limit gets what is for it, however many sources others have.
#[test]
fn a_flood_of_sources_hides_no_station() {
    let (mut switch, [a, b, _, up]) = switch([guest(1), open_guest(2), node(), uplink(1)]);
    let mut random = Random(5);
    for _ in 0..200_000 {
        let [bytes @ .., _, _] = random.next().to_be_bytes();
        let from = random.pick(&[b, up]);
        let verdict = switch.send(from, headers(Mac(bytes), mac(1)));
        match verdict {
            Ok(to) => assert_eq!(to, ports(&[a])),
            Err(reason) => assert_eq!(reason, Reason::Source),
        }
    }
    assert_eq!(switch.learned(0).count(), switch.capacity());
}
