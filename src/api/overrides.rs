//! What a person may say about a running policy without editing it: an override with an expiry, and KEDA's pause
//! annotations under KEDA's own names.
//!
//! An override always ends: `gpuscale.dev/override: min=8 until=2026-11-22T18:00:00Z`. Forgotten "temporary" bounds
//! are how pools stay large for a month. This module reads annotations; whoever knows the time asks
//! [`Override::bounds_at`].

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::numbers::NodeCount;
use super::policy::SizeBounds;

/// Annotation that holds an override.
pub const OVERRIDE: &str = "gpuscale.dev/override";
/// KEDA's annotation that stops all scaling.
pub const PAUSED: &str = "autoscaling.keda.sh/paused";
/// KEDA's annotation that fixes the size.
pub const PAUSED_REPLICAS: &str = "autoscaling.keda.sh/paused-replicas";
/// KEDA's annotation that stops shrinking.
pub const PAUSED_SCALE_IN: &str = "autoscaling.keda.sh/paused-scale-in";
/// KEDA's annotation that stops growing.
pub const PAUSED_SCALE_OUT: &str = "autoscaling.keda.sh/paused-scale-out";

/// What the annotations of a policy ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Bounds that hold for a while.
    pub bounds: Option<Override>,
    /// What is paused.
    pub pause: Pause,
}

/// What is paused, until the annotation goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pause {
    /// Nothing.
    #[default]
    Nothing,
    /// Shrinking.
    ScaleIn,
    /// Growing.
    ScaleOut,
    /// Both directions.
    Everything,
    /// Both directions, at this size.
    At(NodeCount),
}

/// Bounds that hold until an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Override {
    /// The smallest size meanwhile.
    pub min: Option<NodeCount>,
    /// The largest size meanwhile.
    pub max: Option<NodeCount>,
    /// The first instant at which it no longer holds, in milliseconds since the Unix epoch.
    pub until_ms: i64,
}

/// An annotation that cannot be read; the policy goes on without it and says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read annotation {annotation}: {text:?}; write {expected}")]
pub struct OverrideError {
    /// Name of the annotation.
    pub annotation: &'static str,
    /// Its value, cut to 80 characters.
    pub text: String,
    /// The form it should have.
    pub expected: &'static str,
}

impl OverrideError {
    fn new(annotation: &'static str, text: &str, expected: &'static str) -> Self {
        Self {
            annotation,
            text: text.chars().take(80).collect(),
            expected,
        }
    }
}

impl Overrides {
    /// Reads the annotations of a policy.
    ///
    /// # Errors
    ///
    /// The first annotation that cannot be read.
    pub fn read(annotations: &BTreeMap<String, String>) -> Result<Self, OverrideError> {
        let bounds = annotations
            .get(OVERRIDE)
            .map(|text| Override::read(text))
            .transpose()?;
        let fixed = annotations.get(PAUSED_REPLICAS).map(|text| {
            let count = text
                .trim()
                .parse::<i64>()
                .ok()
                .and_then(|n| NodeCount::try_from(n).ok());
            count.ok_or_else(|| OverrideError::new(PAUSED_REPLICAS, text, "a whole number from 0 to 5000"))
        });
        let is_true = |name: &'static str| match annotations.get(name).map(|text| text.trim()) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(text) => Err(OverrideError::new(name, text, "\"true\" or \"false\"")),
        };
        let pause = match (fixed.transpose()?, is_true(PAUSED)?) {
            (Some(count), _) => Pause::At(count),
            (None, true) => Pause::Everything,
            (None, false) => match (is_true(PAUSED_SCALE_IN)?, is_true(PAUSED_SCALE_OUT)?) {
                (true, true) => Pause::Everything,
                (true, false) => Pause::ScaleIn,
                (false, true) => Pause::ScaleOut,
                (false, false) => Pause::Nothing,
            },
        };
        Ok(Self { bounds, pause })
    }
}

