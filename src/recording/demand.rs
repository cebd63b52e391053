//! One demand series on a uniform grid.

use super::RecordingError;

/// Fixed-point units per GPU: demand is an `i64` in 1e-6 GPU.
pub const MICRO: i64 = 1_000_000;

/// The largest demand a series may hold: a million GPUs. With this bound, demand times one million still fits
/// an `i64`, so the simulator divides fixed-point numbers without a wider type.
pub const MAX_DEMAND: i64 = 1_000_000 * MICRO;

/// The most grid points of a series (128 MiB of values): a year at two seconds.
pub const MAX_POINTS: usize = 1 << 24;

/// How many GPUs were wanted, over time, before any saturation.
///
/// `values()[i]` holds from `start_ms + i · step_ms` for one step. The series covers `len · step_ms` in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    name: String,
    start_ms: i64,
    step_ms: i64,
    values: Vec<i64>,
}

impl Demand {
    /// A series from values in 1e-6 GPU, the first of which starts at `start_ms` (unix milliseconds).
    ///
    /// # Errors
    ///
    /// [`RecordingError::Grid`] if the step is not above zero, there are no values, or one is out of
    /// `0..=MAX_DEMAND`.
    pub fn new(
        name: impl Into<String>,
        start_ms: i64,
        step_ms: i64,
        values: Vec<i64>,
    ) -> Result<Self, RecordingError> {
        let name = name.into();
        let reason = if step_ms <= 0 {
            "the interval must be above zero"
        } else if values.is_empty() {
            "there are no values"
        } else if values.iter().any(|value| !(0..=MAX_DEMAND).contains(value)) {
            "a value is negative or above a million GPUs"
        } else {
            return Ok(Self {
                name,
                start_ms,
                step_ms,
                values,
            });
        };
        Err(RecordingError::Grid { series: name, reason })
    }

    /// Puts rows of `(unix seconds, 1e-6 GPU)`, times rising, on the coarsest grid that hits every row.
    ///
    /// That grid's interval is the greatest common divisor of the gaps, so holding each value until the next
    /// row loses nothing. The last row holds for one interval.
    pub(super) fn from_rows(name: String, rows: &[(i64, i64)]) -> Result<Self, RecordingError> {
        let (Some(&(first, _)), Some(&(last, _))) = (rows.first(), rows.last()) else {
            return Err(RecordingError::NoRows);
        };
        let step = rows
            .windows(2)
            .fold(0, |step, pair| gcd(step, pair[1].0 - pair[0].0));
        if step == 0 {
            return Err(RecordingError::SingleRow { series: name });
        }
        let points = (last - first) / step + 1;
        let Some(capacity) = usize::try_from(points)
            .ok()
            .filter(|&points| points <= MAX_POINTS)
        else {
            let points = u128::from(points.unsigned_abs());
            return Err(RecordingError::TooLong {
                series: name,
                points,
                step_ms: step * 1000,
            });
        };
        let mut values = Vec::with_capacity(capacity);
        for pair in rows.windows(2) {
            for _ in 0..(pair[1].0 - pair[0].0) / step {
                values.push(pair[0].1);
            }
        }
        values.extend(rows.last().map(|&(_, value)| value));
        Self::new(name, first * 1000, step * 1000, values)
    }

    /// The series' name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Unix milliseconds at which the first value starts to hold.
    #[must_use]
    pub fn start_ms(&self) -> i64 {
        self.start_ms
    }

    /// Milliseconds for which each value holds.
    #[must_use]
    pub fn step_ms(&self) -> i64 {
        self.step_ms
    }

    /// The values in 1e-6 GPU; never empty.
    #[must_use]
    pub fn values(&self) -> &[i64] {
        &self.values
    }

    /// The time covered, in milliseconds.
    #[must_use]
    pub fn duration_ms(&self) -> i64 {
        i64::try_from(self.values.len()).map_or(i64::MAX, |points| points.saturating_mul(self.step_ms))
    }

    /// The largest value, in 1e-6 GPU.
    #[must_use]
    pub fn peak(&self) -> i64 {
        self.values.iter().copied().max().unwrap_or(0)
    }

    /// The same demand on a grid of `step_ms`: each point takes the value in force at its start.
    ///
    /// A finer grid loses nothing. A coarser one samples, so what rises and falls between two points is not
    /// seen, as it would not be by a loop of that interval. The last point may reach past the end of the
    /// series.
    ///
    /// # Errors
    ///
    /// [`RecordingError::Grid`] if `step_ms` is not above zero, [`RecordingError::TooLong`] if the grid would
    /// have more than [`MAX_POINTS`].
    pub fn resampled(&self, step_ms: i64) -> Result<Self, RecordingError> {
        if step_ms <= 0 {
            let reason = "the interval must be above zero";
            return Err(RecordingError::Grid {
                series: self.name.clone(),
                reason,
            });
        }
        let duration = i128::from(self.duration_ms());
        let points = (duration + i128::from(step_ms) - 1) / i128::from(step_ms);
        let Some(points) = usize::try_from(points)
            .ok()
            .filter(|&points| points <= MAX_POINTS)
        else {
            let (series, points) = (self.name.clone(), points.unsigned_abs());
            return Err(RecordingError::TooLong {
                series,
                points,
                step_ms,
            });
        };
        let mut values = Vec::with_capacity(points);
        // `offset` walks the grid inside the old step `source`; no multiplication, so nothing can overflow.
        let (mut source, mut offset) = (0_usize, 0_i64);
        for _ in 0..points {
            values.push(self.values[source.min(self.values.len() - 1)]);
            offset += step_ms;
            source += usize::try_from(offset / self.step_ms).unwrap_or(usize::MAX);
            offset %= self.step_ms;
        }
        Self::new(self.name.clone(), self.start_ms, step_ms, values)
    }

