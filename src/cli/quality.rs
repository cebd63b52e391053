//! `gpuscale quality`: a policy on a suite of traces.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use gpuscale::recording::Recording;
use gpuscale::report::{quality, table};
use gpuscale::simulator::peers;
use gpuscale::simulator::scenario_run::{Case, Judged};
use gpuscale::simulator::scenario_suite::{Suite, Trace};
use rayon::prelude::*;

use super::output::{self, Terminal};
use super::sweep::{self, Prepared};
use super::{Format, FormatArgs, input};
use crate::error::Error;

pub(super) const ABOUT: &str = "\
Judges a policy on a suite of long traces, against fixed bars.

For each trace: node-hours and miss percentage of the policy, the HPA at 70 %, KEDA on the sum and a \
70/30 threshold; regret against the zero-miss optimum at three prices of a miss; and whether a peer is \
better in both. The last line has the geometric means beside the suite's bars.

Every trace runs in the reference pool: at least 1 node, at most twice what the peak needs and 2 more. \
The policy's own bounds are replaced by these.";

#[derive(Debug, Args)]
pub(super) struct Quality {
    /// The suite
    #[arg(value_name = "SUITE", default_value = "simulations/quality.yaml")]
    suite: PathBuf,

    /// The policy to judge; `default` is the shipped defaults
    #[arg(long, value_name = "FILE", default_value = input::DEFAULT_POLICY)]
    policy: PathBuf,

    /// Fail (exit code 3) if a mean is above its bar
    #[arg(long)]
    enforce_bars: bool,

    #[command(flatten)]
    output: FormatArgs,
}

pub(super) fn run(args: &Quality, terminal: &Terminal) -> Result<(), Error> {
    let suite = input::suite(&args.suite)?;
    let directory = args.suite.parent().unwrap_or(Path::new(""));
    let recordings = recordings(&suite, directory)?;
    let prepared: Vec<Prepared> = suite
        .traces
        .par_iter()
        .map(|trace| prepare(trace, directory, &recordings, &args.policy))
        .collect::<Result<_, _>>()?;
    let result = quality::Quality::of(&suite.name, suite.bars, sweep::documents(&prepared));
    let text = match args.output.format {
        Format::Json => output::json(&result)?,
        Format::Table => {
            let (headings, rows) = result.costs();
            let costs = table::plain(&headings, &rows, terminal.ink());
            let (headings, rows) = result.regrets();
            let regrets = table::plain(&headings, &rows, terminal.ink());
            let conclusion = terminal.wrapped(&result.conclusion());
            format!(
                "Node-hours and misses\n\n{costs}\n\n\
                 regret_hard and flaps per day; means of regret are geometric\n\n{regrets}\n\n{conclusion}"
            )
        }
    };
    output::print(&text)?;
    let above = result.above_bars();
    if args.enforce_bars && !above.is_empty() {
        return Err(Error::Failed(above));
    }
    Ok(())
}

/// Each file is read once, however many of its series are in the suite.
fn recordings(suite: &Suite, directory: &Path) -> Result<BTreeMap<PathBuf, Recording>, Error> {
    let mut paths: Vec<PathBuf> = suite
        .traces
        .iter()
        .map(|trace| directory.join(&trace.recording))
        .collect();
    paths.sort();
    paths.dedup();
    paths
        .into_par_iter()
        .map(|path| Ok((path.clone(), input::recording(&path)?)))
        .collect()
}

fn prepare(
    trace: &Trace,
    directory: &Path,
    recordings: &BTreeMap<PathBuf, Recording>,
    policy: &Path,
) -> Result<Prepared, Error> {
    let path = directory.join(&trace.recording);
    let recording = recordings.get(&path).ok_or_else(|| {
        // Every path of the suite was read before.
        Error::Usage(format!("recording `{}` is not in the suite", path.display()))
    })?;
    let demand = input::series_of(recording, &path, trace.series.as_deref(), trace.scale)?;
    let gpus_per_node = trace.pool.gpus_per_node;
    let mut judged = input::policies(&[policy.to_owned()], &demand, gpus_per_node)?;
    let reference = peers::reference_pool(&demand, gpus_per_node, trace.pool.mean_boot_ms());
    for Judged { config, .. } in &mut judged {
        (config.min_nodes, config.max_nodes) = (reference.min_nodes, reference.max_nodes);
        config.schedules.clear();
    }
    Ok(Prepared {
        name: demand.name().to_owned(),
        recording: input::file_name(&path),
        scale: trace.scale,
        case: Case::new(trace.pool.clone(), &demand, &judged)?,
        judged,
        seeds: 0..1,
        derived: None,
    })
}
