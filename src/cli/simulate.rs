//! `gpuscale simulate`: scenarios and flags to a scorecard, a trace, a comparison and gates.

mod open;
mod pool_flags;
mod prepare;
mod reading_flags;
mod report_file;
mod trace_file;

use std::fmt::Write;
use std::ops::Range;
use std::path::PathBuf;

use clap::Args;
use gpuscale::report::compare::{Change, compare, differing_inputs};
use gpuscale::report::gate::Gate;
use gpuscale::report::json::{Collection, Document, SCHEMA_VERSION, Summary};
use gpuscale::report::{sentence, sweep::aggregate, table};
use gpuscale::simulator::boot::BootDelay;
use gpuscale::simulator::closed_loop::Unwatched;
use gpuscale::simulator::scenario::World;
use gpuscale::simulator::scenario_run::Case;
use gpuscale::simulator::scorecard::Kind;
use serde::Serialize;

use self::pool_flags::PoolFlags;
use self::prepare::Ready;
use self::reading_flags::ReadingFlags;
pub(super) use self::trace_file::Lines;
use super::output::{self, Extent, Terminal};
use super::sweep;
use super::{Format, FormatArgs, input};
use crate::error::Error;

pub(super) const ABOUT: &str = "\
Replays a recording of demand or of metrics through policies and prints their scorecard.

The policies run in a simulated pool whose nodes boot late and are billed from the request. Beside them \
stand the clairvoyant optima (the least that any autoscaler could have paid) and the autoscalers people \
use today: a pool sized for the peak, a 70/30 threshold, the HPA at 70 %, KEDA on the sum, and the \
Cluster Autoscaler.

A scenario is a directory with a `scenario.yaml`; flags given beside it replace what it says. Without a \
scenario, `--recording` is needed and everything else has a default. `mode`, `suspend` and `freeze` are \
not looked at: what is judged is what the policy would do.";

pub(super) const EXAMPLES: &str = "\
Examples:
  # A shipped scenario
  gpuscale simulate simulations/servegen-m-small

  # Your policy and the shipped defaults on a recording
  gpuscale simulate --recording demand.csv --policy mine.yaml --policy default

  # In CI: fail if more than half a percent of the demand is missed
  gpuscale simulate scenario/ --fail-if 'miss_percent > 0.5' --fail-if 'busy_nodes_taken > 0'

  # What did my change do?
  gpuscale simulate scenario/ --format json > before.json
  gpuscale simulate scenario/ --compare before.json

  # Charts and every decision as a page to open or to attach
  gpuscale simulate scenario/ --report report.html

  # What would my policy have said to what Prometheus saw?
  gpuscale simulate --recording query_range.json --policy mine.yaml --loop open --report said.html

  # Why did it do that at noon?
  gpuscale simulate scenario/ --explain 2020-05-02T12:00:00Z
  gpuscale simulate scenario/ --trace - | jq 'select(.from != .to)'";

#[derive(Debug, Args)]
pub(super) struct Simulate {
    /// Directories with a `scenario.yaml`; several are run side by side
    #[arg(value_name = "SCENARIO_DIR", conflicts_with_all = ["recordings", "series", "scale"])]
    scenarios: Vec<PathBuf>,

    /// Policies to judge, instead of the scenario's; `default` is the shipped defaults
    #[arg(long = "policy", value_name = "FILE")]
    policies: Vec<PathBuf>,

    /// Recording: demand (CSV with the header `timestamp,series,value,unit`), or metrics in any format that
    /// `simulations/README.md` lists, plain or packed with gzip or Zstandard; metrics may be in several files
    #[arg(long = "recording", value_name = "FILE")]
    recordings: Vec<PathBuf>,

    /// Series of the recording; needed if it has several
    #[arg(long, value_name = "NAME", requires = "recordings")]
    series: Option<String>,

