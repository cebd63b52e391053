//! How much work there is: straight lines, seeded noise, and the busy half of real A100s.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

pub(super) const SECOND: i64 = 1000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;

/// A curve of straight lines through (minute, level); level before the first and after the last point stays.
#[derive(Debug, Clone, Copy)]
pub(super) struct Curve(pub(super) &'static [(i64, i64)]);

impl Curve {
    /// The level at a time, rounded towards zero.
    pub(super) fn at(self, ms: i64) -> i64 {
        let next = self.0.partition_point(|&(minute, _)| minute * MINUTE <= ms);
        match (next.checked_sub(1).map(|last| self.0[last]), self.0.get(next)) {
            (None, None) => 0,
            (None, Some(&(_, level))) | (Some((_, level)), None) => level,
            (Some((from, low)), Some(&(to, high))) => {
                low + (high - low) * (ms - from * MINUTE) / ((to - from) * MINUTE)
            }
        }
    }
}

/// Random numbers of one device or one purpose.
#[derive(Debug, Clone)]
pub(super) struct Noise(ChaCha8Rng);

impl Noise {
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// From 0 to `bound` − 1.
    pub(super) fn below(&mut self, bound: i64) -> i64 {
        let drawn = i128::from(self.0.next_u32()) * i128::from(bound);
        i64::try_from(drawn >> 32).unwrap()
    }

    /// From `low` to `high`, both included.
    pub(super) fn within(&mut self, low: i64, high: i64) -> i64 {
        low + self.below(high - low + 1)
    }

    /// From −`spread` to `spread`, more often near zero.
    pub(super) fn around_zero(&mut self, spread: i64) -> i64 {
        i64::midpoint(self.within(-spread, spread), self.within(-spread, spread))
    }

    /// Whether something happens that happens `percent` of the time.
    pub(super) fn chance(&mut self, percent: i64) -> bool {
        self.below(100) < percent
    }

    /// Lower-case letters and digits, from the alphabet that Kubernetes uses for names.
    pub(super) fn suffix(&mut self, length: usize) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let bound = i64::try_from(LETTERS.len()).unwrap();
        (0..length)
            .map(|_| char::from(LETTERS[usize::try_from(self.below(bound)).unwrap()]))
            .collect()
    }

    pub(super) fn hexadecimal(&mut self, length: usize) -> String {
        (0..length)
            .map(|_| char::from(b"0123456789abcdef"[usize::try_from(self.below(16)).unwrap()]))
            .collect()
    }
}

/// Quantiles of the GPU utilization of real A100s (percent) by which batch work is as busy as it is: the cluster
/// *Kalos* of `AcmeTrace` (Hu et al., "Characterization of Large Language Model Development in the Datacenter",
/// NSDI 2024; CC-BY 4.0), `data/utilization/util_pkl` at `6d6ac9cd`. Below the quantile 0.4 its GPUs are idle or on
/// their way up, and an idle GPU here has no pod.
const KALOS: [(i64, i64); 7] = [
    (400, 82),
    (500, 97),
    (600, 99),
    (700, 100),
    (800, 100),
    (900, 100),
    (1000, 100),
];

/// Utilization of a GPU that trains, percent.
pub(super) fn busy_percent(noise: &mut Noise) -> i64 {
    let drawn = noise.within(400, 1000);
    let next = KALOS
        .partition_point(|&(quantile, _)| quantile <= drawn)
        .clamp(1, KALOS.len() - 1);
    let ((from, low), (to, high)) = (KALOS[next - 1], KALOS[next]);
    low + (high - low) * (drawn - from) / (to - from)
}
