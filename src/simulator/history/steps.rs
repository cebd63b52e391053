//! A number over time that holds until it changes.

use crate::recording::Series;

/// A step function of time: each value holds from its time until the next. A value that is not finite says that
/// nothing is known from then on.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Steps {
    changes: Vec<(i64, f64)>,
}

impl Steps {
    /// The changes of a series.
    pub(super) fn of(series: &Series) -> Self {
        let mut changes: Vec<(i64, f64)> = Vec::new();
        for (at_ms, value) in series.samples() {
            let value = if value.is_finite() { value } else { f64::NAN };
            if changes
                .last()
                .is_none_or(|&(_, last)| last.to_bits() != value.to_bits())
            {
                changes.push((at_ms, value));
            }
        }
        Self { changes }
    }

    /// The value at a time; where nothing is known, the last that was, and before the first change the first.
    pub(super) fn at(&self, at_ms: i64) -> Option<f64> {
        let after = self.changes.partition_point(|&(from_ms, _)| from_ms <= at_ms);
        let known = |changes: &[(i64, f64)]| {
            let mut known = changes.iter().map(|&(_, value)| value);
            (
                known.clone().rfind(|value| value.is_finite()),
                known.find(|value| value.is_finite()),
            )
        };
        let (before, after) = self.changes.split_at(after);
        known(before).0.or(known(after).1)
    }

    /// The value at a time, if it is known then.
    pub(super) fn known_at(&self, at_ms: i64) -> Option<f64> {
        let after = self.changes.partition_point(|&(from_ms, _)| from_ms <= at_ms);
        let (_, value) = self.changes.get(after.checked_sub(1)?)?;
        value.is_finite().then_some(*value)
    }

    /// The time of its first change.
    pub(super) fn start_ms(&self) -> Option<i64> {
        self.changes.first().map(|&(at_ms, _)| at_ms)
    }

    /// The same as a count of nodes.
    pub(super) fn count_at(&self, at_ms: i64) -> Option<u32> {
        self.at(at_ms).map(count)
    }

    /// All changes, in order of time.
    pub(super) fn changes(&self) -> &[(i64, f64)] {
        &self.changes
    }
}

/// A number as a count.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to what a pool can have"
)]
pub(super) fn count(value: f64) -> u32 {
    value.round().clamp(0.0, 1e6) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::{Labels, MetricsBuilder};

    #[test]
    fn a_value_holds_until_it_changes() {
        const T0: i64 = 1_700_000_000_000;
        let mut builder = MetricsBuilder::new();
        let id = builder.series(Labels::new("n", [("a", "b")]).unwrap()).unwrap();
        for (minute, value) in [(0, 2.0), (1, 2.0), (2, f64::NAN), (3, 4.4), (4, 4.4)] {
            builder.push(id, T0 + minute * 60_000, value, 1).unwrap();
        }
        let metrics = builder.finish().unwrap();
        let steps = Steps::of(&metrics.series()[0]);
        let finite: Vec<_> = steps
            .changes()
            .iter()
            .filter(|(_, value)| value.is_finite())
            .collect();
        assert_eq!(finite, [&(T0, 2.0), &(T0 + 180_000, 4.4)]);
        assert_eq!(
            (steps.known_at(T0 - 1), steps.known_at(T0 + 60_000)),
            (None, Some(2.0))
        );
        assert_eq!(
            (steps.known_at(T0 + 120_000), steps.at(T0 + 120_000)),
            (None, Some(2.0))
        );
        assert_eq!(steps.count_at(T0 - 1), Some(2));
        assert_eq!(steps.count_at(T0 + 179_999), Some(2));
        assert_eq!(steps.count_at(T0 + 180_000), Some(4));
        assert_eq!(Steps::default().count_at(T0), None);
    }
}
