//! The last week of one virtual cluster, cut out of the month that is checked in.

use super::unpacked;

/// Monday, 2020-05-25T00:00:00Z, and the Monday after it.
const WEEK: std::ops::Range<i64> = 1_590_364_800..1_590_969_600;

pub(super) fn text() -> String {
    let month = unpacked("helios_earth_vcs.csv.gz").unwrap();
    let mut lines = month.lines();
    let mut text = format!("{}\n", lines.next().unwrap());
    for line in lines {
        let mut cells = line.split(',');
        let at: i64 = cells.next().unwrap().parse().unwrap();
        if cells.next() == Some("earth_vchbv") && WEEK.contains(&at) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}
