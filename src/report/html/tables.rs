//! The parts of the page that are words and tables, and need no script.

use std::fmt::Write;

use super::Input;
use super::escape::{prose, text};
use super::timeline::{Loop, Timeline};
use crate::report::figures::{FIGURES, Figure, text as decimal};
use crate::report::json::{ResultRow, duration, kind_name};
use crate::report::trace::time;
use crate::simulator::scenario_run::ZERO_MISS;
use crate::simulator::scorecard::Kind;

/// Most decisions in the table; the charts have more.
const MOST_ROWS: usize = 500;

/// Rows of it that are printed; `report.css` hides the others on paper.
const ON_PAPER: u64 = 60;

/// A number with commas between thousands.
pub(super) fn grouped(value: f64, decimals: u8) -> String {
    let plain = decimal(value, decimals);
    let (sign, digits) = plain
        .strip_prefix('-')
        .map_or(("", plain.as_str()), |rest| ("−", rest));
    let (whole, fraction) = digits
        .find('.')
        .map_or((digits, ""), |point| digits.split_at(point));
    let mut groups = String::with_capacity(digits.len() + 4);
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            groups.push(',');
        }
        groups.push(digit);
    }
    format!("{sign}{groups}{fraction}")
}

/// An instant as people write it, in UTC.
fn moment(ms: i64) -> String {
    time(ms).replace('T', " ").replace('Z', "")
}

/// The figures that matter most, large.
pub(super) fn tiles(rows: &[ResultRow]) -> String {
    let Some(row) = rows.iter().find(|row| row.kind == Kind::Policy) else {
        return String::new();
    };
    let figure = |key: &str, decimals: u8| Some(grouped(row.figures.get(key)?, decimals));
    let hours = row.figures.get("node_hours");
    let best = rows
        .iter()
        .find(|row| row.kind == Kind::Optimum && row.name == ZERO_MISS);
    let best = best
        .and_then(|row| row.figures.get("node_hours"))
        .filter(|hours| *hours > 0.0);
    let factor = hours.zip(best).map(|(hours, best)| hours / best);
    let factor = factor.map(|factor| format!("{factor:.2}× the zero-miss optimum"));
    let node_hours = figure("node_hours", 1);
    let (paid, paid_in) = match figure("cost_usd", 0) {
        Some(usd) => (Some(usd), "USD"),
        None => (node_hours.clone(), "node-hours"),
    };
    let reacted = figure("time_to_react_p95_seconds", 0);
    let tiles = [
        ("Cost", paid, paid_in, factor),
        (
            "Missed demand",
            figure("miss_percent", 3),
            "%",
            figure("missed_node_hours", 2).map(|hours| format!("{hours} node-hours unserved")),
        ),
        (
            "Saturated",
            figure("saturated_percent", 2),
            "%",
            Some(reacted.map_or("of the time".to_owned(), |seconds| {
                format!("of the time; 95&nbsp;% of spells end within {seconds}&nbsp;s")
            })),
        ),
        (
            "Idle",
            figure("idle_percent", 1),
            "%",
            node_hours.map(|hours| format!("of {hours} node-hours billed")),
        ),
        (
            "Resizes",
            figure("resizes", 0),
            "",
            figure("flaps_per_day", 2).map(|flaps| format!("{flaps} flaps a day")),
        ),
        (
            "Busy nodes taken",
            figure("busy_nodes_taken", 0),
            "",
            Some("must be 0".to_owned()),
        ),
    ];
    let mut html = String::new();
    for (name, value, unit, beside) in tiles {
        let Some(value) = value else { continue };
        let _ = write!(
            html,
            "<div class=\"tile\"><dt>{name}</dt><dd><b>{value}</b> <span>{unit}</span>\
             <small>{}</small></dd></div>",
            beside.unwrap_or_default()
        );
    }
    html
}

/// What was run, as a list.
pub(super) fn facts(input: &Input<'_>) -> String {
    let timeline = input.timeline;
    let span = match timeline.ticks() {
        0 => "none".to_owned(),
        ticks => format!(
            "{} to {} UTC, {} ticks of {}",
            moment(timeline.time_ms(0)),
            moment(timeline.time_ms(ticks)),
            grouped(f64::from(ticks), 0),
            duration(timeline.step_ms())
        ),
    };
    let loop_ = match timeline.run() {
        Loop::Closed => "closed: the pool does what the policy asks",
        Loop::Live => "live: the loop of production, in the time of its own clock",
        Loop::Open => "open: the pool is the recorded one, the policy only says what it would ask for",
    };
    let mut facts = input.subject.facts();
    facts.insert(1, ("Span", span));
    facts.push(("Loop", loop_.to_owned()));
    facts.iter().fold(String::new(), |mut html, (name, value)| {
        let _ = write!(html, "<div><dt>{name}</dt><dd>{}</dd></div>", text(value));
        html
    })
}

