//! What the server stores: the recent samples of every device of a pool and of every query, and the labels
//! that they go by.
//!
//! All metrics of a device are scraped together, so that they are kept together, one row per scrape. A series
//! ends and another begins where the device's pod changes, as in the real server.

use std::collections::VecDeque;
use std::sync::Arc;

use gpuscale::control::ports::SeriesBuilder;
use gpuscale::policy::config::{MINUTE_MS, Millis};
use gpuscale::recording::Labels;

/// Rows that are kept of a device: at least 50 minutes of scrapes.
pub const KEEP_ROWS: usize = 200;
/// Rows over those that are kept, which are dropped together.
const SPARE_ROWS: usize = 56;
/// How far back an expression looks for a sample.
const LOOK_BACK_MS: Millis = 5 * MINUTE_MS;

/// The metrics that exporters have.
pub const METRICS: [&str; 4] = [
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_DEV_POWER_USAGE",
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_DEV_FB_FREE",
];
/// Pods that a device may have had, with none as the first.
pub const PODS: usize = 4;

/// One scrape of one device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// On the server's clock.
    pub(super) at_ms: Millis,
    /// One value for each of [`METRICS`].
    pub(super) values: [f64; METRICS.len()],
    /// Which pod has the device, 0 for none.
    pub(super) pod: u8,
    /// What its utilization is worth.
    pub(super) worth: Worth,
}

/// What a stored utilization is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    /// It is what it was.
    Faithful,
    /// A fault made it something else, or nothing.
    Nothing,
}

/// One device.
#[derive(Debug, Clone, Default)]
pub(super) struct Device {
    /// One behind the other in memory, since most of the world's time goes into reading their ends.
    pub(super) rows: Vec<Row>,
    pub(super) node: u32,
    /// True time of the last scrape that was no ghost's.
    pub(super) scraped_ms: Millis,
    /// Whether it is in its pool's list of devices with rows.
    pub(super) listed: bool,
    /// All labels but those of the pool, in the order of metric, pod, server. Made when first needed.
    labels: Vec<Option<Arc<Labels>>>,
    own: Option<Own>,
}

/// What a device's labels say.
#[derive(Debug, Clone)]
pub(super) struct Own {
    pub(super) pairs: Vec<(String, String)>,
    /// Prefix of its pods' names.
    pub(super) pod: String,
}

/// Which of two servers is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    First,
    Second,
}

impl Device {
    /// Whether its labels are known.
    pub(super) fn is_named(&self) -> bool {
        self.own.is_some()
    }

    /// Says what its labels are.
    pub(super) fn name(&mut self, node: u32, own: Own) {
        self.node = node;
        self.labels = vec![None; METRICS.len() * PODS * 2];
        self.own = Some(own);
    }

    /// Stores a row, unless it is not newer than the last; whether it did.
    pub(super) fn push(&mut self, row: Row) -> bool {
        if self.rows.last().is_some_and(|last| last.at_ms >= row.at_ms) {
            return false;
        }
        if self.rows.len() >= KEEP_ROWS + SPARE_ROWS {
            self.rows.drain(..=SPARE_ROWS);
        }
        self.rows.push(row);
        true
    }

    /// For how long in `[start_ms, to_ms]`, on the server's clock, its utilization was known: from each
    /// faithful row until the next row, and no longer than `hold_ms`. Rows after `readable_ms` are not known
    /// yet.
    pub(super) fn known_ms(
        &self,
        (start_ms, to_ms, readable_ms): (Millis, Millis, Millis),
        hold_ms: Millis,
    ) -> Millis {
        let mut until_ms = to_ms;
        let mut known_ms = 0;
        for row in self
            .rows
            .iter()
            .rev()
            .skip_while(|row| row.at_ms > to_ms.min(readable_ms))
        {
            if row.worth == Worth::Faithful {
                let end_ms = until_ms.min(row.at_ms + hold_ms);
                known_ms += (end_ms - row.at_ms.max(start_ms)).max(0);
            }
            until_ms = row.at_ms;
            if until_ms <= start_ms {
                break;
            }
        }
        known_ms
    }

    /// The newest faithful row until `to_ms`.
    pub(super) fn newest_ms(&self, to_ms: Millis) -> Option<Millis> {
        let mut newest_first = self.rows.iter().rev();
        let newest = newest_first.find(|row| row.at_ms <= to_ms && row.worth == Worth::Faithful);
        newest.map(|row| row.at_ms)
    }