    /// Factor on the demand
    #[arg(
        long,
        value_name = "FACTOR",
        requires = "recordings",
        allow_negative_numbers = true
    )]
    scale: Option<f64>,

    #[command(flatten)]
    pool: PoolFlags,

    #[command(flatten)]
    reading: ReadingFlags,

    /// Seeds to run, first included, last not; every figure becomes its median with 5th and 95th percentile
    #[arg(long, value_name = "FIRST..LAST", value_parser = seeds, conflicts_with = "seed")]
    seeds: Option<Range<u64>>,

    /// Show every column
    #[arg(long)]
    wide: bool,

    /// Show the difference to a result saved with `--format json`
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,

    /// Fail (exit code 3) if this holds for a policy: KEY OP NUMBER, such as `miss_percent > 0.5`; may be repeated
    #[arg(long = "fail-if", value_name = "EXPRESSION")]
    gates: Vec<String>,

    /// Write every decision as a JSON line; with `-` to standard output, and the scorecard to standard error
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Write charts, decisions and scorecard of the one run as one HTML file that needs no network
    #[arg(long, value_name = "FILE", conflicts_with = "explain")]
    report: Option<PathBuf>,

    /// Instead of the scorecard, put the decision at this time (RFC 3339) into words, or the first after it
    #[arg(long, value_name = "TIME", conflicts_with = "trace")]
    explain: Option<jiff::Timestamp>,

    #[command(flatten)]
    output: FormatArgs,
}

/// Reads `0..100`.
fn seeds(text: &str) -> Result<Range<u64>, String> {
    let range = text
        .split_once("..")
        .and_then(|(first, last)| Some(first.parse().ok()?..last.parse().ok()?));
    match range {
        Some(range) if range.start < range.end && range.end - range.start <= 100_000 => Ok(range),
        _ => Err("write FIRST..LAST with at most 100000 seeds, such as 0..100; LAST is not run".to_owned()),
    }
}

/// What a comparison adds to the JSON document.
#[derive(Serialize)]
struct Compared<'a> {
    #[serde(flatten)]
    document: &'a Document,
    compared_with: ComparedWith<'a>,
}

#[derive(Serialize)]
struct ComparedWith<'a> {
    name: &'a str,
    differing_inputs: Vec<&'static str>,
    changes: Vec<Change>,
}

pub(super) fn run(args: &Simulate, terminal: &Terminal) -> Result<(), Error> {
    // Whatever can be refused without a simulation is refused before one.
    let gates = args
        .gates
        .iter()
        .map(|gate| gate.parse())
        .collect::<Result<Vec<Gate>, _>>()?;
    let before = args.compare.as_deref().map(input::saved).transpose()?;
    let mut prepared = Vec::new();
    for ready in prepare::prepare(args)? {
        match ready {
            Ready::Closed(one) => prepared.push(*one),
            Ready::Open(replay) if args.scenarios.len() <= 1 => return open::run(args, &replay, terminal),
            Ready::Open(replay) => {
                let problem = format!("`{}` is an open loop; run it alone", replay.name);
                return Err(Error::Usage(problem));
            }
        }
    }
    if before.is_some() && prepared.len() > 1 {
        let problem = "`--compare` is for one scenario; run them one by one";
        return Err(Error::Usage(problem.to_owned()));
    }
    if let Some(time) = args.explain {
        return output::print(&trace_file::explained(&prepared, time)?);
    }
    for one in &prepared {
        if one.seeds.end - one.seeds.start > 1 && !is_drawn(&one.case) {
            let note = "nothing is drawn, so every seed gives the same figures";
            output::print_beside(&format!("note: in `{}` {note}", one.name))?;
        }
    }
    let documents = match (&args.report, &args.trace) {
        (Some(path), trace) => vec![report_file::reported(&prepared, path, trace.as_deref())?],
        (None, Some(path)) => vec![trace_file::traced(&prepared, path, &mut Unwatched)?],
        (None, None) => sweep::documents(&prepared),
    };
    let text = render(args, &documents, before.as_ref(), terminal)?;
    if trace_file::to_stdout(args) {
        output::print_beside(&text)?;
    } else {
        output::print(&text)?;
    }
    judge(&gates, &documents)
}

