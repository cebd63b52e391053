//! Numbers that cannot hold nonsense: each newtype has a range, and reading a value outside it fails with a
//! sentence that names the range.
//!
//! Fractions are fixed-point integers (millionths), because the engine computes on integers only; a
//! percentage and the ratio of the same size convert exactly. The ranges here are also the ranges in the
//! custom resource's schema, from the same constants, so the API server and the offline check refuse the same
//! values.
//!
//! This module must not know which field a number belongs to.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

/// A number outside the range of its type.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NumberError {
    /// A count outside its range.
    #[error("{what} must be a whole number from {min} to {max}, not {got}")]
    Count {
        /// What the number counts.
        what: &'static str,
        /// Smallest allowed value.
        min: i64,
        /// Largest allowed value.
        max: i64,
        /// The refused value.
        got: i64,
    },
    /// A decimal outside its range, or not a number at all.
    #[error("{what} must be {range}, not {got}")]
    Decimal {
        /// What the number measures.
        what: &'static str,
        /// The allowed range in words.
        range: &'static str,
        /// The refused value.
        got: f64,
    },
}

/// Millionths per unit.
const MICROS: i64 = 1_000_000;

/// Defines a whole number in a closed range.
macro_rules! count {
    ($(#[$doc:meta])* $name:ident, $what:literal, $min:literal..=$max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "i64", into = "i64")]
        pub struct $name(u32);

        impl $name {
            /// The smallest value.
            pub const MIN: Self = Self($min);
            /// The largest value.
            pub const MAX: Self = Self($max);

            /// The value; a number outside the range becomes the nearest bound. For constants: data goes
            /// through `TryFrom`.
            #[must_use]
            pub const fn clamped(value: u32) -> Self {
                // A match, because one range starts at the type's own minimum and a comparison would be idle.
                match value {
                    $min..=$max => Self(value),
                    _ if value > $max => Self($max),
                    _ => Self($min),
                }
            }

            /// The plain number.
            #[must_use]
            pub const fn get(self) -> u32 {
                self.0
            }
        }

        impl TryFrom<i64> for $name {
            type Error = NumberError;

            fn try_from(got: i64) -> Result<Self, NumberError> {
                match u32::try_from(got) {
                    Ok(value) if ($min..=$max).contains(&value) => Ok(Self(value)),
                    _ => Err(NumberError::Count { what: $what, min: $min, max: $max, got }),
                }
            }
        }

        impl From<$name> for i64 {
            fn from(value: $name) -> Self {
                Self::from(value.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "integer", "format": "int32", "minimum": $min, "maximum": $max })
            }
        }
    };
}

count! {
    /// A number of nodes or replicas, from 0 to 5000 (the largest cluster that AKS supports).
    NodeCount, "a node or replica count", 0..=5000
}

count! {
    /// How much one rate policy or step may change: nodes, replicas or percent, from 1 to 5000.
    StepSize, "a step", 1..=5000
}

count! {
    /// How far one saturation step grows, in percent of the GPUs in service, from 1 to 400.
    GrowthPercent, "a growth step in percent", 1..=400
}

/// Whether the lower end of a range belongs to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LowerEnd {
    Included,
    Excluded,
}

