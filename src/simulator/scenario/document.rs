//! `scenario.yaml` as it is written, and its way into a checked [`Scenario`].

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{
    BootDelay, DEFAULT_BOOT_MS, Fault, Loop, PolicySource, Pool, Reading, Scenario, ScenarioError, Unserved,
    World, field, gpus_per_node, node_price, scale,
};
use crate::api::duration::HumanDuration;
use crate::policy::observation::Failure;
use crate::recording::ReadOptions;
use crate::simulator::fault::FaultKind;

/// The document as written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document {
    name: String,
    #[serde(default)]
    description: String,
    recording: WrittenRecordings,
    #[serde(default)]
    recording_format: Option<String>,
    #[serde(default)]
    timestamps: Option<String>,
    #[serde(default)]
    metric: Option<String>,
    #[serde(default)]
    column_label: Option<String>,
    #[serde(default)]
    signals: BTreeMap<String, String>,
    #[serde(default)]
    nodes: Option<u32>,
    #[serde(default)]
    r#loop: Loop,
    #[serde(default)]
    series: Option<String>,
    #[serde(default)]
    scale: Option<f64>,
    #[serde(default)]
    policy: Option<PolicySource>,
    #[serde(default)]
    world: World,
    #[serde(default)]
    gpus_per_node: Option<u32>,
    #[serde(default)]
    vm_size: Option<String>,
    #[serde(default)]
    price_usd_per_hour: Option<f64>,
    #[serde(default)]
    boot_delay: Option<WrittenBoot>,
    #[serde(default)]
    driver_delay: Option<HumanDuration>,
    #[serde(default)]
    drain_time: Option<HumanDuration>,
    #[serde(default)]
    interval: Option<HumanDuration>,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    initial_nodes: Option<u32>,
    #[serde(default)]
    unserved: WrittenUnserved,
    #[serde(default)]
    faults: Vec<WrittenFault>,
}

impl Document {
    pub(super) fn check(self) -> Result<Scenario, ScenarioError> {
        if self.name.trim().is_empty() {
            return Err(field("name", "is empty; reports call the scenario by it"));
        }
        if self.nodes.is_some() && self.r#loop == Loop::Closed {
            let problem = "declares the nodes of a history, and in the closed loop the policy decides them; write \
                           `initialNodes`, or use `loop: open`";
            return Err(field("nodes", problem));
        }
        let reading = Reading {
            format: word("recordingFormat", self.recording_format.as_deref())?,
            options: ReadOptions {
                timestamps: word("timestamps", self.timestamps.as_deref())?,
                metric: self.metric,
                column_label: self.column_label,
            },
            signals: self.signals.into_iter().collect(),
            nodes: self.nodes,
        };
        let pool = Pool {
            world: self.world,
            gpus_per_node: gpus_per_node(self.gpus_per_node, self.vm_size.as_deref())?,
            vm_size: self.vm_size,
            node_price: self.price_usd_per_hour.map(node_price).transpose()?,
            boot: self
                .boot_delay
                .map_or(BootDelay::Constant(DEFAULT_BOOT_MS), |boot| boot.0),
            driver_delay_ms: self.driver_delay.map_or(0, HumanDuration::as_millis),
            drain_ms: self.drain_time.map_or(0, HumanDuration::as_millis),
            interval_ms: self.interval.map(HumanDuration::as_millis),
            seed: self.seed,
            initial_nodes: self.initial_nodes,
            unserved: match self.unserved {
                WrittenUnserved::Lost => Unserved::Lost,
                WrittenUnserved::Queued => Unserved::Queued,
            },
            faults: faults(self.faults)?,
        };
        pool.check()?;
        Ok(Scenario {
            name: self.name,
            description: self.description,
            recordings: self.recording.0,
            reading,
            r#loop: self.r#loop,
            series: self.series,
            scale: scale(self.scale.unwrap_or(1.0))?,
            policy: self.policy,
            pool,
        })
    }
}

/// One of the words that a type knows.
fn word<T: FromStr<Err = String>>(
    name: &'static str,
    written: Option<&str>,
) -> Result<Option<T>, ScenarioError> {
    let parsed = written.map(str::parse).transpose();
    parsed.map_err(|problem| field(name, problem))
}

/// One path, or several.
struct WrittenRecordings(Vec<String>);