    /// The same shape at another level: every value times `factor`, rounded to 1e-6 GPU, at most
    /// [`MAX_DEMAND`].
    ///
    /// # Errors
    ///
    /// [`RecordingError::Scale`] unless `factor` is finite and above zero.
    pub fn scaled(&self, factor: f64) -> Result<Self, RecordingError> {
        if !factor.is_finite() || factor <= 0.0 {
            return Err(RecordingError::Scale {
                factor: factor.to_string(),
            });
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "values are at most 1e12, exact in an f64"
        )]
        let values = self
            .values
            .iter()
            .map(|&value| micro_from_f64(value as f64 * factor))
            .collect();
        Self::new(self.name.clone(), self.start_ms, self.step_ms, values)
    }
}

/// Rounds a number of 1e-6 GPUs that is not negative to an integer, at most [`MAX_DEMAND`].
#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast from f64 saturates, and the bound is far inside i64"
)]
pub(super) fn micro_from_f64(micro: f64) -> i64 {
    (micro.round() as i64).clamp(0, MAX_DEMAND)
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn demand(step_ms: i64, values: &[i64]) -> Demand {
        Demand::new("d", 1_000_000, step_ms, values.to_vec()).unwrap()
    }

    #[test]
    fn rows_are_held_on_the_coarsest_exact_grid() {
        let rows = [(100, 1), (160, 2), (190, 3), (280, 4)];
        let demand = Demand::from_rows("d".into(), &rows).unwrap();
        assert_eq!((demand.start_ms(), demand.step_ms()), (100_000, 30_000));
        assert_eq!(demand.values(), [1, 1, 2, 3, 3, 3, 4]);
        assert_eq!(demand.duration_ms(), 7 * 30_000);
    }

    #[test]
    fn one_row_has_no_interval() {
        let error = Demand::from_rows("d".into(), &[(100, 1)]).unwrap_err();
        assert_eq!(error, RecordingError::SingleRow { series: "d".into() });
    }

    #[test]
    fn a_grid_too_large_for_memory_is_refused_before_it_is_built() {
        let error = Demand::from_rows("d".into(), &[(0, 1), (1, 1), (4_000_000_000, 1)]).unwrap_err();
        assert!(
            matches!(
                error,
                RecordingError::TooLong {
                    points: 4_000_000_001,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn resampling_holds_values_and_covers_the_end() {
        let check = |step: i64, expected: &[i64]| {
            assert_eq!(
                demand(60, &[1, 2, 3]).resampled(step).unwrap().values(),
                expected,
                "step {step}"
            );
        };
        check(60, &[1, 2, 3]);
        check(30, &[1, 1, 2, 2, 3, 3]);
        check(40, &[1, 1, 2, 3, 3]);
        check(120, &[1, 3]);
        check(90, &[1, 2]);
        check(1000, &[1]);
        assert!(demand(60, &[1]).resampled(0).is_err());
        assert!(demand(i64::MAX / 2, &[1]).resampled(1).is_err());
    }

    #[test]
    fn scaling_rounds_and_saturates() {
        assert_eq!(demand(1, &[10, 5, 0]).scaled(0.3).unwrap().values(), [3, 2, 0]);
        assert_eq!(
            demand(1, &[MAX_DEMAND]).scaled(2.0).unwrap().values(),
            [MAX_DEMAND]
        );
        for factor in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(demand(1, &[1]).scaled(factor).is_err(), "{factor}");
        }
    }

    #[test]
    fn nonsense_from_code_is_refused() {
        assert!(Demand::new("d", 0, 0, vec![1]).is_err());
        assert!(Demand::new("d", 0, 1, vec![]).is_err());
        assert!(Demand::new("d", 0, 1, vec![-1]).is_err());
        assert!(Demand::new("d", 0, 1, vec![MAX_DEMAND + 1]).is_err());
    }

    proptest! {
        #[test]
        fn a_finer_grid_that_divides_the_step_keeps_the_integral(
            values in prop::collection::vec(0..MAX_DEMAND, 1..50),
            parts in 1_i64..20,
        ) {
            let coarse = demand(parts * 7, &values);
            let fine = coarse.resampled(7).unwrap();
            let integral = |d: &Demand| -> i128 {
                d.values().iter().map(|&v| i128::from(v) * i128::from(d.step_ms())).sum()
            };
            prop_assert_eq!(integral(&coarse), integral(&fine));
            prop_assert_eq!(coarse.duration_ms(), fine.duration_ms());
            prop_assert_eq!(fine.resampled(parts * 7).unwrap(), coarse);
        }
    }
}