/// Defines a decimal in a range that starts at zero, held in millionths.
macro_rules! decimal {
    ($(#[$doc:meta])* $name:ident, $what:literal, $lower:ident, $max:literal, $range:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "f64")]
        pub struct $name(i64);

        impl $name {
            /// The largest value.
            pub const MAX: Self = Self($max * MICROS);

            /// A value from millionths; a number outside the range becomes the nearest bound. For constants:
            /// data goes through `TryFrom`.
            #[must_use]
            pub const fn from_micros_clamped(micros: i64) -> Self {
                let least = match LowerEnd::$lower {
                    LowerEnd::Included => 0,
                    LowerEnd::Excluded => 1,
                };
                if micros < least {
                    Self(least)
                } else if micros > $max * MICROS {
                    Self::MAX
                } else {
                    Self(micros)
                }
            }

            /// The value in millionths.
            #[must_use]
            pub const fn micros(self) -> i64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = NumberError;

            fn try_from(got: f64) -> Result<Self, NumberError> {
                micros_in_range(got, LowerEnd::$lower, $max)
                    .map(Self)
                    .ok_or(NumberError::Decimal { what: $what, range: $range, got })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serialize_micros(self.0, serializer)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_micros(self.0, f)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                match LowerEnd::$lower {
                    LowerEnd::Included => json_schema!({ "type": "number", "minimum": 0, "maximum": $max }),
                    LowerEnd::Excluded => json_schema!({
                        "type": "number", "minimum": 0, "exclusiveMinimum": true, "maximum": $max
                    }),
                }
            }
        }
    };
}

decimal! {
    /// A percentage, above 0 and at most 100.
    Percent, "a percentage", Excluded, 100, "above 0 and at most 100"
}

decimal! {
    /// A ratio from 0 to 1.
    Ratio, "a ratio", Included, 1, "from 0 to 1 (0.8 means 80 %)"
}

decimal! {
    /// A quantile, above 0 and at most 1.
    Quantile, "a quantile", Excluded, 1, "above 0 and at most 1 (0.95 means the 95th percentile)"
}

decimal! {
    /// A threshold in its signal's unit: percent for utilization signals, a plain count for others.
    Threshold, "a threshold", Included, 1_000_000_000, "from 0 to 1000000000"
}

decimal! {
    /// A load that one node or replica carries, above 0.
    LoadPerNode, "a load per node or replica", Excluded, 1_000_000_000, "above 0 and at most 1000000000"
}

decimal! {
    /// US dollars per hour, above 0.
    UsdPerHour, "a budget in US dollars per hour", Excluded, 1_000_000, "above 0 and at most 1000000"
}

decimal! {
    /// What one unserved GPU-hour costs, in GPU-hours of capacity, above 0.
    MissPenalty, "a miss penalty", Excluded, 10_000, "above 0 and at most 10000"
}

impl Percent {
    /// A whole percentage; out of range becomes the nearest bound. For constants.
    #[must_use]
    pub const fn whole(percent: u32) -> Self {
        Self::from_micros_clamped(percent as i64 * MICROS)
    }

    /// The same size as a ratio in millionths: 75 % is 750 000.
    #[must_use]
    pub const fn ratio_micros(self) -> i64 {
        self.0 / 100
    }
}

/// Rounds to millionths; `None` when outside the range or not finite.
fn micros_in_range(value: f64, lower: LowerEnd, max: i64) -> Option<i64> {
    #[expect(clippy::cast_precision_loss, reason = "the bounds are far below 2^53")]
    let (scale, max) = (MICROS as f64, max as f64);
    if !(value >= 0.0 && value <= max) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked against the range above")]
    let micros = (value * scale).round() as i64;
    (micros > 0 || lower == LowerEnd::Included).then_some(micros)
}

/// Whole numbers are written as integers, so that `75` stays `75` through a read and a write.
fn serialize_micros<S: Serializer>(micros: i64, serializer: S) -> Result<S::Ok, S::Error> {
    if micros % MICROS == 0 {
        serializer.serialize_i64(micros / MICROS)
    } else {
        #[expect(clippy::cast_precision_loss, reason = "the bounds are far below 2^53")]
        serializer.serialize_f64(micros as f64 / MICROS as f64)
    }
}

fn write_micros(micros: i64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let fraction = format!("{:06}", micros % MICROS);
    match fraction.trim_end_matches('0') {
        "" => write!(f, "{}", micros / MICROS),
        digits => write!(f, "{}.{digits}", micros / MICROS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused<T: serde::de::DeserializeOwned + fmt::Debug>(json: &str, expected: &str) {
        let error = serde_json::from_str::<T>(json).expect_err(json).to_string();
        assert!(error.contains(expected), "{json}: {error}");
    }

    #[test]
    fn ranges_are_named_when_left() {
        refused::<NodeCount>("-1", "a whole number from 0 to 5000, not -1");
        refused::<NodeCount>("5001", "from 0 to 5000");
        refused::<NodeCount>("1.5", "floating point");
        refused::<StepSize>("0", "from 1 to 5000");
        refused::<Percent>("0", "above 0 and at most 100");
        refused::<Percent>("100.1", "at most 100, not 100.1");
        refused::<Percent>("-3", "at most 100");
        refused::<Ratio>("80", "0.8 means 80 %");
        refused::<Quantile>("95", "0.95 means the 95th percentile");
        refused::<UsdPerHour>("0", "US dollars");
        refused::<Percent>("\"75\"", "invalid type");
    }

    #[test]
    fn not_a_number_is_refused() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(Percent::try_from(value).is_err());
            assert!(Threshold::try_from(value).is_err());
        }
        assert!(
            Percent::try_from(0.000_000_1).is_err(),
            "rounds to zero, which is not a percentage"
        );
    }

    #[test]
    fn whole_numbers_stay_whole() {
        assert_eq!(serde_json::to_string(&Percent::whole(75)).unwrap(), "75");
        assert_eq!(
            serde_json::to_string(&Ratio::try_from(0.05).unwrap()).unwrap(),
            "0.05"
        );
        assert_eq!(Percent::try_from(72.5).unwrap().to_string(), "72.5");
        assert_eq!(Percent::whole(75).ratio_micros(), 750_000);
        assert_eq!(Percent::whole(900), Percent::MAX);
    }

    proptest! {
        #[test]
        fn decimals_round_trip(micros in 0..=1_000_000_000_000_000_i64) {
            let value = Threshold::from_micros_clamped(micros);
            let back: Threshold = serde_json::from_str(&serde_json::to_string(&value).unwrap()).unwrap();
            prop_assert_eq!(back, value);
            prop_assert_eq!(value.to_string().parse::<f64>().ok().and_then(|f| Threshold::try_from(f).ok()), Some(value));
        }

        #[test]
        fn counts_round_trip(n in 0..=5000_i64) {
            let value = NodeCount::try_from(n).unwrap();
            prop_assert_eq!(serde_json::to_string(&value).unwrap(), n.to_string());
            prop_assert_eq!(i64::from(value), n);
        }
    }
}
