//! The scorecard for a terminal.
//!
//! A scorecard has more columns than a terminal. Those that fit are shown, by importance and not from left to
//! right, so a narrow terminal loses detail and never the two figures that must stand together, node-hours and miss
//! percentage. Nothing is told by colour alone.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, LineStyle, Table};

use super::compare::{Change, Difference};
use super::figures::{FIGURES, index_of, text};
use super::json::{ResultRow, kind_name};
use crate::simulator::scorecard::Kind;

/// How a table may look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Which columns are shown.
    pub columns: Columns,
    /// Whether terminal codes may be used.
    pub ink: Ink,
}

/// Which columns are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columns {
    /// The most important ones that fit this many characters.
    Within(u16),
    /// All.
    All,
}

/// Whether terminal codes may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Plain text.
    Plain,
    /// Policies in bold.
    Terminal,
}

/// What stands between a unit of text and its meaning for the table.
struct Column {
    heading: String,
    cells: Vec<String>,
    alignment: CellAlignment,
}

impl Column {
    fn width(&self) -> usize {
        let lines = self.heading.lines().chain(self.cells.iter().map(String::as_str));
        lines.map(|line| line.chars().count()).max().unwrap_or(0)
    }
}

/// Characters between two columns.
const GAP: usize = 2;

/// The columns beyond the name, most important first. What is not listed is only in the widest table.
const IMPORTANCE: [&str; 13] = [
    "node_hours",
    "miss_percent",
    "regret_hard.p10",
    "flaps_per_day",
    "idle_percent",
    "regret_hard.p50",
    "regret_hard.p100",
    "cost_usd",
    "saturated_percent",
    "resizes",
    "busy_nodes_taken",
    "time_to_react_p95_seconds",
    "time_to_react_p50_seconds",
];

/// Decimals in the table, where they are fewer than in JSON.
fn shown_decimals(key: &str, decimals: u8) -> u8 {
    match key {
        "node_hours" | "gpu_hours" | "missed_node_hours" | "saturated_percent" => decimals.min(1),
        "idle_percent" => 0,
        "miss_percent" | "regret_hard.p10" | "regret_hard.p50" | "regret_hard.p100" => 2,
        _ => decimals,
    }
}

/// A scorecard: one line for each row, policies first as they come.
#[must_use]
pub fn scorecard(rows: &[ResultRow], look: Look) -> String {
    let figures: Vec<(usize, Column)> = FIGURES
        .iter()
        .enumerate()
        .map(|(index, figure)| {
            let cells = rows.iter().map(|row| cell(row, index)).collect();
            let column = Column {
                heading: figure.heading.to_owned(),
                cells,
                alignment: CellAlignment::Right,
            };
            (index, column)
        })
        .collect();
    let names = column("name", rows.iter().map(|row| row.name.clone()).collect());
    let kinds = column(
        "kind",
        rows.iter().map(|row| kind_name(row.kind).to_owned()).collect(),
    );
    let shown = match look.columns {
        Columns::All => vec![true; figures.len()],
        Columns::Within(width) => fitting(&figures, &names, width),
    };
    let mut columns = Vec::new();
    let room = |columns: &[Column]| columns.iter().map(|column| column.width() + GAP).sum::<usize>();
    let figures: Vec<Column> = figures
        .into_iter()
        .filter_map(|(index, column)| shown[index].then_some(column))
        .collect();
    let with_kind = room(&figures) + kinds.width() + GAP + names.width();
    if look.columns == Columns::All
        || matches!(look.columns, Columns::Within(width) if with_kind <= width.into())
    {
        columns.push(kinds);
    }
    columns.push(names);
    columns.extend(figures);
    let bold: Vec<bool> = rows.iter().map(|row| row.kind == Kind::Policy).collect();
    draw(&columns, &bold, look.ink)
}

fn column(heading: &str, cells: Vec<String>) -> Column {
    Column {
        heading: heading.to_owned(),
        cells,
        alignment: CellAlignment::Left,
    }
}

/// A figure, and of several runs where nine tenths of them lie.
fn cell(row: &ResultRow, index: usize) -> String {
    let figure = &FIGURES[index];
    let decimals = shown_decimals(figure.key, figure.decimals);
    let Some(value) = row.figures.at(index) else {
        return "–".to_owned();
    };
    let value = text(value, decimals);
    let ends = row
        .spread
        .as_ref()
        .and_then(|spread| Some((spread.p5.at(index)?, spread.p95.at(index)?)));
    match ends.map(|(low, high)| (text(low, decimals), text(high, decimals))) {
        Some((low, high)) if low != high => format!("{value} ({low}–{high})"),
        _ => value,
    }
}

/// Which figures fit beside the names, by importance. A column in which no row has anything is not worth its room.
fn fitting(figures: &[(usize, Column)], names: &Column, width: u16) -> Vec<bool> {
    let mut left = usize::from(width).saturating_sub(names.width());
    let mut shown = vec![false; figures.len()];
    for key in IMPORTANCE {
        let Some((index, column)) = index_of(key).and_then(|index| figures.get(index)) else {
            continue;
        };
        let empty = column.cells.iter().all(|cell| cell == "–");
        let wanted = column.width() + GAP;
        if !empty && wanted <= left {
            left -= wanted;
            shown[*index] = true;
        }
    }
    shown
}

