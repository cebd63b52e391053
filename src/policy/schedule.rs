//! Schedules: time windows in which other bounds hold.
//!
//! A window opens at each instant that a five-field cron expression names in a time zone and stays open for a
//! duration. Where windows overlap, the larger minimum and the larger maximum win, so that no schedule can take
//! capacity that another one promised. Local times that a clock change skips happen at the same offset after the
//! gap; times that happen twice count once, the first time (jiff's "compatible" rule, which is that of RFC 5545).
//!
//! The time zone database is compiled in: the same policy means the same instants on every machine.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::config::Millis;

/// A window with its own bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// The schedule's name in the policy.
    pub name: String,
    /// When the window opens.
    pub cron: Cron,
    /// Where the cron expression is read.
    pub time_zone: TimeZone,
    /// How long the window stays open; at most 31 days.
    pub duration_ms: Millis,
    /// Fewest nodes inside the window; the policy's own when absent.
    pub min_nodes: Option<u32>,
    /// Most nodes inside the window; the policy's own when absent.
    pub max_nodes: Option<u32>,
}

impl Schedule {
    /// Whether the window is open at `now_ms` (milliseconds since the Unix epoch): it opens at the named instant
    /// and is closed again exactly one duration later.
    #[must_use]
    pub fn is_open(&self, now_ms: Millis) -> bool {
        self.opened_at(now_ms).is_some()
    }

    /// When the window that is open at `now_ms` opened; the latest opening where several overlap.
    #[must_use]
    pub fn opened_at(&self, now_ms: Millis) -> Option<Millis> {
        let earliest = now_ms.checked_sub(self.duration_ms)?;
        let last_day = self.local_date(now_ms)?;
        let first_day = self.local_date(earliest)?;
        let mut day = last_day;
        loop {
            if let Some(opened) = self.last_opening_on(day, now_ms) {
                return (opened > earliest).then_some(opened);
            }
            if day <= first_day {
                return None;
            }
            day = day.yesterday().ok()?;
        }
    }

    fn local_date(&self, at_ms: Millis) -> Option<Date> {
        let instant = Timestamp::from_millisecond(at_ms).ok()?;
        Some(self.time_zone.to_datetime(instant).date())
    }

    /// The latest instant on `day` that the expression names and that is not after `now_ms`.
    fn last_opening_on(&self, day: Date, now_ms: Millis) -> Option<Millis> {
        if !self.cron.names_day(day) {
            return None;
        }
        let mut latest = None;
        for hour in (0..24).rev().filter(|&hour| self.cron.hours & (1 << hour) != 0) {
            for minute in (0..60)
                .rev()
                .filter(|&minute| self.cron.minutes & (1 << minute) != 0)
            {
                let Ok(zoned) = day.at(hour, minute, 0, 0).to_zoned(self.time_zone.clone()) else {
                    continue;
                };
                let at_ms = zoned.timestamp().as_millisecond();
                if at_ms <= now_ms {
                    // A gap can put an earlier local time after a later one, hence the maximum over this hour
                    // and the one before it.
                    latest = latest.max(Some(at_ms));
                    break;
                }
            }
            if latest.is_some() {
                break;
            }
        }
        latest
    }
}

/// A five-field cron expression: minute, hour, day of month, month, day of week (0 or 7 = Sunday).
///
/// Fields take `*`, numbers, lists, ranges and steps (`*/15`, `8-18/2`), months and weekdays also their English
/// three-letter names. As in Vixie cron, when both day fields are restricted a day matches if either does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    days_restricted: bool,
    weekdays_restricted: bool,
}

/// Why a cron expression was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Not five fields.
    #[error("a cron expression has five fields (minute hour day month weekday), this has {0}")]
    Fields(usize),
    /// A field that cannot be read.
    #[error("{field} `{text}` is not a number from {low} to {high}, a range, a list, a step or `*`")]
    Field {
        /// Which field.
        field: &'static str,
        /// Its text.
        text: String,
        /// Smallest value.
        low: u32,
        /// Largest value.
        high: u32,
    },
    /// A day that no month in the list has, such as 30 February.
    #[error("no month in the list has a day {0}, so this schedule would never open")]
    Never(u32),
}

struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

const MINUTE: Field = Field {
    name: "minute",
    low: 0,
    high: 59,
    names: &[],
};
const HOUR: Field = Field {
    name: "hour",
    low: 0,
    high: 23,
    names: &[],
};
const DAY: Field = Field {
    name: "day of month",
    low: 1,
    high: 31,
    names: &[],
};
const MONTH: Field = Field {
    name: "month",
    low: 1,
    high: 12,
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
};
const WEEKDAY: Field = Field {
    name: "day of week",
    low: 0,
    high: 7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

impl Cron {
    /// Reads an expression.
    ///
    /// # Errors
    /// A [`CronError`] that names the field.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(CronError::Fields(fields.len()));
        };
        let weekdays = WEEKDAY.parse(weekday)?;
        let cron = Self {
            minutes: MINUTE.parse(minute)?,
            hours: HOUR.parse(hour)?,
            days: DAY.parse(day)?,
            months: MONTH.parse(month)?,
            // 7 is Sunday too.
            weekdays: (weekdays | (weekdays >> 7)) & 0x7f,
            days_restricted: !day.starts_with('*'),
            weekdays_restricted: !weekday.starts_with('*'),
        };
        cron.ever()?;
        Ok(cron)
    }

    fn ever(&self) -> Result<(), CronError> {
        const LONGEST: [u32; 13] = [0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let first_day = self.days.trailing_zeros();
        let longest = (1..=12)
            .filter(|&m| self.months & (1 << m) != 0)
            .map(|m| LONGEST[m])
            .max();
        let possible = self.weekdays_restricted || longest.is_some_and(|longest| first_day <= longest);
        if possible {
            Ok(())
        } else {
            Err(CronError::Never(first_day))
        }
    }

    fn names_day(&self, day: Date) -> bool {
        let in_month = self.months & (1 << day.month()) != 0;
        let by_day = self.days & (1 << day.day()) != 0;
        let by_weekday = self.weekdays & (1 << day.weekday().to_sunday_zero_offset()) != 0;
        in_month
            && match (self.days_restricted, self.weekdays_restricted) {
                (true, true) => by_day || by_weekday,
                _ => by_day && by_weekday,
            }
    }
}

impl Field {
    fn parse(&self, text: &str) -> Result<u64, CronError> {
        text.split(',').try_fold(0, |mask, item| {
            self.item(item)
                .map(|bits| mask | bits)
                .ok_or_else(|| CronError::Field {
                    field: self.name,
                    text: text.to_owned(),
                    low: self.low,
                    high: self.high,
                })
        })
    }

