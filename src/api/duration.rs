//! One spelling of time for policies: whole milliseconds, at most 31 days.
//!
//! The humantime syntax is pleasant (`90s`, `1h30m`, `1.5h`) but has two traps: `5M` is five *months*, and a
//! year is 365.25 days. Neither belongs in a control loop, so this type accepts a strict subset and says what
//! it refused.
//!
//! The same text has three readers: this parser, the pattern in the custom resource's schema, and the API
//! server's own duration parser (it hands `format: duration` strings to the CEL rules). The subset is chosen
//! so that all three agree on every string: whole numbers may be joined (`1h30m`, `1d12h`), a decimal stands
//! alone and only before `s`, `m` or `h`, and the number of digits per unit keeps every accepted part within
//! 31 days or close to it.
//!
//! This module must not know what a duration is used for; bounds such as "at least 5 s" are rules of the
//! fields.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The pattern that the custom resource's schema carries, and that [`HumanDuration::from_str`] enforces.
pub const PATTERN: &str = "^(([0-9]{1,10}ms|[0-9]{1,7}s|[0-9]{1,5}m|[0-9]{1,3}h|[0-9]{1,2}d|[0-9]w)+\
    |[0-9]{1,7}\\.[0-9]{1,3}s|[0-9]{1,5}\\.[0-9]{1,3}m|[0-9]{1,3}\\.[0-9]{1,2}h)$";

/// The longest text that is read, in bytes.
pub const MAX_LENGTH: usize = 32;

/// The longest duration: 31 days, in milliseconds. Everything a policy waits for is shorter than a month.
pub const MAX_MS: i64 = 31 * 24 * 3_600_000;

/// A duration in whole milliseconds, from 0 to 31 days, written as `500ms`, `90s`, `1h30m`, `1.5h` or `2d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HumanDuration(i64);

/// Why a text is not a [`HumanDuration`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// A number without its unit, such as `300`.
    #[error("duration {0:?} has no unit; write for example `{0}s` or `{0}m`")]
    NoUnit(String),
    /// `M` is a month in the humantime syntax; whoever writes it means minutes.
    #[error("duration {0:?} is in months or years; use `m` for minutes, or d, h, s")]
    MonthsOrYears(String),
    /// Anything else outside the syntax.
    #[error(
        "cannot read duration {0:?}; write whole numbers with w, d, h, m, s or ms, such as `90s`, `1h30m`, \
            `1.5h`"
    )]
    Syntax(String),
    /// Longer than 31 days.
    #[error("duration {0:?} is longer than 31 days; no window or timer of a policy is")]
    TooLong(String),
}

impl HumanDuration {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A duration of whole seconds; seconds above 31 days count as 31 days.
    #[must_use]
    pub const fn from_secs(seconds: u32) -> Self {
        let ms = seconds as i64 * 1000;
        Self(if ms > MAX_MS { MAX_MS } else { ms })
    }

    /// A duration of whole minutes; minutes above 31 days count as 31 days.
    #[must_use]
    pub const fn from_mins(minutes: u16) -> Self {
        Self::from_secs(minutes as u32 * 60)
    }

    /// The duration in milliseconds, from 0 to [`MAX_MS`].
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }
}

impl TryFrom<Duration> for HumanDuration {
    type Error = DurationError;

    fn try_from(value: Duration) -> Result<Self, DurationError> {
        match i64::try_from(value.as_millis()) {
            Ok(ms) if ms <= MAX_MS => Ok(Self(ms)),
            _ => Err(DurationError::TooLong(format!("{}s", value.as_secs()))),
        }
    }
}

impl FromStr for HumanDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        if !matches_pattern(text) {
            return Err(explain(text));
        }
        let parsed = humantime::parse_duration(text).map_err(|_| DurationError::Syntax(text.into()))?;
        Self::try_from(parsed).map_err(|_| DurationError::TooLong(text.into()))
    }
}

impl TryFrom<String> for HumanDuration {
    type Error = DurationError;

    fn try_from(text: String) -> Result<Self, DurationError> {
        text.parse()
    }
}

impl From<HumanDuration> for String {
    fn from(value: HumanDuration) -> Self {
        value.to_string()
    }
}

/// `format: duration` makes the value a duration in CEL, so rules compare times and not texts.
impl JsonSchema for HumanDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "HumanDuration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "duration", "maxLength": MAX_LENGTH, "pattern": PATTERN })
    }
}

/// Canonical form: hours, minutes, seconds and milliseconds without zero parts. Days are left out on purpose:
/// the offline CEL evaluator reads Go's units only, and this is the text it sees.
impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let parts = [
            (self.0 / 3_600_000, "h"),
            (self.0 / 60_000 % 60, "m"),
            (self.0 / 1000 % 60, "s"),
            (self.0 % 1000, "ms"),
        ];
        parts
            .iter()
            .filter(|(n, _)| *n > 0)
            .try_for_each(|(n, unit)| write!(f, "{n}{unit}"))
    }
}

/// The hand-written twin of [`PATTERN`]: the core has no regular expressions, and a property test holds the
/// two together.
fn matches_pattern(text: &str) -> bool {
    if text.len() > MAX_LENGTH {
        return false;
    }
    if let Some((whole, rest)) = text.split_once('.') {
        let (fraction, unit) = split_number(rest);
        let (max_whole, max_fraction) = match unit {
            "s" => (7, 3),
            "m" => (5, 3),
            "h" => (3, 2),
            _ => return false,
        };
        return has_digits(whole, max_whole) && has_digits(fraction, max_fraction);
    }
    let mut rest = text;
    while !rest.is_empty() {
        let (number, tail) = split_number(rest);
        let unit = &tail[..tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len())];
        let max_digits = match unit {
            "ms" => 10,
            "s" => 7,
            "m" => 5,
            "h" => 3,
            "d" => 2,
            "w" => 1,
            _ => return false,
        };
        if !has_digits(number, max_digits) {
            return false;
        }
        rest = &tail[unit.len()..];
    }
    !text.is_empty()
}

