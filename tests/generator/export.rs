//! `VictoriaMetrics`' export: one JSON line for each series, times in milliseconds.

use std::collections::BTreeMap;
use std::fmt::Write;

/// A decimal number without a float: `number` ÷ 10^`decimals`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fixed {
    pub(super) number: i64,
    pub(super) decimals: u32,
}

impl Fixed {
    pub(super) fn whole(number: i64) -> Self {
        Self { number, decimals: 0 }
    }

    /// Writes it as JSON, in its shortest form: `0.5` and not `0.500`.
    fn write(self, text: &mut String) {
        assert!(self.number >= 0, "no metric of a GPU is negative: {self:?}");
        let unit = 10_i64.pow(self.decimals);
        let (whole, mut rest) = (self.number / unit, self.number % unit);
        write!(text, "{whole}").unwrap();
        if rest > 0 {
            let mut digits = self.decimals as usize;
            while rest % 10 == 0 {
                (rest, digits) = (rest / 10, digits - 1);
            }
            write!(text, ".{rest:0digits$}").unwrap();
        }
    }
}

/// Labels of a series in the order in which they are written; the name is one of them.
pub(super) type Labels = Vec<(&'static str, String)>;

/// A series of an [`Export`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(usize);

#[derive(Debug, Default)]
struct Series {
    labels: Labels,
    samples: Vec<(i64, Option<Fixed>)>,
}

/// Collects series and writes them.
#[derive(Debug, Default)]
pub(super) struct Export {
    series: Vec<Series>,
    ids: BTreeMap<Labels, Id>,
}

impl Export {
    /// The series with these labels. Labels that come back later, as those of an idle GPU do after each pod, are the
    /// same series.
    pub(super) fn series(&mut self, labels: Labels) -> Id {
        if let Some(&id) = self.ids.get(&labels) {
            return id;
        }
        let id = Id(self.series.len());
        self.ids.insert(labels.clone(), id);
        self.series.push(Series {
            labels,
            samples: Vec::new(),
        });
        id
    }

    /// Adds a sample; `None` is a stale marker.
    pub(super) fn push(&mut self, id: Id, at_ms: i64, value: Option<Fixed>) {
        let samples = &mut self.series[id.0].samples;
        assert!(
            samples.last().is_none_or(|&(last_ms, _)| last_ms < at_ms),
            "a series may not go back in time"
        );
        samples.push((at_ms, value));
    }

    /// One line for each series, in the order of their first appearance: those of a node stand together, so that
    /// the packer meets their times again.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for series in self.series.iter().filter(|series| !series.samples.is_empty()) {
            text.push_str("{\"metric\":{");
            for (index, (label, value)) in series.labels.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                write!(text, "{comma}\"{label}\":\"{value}\"").unwrap();
            }
            text.push_str("},\"values\":[");
            for (index, &(_, value)) in series.samples.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { "," });
                match value {
                    Some(value) => value.write(&mut text),
                    None => text.push_str("null"),
                }
            }
            text.push_str("],\"timestamps\":[");
            for (index, &(at_ms, _)) in series.samples.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { "," });
                write!(text, "{at_ms}").unwrap();
            }
            text.push_str("]}\n");
        }
        text
    }
}
