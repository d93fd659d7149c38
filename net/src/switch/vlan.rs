//! Which VLANs a port carries, and in which form (IEEE 802.1Q, 6.9).
//!
//! Inside the switch a frame is in one VLAN, or in none: `Option<VlanId>`. Frames in none are a network of their own.
use super::Reason;
use crate::frame::{Tag, VlanId};
use alloc::boxed::Box;

/// Which VLANs a port carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vlan {
    /// None: frames have no tag here, nor inside.
    None,
    /// This one: frames have no tag here.
    Access(VlanId),
    /// Several: frames have a tag here.
    Trunk(Trunk),
}

/// What a trunk carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// VLANs whose frames have a tag.
    pub tagged: VlanSet,
    /// What frames without a tag are.
    pub untagged: Untagged,
}

/// What a frame without a tag, or with one of a priority alone, is on a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untagged {
    /// It is dropped.
    Dropped,
    /// It is in no VLAN.
    Plain,
    /// It is in this VLAN, which leaves without a tag then.
    Vlan(VlanId),
}

/// In which form a frame leaves by a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Untagged,
    Tagged,
}

impl Vlan {
    /// All that there are, and frames in none: what a cable to a switch carries.
    pub fn all() -> Self {
        Self::Trunk(Trunk { tagged: VlanSet::all(), untagged: Untagged::Plain })
    }

    /// In which VLAN a frame is that came with this tag. An access port takes none with a VLAN, not even with its own.
    pub(super) fn enter(&self, tag: Option<Tag>) -> Result<Option<VlanId>, Reason> {
        let named = match tag {
            Some(tag) if tag.is_reserved() => return Err(Reason::Vlan),
            Some(tag) => tag.vlan(),
            None => None,
        };
        match (self, named) {
            (Self::None, None) => Ok(None),
            (Self::Access(vlan), None) => Ok(Some(*vlan)),
            (Self::Trunk(trunk), None) => match trunk.untagged {
                Untagged::Dropped => Err(Reason::Vlan),
                Untagged::Plain => Ok(None),
                Untagged::Vlan(vlan) => Ok(Some(vlan)),
            },
            (Self::Trunk(trunk), Some(vlan)) if trunk.tagged.contains(vlan) => Ok(Some(vlan)),
            (_, Some(_)) => Err(Reason::Vlan),
        }
    }

    /// In which form a frame of this VLAN leaves; None if it does not.
    pub(super) fn leave(&self, vlan: Option<VlanId>) -> Option<Form> {
        // What comes without a tag leaves so.
        if self.enter(None) == Ok(vlan) {
            return Some(Form::Untagged);
        }
        match (self, vlan) {
            (Self::Trunk(trunk), Some(vlan)) => trunk.tagged.contains(vlan).then_some(Form::Tagged),
            _ => None,
        }
    }

    /// Whether there is one that both carry.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        (0..=4094).map(VlanId::new).any(|vlan| self.leave(vlan).is_some() && other.leave(vlan).is_some())
    }
}

/// A set of VLANs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VlanSet(Box<[u64; 64]>);

impl VlanSet {
    /// None.
    pub fn empty() -> Self {
        Self(Box::new([0; 64]))
    }

    /// 1 to 4094.
    pub fn all() -> Self {
        (1..=4094).filter_map(VlanId::new).collect()
    }

    pub fn insert(&mut self, vlan: VlanId) {
        self.0[usize::from(vlan.number() / 64)] |= 1 << (vlan.number() % 64);
    }

    pub fn contains(&self, vlan: VlanId) -> bool {
        self.0[usize::from(vlan.number() / 64)] & 1 << (vlan.number() % 64) != 0
    }
}

impl FromIterator<VlanId> for VlanSet {
    fn from_iter<I: IntoIterator<Item = VlanId>>(vlans: I) -> Self {
        let mut set = Self::empty();
        vlans.into_iter().for_each(|vlan| set.insert(vlan));
        set
    }
}
