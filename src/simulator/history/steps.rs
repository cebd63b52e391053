//! A number over time that holds until it changes.

use crate::recording::Series;

/// A step function of time: each value holds from its time until the next.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Steps {
    changes: Vec<(i64, f64)>,
}

impl Steps {
    /// The changes of a series. A value that is not finite says nothing, so the one before it goes on.
    pub(super) fn of(series: &Series) -> Self {
        let mut changes: Vec<(i64, f64)> = Vec::new();
        for (at_ms, value) in series.samples().filter(|(_, value)| value.is_finite()) {
            if changes
                .last()
                .is_none_or(|&(_, last)| last.to_bits() != value.to_bits())
            {
                changes.push((at_ms, value));
            }
        }
        Self { changes }
    }

    /// The value at a time; before the first change it is the first value.
    pub(super) fn at(&self, at_ms: i64) -> Option<f64> {
        let after = self.changes.partition_point(|&(from_ms, _)| from_ms <= at_ms);
        let (_, value) = self.changes.get(after.saturating_sub(1))?;
        Some(*value)
    }

    /// The same as a count of nodes.
    pub(super) fn count_at(&self, at_ms: i64) -> Option<u32> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to what a pool can have"
        )]
        self.at(at_ms).map(|value| value.round().clamp(0.0, 1e6) as u32)
    }

    /// All changes, in order of time.
    pub(super) fn changes(&self) -> &[(i64, f64)] {
        &self.changes
    }
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
        assert_eq!(steps.changes(), [(T0, 2.0), (T0 + 180_000, 4.4)]);
        assert_eq!(steps.count_at(T0 - 1), Some(2));
        assert_eq!(steps.count_at(T0 + 179_999), Some(2));
        assert_eq!(steps.count_at(T0 + 180_000), Some(4));
        assert_eq!(Steps::default().count_at(T0), None);
    }
}