fn split_number(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn has_digits(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// Chooses the error that tells the writer what to do.
fn explain(text: &str) -> DurationError {
    let shown: String = text.chars().take(MAX_LENGTH).collect();
    let words: Vec<&str> = text
        .split(|c: char| !c.is_alphabetic())
        .filter(|w| !w.is_empty())
        .collect();
    let is_calendar = |w: &&str| {
        *w == "M" || *w == "y" || w.starts_with("month") || w.starts_with("year") || w.starts_with("yr")
    };
    if !text.is_empty() && text.len() <= MAX_LENGTH && text.bytes().all(|b| b.is_ascii_digit()) {
        DurationError::NoUnit(shown)
    } else if words.iter().any(is_calendar) {
        DurationError::MonthsOrYears(shown)
    } else if text.bytes().all(|b| b.is_ascii_alphanumeric()) && is_too_long(text) {
        DurationError::TooLong(shown)
    } else {
        DurationError::Syntax(shown)
    }
}

/// Whether humantime reads the text as more than 31 days, so that `40000h` is called long and not misspelt.
fn is_too_long(text: &str) -> bool {
    humantime::parse_duration(text).is_ok_and(|d| HumanDuration::try_from(d).is_err())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected_ms: i64, canonical: &str) {
        let parsed: HumanDuration = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(parsed.as_millis(), expected_ms, "{text}");
        assert_eq!(parsed.to_string(), canonical, "{text}");
    }

    fn refuse(text: &str, expected: &str) {
        let error = text.parse::<HumanDuration>().expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }

    #[test]
    fn reads_what_people_write() {
        check("0s", 0, "0s");
        check("500ms", 500, "500ms");
        check("90s", 90_000, "1m30s");
        check("15m", 900_000, "15m");
        check("1h30m", 5_400_000, "1h30m");
        check("1.5h", 5_400_000, "1h30m");
        check("0.25s", 250, "250ms");
        check("1d12h", 129_600_000, "36h");
        check("2w", 1_209_600_000, "336h");
        check("31d", MAX_MS, "744h");
    }

    #[test]
    fn refuses_with_a_remedy() {
        refuse("300", "no unit");
        refuse("5M", "use `m` for minutes");
        refuse("1y", "months or years");
        refuse("2 months", "months or years");
        refuse("-5m", "cannot read");
        refuse("", "cannot read");
        refuse("5 m", "cannot read");
        refuse("1.5d", "cannot read");
        refuse("1h1.5m", "cannot read");
        refuse("5minutes", "cannot read");
        refuse("32d", "longer than 31 days");
        refuse("31d1ms", "longer than 31 days");
        refuse("40000h", "longer than 31 days");
        refuse("µs", "cannot read");
    }

    fn pattern_says(text: &str) -> bool {
        use kube::core::cel::cel::{Context, Program, Value};
        let program = Program::compile("text.size() <= 32 && text.matches(pattern)").unwrap();
        let mut context = Context::default();
        context.add_variable("text", text.to_owned()).unwrap();
        context.add_variable("pattern", PATTERN.to_owned()).unwrap();
        program.execute(&context).unwrap() == Value::Bool(true)
    }

    proptest! {
        #[test]
        fn canonical_text_reads_back(ms in 0..=MAX_MS) {
            let value = HumanDuration(ms);
            let text = value.to_string();
            prop_assert_eq!(text.parse::<HumanDuration>(), Ok(value));
            prop_assert!(pattern_says(&text));
        }

        #[test]
        fn what_the_pattern_accepts_the_parser_reads_or_calls_too_long(
            text in "([0-9]{1,10}ms|[0-9]{1,7}s|[0-9]{1,5}m|[0-9]{1,3}h|[0-9]{1,2}d|[0-9]w){1,4}|[0-9]{1,7}\\.[0-9]{1,3}s|[0-9]{1,5}\\.[0-9]{1,3}m|[0-9]{1,3}\\.[0-9]{1,2}h",
        ) {
            prop_assume!(text.len() <= MAX_LENGTH);
            prop_assert!(pattern_says(&text));
            match text.parse::<HumanDuration>() {
                Ok(value) => prop_assert!(value.as_millis() <= MAX_MS),
                Err(error) => prop_assert_eq!(error, DurationError::TooLong(text)),
            }
        }

        #[test]
        fn parser_and_pattern_agree_on_any_text(text in "[0-9]{0,4}(\\.[0-9]{0,4})?[mshdwyM \
            ]{0,3}[0-9]{0,3}[msh]{0,2}|.{0,12}") {
            let accepted = !matches!(
                text.parse::<HumanDuration>(),
                Err(DurationError::Syntax(_) | DurationError::NoUnit(_) | DurationError::MonthsOrYears(_))
            );
            // The parser may call a text too long that the pattern already refuses for its digits; never the
            // reverse.
            prop_assert!(pattern_says(&text) == matches_pattern(&text));
            prop_assert!(accepted || !pattern_says(&text));
        }
    }
}
