//! A socket, to who has opened it.
use super::shared::Shared;
use super::{Counters, Handler, Interface, JoinError, Limit, Priority, SendError, State};
use crate::frame::{EtherType, Ethernet, Mac, Tag, VlanId};
use crate::nic::{Done, Frame, Offload};
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use mm::Segment;

/// Most groups that a socket joins.
pub const GROUPS: usize = 16;
/// Most pieces of a payload: jumbo frames of pieces of 512 bytes, and a few more. A card may take fewer.
pub const SEGMENTS: usize = 20;
/// Longest beginning for which no memory is taken.
const SHORT: usize = 256;

/// What a socket is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketConfig {
    /// Whose it is, for operators.
    pub name: String,
    /// Its frames' EtherType.
    pub ether_type: EtherType,
    /// Its frames are of this VLAN and have a tag; or have none.
    pub vlan: Option<VlanId>,
    /// How much waits where the card is full, by [`Priority`].
    pub limits: [Limit; Priority::COUNT],
}

impl SocketConfig {
    /// Without a tag, and with the usual limits.
    pub fn new(name: &str, ether_type: EtherType) -> Self {
        let limits = Priority::ALL.map(Priority::usual_limit);
        Self { name: name.into(), ether_type, vlan: None, limits }
    }
}

/// A message to be sent, in one frame.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// A station, a group or everybody.
    pub to: Mac,
    pub priority: Priority,
    /// What comes first, and is copied.
    pub header: &'a [u8],
    /// What comes behind, and is read by the card where it lies, until `done` is told.
    pub payload: &'a [Segment],
}

/// An EtherType on a card. Nobody else has it until this is dropped; what waits then is dropped, too.
pub struct Socket {
    interface: Arc<Interface>,
    shared: Arc<Shared>,
}

impl Socket {
    pub(super) fn new(interface: Arc<Interface>, shared: Arc<Shared>) -> Self {
        Self { interface, shared }
    }

    /// The address from which it sends: the card's.
    pub fn mac(&self) -> Mac {
        self.interface.nic().identity().mac
    }

    /// Link, presence and MTU of the card. [`Handler::changed`] tells when to look again.
    pub fn state(&self) -> State {
        self.interface.state()
    }

    /// The card, by its name.
    pub fn nic_name(&self) -> &str {
        &self.interface.nic().identity().name
    }

    /// From now on `handler` gets what comes, as long as it is there; nobody, where it is `None`. Who got it before may
    /// get what is just on its way.
    pub fn set_handler(&self, handler: Option<Weak<dyn Handler>>) {
        self.shared.set_handler(handler);
    }

    /// Gets what is sent to a group, too. One that was joined may be joined again, which changes nothing.
    ///
    /// # Errors
    /// It is none that could be joined, or one too many.
    pub fn join(&self, group: Mac) -> Result<(), JoinError> {
        if !group.is_group() || group == Mac::BROADCAST {
            return Err(JoinError::NoGroup(group));
        }
        let mut groups = self.shared.groups.lock();
        if groups.contains(&group) {
            return Ok(());
        }
        if groups.len() >= GROUPS {
            return Err(JoinError::TooMany);
        }
        groups.push(group);
        drop(groups);
        self.interface.apply_filter();
        Ok(())
    }

    /// Gets no longer what is sent to a group. Whether it had joined it.
    pub fn leave(&self, group: Mac) -> bool {
        let mut groups = self.shared.groups.lock();
        let Some(at) = groups.iter().position(|joined| *joined == group) else { return false };
        groups.remove(at);
        drop(groups);
        self.interface.apply_filter();
        true
    }

    /// Sends a frame, whose payload is used until `done` is told; one without a payload needs none. `done` may be told
    /// before this returns. It need not go out before [`Self::start`].
    ///
    /// # Errors
    /// Why it is not sent; `done` is not told then. After [`SendError::Full`] nothing is left to be started.
    pub fn send(&self, message: &Message<'_>, done: Option<Done>) -> Result<(), SendError> {
        let result = self.try_send(message, done);
        if let Err(error) = result {
            self.shared.sends(message.priority).refused(error);
        }
        result
    }

    fn try_send(&self, message: &Message<'_>, done: Option<Done>) -> Result<(), SendError> {
        let Message { to, priority, header, payload } = *message;
        let nic = self.interface.nic();
        let source = nic.identity().mac;
        if to == source || !(to.is_group() || to.is_station()) {
            return Err(SendError::Destination);
        }
        if payload.len() > SEGMENTS || payload.iter().any(|segment| segment.bytes == 0) {
            return Err(SendError::Pieces);
        }
        let bytes = payload.iter().fold(header.len() as u64, |sum, segment| sum + u64::from(segment.bytes));
        if bytes > nic.abilities().mtu.into() {
            return Err(SendError::TooLong);
        }
        let tag = self.shared.vlan.map(|vlan| Tag::new(vlan, priority.code_point()));
        let ethernet = Ethernet { destination: to, source, tag, ether_type: self.shared.ether_type };
        let (emitted, size) = (ethernet.emit(), ethernet.size());
        let (mut short, long);
        let beginning = if size + header.len() <= SHORT {
            short = [0; SHORT];
            short[..size].copy_from_slice(&emitted[..size]);
            short[size..size + header.len()].copy_from_slice(header);
            &short[..size + header.len()]
        } else {
            long = [&emitted[..size], header].concat();
            &long[..]
        };
        let frame = Frame { beginning, rest: payload, offload: Offload::default() };
        self.interface.lane().send(&self.shared, priority, &frame, done)
    }

    /// Sends what this CPU has queued, on the whole card.
    pub fn start(&self) {
        self.interface.nic().start();
    }

    /// Waits until more of a priority may wait, after [`SendError::Full`]. Another may be quicker, so that the next frame is
    /// refused again.
    pub async fn room(&self, priority: Priority) {
        self.shared.sends(priority).room().await;
    }

    /// What became of its frames so far.
    pub fn counters(&self) -> Counters {
        self.shared.counters()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.interface.shut(&self.shared);
    }
}
