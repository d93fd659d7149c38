//! Measures, sorts, prints.
use bare::instructions::rdtsc;
use core::fmt;

/// Samples of a figure, at most.
const SAMPLES: usize = 2000;
/// Rounds that are not counted: the first ones find nothing prepared.
const WARM_UP: usize = 20;
/// Figures, at most.
const FIGURES: usize = 40;

/// A figure in ticks.
#[derive(Clone, Copy, Default)]
struct Figure {
    name: &'static str,
    median: u64,
    least: u64,
    /// Nine of ten are not larger.
    p90: u64,
    count: usize,
}

/// All figures.
pub struct Results {
    figures: [Figure; FIGURES],
    count: usize,
}

impl Results {
    pub fn new() -> Self {
        Self { figures: [Figure::default(); FIGURES], count: 0 }
    }

    /// Measures `work`, the two readings of the counter included, [`SAMPLES`] times.
    #[inline(always)]
    pub fn time<T>(&mut self, name: &'static str, mut work: impl FnMut() -> T) {
        self.collect(name, SAMPLES, || {
            let begin = rdtsc();
            work();
            rdtsc() - begin
        });
    }

    /// Takes `count` samples from `sample`.
    #[inline(always)]
    pub fn collect(&mut self, name: &'static str, count: usize, mut sample: impl FnMut() -> u64) {
        let mut samples = [0; SAMPLES];
        for _ in 0..WARM_UP {
            sample();
        }
        let samples = &mut samples[..count];
        for place in &mut *samples {
            *place = sample();
        }
        self.add(name, samples);
    }

    /// A figure of which there is only one.
    pub fn single(&mut self, name: &'static str, ticks: u64) {
        self.add(name, &mut [ticks]);
    }

    fn add(&mut self, name: &'static str, samples: &mut [u64]) {
        samples.sort_unstable();
        let count = samples.len();
        self.figures[self.count] = Figure {
            name,
            median: samples[count / 2],
            least: samples[0],
            p90: samples[count * 9 / 10],
            count,
        };
        self.count += 1;
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "BENCH-BEGIN")?;
        for Figure { name, median, least, p90, count } in &self.figures[..self.count] {
            writeln!(f, "BENCH {name} med={median} min={least} p90={p90} n={count}")?;
        }
        writeln!(f, "BENCH-END")
    }
}
