//! Which frames go first, and how many wait.

/// What a frame is to whoever waits for it. Those before go first, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Heartbeats, consensus: what decides over life and death if it is late.
    Urgent,
    /// What somebody waits for: a guest's reads and writes.
    Normal,
    /// What can wait: rebuilding, migration.
    Bulk,
}

impl Priority {
    /// How many there are.
    pub const COUNT: usize = 3;
    /// All, the first first.
    pub const ALL: [Self; Self::COUNT] = [Self::Urgent, Self::Normal, Self::Bulk];

    /// What switches on the way make of it, where frames have a tag (IEEE 802.1Q, table I-2): internetwork control, critical
    /// applications, background. Frames without a tag don't tell.
    pub const fn code_point(self) -> u8 {
        match self {
            Self::Urgent => 6,
            Self::Normal => 3,
            Self::Bulk => 1,
        }
    }

    /// How much of it waits, unless a socket says otherwise.
    pub const fn usual_limit(self) -> Limit {
        match self {
            Self::Urgent => Limit { frames: 1024, bytes: 1 << 20 },
            Self::Normal => Limit { frames: 1024, bytes: 4 << 20 },
            Self::Bulk => Limit { frames: 512, bytes: 2 << 20 },
        }
    }
}

/// How much of a socket's may wait for the card, with one priority. One frame may, whatever it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub frames: usize,
    /// Of whole frames.
    pub bytes: usize,
}
