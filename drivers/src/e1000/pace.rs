//! When to look next, and how often to be told.
use core::time::Duration;

/// How often a card without messages is looked at while there is traffic or frames are under way.
const BUSY: Duration = Duration::from_micros(100);
/// And at most how seldom when there has been nothing for long: 250 looks a second, of two reads of memory each, which with
/// the timer cost a CPU about a thousandth of its time. In between it is waited as long again as it was quiet, so that what
/// comes waits for no longer than that.
const IDLE: Duration = Duration::from_millis(4);

/// Frames of one go that are a load, and those that are none.
const LOADED: usize = 16;
const CALM: usize = 4;
/// Goes without a load after which there is none.
const CALM_GOES: u8 = 64;

/// The times between looks at a card that is polled.
pub(super) struct Pace(Duration);

impl Pace {
    pub fn new() -> Self {
        Self(BUSY)
    }

    /// How long to wait, after a look that found something to do or did not.
    pub fn next(&mut self, busy: bool) -> Duration {
        let wait = if busy { BUSY } else { self.0 };
        self.0 = (wait * 2).min(IDLE);
        wait
    }
}

/// Whether there is a load under which messages are held back.
#[derive(Default)]
pub(super) struct Load {
    loaded: bool,
    calm: u8,
}

impl Load {
    /// After a go of so many frames: whether there is one from now on, if that has changed.
    pub fn after(&mut self, frames: usize) -> Option<bool> {
        let before = self.loaded;
        if frames >= LOADED {
            (self.loaded, self.calm) = (true, 0);
        } else if frames <= CALM {
            self.calm = self.calm.saturating_add(1);
            self.loaded &= self.calm < CALM_GOES;
        }
        (self.loaded != before).then_some(self.loaded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_looked_at_seldom_when_nothing_happens_and_often_when_it_does() {
        let mut pace = Pace::new();
        let waits: [_; 8] = core::array::from_fn(|_| pace.next(false).as_micros());
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 4000, 4000]);
        assert_eq!([true, true, false].map(|busy| pace.next(busy).as_micros()), [100, 100, 200]);
    }

    #[test]
    fn messages_are_held_back_under_load_until_it_was_calm_for_long() {
        let mut load = Load::default();
        assert_eq!(
            [1, 10, 20, 3, 100].map(|frames| load.after(frames)),
            [None, None, Some(true), None, None]
        );
        assert!((1..CALM_GOES).all(|_| load.after(1).is_none()));
        assert_eq!((load.after(1), load.after(1)), (Some(false), None));
    }
}