fn draw(columns: &[Column], bold: &[bool], ink: Ink) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING.header_separator(LineStyle::none().fill('─')));
    table.force_no_tty();
    if ink == Ink::Terminal {
        table.enforce_styling();
    }
    table.set_header(
        columns
            .iter()
            .map(|column| Cell::new(&column.heading).set_alignment(column.alignment)),
    );
    for (row, &bold) in bold.iter().enumerate() {
        table.add_row(columns.iter().map(|column| {
            let cell = Cell::new(&column.cells[row]).set_alignment(column.alignment);
            if bold && ink == Ink::Terminal {
                cell.add_attribute(Attribute::Bold)
            } else {
                cell
            }
        }));
    }
    let last = columns.len().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        let gap = if index == last { 0 } else { GAP };
        column.set_padding((0, u16::try_from(gap).unwrap_or(0)));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// A table of texts with the first column to the left and the others to the right.
#[must_use]
pub fn plain(headings: &[&str], rows: &[Vec<String>], ink: Ink) -> String {
    let columns: Vec<Column> = headings
        .iter()
        .enumerate()
        .map(|(index, heading)| Column {
            heading: (*heading).to_owned(),
            cells: rows
                .iter()
                .map(|row| row.get(index).cloned().unwrap_or_default())
                .collect(),
            alignment: if index == 0 {
                CellAlignment::Left
            } else {
                CellAlignment::Right
            },
        })
        .collect();
    draw(&columns, &vec![false; rows.len()], ink)
}

/// A comparison: for each figure what it was, what it is, and the difference.
#[must_use]
pub fn comparison(changes: &[Change], ink: Ink) -> String {
    let heading = |key: &str| {
        index_of(key)
            .map_or(key, |index| FIGURES[index].heading)
            .to_owned()
    };
    let Some(first) = changes.first() else {
        return String::new();
    };
    let mut columns = vec![column(
        "name",
        changes.iter().map(|change| change.name.clone()).collect(),
    )];
    for (index, figure) in first.figures.iter().enumerate() {
        let cells = changes
            .iter()
            .map(|change| change.figures.get(index).map_or_else(String::new, difference))
            .collect();
        columns.push(Column {
            heading: heading(figure.key),
            cells,
            alignment: CellAlignment::Right,
        });
    }
    let bold: Vec<bool> = changes.iter().map(|change| change.kind == "policy").collect();
    draw(&columns, &bold, ink)
}

fn difference(figure: &Difference) -> String {
    let decimals = shown_decimals(figure.key, figure.decimals);
    let shown = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| text(value, decimals));
    let (before, after) = (shown(figure.before), shown(figure.after));
    match figure.delta() {
        _ if before == after => after,
        Some(delta) => format!("{before} → {after} ({delta:+.*})", usize::from(decimals)),
        None => format!("{before} → {after}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::compare::{compare, tests::document};
    use super::super::json::Spread;
    use super::*;

    const PLAIN: Look = Look {
        columns: Columns::Within(120),
        ink: Ink::Plain,
    };

    fn rows() -> Vec<ResultRow> {
        document(&[
            (Kind::Policy, "mine", 11_240.25, 0.25),
            (Kind::Optimum, "zero-miss optimum", 8_291.0, 0.0),
            (Kind::Peer, "Cluster Autoscaler", 8_413.0, 2.14),
        ])
        .rows
    }

    fn widest(text: &str) -> usize {
        text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
    }

    #[test]
    fn every_width_is_kept_and_the_pair_is_always_there() {
        for width in [60, 80, 100, 120, 160] {
            let text = scorecard(
                &rows(),
                Look {
                    columns: Columns::Within(width),
                    ..PLAIN
                },
            );
            assert!(widest(&text) <= width.into(), "{width}:\n{text}");
            assert!(
                text.contains("11240.3") && text.contains("2.14"),
                "{width}:\n{text}"
            );
        }
    }

    #[test]
    fn the_widest_table_has_every_figure() {
        let look = Look {
            columns: Columns::All,
            ..PLAIN
        };
        let text = scorecard(&rows(), look);
        assert!(text.contains("regret_soft") && text.contains("kind"), "{text}");
    }

    #[test]
    fn only_a_terminal_gets_codes() {
        assert!(!scorecard(&rows(), PLAIN).contains('\u{1b}'));
        let look = Look {
            ink: Ink::Terminal,
            ..PLAIN
        };
        assert!(scorecard(&rows(), look).contains('\u{1b}'));
    }

    #[test]
    fn a_spread_stands_beside_its_median() {
        let mut rows = rows();
        let low = document(&[(Kind::Policy, "mine", 11_000.0, 0.25)]).rows[0].figures;
        rows[0].spread = Some(Spread {
            runs: 9,
            p5: low,
            p95: rows[0].figures,
        });
        let text = scorecard(&rows, PLAIN);
        assert!(text.contains("11240.3 (11000.0–11240.3)"), "{text}");
        assert!(
            text.contains(" 0.25 "),
            "an end that is the median is not repeated:\n{text}"
        );
    }

    #[test]
    fn a_comparison_shows_both_and_the_difference() {
        let before = document(&[
            (Kind::Policy, "mine", 100.0, 0.25),
            (Kind::Peer, "HPA 70", 90.0, 0.2),
        ]);
        let after = document(&[(Kind::Policy, "mine", 80.0, 0.5)]);
        let text = comparison(&compare(&before, &after), Ink::Plain);
        assert!(text.contains("100.0 → 80.0 (-20.0)"), "{text}");
        assert!(text.contains("0.25 → 0.50 (+0.25)"), "{text}");
        assert!(text.contains("90.0 → –"), "{text}");
    }
}
