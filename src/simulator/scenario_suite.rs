//! A suite: the traces on which a policy's decisions are judged, and the bars it has to stay under.
//!
//! One YAML document, as strict as a scenario. Every trace runs in the reference pool (at least one node, at most
//! twice what the peak needs and two more), so that the figures of two policies differ by their decisions and not
//! by their bounds. Pure: text in, values out.

use serde::{Deserialize, Serialize};

use super::boot::BootDelay;
use super::scenario::{self, Pool, ScenarioError};
use crate::api::duration::HumanDuration;

/// A checked suite.
#[derive(Debug, Clone, PartialEq)]
pub struct Suite {
    /// Its name in reports.
    pub name: String,
    /// The traces, each with its pool.
    pub traces: Vec<Trace>,
    /// What the geometric means of `regret_hard` have to stay under.
    pub bars: Bars,
}

/// One trace of a suite.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Path of the recording, relative to the suite.
    pub recording: String,
    /// Series of the recording; `None` for the only one.
    pub series: Option<String>,
    /// Factor on the demand.
    pub scale: f64,
    /// The pool and its surroundings.
    pub pool: Pool,
}

/// Upper bounds of the geometric means of `regret_hard`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bars {
    /// At p = 10.
    pub p10: f64,
    /// At p = 50.
    pub p50: f64,
    /// At p = 100.
    pub p100: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    name: String,
    boot_delay: HumanDuration,
    interval: HumanDuration,
    bars: WrittenBars,
    traces: Vec<WrittenTrace>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenBars {
    regret_hard: Bars,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenTrace {
    recording: String,
    #[serde(default)]
    series: Option<String>,
    #[serde(default)]
    scale: Option<f64>,
    gpus_per_node: u32,
}

impl Suite {
    /// Reads and checks a suite document.
    ///
    /// # Errors
    ///
    /// [`ScenarioError`] with the line and what to do.
    pub fn parse(yaml: &str) -> Result<Self, ScenarioError> {
        let document: Document = scenario::read(yaml)?;
        document.check().map_err(|error| scenario::located(error, yaml))
    }
}

impl Document {
    fn check(self) -> Result<Suite, ScenarioError> {
        if self.traces.is_empty() {
            return Err(ScenarioError::Field {
                field: "traces",
                line: None,
                problem: "is empty; a policy is judged on at least one".to_owned(),
            });
        }
        let (boot, interval) = (self.boot_delay.as_millis(), self.interval.as_millis());
        let traces = self.traces.into_iter().map(|trace| {
            let pool = Pool {
                gpus_per_node: trace.gpus_per_node,
                boot: BootDelay::Constant(boot),
                interval_ms: Some(interval),
                ..Pool::default()
            };
            pool.check()?;
            Ok(Trace {
                recording: trace.recording,
                series: trace.series,
                scale: scenario::scale(trace.scale.unwrap_or(1.0))?,
                pool,
            })
        });
        Ok(Suite {
            name: self.name,
            bars: self.bars.regret_hard,
            traces: traces.collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name: q\nbootDelay: 8m\ninterval: 15s\n\
        bars: { regretHard: { p10: 1.34, p50: 1.48, p100: 1.62 } }\n\
        traces:\n- { recording: r.csv.gz, scale: 0.3, gpusPerNode: 4 }\n- { recording: h.csv, series: a, gpusPerNode: 8 }\n";

    #[test]
    fn a_suite_is_read() {
        let suite = Suite::parse(GOOD).unwrap();
        assert_eq!((suite.traces.len(), suite.bars.p50), (2, 1.48));
        let [first, second] = &suite.traces[..] else {
            panic!()
        };
        assert_eq!(
            (first.scale, first.pool.gpus_per_node, &first.series),
            (0.3, 4, &None)
        );
        assert_eq!((second.scale, second.series.as_deref()), (1.0, Some("a")));
        assert_eq!(
            (second.pool.mean_boot_ms(), second.pool.interval_ms),
            (480_000, Some(15_000))
        );
    }

    #[test]
    fn faults_are_refused_with_their_line() {
        let check = |from: &str, to: &str, expected: &str| {
            let error = Suite::parse(&GOOD.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("name: q", "nam: q", "line 1, column 1: unknown field `nam`");
        check(
            "scale: 0.3",
            "scale: -1",
            "`scale`: `-1` is not a finite number above 0",
        );
        check(
            "gpusPerNode: 4",
            "gpusPerNode: 0",
            "`gpusPerNode`: must be from 1 to 64",
        );
        check(
            "interval: 15s",
            "interval: 15ms",
            "line 3: `interval`: must be from 1s to 10m",
        );
        check("p100: 1.62", "p1000: 1.62", "line 4");
    }
}
