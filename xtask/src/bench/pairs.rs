//! Two machines beside each other, turn by turn: what the computer does besides changes both, and so little of their ratio.
use crate::failure::Result;
use std::fmt;

/// Turns of each, one after the other's.
const PAIRS: usize = 9;

/// What two machines did.
pub(super) struct Pairs {
    /// The middle one of the ratios of turns that followed each other: ours to theirs.
    pub ratio: f64,
    /// The least and the greatest of them.
    pub range: (f64, f64),
    /// What a turn did, on average, at ours
    pub ours: f64,
    /// and at theirs, by the second.
    pub theirs: f64,
}

/// Lets both have their turns, each of which tells what it did by the second. The first of each warms up what there is to
/// warm up.
pub(super) fn compare(
    mut ours: impl FnMut() -> Result<f64>,
    mut theirs: impl FnMut() -> Result<f64>,
) -> Result<Pairs> {
    theirs()?;
    ours()?;
    let (mut ratios, mut all) = ([0.0; PAIRS], (0.0, 0.0));
    for ratio in &mut ratios {
        let (theirs, ours) = (theirs()?, ours()?);
        *ratio = ours / theirs;
        all = (all.0 + ours, all.1 + theirs);
    }
    ratios.sort_by(f64::total_cmp);
    let [least, .., most] = ratios;
    let turns = PAIRS as f64;
    Ok(Pairs { ratio: ratios[PAIRS / 2], range: (least, most), ours: all.0 / turns, theirs: all.1 / turns })
}

impl fmt::Display for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = self.range;
        write!(f, "{:.2} of it ({least:.2} to {most:.2})", self.ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    #[test]
    fn a_turn_that_something_else_disturbed_does_not_change_the_ratio() {
        let mut turn = 0;
        let ours = || {
            turn += 1;
            Ok(if turn == 5 { 1.0 } else { 50.0 })
        };
        let pairs = compare(ours, || Ok(100.0)).unwrap();
        assert_eq!((pairs.ratio, pairs.range, pairs.theirs), (0.5, (0.01, 0.5), 100.0));
        assert!(pairs.ours < 50.0);
        assert_eq!(pairs.to_string(), "0.50 of it (0.01 to 0.50)");
    }

    #[test]
    fn a_turn_that_fails_is_the_end() {
        assert!(compare(|| Err(Failure::new("it broke")), || Ok(1.0)).is_err());
        assert!(compare(|| Ok(1.0), || Err(Failure::new("it broke"))).is_err());
    }
}
