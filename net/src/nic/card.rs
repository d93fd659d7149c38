//! What a network card is, and has to know about itself.
use super::{Done, Frame, Refused, SegmentationKind};
use crate::frame::Mac;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A network card, or something like one.
pub trait Nic: Send + Sync {
    /// What it is called, and who made it.
    fn identity(&self) -> &Identity;

    /// What it can do. Does not change while it is there.
    fn abilities(&self) -> &Abilities;

    /// Whether a cable is plugged in, and how fast it goes.
    fn link(&self) -> Link;

    /// From now on `receiver` gets what comes; nobody, where it is `None`. Who got it before may get what is just on its way.
    fn set_receiver(&self, receiver: Option<Arc<dyn Receiver>>);

    /// Which frames are wanted, beside those to the card's own address and to everybody. Takes effect soon.
    fn set_filter(&self, filter: Filter);

    /// Queues a frame, whose memory is used until `done` is told; a frame without [`Frame::rest`] needs none.
    ///
    /// It need not go out before [`Self::start`], so that the card is told once of many.
    ///
    /// # Errors
    /// The card does not take it, and `done` is not told.
    fn transmit(&self, frame: &Frame<'_>, done: Option<Done>) -> Result<(), Refused>;

    /// Sends what this CPU has queued. Without it nothing may ever go out.
    fn start(&self);

    /// Through which of its queues, below [`Abilities::queues`], frames go out that this CPU transmits. Stays so.
    fn queue(&self) -> usize {
        0
    }

    /// What has happened since it is there.
    fn counters(&self) -> Counters;

    /// Whether it is there. What was removed stays so: a card that is plugged in again is a new one.
    fn is_present(&self) -> bool {
        true
    }
}

/// Who gets what a card receives.
///
/// All is called in tasks. Frames of several queues of a card come on several CPUs at once.
pub trait Receiver: Send + Sync {
    /// A frame has come. Its memory is the card's again when this returns.
    fn receive(&self, frame: &Frame<'_>);

    /// All that had come on this CPU was handed over: the time to tell others of it.
    fn received(&self) {}

    /// The link has gone up or down, or the card is gone.
    fn link_changed(&self) {}

    /// A card that has refused a frame as [`Refused::Full`] has room. Told on a CPU whose frames go through the queue
    /// ([`Nic::queue`]) that was full.
    fn room(&self) {}
}

/// What a card is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// By which it is named in `purevisor.toml`: `eth0`.
    pub name: String,
    /// Maker and model.
    pub model: String,
    /// Its own address.
    pub mac: Mac,
}

/// What a card can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Most bytes of a packet: of a frame without Ethernet's header and tag. 1500, or up to 9000 with jumbo frames.
    pub mtu: u16,
    /// It computes checksums ([`super::Checksum`]) of TCP and UDP over IPv4 and IPv6.
    pub checksum: bool,
    /// It cuts TCP over IPv4.
    pub tcp4: bool,
    /// It cuts TCP over IPv6.
    pub tcp6: bool,
    /// It says of what it receives whether checksums are right.
    pub verifies: bool,
    /// Queues in each direction.
    pub queues: u16,
}

impl Abilities {
    /// Whether it can do to a frame what is left to be done.
    #[inline]
    pub fn suffice(&self, frame: &Frame<'_>) -> bool {
        let cuts = match frame.offload.segmentation.map(|how| how.kind) {
            None => true,
            Some(SegmentationKind::Tcp4) => self.tcp4,
            Some(SegmentationKind::Tcp6) => self.tcp6,
        };
        cuts && (self.checksum || frame.offload.checksum.is_none())
    }
}

/// A card's link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// There is one.
    pub up: bool,
    /// Megabits a second; 0 if the card does not know.
    pub megabits: u32,
    /// In both directions at once.
    pub full_duplex: bool,
}

/// Which frames are wanted, beside those to the card's own address and to everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// All.
    pub promiscuous: bool,
    /// All to groups.
    pub all_groups: bool,
    /// To these groups. A card may hand over others too.
    pub groups: Vec<Mac>,
}

/// What a card has done. Frames that were cut count as what came of them, where the card knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames handed over.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Frames that came damaged: of a wrong length, or whose check sequence is wrong.
    pub receive_errors: u64,
    /// Frames that found no room.
    pub receive_missed: u64,
    /// Frames sent.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Frames that were accepted and could not be sent.
    pub send_errors: u64,
    /// How often the link went up or down.
    pub link_changes: u64,
    /// How often the card had to be set up anew.
    pub resets: u64,
}