fn render(
    args: &Simulate,
    documents: &[Document],
    before: Option<&Document>,
    terminal: &Terminal,
) -> Result<String, Error> {
    let over_all = if documents.len() > 1 {
        aggregate(
            documents
                .iter()
                .flat_map(|document| document.rows.iter().cloned()),
        )
    } else {
        Vec::new()
    };
    if args.output.format == Format::Json {
        return match (documents, before) {
            ([only], Some(before)) => output::json(&Compared {
                document: only,
                compared_with: ComparedWith {
                    name: &before.scenario.name,
                    differing_inputs: differing_inputs(before, only),
                    changes: compare(before, only),
                },
            }),
            ([only], None) => output::json(only),
            (many, _) => output::json(&Collection {
                schema_version: SCHEMA_VERSION,
                results: many.to_vec(),
                over_all,
            }),
        };
    }
    let extent = if args.wide { Extent::Wide } else { Extent::Fitting };
    let mut text = String::new();
    for document in documents {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&scorecard(document, extent, terminal));
    }
    if let (Some(before), [only]) = (before, documents) {
        text.push_str(&comparison(before, only, terminal));
    }
    if !over_all.is_empty() {
        let look = terminal.look(extent);
        let table = table::scorecard(&over_all, look);
        let _ = write!(
            text,
            "\nOver all {} scenarios: median (5th–95th percentile)\n\n{table}\n",
            documents.len()
        );
    }
    Ok(text)
}

/// The headline, the table and what it says in words.
fn scorecard(document: &Document, extent: Extent, terminal: &Terminal) -> String {
    let summary = &document.scenario;
    let mut text = terminal.wrapped(&summary.headline());
    if summary.seeds > 1 {
        text.push_str(
            "\nfigures of policies are medians, with their 5th and 95th percentile where these differ",
        );
    }
    let table = table::scorecard(&document.rows, terminal.look(extent));
    let _ = write!(text, "\n\n{table}\n\n");
    for note in notes(summary) {
        text.push_str(&terminal.wrapped(&note));
        text.push('\n');
    }
    for conclusion in sentence::conclusions(&document.rows) {
        text.push_str(&terminal.wrapped(&conclusion));
        text.push('\n');
    }
    text
}

/// What has to be known to read the table rightly.
fn notes(summary: &Summary) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(derived) = &summary.derived_from {
        notes.extend(derived.notes());
    }
    if summary.world == World::Pods.to_string() {
        notes.push(
            "optima and peers are of the fluid world, where load moves; pods that stay where they are need more"
                .to_owned(),
        );
    }
    if summary.faults > 0 {
        notes.push("optima and peers meet no faults".to_owned());
    }
    notes
}

fn comparison(before: &Document, after: &Document, terminal: &Terminal) -> String {
    let mut text = format!(
        "\nAgainst `{}`: before → now (difference)\n\n",
        before.scenario.name
    );
    text.push_str(&table::comparison(&compare(before, after), terminal.ink()));
    text.push('\n');
    let differing = differing_inputs(before, after);
    if !differing.is_empty() {
        let _ = writeln!(text, "\nnot the same inputs: {} differ", differing.join(", "));
    }
    text
}

/// Gates are for policies: nobody can do anything about the optimum.
fn judge(gates: &[Gate], documents: &[Document]) -> Result<(), Error> {
    let mut failed = Vec::new();
    for document in documents {
        let policies = document.rows.iter().filter(|row| row.kind == Kind::Policy);
        for row in policies {
            for gate in gates {
                if let Some(failure) = gate.check(row)? {
                    failed.push(format!("{failure}, in `{}`", document.scenario.name));
                }
            }
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Error::Failed(failed))
    }
}

/// Whether anything is drawn in a case, so that seeds can make a difference.
fn is_drawn(case: &Case) -> bool {
    let constant = matches!(case.pool.boot, BootDelay::Constant(_));
    !(constant && case.pool.world == World::Fluid && case.pool.faults.is_empty())
}