/// The scorecard; columns of which nothing is known are left out.
pub(super) fn scorecard(rows: &[ResultRow]) -> String {
    let shown: Vec<(usize, &Figure)> = FIGURES
        .iter()
        .enumerate()
        .filter(|(place, _)| rows.iter().any(|row| row.figures.at(*place).is_some()))
        .collect();
    let mut html = String::from("<thead><tr><th scope=\"col\">name</th>");
    for (_, figure) in &shown {
        let heading = text(&figure.heading.replace("-\n", "")).replace('\n', "<br>");
        let _ = write!(
            html,
            "<th scope=\"col\" title=\"{}\">{heading}</th>",
            text(figure.meaning)
        );
    }
    html.push_str("</tr></thead><tbody>");
    for row in rows {
        let kind = kind_name(row.kind);
        let _ = write!(
            html,
            "<tr class=\"{kind}\"><th scope=\"row\">{} <span class=\"kind\">{kind}</span></th>",
            text(&row.name)
        );
        for (place, figure) in &shown {
            let value = row.figures.at(*place);
            let value = value.map_or("–".to_owned(), |value| grouped(value, figure.decimals));
            let _ = write!(html, "<td>{value}</td>");
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody>");
    html
}

/// Every resize in words, the first [`MOST_ROWS`] of them.
pub(super) fn decisions(timeline: &Timeline<'_>) -> String {
    let events = &timeline.events;
    if events.resizes() == 0 {
        return "<p>There is none: no decision changed the size.</p>".to_owned();
    }
    let mut html = String::from(
        "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Decisions\"><table class=\"decisions\"><thead>\
         <tr><th scope=\"col\">Time (UTC)</th><th scope=\"col\">Nodes</th><th scope=\"col\">Decision</th>\
         <th scope=\"col\">Rules that shaped it</th><th scope=\"col\">Signals</th></tr></thead><tbody>",
    );
    let signals = timeline.config().signals.len();
    let resizes = events.as_slice().iter().filter(|event| event.is_resize());
    let mut listed = 0_u64;
    for event in resizes.take(MOST_ROWS) {
        listed += 1;
        let sentences = events.sentences(event);
        let (head, others) = sentences
            .split_first()
            .map_or(("", &[][..]), |(head, others)| (head.as_str(), others));
        let (limits, evidence) = others.split_at(others.len().saturating_sub(signals));
        let _ = write!(
            html,
            "<tr><td><a href=\"#charts\" data-tick=\"{}\">{}</a></td><td>{}&nbsp;→&nbsp;{}</td><td>{}</td><td>{}</td>\
             <td>{}</td></tr>",
            event.tick,
            moment(timeline.time_ms(event.tick)),
            event.from,
            event.to,
            prose(head),
            lines(limits),
            lines(evidence)
        );
    }
    html.push_str("</tbody></table></div>");
    let more = events.resizes() - listed;
    if more > 0 {
        let _ = write!(html, "<p>… {more} more, which the charts show.</p>");
    }
    if listed > ON_PAPER {
        let _ = write!(
            html,
            "<p class=\"paper\">On paper, the first {ON_PAPER} of {}.</p>",
            events.resizes()
        );
    }
    html
}

fn lines(sentences: &[String]) -> String {
    let lines: Vec<String> = sentences.iter().map(|sentence| prose(sentence)).collect();
    lines.join("<br>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        for (value, decimals, expected) in [
            (0.0, 0, "0"),
            (999.0, 0, "999"),
            (1000.0, 0, "1,000"),
            (128_263.6, 1, "128,263.6"),
            (-1_234_567.0, 0, "−1,234,567"),
        ] {
            assert_eq!(grouped(value, decimals), expected);
        }
    }

    #[test]
    fn a_moment_is_short() {
        assert_eq!(moment(1_700_000_000_000), "2023-11-14 22:13:20");
    }
}