impl<'de> Deserialize<'de> for WrittenRecordings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Paths;

        impl<'de> Visitor<'de> for Paths {
            type Value = WrittenRecordings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path of a recording, or a list of them")
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<WrittenRecordings, E> {
                Ok(WrittenRecordings(vec![path.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<WrittenRecordings, A::Error> {
                let mut paths = Vec::new();
                while let Some(path) = list.next_element()? {
                    paths.push(path);
                }
                if paths.is_empty() {
                    return Err(de::Error::custom("the list of recordings is empty"));
                }
                Ok(WrittenRecordings(paths))
            }
        }

        deserializer.deserialize_any(Paths)
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum WrittenUnserved {
    #[default]
    Lost,
    Queued,
}

/// A boot delay as written: `8m`, or a distribution.
struct WrittenBoot(BootDelay);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Distribution {
    Uniform(Ends),
    Triangular(Triangle),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ends {
    min: HumanDuration,
    max: HumanDuration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Triangle {
    min: HumanDuration,
    mode: HumanDuration,
    max: HumanDuration,
}

impl<'de> Deserialize<'de> for WrittenBoot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Boot;

        impl<'de> Visitor<'de> for Boot {
            type Value = WrittenBoot;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as `8m`, or `{ uniform: { min: 5m, max: 12m } }`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<WrittenBoot, E> {
                let constant: HumanDuration = text.parse().map_err(E::custom)?;
                Ok(WrittenBoot(BootDelay::Constant(constant.as_millis())))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WrittenBoot, A::Error> {
                let drawn = Distribution::deserialize(MapAccessDeserializer::new(map))?;
                Ok(WrittenBoot(match drawn {
                    Distribution::Uniform(ends) => BootDelay::Uniform {
                        min_ms: ends.min.as_millis(),
                        max_ms: ends.max.as_millis(),
                    },
                    Distribution::Triangular(triangle) => BootDelay::Triangular {
                        min_ms: triangle.min.as_millis(),
                        mode_ms: triangle.mode.as_millis(),
                        max_ms: triangle.max.as_millis(),
                    },
                }))
            }
        }

        deserializer.deserialize_any(Boot)
    }
}

impl<'de> Deserialize<'de> for PolicySource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Source;

        impl<'de> Visitor<'de> for Source {
            type Value = PolicySource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path of a policy, or a GpuScalePolicy document")
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<PolicySource, E> {
                Ok(PolicySource::Path(path.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PolicySource, A::Error> {
                serde_json::Value::deserialize(MapAccessDeserializer::new(map)).map(PolicySource::Inline)
            }
        }

        deserializer.deserialize_any(Source)
    }
}

/// A fault as written: when, how long, and exactly one kind.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenFault {
    at: HumanDuration,
    #[serde(default)]
    r#for: Option<HumanDuration>,
    #[serde(default)]
    allocation_failure: Option<Failure>,
    #[serde(default)]
    partial_fill: Option<u32>,
    #[serde(default)]
    node_loss: Option<u32>,
    #[serde(default)]
    spot_eviction: Option<u32>,
    #[serde(default)]
    exporter_gap: Option<u32>,
    #[serde(default)]
    stale_series: Option<Nothing>,
    #[serde(default)]
    lying_series: Option<u32>,
}

/// `{}`: a kind that has nothing to say about itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn faults(written: Vec<WrittenFault>) -> Result<Vec<Fault>, ScenarioError> {
    let mut faults = written
        .into_iter()
        .enumerate()
        .map(|(index, fault)| {
            fault
                .check()
                .map_err(|problem| field("faults", format!("number {}: {problem}", index + 1)))
        })
        .collect::<Result<Vec<_>, _>>()?;
    faults.sort_by_key(|fault| fault.at_ms);
    Ok(faults)
}

impl WrittenFault {
    fn check(self) -> Result<Fault, String> {
        let kinds = [
            self.allocation_failure.map(FaultKind::AllocationFailure),
            self.partial_fill.map(FaultKind::PartialFill),
            self.node_loss.map(FaultKind::NodeLoss),
            self.spot_eviction.map(FaultKind::SpotEviction),
            self.exporter_gap.map(FaultKind::ExporterGap),
            self.stale_series.map(|_| FaultKind::StaleSeries),
            self.lying_series.map(FaultKind::LyingSeries),
        ];
        let mut kinds = kinds.into_iter().flatten();
        let (Some(kind), None) = (kinds.next(), kinds.next()) else {
            return Err(
                "needs exactly one of `allocationFailure`, `partialFill`, `nodeLoss`, `spotEviction`, \
                 `exporterGap`, `staleSeries` or `lyingSeries`"
                    .into(),
            );
        };
        if let FaultKind::ExporterGap(percent) | FaultKind::LyingSeries(percent) = kind
            && percent > 100
        {
            return Err(format!("{percent} is no percentage; write 0 to 100"));
        }
        let is_event = matches!(kind, FaultKind::NodeLoss(_));
        match (is_event, self.r#for) {
            (false, None) => Err("how long it lasts is missing; add `for`".into()),
            (true, Some(_)) => Err("a lost node does not come back; remove `for`".into()),
            (_, duration) => Ok(Fault {
                at_ms: self.at.as_millis(),
                duration_ms: duration.map_or(0, HumanDuration::as_millis),
                kind,
            }),
        }
    }
}
