//! Schedules: windows that are always open, hardly ever, or open for nothing.
//!
//! A policy has no start, so its schedules are tried over the year 2026 and a few days; that has every month,
//! every weekday and both changes of the clock.

use crate::policy::Config;
use crate::policy::config::Millis;
use crate::policy::schedule::Schedule;

use super::codes::policy as codes;
use super::page::Page;

/// 1 January 2026, 00:00 UTC.
const START_MS: Millis = 1_767_225_600_000;
const DAY_MS: Millis = 86_400_000;
const YEAR_MS: Millis = 366 * DAY_MS;
/// Windows that are followed before it is believed that there is no gap: two weeks of one each minute.
const MOST_WINDOWS: usize = 20_000;

/// Checks the schedules of a compiled policy.
pub(super) fn check(page: &mut Page<'_>, config: &Config) {
    for (index, schedule) in config.schedules.iter().enumerate() {
        let path = format!("spec.schedules[{index}]");
        let name = &schedule.name;
        if opening(schedule).is_none() {
            let message = format!("schedule `{name}` does not open within a year");
            page.about(
                &codes::RARELY_OPEN,
                &format!("{path}.cron"),
                "hardly ever",
                message,
            );
        } else if is_always_open(schedule) {
            let message = format!("schedule `{name}` opens again before it has closed, day and night");
            let cron = page.at(&format!("{path}.cron"));
            page.about(
                &codes::ALWAYS_OPEN,
                &format!("{path}.duration"),
                "as long as the gap",
                message,
            )
            .also(cron, "between two of these");
        }
        let unchanged = schedule.min_nodes.is_none_or(|min| min == config.min_nodes)
            && schedule.max_nodes.is_none_or(|max| max == config.max_nodes);
        if unchanged {
            let message = format!("schedule `{name}` has the bounds that the policy has anyway");
            page.about(
                &codes::NO_CHANGE,
                &format!("{path}.name"),
                "changes nothing",
                message,
            );
        }
    }
}

/// An instant of the year at which the schedule is open.
fn opening(schedule: &Schedule) -> Option<Millis> {
    // A window of a minute would be missed by steps of a day, the latest opening before the end is not.
    let reach = Schedule {
        duration_ms: YEAR_MS,
        ..schedule.clone()
    };
    reach.opened_at(START_MS + YEAR_MS)
}

fn is_always_open(schedule: &Schedule) -> bool {
    let end = START_MS + YEAR_MS;
    let mut at = START_MS;
    for _ in 0..MOST_WINDOWS {
        match schedule.opened_at(at) {
            None => return false,
            Some(_) if at >= end => return true,
            // Its end is the first instant that another window has to cover.
            Some(opened) => at = opened + schedule.duration_ms,
        }
    }
    // Windows of minutes: no gap so far, and the rest of the year is looked at twice a day.
    (0..2 * 366).all(|half_day| schedule.is_open(START_MS + half_day * DAY_MS / 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::schedule::Cron;

    #[test]
    fn windows_are_always_open_or_never_or_neither() {
        let check = |cron: &str, hours: i64, zone: &str, always: bool, ever: bool| {
            let schedule = Schedule {
                name: "s".into(),
                cron: Cron::parse(cron).unwrap(),
                time_zone: jiff::tz::TimeZone::get(zone).unwrap(),
                duration_ms: hours * 3_600_000,
                min_nodes: None,
                max_nodes: None,
            };
            assert_eq!(
                is_always_open(&schedule),
                always,
                "{cron} for {hours} h in {zone}"
            );
            assert_eq!(opening(&schedule).is_some(), ever, "{cron}");
        };
        check("0 8 * * *", 24, "UTC", true, true);
        check("0 8 * * *", 23, "UTC", false, true);
        // On the day that the clock goes back there are 25 hours between two openings.
        check("0 8 * * *", 24, "Europe/Berlin", false, true);
        check("0 8 * * *", 25, "Europe/Berlin", true, true);
        check("0 8 * * 1-5", 24, "UTC", false, true);
        check("0 0 * * 1", 168, "UTC", true, true);
        check("*/30 * * * *", 1, "UTC", true, true);
        check("* * * 1-2 *", 1, "UTC", false, true);
        check("0 8 29 2 *", 1, "UTC", false, false);
    }
}
