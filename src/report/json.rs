//! The result document: what `simulate --format json` writes and `--compare` reads.
//!
//! Its keys are an interface, documented in `simulations/README.md`; [`SCHEMA_VERSION`] rises when one changes its
//! meaning or goes away. A document holds no time of day and no path of the machine, so the same inputs give the
//! same bytes.

use serde::{Deserialize, Deserializer, Serialize};

use super::figures::{Figures, Price};
use crate::policy::config::ONE;
use crate::simulator::boot::BootDelay;
use crate::simulator::scenario_run::{Case, PolicyRow};
use crate::simulator::scorecard::{Kind, Row};

/// Version of the document's schema.
pub const SCHEMA_VERSION: u32 = 1;

/// One scorecard with what it is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Version of the schema.
    pub schema_version: u32,
    /// What was simulated.
    pub scenario: Summary,
    /// The scorecard: policies, optima, peers.
    pub rows: Vec<ResultRow>,
}

/// Several scorecards of one command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Collection {
    /// Version of the schema.
    pub schema_version: u32,
    /// One document for each scenario.
    pub results: Vec<Document>,
    /// Each policy, optimum and peer over all scenarios: medians, 5th and 95th percentiles.
    pub over_all: Vec<ResultRow>,
}

/// What was simulated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The scenario's name.
    pub name: String,
    /// The recording's file name.
    pub recording: String,
    /// The series of the recording.
    pub series: String,
    /// Factor on the demand.
    pub scale: f64,
    /// Hours of demand.
    pub hours: f64,
    /// Seconds between two evaluations.
    pub interval_seconds: f64,
    /// The world: `fluid` or `pods`.
    pub world: String,
    /// GPUs of one node.
    pub gpus_per_node: u32,
    /// Fewest nodes.
    pub min_nodes: u32,
    /// Most nodes.
    pub max_nodes: u32,
    /// Nodes that served from the start.
    pub initial_nodes: u32,
    /// Boot delay as stated: `8m`, `5m..12m`.
    pub boot_delay: String,
    /// Mean seconds from the request of a node to its first work.
    pub boot_seconds: f64,
    /// Price of a node-hour; `null` if unknown.
    pub price_usd_per_node_hour: Option<f64>,
    /// Faults injected.
    pub faults: usize,
    /// First seed.
    pub seed: u64,
    /// Seeds run, from `seed` upwards.
    pub seeds: u64,
    /// What the demand was derived from, where the recording has utilization and not demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived_from: Option<DerivedFrom>,
}

/// Where a demand comes from that nobody recorded, and what is not known about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DerivedFrom {
    /// Devices whose utilization it is.
    pub devices: usize,
    /// `recorded` or `assumed`: where the number of devices that should report comes from.
    pub coverage: String,
    /// Time in which a device was pinned, so that the demand is a lower bound, percent.
    pub censored_percent: f64,
    /// Time in which a device that should report did not, percent.
    pub unknown_percent: f64,
    /// Share of all device-time in which the device did not report, percent.
    pub unknown_device_percent: f64,
    /// What else has to be known of the recording.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

impl DerivedFrom {
    /// What has to be known of the demand, in sentences.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = vec![format!(
            "demand is derived from the utilization of {} devices ({} coverage)",
            self.devices, self.coverage
        )];
        if self.censored_percent > 0.0 {
            notes.push(format!(
                "for {} % of the time a device was at its limit: demand is a lower bound there, and so are misses",
                self.censored_percent
            ));
        }
        if self.unknown_percent > 0.0 {
            notes.push(format!(
                "for {} % of the time a device was silent ({} % of all device-time); it counts as busy as the others",
                self.unknown_percent, self.unknown_device_percent
            ));
        }
        notes.extend(self.remarks.iter().cloned());
        notes
    }
}

/// One row of a scorecard; its figures stand beside these keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultRow {
    /// `policy`, `optimum` or `peer`.
    #[serde(deserialize_with = "kind")]
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Fingerprint of all decisions of a policy, as 16 hexadecimal digits: equal fingerprints, equal decisions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// The figures; of several runs, their medians.
    #[serde(flatten)]
    pub figures: Figures,
    /// How far the runs lie apart, where there were several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
}

/// How far several runs lie apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Runs.
    pub runs: usize,
    /// The 5th percentile of each figure.
    pub p5: Figures,
    /// The 95th percentile of each figure.
    pub p95: Figures,
}

fn kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
    let text = String::deserialize(deserializer)?;
    [Kind::Policy, Kind::Optimum, Kind::Peer]
        .into_iter()
        .find(|kind| kind_name(*kind) == text)
        .ok_or_else(|| serde::de::Error::custom(format!("unknown kind `{text}`")))
}

/// The word for a kind of row.
#[must_use]
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Policy => "policy",
        Kind::Optimum => "optimum",
        Kind::Peer => "peer",
    }
}

impl ResultRow {
    /// The row of an optimum or a peer.
    #[must_use]
    pub fn new(row: &Row, price: Price) -> Self {
        Self {
            kind: row.kind,
            name: row.name.clone(),
            checksum: None,
            figures: Figures::of(row, price),
            spread: None,
        }
    }

    /// The row of a policy.
    #[must_use]
    pub fn policy(run: &PolicyRow, price: Price) -> Self {
        Self {
            checksum: Some(fingerprint(run.checksum)),
            ..Self::new(&run.row, price)
        }
    }
}