impl Override {
    fn read(text: &str) -> Result<Self, OverrideError> {
        const FORM: &str = "`min=8 until=2026-11-22T18:00:00Z`, with min, max or both";
        let refuse = || OverrideError::new(OVERRIDE, text, FORM);
        let mut words = BTreeMap::new();
        for word in text.split_ascii_whitespace() {
            let (name, value) = word.split_once('=').ok_or_else(refuse)?;
            if !["min", "max", "until"].contains(&name) || words.insert(name, value).is_some() {
                return Err(refuse());
            }
        }
        let count = |name| {
            words.get(name).map(|value| {
                let count = value
                    .parse::<i64>()
                    .ok()
                    .and_then(|n| NodeCount::try_from(n).ok());
                count.ok_or_else(refuse)
            })
        };
        let (min, max) = (count("min").transpose()?, count("max").transpose()?);
        let until = words
            .get("until")
            .and_then(|value| value.parse::<Timestamp>().ok())
            .ok_or_else(refuse)?;
        let is_empty = min.is_none() && max.is_none();
        let is_reversed = matches!((min, max), (Some(min), Some(max)) if min > max);
        if is_empty || is_reversed {
            return Err(refuse());
        }
        Ok(Self {
            min,
            max,
            until_ms: until.as_millisecond(),
        })
    }

    /// The bounds at `now_ms` (milliseconds since the Unix epoch). An override stays within the policy's maximum,
    /// the bound that always holds, and never leaves the minimum above the maximum.
    #[must_use]
    pub fn bounds_at(&self, policy: SizeBounds, now_ms: i64) -> SizeBounds {
        if now_ms >= self.until_ms {
            return policy;
        }
        let max = self.max.unwrap_or(policy.max).min(policy.max);
        SizeBounds {
            min: self.min.unwrap_or(policy.min).min(max),
            max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Overrides, OverrideError> {
        Overrides::read(
            &pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        )
    }

    fn sizes(min: u32, max: u32) -> SizeBounds {
        SizeBounds {
            min: NodeCount::clamped(min),
            max: NodeCount::clamped(max),
        }
    }

    #[test]
    fn keda_s_annotations_mean_what_they_mean_there() {
        for (annotations, expected) in [
            (&[][..], Pause::Nothing),
            (&[(PAUSED, "true")], Pause::Everything),
            (&[(PAUSED, "false")], Pause::Nothing),
            (&[(PAUSED_SCALE_IN, "true")], Pause::ScaleIn),
            (&[(PAUSED_SCALE_OUT, "true")], Pause::ScaleOut),
            (
                &[(PAUSED_SCALE_IN, "true"), (PAUSED_SCALE_OUT, "true")],
                Pause::Everything,
            ),
            (
                &[(PAUSED, "true"), (PAUSED_REPLICAS, "3")],
                Pause::At(NodeCount::clamped(3)),
            ),
        ] {
            assert_eq!(read(annotations).unwrap().pause, expected, "{annotations:?}");
        }
    }

    #[test]
    fn an_override_holds_until_its_end_and_within_the_maximum() {
        let text = "min=8 until=2026-11-22T18:00:00Z";
        let found = read(&[(OVERRIDE, text)]).unwrap().bounds.unwrap();
        let end = "2026-11-22T18:00:00Z"
            .parse::<Timestamp>()
            .unwrap()
            .as_millisecond();
        for (policy, now, expected) in [
            (sizes(1, 12), end - 1, sizes(8, 12)),
            (sizes(1, 12), end, sizes(1, 12)),
            (sizes(1, 6), end - 1, sizes(6, 6)),
            (sizes(9, 12), end - 1, sizes(8, 12)),
        ] {
            assert_eq!(found.bounds_at(policy, now), expected, "{policy:?} at {now}");
        }
        let ceiling = read(&[(OVERRIDE, "max=2 until=2026-11-22T19:00:00+01:00")])
            .unwrap()
            .bounds
            .unwrap();
        assert_eq!(ceiling.until_ms, end);
        assert_eq!(ceiling.bounds_at(sizes(4, 12), 0), sizes(2, 2));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for text in [
            "min=8",
            "until=2026-11-22T18:00:00Z",
            "min=9 max=8 until=2026-11-22T18:00:00Z",
            "min=8 until=tomorrow",
            "min=8 min=9 until=2026-11-22T18:00:00Z",
            "min=-1 until=2026-11-22T18:00:00Z",
            "nodes=8 until=2026-11-22T18:00:00Z",
            "8",
        ] {
            let error = read(&[(OVERRIDE, text)]).expect_err(text).to_string();
            assert!(
                error.starts_with("cannot read annotation gpuscale.dev/override"),
                "{error}"
            );
        }
        assert!(read(&[(PAUSED, "yes")]).is_err());
        assert!(read(&[(PAUSED_REPLICAS, "many")]).is_err());
    }
}