    /// The labels of a metric while a pod has the device. The same `Arc` every time.
    fn labels(&mut self, metric: usize, pod: u8, server: Server) -> &Arc<Labels> {
        let pod = usize::from(pod);
        let index = (metric * PODS + pod) * 2 + usize::from(server == Server::Second);
        let own = self.own.as_ref().expect("who is scraped has a name");
        self.labels[index].get_or_insert_with(|| {
            let mut pairs = own.pairs.clone();
            if pod > 0 {
                pairs.push(("pod".to_owned(), format!("{}-{pod}", own.pod)));
            }
            if server == Server::Second {
                pairs.push(("prometheus_replica".to_owned(), "b".to_owned()));
            }
            Arc::new(Labels::new(METRICS[metric], pairs).expect("labels are told once"))
        })
    }

    /// Adds its series of a metric with samples in `(from_ms, to_ms]` to an answer.
    pub(super) fn answer(
        &mut self,
        metric: usize,
        server: (Server, Millis),
        (from_ms, to_ms): (Millis, Millis),
        series: &mut SeriesBuilder,
    ) {
        let (server, shift_ms) = server;
        let (from_ms, to_ms) = (from_ms - shift_ms, to_ms - shift_ms);
        // Most answers are three rows at the end of hundreds.
        let newer = self.rows.iter().rev().take_while(|row| row.at_ms > to_ms);
        let end = self.rows.len() - newer.count();
        let rows = &self.rows[..end];
        let inside = rows.iter().rev().take_while(|row| row.at_ms > from_ms);
        let kept = self.rows.len().saturating_sub(KEEP_ROWS);
        let start = (end - inside.count()).max(kept.min(end));
        for first in start..end {
            let pod = self.rows[first].pod;
            // A pod may have been back in the window: its series is one.
            let goes_on = first > start && self.rows[first - 1].pod == pod;
            if goes_on || self.rows[start..first].iter().any(|row| row.pod == pod) {
                continue;
            }
            for row in &self.rows[first..end] {
                let value = row.values[metric];
                if row.pod == pod && !is_absent(value) {
                    series.push(row.at_ms + shift_ms, value);
                }
            }
            if series.pushed() > 0 {
                series.end(self.labels(metric, pod, server));
            }
        }
    }
}

/// Stands for a metric that an exporter does not have. No exporter writes it.
pub(super) const ABSENT: f64 = f64::MIN;

fn is_absent(value: f64) -> bool {
    value.to_bits() == ABSENT.to_bits()
}

/// The result of a query that is one series without labels.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub(super) promql: String,
    rows: VecDeque<(Millis, f64)>,
    labels: Arc<Labels>,
}

impl Query {
    pub(super) fn new(promql: &str) -> Self {
        Self {
            promql: promql.to_owned(),
            rows: VecDeque::new(),
            labels: Arc::new(Labels::new("", [("", ""); 0]).expect("no labels")),
        }
    }

    pub(super) fn push(&mut self, at_ms: Millis, value: f64) {
        if self.rows.back().is_some_and(|last| last.0 >= at_ms) {
            return;
        }
        if self.rows.len() >= KEEP_ROWS {
            self.rows.pop_front();
        }
        self.rows.push_back((at_ms, value));
    }

    pub(super) fn shift(&mut self, by_ms: Millis) {
        self.rows.iter_mut().for_each(|row| row.0 += by_ms);
    }

    /// Adds the series at every multiple of `step_ms` in `(from_ms, now_ms]`, of what can be read until `to_ms`.
    pub(super) fn answer(
        &self,
        step_ms: Millis,
        (from_ms, to_ms): (Millis, Millis),
        now_ms: Millis,
        series: &mut SeriesBuilder,
    ) {
        let step_ms = step_ms.max(1);
        let steps = from_ms.div_euclid(step_ms) + 1..=now_ms.div_euclid(step_ms);
        for at_ms in steps.map(|step| step * step_ms) {
            let known = at_ms.min(to_ms);
            let newest = self.rows.iter().rev().find(|row| row.0 <= known);
            if let Some(&(_, value)) = newest.filter(|row| row.0 > at_ms - LOOK_BACK_MS) {
                series.push(at_ms, value);
            }
        }
        if series.pushed() > 0 {
            series.end(&self.labels);
        }
    }
}