/// A checksum as it is shown everywhere.
#[must_use]
pub fn fingerprint(checksum: u64) -> String {
    format!("{checksum:016x}")
}

/// Names of what a case was made from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The scenario's name.
    pub name: &'a str,
    /// The recording's file name.
    pub recording: &'a str,
    /// Factor on the demand.
    pub scale: f64,
    /// First seed and number of seeds.
    pub seeds: (u64, u64),
}

impl Summary {
    /// The summary of a case.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "durations and prices are exact in an f64"
    )]
    pub fn of(case: &Case, origin: Origin<'_>) -> Self {
        let pool = &case.pool;
        let (seed, seeds) = origin.seeds;
        Self {
            name: origin.name.to_owned(),
            recording: origin.recording.to_owned(),
            series: case.demand.name().to_owned(),
            scale: origin.scale,
            hours: (case.demand.duration_ms() as f64 / 36_000.0).round() / 100.0,
            interval_seconds: case.demand.step_ms() as f64 / 1000.0,
            world: pool.world.to_string(),
            gpus_per_node: case.spec.gpus_per_node,
            min_nodes: case.spec.min_nodes,
            max_nodes: case.spec.max_nodes,
            initial_nodes: case.initial_nodes,
            boot_delay: boot_delay(&pool.boot, pool.driver_delay_ms),
            boot_seconds: pool.mean_boot_ms() as f64 / 1000.0,
            price_usd_per_node_hour: pool.node_price.map(|micro| micro as f64 / ONE as f64),
            faults: pool.faults.len(),
            seed,
            seeds,
            derived_from: None,
        }
    }

    /// The run in one line: trace, length, pool, world, boot, seed.
    #[must_use]
    pub fn headline(&self) -> String {
        let scale = if (self.scale - 1.0).abs() < f64::EPSILON {
            String::new()
        } else {
            format!(" × {}", self.scale)
        };
        let length = if self.hours >= 72.0 {
            format!("{:.0} days", self.hours / 24.0)
        } else {
            format!("{:.1} h", self.hours)
        };
        let seeds = match self.seeds {
            1 => format!("seed {}", self.seed),
            many => format!("seeds {}..{}", self.seed, self.seed.saturating_add(many)),
        };
        let faults = match self.faults {
            0 => String::new(),
            1 => ", 1 fault".to_owned(),
            many => format!(", {many} faults"),
        };
        format!(
            "{}: {}{scale}, {length} at {} s; {}..{} nodes of {} GPUs; {} world, boot {}, {seeds}{faults}",
            self.name,
            self.series,
            self.interval_seconds,
            self.min_nodes,
            self.max_nodes,
            self.gpus_per_node,
            self.world,
            self.boot_delay
        )
    }
}

fn boot_delay(boot: &BootDelay, driver_delay_ms: i64) -> String {
    let boot = match *boot {
        BootDelay::Constant(ms) => duration(ms),
        BootDelay::Uniform { min_ms, max_ms } => format!("{}..{}", duration(min_ms), duration(max_ms)),
        BootDelay::Triangular {
            min_ms,
            mode_ms,
            max_ms,
        } => format!(
            "{}..{}, mostly {}",
            duration(min_ms),
            duration(max_ms),
            duration(mode_ms)
        ),
    };
    if driver_delay_ms == 0 {
        boot
    } else {
        format!("{boot} + {}", duration(driver_delay_ms))
    }
}

/// Milliseconds as people write them: `8m`, `1h30m`.
#[must_use]
pub fn duration(ms: i64) -> String {
    let whole = std::time::Duration::from_millis(ms.unsigned_abs());
    let text: String = humantime::format_duration(whole)
        .to_string()
        .split_whitespace()
        .collect();
    if ms < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::row;
    use super::*;

    #[test]
    fn a_row_is_flat_and_read_back() {
        let row = ResultRow {
            checksum: Some(fingerprint(0xab)),
            ..ResultRow::new(&row("mine", 100.0, 0.25), Price::Known)
        };
        let json = serde_json::to_value(&row).unwrap();
        assert_eq!(json["kind"], "policy");
        assert_eq!(json["node_hours"], 100.0);
        assert_eq!(json["checksum"], "00000000000000ab");
        assert!(json.get("spread").is_none());
        assert_eq!(serde_json::from_value::<ResultRow>(json).unwrap(), row);
    }

    #[test]
    fn a_spread_is_read_back() {
        let one = ResultRow::new(&row("mine", 100.0, 0.25), Price::Unknown);
        let row = ResultRow {
            spread: Some(Spread {
                runs: 3,
                p5: one.figures,
                p95: one.figures,
            }),
            ..one
        };
        let text = serde_json::to_string(&row).unwrap();
        assert_eq!(serde_json::from_str::<ResultRow>(&text).unwrap(), row);
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        let error = serde_json::from_str::<ResultRow>(r#"{"kind":"guess","name":"x"}"#).unwrap_err();
        assert!(error.to_string().contains("unknown kind `guess`"), "{error}");
    }

    #[test]
    fn durations_are_short() {
        for (ms, text) in [
            (480_000, "8m"),
            (5_400_000, "1h30m"),
            (0, "0s"),
            (90_500, "1m30s500ms"),
        ] {
            assert_eq!(duration(ms), text);
        }
        assert_eq!(
            boot_delay(
                &BootDelay::Uniform {
                    min_ms: 300_000,
                    max_ms: 720_000
                },
                60_000
            ),
            "5m..12m + 1m"
        );
    }
}
