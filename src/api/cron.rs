//! Cron expressions of schedules: the five fields of crontab(5), read once into sets.
//!
//! Read here and not where they are used, so that a typing error is refused when the policy is written and not at
//! eight in the evening. This module must not know about time zones or instants: it answers one question, whether a
//! civil minute starts a schedule.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The longest expression that is read, in bytes.
pub const MAX_LENGTH: usize = 128;

/// A cron expression: minute, hour, day of month, month, day of week.
///
/// Each field is `*`, a number, a range `a-b`, a step `*/n` or `a-b/n`, or a comma-separated list of these. Months and
/// days of the week may be named (`JAN`, `MON`); Sunday is 0 or 7. When both days are restricted, either one is
/// enough, as crontab(5) says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CronExpression {
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    days_are_restricted: bool,
    weekdays_are_restricted: bool,
}

/// Why a text is not a [`CronExpression`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Not five fields.
    #[error("cron {text:?} has {got} fields; write five: minute hour day-of-month month day-of-week")]
    FieldCount {
        /// The refused text, cut.
        text: String,
        /// The number of fields seen.
        got: usize,
    },
    /// One field cannot be read.
    #[error(
        "cron field {field} {value:?} is outside {min}-{max}; write `*`, a number, `a-b`, `*/n` or a list"
    )]
    Field {
        /// Name of the field.
        field: &'static str,
        /// The refused text of the field.
        value: String,
        /// Smallest number of the field.
        min: u8,
        /// Largest number of the field.
        max: u8,
    },
    /// A date such as 31 February.
    #[error("cron {0:?} names a day that its months never have; it would never start")]
    Never(String),
}

/// A minute of a civil calendar, to be compared with a [`CronExpression`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CivilMinute {
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 (Sunday) to 6.
    pub weekday: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
}

/// One field: its name, range and names for numbers, which count from the range's start.
struct Field {
    name: &'static str,
    min: u8,
    max: u8,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field {
        name: "minute",
        min: 0,
        max: 59,
        names: &[],
    },
    Field {
        name: "hour",
        min: 0,
        max: 23,
        names: &[],
    },
    Field {
        name: "day-of-month",
        min: 1,
        max: 31,
        names: &[],
    },
    Field {
        name: "month",
        min: 1,
        max: 12,
        names: &[
            "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
        ],
    },
    Field {
        name: "day-of-week",
        min: 0,
        max: 7,
        names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
    },
];

/// The most days that each month can have, January first.
const MONTH_DAYS: [u8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

impl CronExpression {
    /// The expression as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a schedule starts at this minute.
    #[must_use]
    pub fn matches(&self, at: CivilMinute) -> bool {
        let day = has(self.days, at.day);
        let weekday = has(self.weekdays, at.weekday);
        let date = if self.days_are_restricted && self.weekdays_are_restricted {
            day || weekday
        } else {
            day && weekday
        };
        date && has(self.minutes, at.minute) && has(self.hours, at.hour) && has(self.months, at.month)
    }

    /// Whether any month has one of the days.
    fn can_start(&self) -> bool {
        self.weekdays_are_restricted
            || (1..=12)
                .zip(MONTH_DAYS)
                .any(|(month, last)| has(self.months, month) && (1..=last).any(|day| has(self.days, day)))
    }
}

impl FromStr for CronExpression {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let shown: String = text.chars().take(MAX_LENGTH).collect();
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(CronError::FieldCount {
                text: shown,
                got: fields.len(),
            });
        };
        if text.len() > MAX_LENGTH {
            return Err(CronError::FieldCount {
                text: shown,
                got: fields.len(),
            });
        }
        let weekdays = FIELDS[4].read(weekday)?;
        let cron = Self {
            text: fields.join(" "),
            minutes: FIELDS[0].read(minute)?,
            hours: FIELDS[1].read(hour)?,
            days: FIELDS[2].read(day)?,
            months: FIELDS[3].read(month)?,
            // Sunday is 0 and 7.
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            days_are_restricted: !day.starts_with('*'),
            weekdays_are_restricted: !weekday.starts_with('*'),
        };
        if cron.can_start() {
            Ok(cron)
        } else {
            Err(CronError::Never(shown))
        }
    }
}

impl TryFrom<String> for CronExpression {
    type Error = CronError;

    fn try_from(text: String) -> Result<Self, CronError> {
        text.parse()
    }
}

impl From<CronExpression> for String {
    fn from(value: CronExpression) -> Self {
        value.text
    }
}

