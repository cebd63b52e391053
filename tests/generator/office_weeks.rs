//! Two weeks of a team in Berlin, across the night in which the clocks go forward.
//!
//! People come at eight, whatever the sun does: after Sunday, 2026-03-29, that is an hour earlier in UTC. The Friday of
//! the second week is Good Friday, and nobody comes.

use std::fmt::Write;

use super::load::{Curve, DAY, HOUR, MINUTE, Noise};

pub(crate) const SEED: u64 = 20_260_323;
/// Monday, 2026-03-23T00:00:00Z.
const START_S: i64 = 1_774_224_000;
const LENGTH: i64 = 14 * DAY;
/// Sunday, 2026-03-29T01:00:00Z: from then on Berlin is two hours ahead of UTC, before it was one.
const CLOCKS_FORWARD: i64 = 6 * DAY + HOUR;

/// Thousandths of a GPU by minute of the local day.
const WORKDAY: Curve = Curve(&[
    (0, 0),
    (475, 0),
    (485, 26_000),
    (510, 34_000),
    (720, 36_000),
    (750, 24_000),
    (795, 36_000),
    (1_050, 30_000),
    (1_110, 8_000),
    (1_200, 2_000),
    (1_290, 0),
]);
const SATURDAY: Curve = Curve(&[(600, 0), (610, 3_000), (830, 3_000), (840, 0)]);
/// A report that a timer starts on Tuesdays and Thursdays, at two in the night.
const REPORT: Curve = Curve(&[(120, 0), (121, 4_000), (180, 4_000), (181, 0)]);

/// Day of the recording, in local time, on which nobody works.
const GOOD_FRIDAY: i64 = 11;

fn demand(local: i64) -> i64 {
    let (day, time) = (local / DAY, local % DAY);
    match day % 7 {
        _ if day == GOOD_FRIDAY => 0,
        1 | 3 => WORKDAY.at(time).max(REPORT.at(time)),
        0 | 2 | 4 => WORKDAY.at(time),
        5 => SATURDAY.at(time),
        _ => 0,
    }
}

pub(super) fn text() -> String {
    let mut noise = Noise::new(SEED, 0);
    let mut text = "timestamp,series,value,unit\n".to_owned();
    let mut at = 0;
    while at < LENGTH {
        let ahead = if at < CLOCKS_FORWARD { HOUR } else { 2 * HOUR };
        let milli_gpus = demand(at + ahead) * (1000 + noise.around_zero(60)) / 1000;
        let (whole, rest) = (milli_gpus / 1000, milli_gpus % 1000);
        writeln!(text, "{},office,{whole}.{rest:03},gpus", START_S + at / 1000).unwrap();
        at += MINUTE;
    }
    text
}