    fn item(&self, item: &str) -> Option<u64> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, step.parse::<u32>().ok().filter(|&step| step > 0)?),
            None => (item, 1),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.low, self.high),
            Some((first, last)) => (self.value(first)?, self.value(last)?),
            None if item.contains('/') => (self.value(range)?, self.high),
            None => (self.value(range)?, self.value(range)?),
        };
        (first <= last).then(|| {
            (first..=last)
                .step_by(step as usize)
                .fold(0, |mask, n| mask | 1 << n)
        })
    }

    fn value(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let offset = self.low.min(1);
        let value = match named {
            Some(index) => u32::try_from(index).ok()? + offset,
            None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok()?,
            None => return None,
        };
        (self.low..=self.high).contains(&value).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(cron: &str, zone: &str, hours: i64) -> Schedule {
        Schedule {
            name: "s".into(),
            cron: Cron::parse(cron).unwrap(),
            time_zone: TimeZone::get(zone).unwrap(),
            duration_ms: hours * 3_600_000,
            min_nodes: Some(0),
            max_nodes: Some(2),
        }
    }

    fn at(text: &str) -> Millis {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn check(cron: &str, zone: &str, hours: i64, cases: &[(&str, bool)]) {
        let schedule = schedule(cron, zone, hours);
        for (instant, open) in cases {
            assert_eq!(schedule.is_open(at(instant)), *open, "{cron} {zone} at {instant}");
        }
    }

    #[test]
    fn a_night_window_opens_on_weekdays_and_closes_exactly_on_time() {
        // 2026-11-20 is a Friday; Berlin is UTC+1.
        check(
            "0 20 * * 1-5",
            "Europe/Berlin",
            10,
            &[
                ("2026-11-20T18:59:59.999Z", false),
                ("2026-11-20T19:00:00Z", true),
                ("2026-11-21T04:59:59.999Z", true),
                ("2026-11-21T05:00:00Z", false),
                ("2026-11-21T19:30:00Z", false), // Saturday
                ("2026-11-23T19:30:00Z", true),
            ],
        );
    }

    #[test]
    fn clock_changes_move_the_window_with_local_time() {
        // Berlin leaves summer time on 2026-10-25: 20:00 local is 18:00Z before and 19:00Z after.
        check(
            "0 20 * * *",
            "Europe/Berlin",
            1,
            &[
                ("2026-10-24T18:30:00Z", true),
                ("2026-10-25T18:30:00Z", false),
                ("2026-10-25T19:30:00Z", true),
            ],
        );
        // 02:30 does not exist on 2026-03-29; the window opens at 03:30 local = 01:30Z.
        check(
            "30 2 * * *",
            "Europe/Berlin",
            1,
            &[("2026-03-29T01:29:00Z", false), ("2026-03-29T01:30:00Z", true)],
        );
        // 02:30 happens twice on 2026-10-25; the first, 00:30Z, counts.
        check(
            "30 2 * * *",
            "Europe/Berlin",
            1,
            &[("2026-10-25T00:30:00Z", true), ("2026-10-25T01:30:00Z", false)],
        );
    }

    #[test]
    fn a_window_may_span_days_and_months() {
        check(
            "0 18 * * fri",
            "America/New_York",
            62,
            &[
                ("2026-11-20T22:59:00Z", false),
                ("2026-11-20T23:00:00Z", true),
                ("2026-11-22T12:00:00Z", true),
                ("2026-11-23T13:00:00Z", false),
            ],
        );
        check(
            "0 0 1 jan *",
            "UTC",
            24,
            &[("2027-01-01T12:00:00Z", true), ("2027-02-01T12:00:00Z", false)],
        );
    }

    #[test]
    fn lists_steps_and_both_day_fields() {
        check(
            "*/20 8-10/2 * * *",
            "UTC",
            1,
            &[("2026-05-05T08:41:00Z", true), ("2026-05-05T11:45:00Z", false)],
        );
        // The 13th, or any Friday.
        check(
            "0 0 13 * 5",
            "UTC",
            24,
            &[
                ("2026-11-13T01:00:00Z", true),
                ("2026-11-20T01:00:00Z", true),
                ("2026-12-13T01:00:00Z", true),
                ("2026-12-14T01:00:00Z", false),
            ],
        );
        check(
            "0 0 * * 7",
            "UTC",
            24,
            &[("2026-11-22T01:00:00Z", true), ("2026-11-23T01:00:00Z", false)],
        );
    }

    #[test]
    fn broken_expressions_say_which_field() {
        for (text, wanted) in [
            (
                "0 20 * *",
                "a cron expression has five fields (minute hour day month weekday), this has 4",
            ),
            (
                "60 * * * *",
                "minute `60` is not a number from 0 to 59, a range, a list, a step or `*`",
            ),
            (
                "0 8-6 * * *",
                "hour `8-6` is not a number from 0 to 23, a range, a list, a step or `*`",
            ),
            (
                "0 */0 * * *",
                "hour `*/0` is not a number from 0 to 23, a range, a list, a step or `*`",
            ),
            (
                "0 0 * foo *",
                "month `foo` is not a number from 1 to 12, a range, a list, a step or `*`",
            ),
            (
                "0 0 30 2 *",
                "no month in the list has a day 30, so this schedule would never open",
            ),
        ] {
            assert_eq!(Cron::parse(text).unwrap_err().to_string(), wanted, "{text}");
        }
    }
}