impl fmt::Display for CronExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl JsonSchema for CronExpression {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "CronExpression".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "minLength": 9, "maxLength": MAX_LENGTH,
            "pattern": "^[ \\t]*([0-9A-Za-z*,/-]+[ \\t]+){4}[0-9A-Za-z*,/-]+[ \\t]*$"
        })
    }
}

impl Field {
    /// The set of a whole field, one bit per number.
    fn read(&self, text: &str) -> Result<u64, CronError> {
        text.split(',')
            .try_fold(0, |set, item| self.item(item).map(|bits| set | bits))
            .ok_or_else(|| CronError::Field {
                field: self.name,
                value: text.into(),
                min: self.min,
                max: self.max,
            })
    }

    /// One item of a list: a range with an optional step.
    fn item(&self, text: &str) -> Option<u64> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, number(step).filter(|n| *n > 0)?),
            None => (text, 1),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.min, self.max),
            Some((first, last)) => (self.value(first)?, self.value(last)?),
            // `5/10` means "from 5 on, every 10" to some crons and nothing to others: refused.
            None if text.contains('/') => return None,
            None => (self.value(range)?, self.value(range)?),
        };
        (first <= last).then(|| (first..=last).step_by(step.into()).fold(0, |set, n| set | 1 << n))
    }

    fn value(&self, text: &str) -> Option<u8> {
        let named = (self.min..=self.max)
            .zip(self.names)
            .find(|(_, name)| name.eq_ignore_ascii_case(text));
        let value = named.map(|(value, _)| value).or_else(|| number(text))?;
        (self.min..=self.max).contains(&value).then_some(value)
    }
}

fn number(text: &str) -> Option<u8> {
    (text.len() <= 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

fn has(set: u64, value: u8) -> bool {
    value < 64 && set >> value & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Minutes are 2026-11-22 (a Sunday) unless the case says otherwise.
    fn check(cron: &str, month: u8, day: u8, weekday: u8, time: (u8, u8), expected: bool) {
        let parsed: CronExpression = cron.parse().unwrap_or_else(|e| panic!("{cron}: {e}"));
        let at = CivilMinute {
            month,
            day,
            weekday,
            hour: time.0,
            minute: time.1,
        };
        assert_eq!(parsed.matches(at), expected, "{cron} at {at:?}");
    }

    #[test]
    fn starts_when_crontab_says() {
        check("0 20 * * 1-5", 11, 23, 1, (20, 0), true);
        check("0 20 * * 1-5", 11, 22, 0, (20, 0), false);
        check("0 20 * * 1-5", 11, 23, 1, (20, 1), false);
        check("*/15 * * * *", 1, 1, 4, (3, 45), true);
        check("*/15 * * * *", 1, 1, 4, (3, 46), false);
        check("0 0 * * 7", 11, 22, 0, (0, 0), true);
        check("0 0 * * SUN", 11, 22, 0, (0, 0), true);
        check("0 8 * jan,NOV mon-fri", 11, 24, 2, (8, 0), true);
        check("10-20/5 * * * *", 1, 1, 4, (0, 15), true);
        check("10-20/5 * * * *", 1, 1, 4, (0, 25), false);
        // Both days restricted: either is enough.
        check("0 0 1 * 1", 6, 1, 0, (0, 0), true);
        check("0 0 1 * 1", 6, 8, 1, (0, 0), true);
        check("0 0 1 * 1", 6, 9, 2, (0, 0), false);
        check("0 0 29 2 *", 2, 29, 4, (0, 0), true);
    }

    #[test]
    fn refuses_with_the_field_named() {
        for (cron, expected) in [
            ("0 20 * *", "has 4 fields"),
            ("@daily", "has 1 fields"),
            ("0 25 * * *", "hour \"25\" is outside 0-23"),
            ("60 0 * * *", "minute \"60\""),
            ("0 0 0 * *", "day-of-month \"0\""),
            ("0 0 * 13 *", "month \"13\""),
            ("0 0 * * 8", "day-of-week \"8\""),
            ("5/10 * * * *", "minute \"5/10\""),
            ("*/0 * * * *", "minute \"*/0\""),
            ("20-10 * * * *", "minute \"20-10\""),
            ("1,,2 * * * *", "minute \"1,,2\""),
            ("0 0 30 2 *", "never start"),
            ("0 0 31 4,6 *", "never start"),
        ] {
            let error = cron.parse::<CronExpression>().expect_err(cron).to_string();
            assert!(error.contains(expected), "{cron}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9*/,a-zA-Z -]{0,40}|.{0,20}") {
            if let Ok(cron) = text.parse::<CronExpression>() {
                prop_assert_eq!(cron.as_str().parse::<CronExpression>(), Ok(cron.clone()));
            }
        }
    }
}
