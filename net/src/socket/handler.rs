//! Who gets what comes.
use crate::frame::{Mac, Tag};
use mm::Segment;

/// Gets what comes by a socket, and is told of what happens to its card.
///
/// All is called in the card's tasks, on several CPUs at once where the card has several queues. It may send, join and
/// leave. It does not wait: as long as it runs the card's queue stands still.
pub trait Handler: Send + Sync {
    /// A frame has come. Its memory is the card's again when this returns.
    fn receive(&self, received: &Received<'_>);

    /// All that had come on this CPU was handed over: the time to tell others of it, or to start what was sent in answer.
    fn received(&self) {}

    /// The link went up or down, or the card is gone: [`super::Socket::state`] says what is now. May be told without a
    /// change.
    fn changed(&self) {}
}

/// A frame that came by a socket.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// From another station.
    pub source: Mac,
    /// The card's own address, everybody's, or a group's that was joined.
    pub destination: Mac,
    /// With which tag it came: of the socket's VLAN, or of none, with a priority alone.
    pub tag: Option<Tag>,
    /// What is behind Ethernet's header: a beginning, copied, which nobody changes any more. Short frames are all here.
    pub beginning: &'a [u8],
    /// The rest, in the card's memory. What is read twice may differ.
    pub rest: &'a [Segment],
}

impl Received<'_> {
    /// Bytes behind Ethernet's header. Those of a short frame are as many as the wire wants at least, 46, from most cards.
    pub fn bytes(&self) -> usize {
        self.beginning.len() + self.rest.iter().map(|segment| segment.bytes as usize).sum::<usize>()
    }
}
