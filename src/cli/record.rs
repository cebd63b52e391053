//! `gpuscale record`: what a policy reads, from its source into a file.

mod part;
mod watch;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;

use clap::Args;
use futures_util::future::{Either, select};
use gpuscale::api::duration::HumanDuration;
use gpuscale::api::text::Name;
use gpuscale::api::{Query, QuerySource};
use gpuscale::clock::SystemClock;
use gpuscale::config::{Config, MetricsSource};
use gpuscale::control::ports::{Clock as _, MetricsSource as _, ReadRequest, Selector};
use gpuscale::devices::LabelMapping;
use gpuscale::policy::config::Millis;
use gpuscale::recording::{Labels, Metrics, OpenMetrics, schema};
use gpuscale::simulator::history::History;
use gpuscale::simulator::scenario::Reading;
use gpuscale::simulator::scenario_run::Judged;
use gpuscale::source::record::{Parts, RecordError, Recorder, Slice, Wanted, wanted};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use serde::Serialize;

use super::output::{self, Terminal};
use super::recordings::{self, Loaded};
use super::sources::{self, Connected};
use super::{Format, FormatArgs, input};
use crate::error::Error;
use part::{Done, Part, Plan};

pub(super) const ABOUT: &str = "\
Saves what a policy reads from its metrics source into a recording, for `simulate --loop open`.

The samples are the raw ones, as the control loop would have got them. The past is taken in slices, smaller \
ones where the source's limits want that; a source that is busy is waited for. What was stopped goes on where \
it was when the same command is given again.

Exporters themselves (`dcgm`) have no past: `--for` watches them, and any other source, as time passes.";

pub(super) const EXAMPLES: &str = "\
A name that ends in `.zst` or `.gz` is packed.

Examples:
  # The last week, to judge another policy on it
  gpuscale record policy.yaml --config gpuscale.yaml --last 7d --out week.om.zst
  gpuscale simulate --loop open --recording week.om.zst --policy other.yaml

  # Ten minutes from now on
  gpuscale record policy.yaml --config gpuscale.yaml --for 10m --out now.om";

/// Length of a slice of the past.
const SLICE_MS: Millis = 3_600_000;

/// Length of a slice of what is watched.
const WATCHED_MS: Millis = 60_000;

/// How much later than they are of samples come at least.
const LATE_MS: Millis = 5_000;

/// A metric that nobody has, to hear what a source's clock reads.
const PROBE: &str = "gpuscale_probe";

#[derive(Debug, Args)]
#[group(id = "range", required = true, multiple = false, args = ["last", "watch", "from"])]
pub(super) struct RecordArgs {
    /// The policy whose signals are recorded
    #[arg(value_name = "POLICY")]
    policy: PathBuf,

    /// Configuration with the metrics source that the policy names
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// Where to; the file must not be there
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// The time until now, such as `6h` or `7d`
    #[arg(long, value_name = "DURATION")]
    last: Option<HumanDuration>,

    /// The time from now on
    #[arg(long = "for", value_name = "DURATION")]
    watch: Option<HumanDuration>,

    /// From that time, such as `2026-11-20T08:00:00Z`, which itself is not in it
    #[arg(long, value_name = "TIME", requires = "to")]
    from: Option<Timestamp>,

    /// To that time
    #[arg(long, value_name = "TIME", requires = "from")]
    to: Option<Timestamp>,

    /// GPUs of one node, where the series may not show all of them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    gpus_per_node: Option<u32>,

    /// Record answers that the source itself calls partial
    #[arg(long)]
    allow_partial: bool,

    #[command(flatten)]
    output: FormatArgs,
}

/// Everything that was read before a source is asked.
struct Job<'a> {
    args: &'a RecordArgs,
    name: Name,
    source: MetricsSource,
    judged: Judged,
    wanted: Vec<Wanted>,
    question: String,
}

/// What was recorded, for programs.
#[derive(Debug, Serialize)]
struct Summary {
    recording: String,
    from: String,
    to: String,
    bytes: u64,
    samples: u64,
    metrics: BTreeMap<String, Counts>,
    remarks: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
struct Counts {
    series: usize,
    samples: usize,
}

pub(super) fn run(args: &RecordArgs, terminal: &Terminal) -> Result<(), Error> {
    let job = Job::new(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let (part, silent) = runtime.block_on(job.record())?;
    if part.done().samples == 0 {
        part.discard();
        return Err(Error::Usage(format!(
            "nothing was recorded: source `{}` has no sample of what the policy reads in that time; `gpuscale check --live \
             --config {} {}` finds out why",
            job.name.as_str(),
            args.config.display(),
            args.policy.display()
        )));
    }
    let plan = part.plan().clone();
    let bytes = part.finish()?;
    let mut summary = job.summary(&plan, bytes)?;
    summary.remarks.extend(silent);
    match args.output.format {
        Format::Json => output::print(&output::json(&summary)?),
        Format::Table => {
            let lines = summary.lines(args);
            let wrapped = lines.iter().map(|line| terminal.wrapped(line));
            let all: Vec<String> = std::iter::once(summary.table()).chain(wrapped).collect();
            output::print(&all.join("\n"))
        }
    }
}

impl<'a> Job<'a> {
    fn new(args: &'a RecordArgs) -> Result<Self, Error> {
        if args.out.exists() {
            let message = format!("`{}` is there already; choose another name", args.out.display());
            return Err(Error::Usage(message));
        }
        let (policy, judged) = input::policy(&args.policy)?;
        let config = input::config(&args.config)?;
        let name = policy.spec.metrics_source.clone();
        let source = source(&config, &name, &args.config)?;
        if source.dcgm.is_some() && args.watch.is_none() {
            return Err(Error::Usage(format!(
                "source `{}` is exporters, which have no past; record what comes with `--for 10m`",
                name.as_str()
            )));
        }
        if let (Some(from), Some(to)) = (args.from, args.to)
            && from >= to
        {
            return Err(Error::Usage(format!("`--from {from}` is not before `--to {to}`")));
        }
        let wanted = wanted(&judged.config, &judged.queries);
        if wanted.is_empty() {
            let message =
                "the policy reads nothing from a metrics source: pods that wait are seen in the cluster";
            return Err(Error::Usage(message.to_owned()));
        }
        let question = question(&name, &source, &wanted, args);
        Ok(Self {
            args,
            name,
            source,
            judged,
            wanted,
            question,
        })
    }

    /// Records until the end of the range, and says which exporters had nothing to say at the end.
    async fn record(&self) -> Result<(Part, Vec<String>), Error> {
        let clock = Rc::new(SystemClock::new());
        let sources = sources::alone(&self.name, &self.source, &clock)
            .map_err(|cause| Error::Usage(format!("metricsSources.{}: {cause}", self.name.as_str())))?;
        let recorded = pin!(self.record_from(&sources, &clock));
        match select(recorded, pin!(sources.follow())).await {
            Either::Left((part, _)) => Ok((part?, self.silent(&sources))),
            Either::Right((never, _)) => match never {},
        }
    }

    fn silent(&self, sources: &Connected) -> Vec<String> {
        let source = sources.get(self.name.as_str());
        let exporters = source.map(|source| source.inner().inner().exporters());
        let failed = exporters.into_iter().flatten().filter_map(|said| {
            let error = said.page.err()?;
            Some(format!("{} had no page at the end: {error}", said.target))
        });
        failed.collect()
    }

    async fn record_from(&self, sources: &Connected, clock: &SystemClock) -> Result<Part, Error> {
        let mut part = match part::begun(&self.args.out)? {
            Some((plan, done)) if plan.question == self.question => {
                self.may_go_on(&plan, done, self.source_ms(sources, clock))?;
                Part::resume(&self.args.out, plan, done)?
            }
            Some(_) => {
                return Err(Error::Usage(format!(
                    "`{}.part` is of another recording; remove it and `{0}.part.json`, or choose another name",
                    self.args.out.display()
                )));
            }
            None => {
                let plan = self.plan(sources, clock).await?;
                Part::begin(&self.args.out, plan, &self.head()?)?
            }
        };
        let plan = part.plan().clone();
        let recorder = Recorder {
            source: sources,
            name: self.name.as_str(),
            mapping: &self.source.label_mapping,
            clock,
            parts: if self.args.allow_partial {
                Parts::Taken
            } else {
                Parts::Refused
            },
        };
        let length_ms = plan.to_ms - plan.from_ms;
        let slices = u64::try_from(length_ms / plan.slice_ms + Millis::from(length_ms % plan.slice_ms > 0))
            .unwrap_or_default();
        let progress = progress(slices);
        let mut patience_ms = watch::PATIENCE_MS;
        for number in part.done().slices..slices {
            progress.set_position(number);
            let from_ms = plan.from_ms + Millis::try_from(number).unwrap_or_default() * plan.slice_ms;
            let to_ms = (from_ms + plan.slice_ms).min(plan.to_ms);
            if self.args.watch.is_some() {
                let wait_ms = to_ms + LATE_MS - self.source_ms(sources, clock);
                clock.sleep_until(clock.now().timer_ms + wait_ms.max(0)).await;
            }
            let range = (from_ms, to_ms);
            let (mut text, mut samples) = self.slice(&recorder, range, part.done()).await?;
            if self.args.watch.is_some() {
                let now_ms = || self.source_ms(sources, clock);
                if self.is_late(&recorder, to_ms, now_ms, &mut patience_ms).await? {
                    (text, samples) = self.slice(&recorder, range, part.done()).await?;
                }
            }
            part.slice(&text, samples)?;
        }
        progress.finish_and_clear();
        Ok(part)
    }

    /// The range on the source's clock.
    async fn plan(&self, sources: &Connected, clock: &SystemClock) -> Result<Plan, Error> {
        self.probe(sources).await?;
        // To the second, so that the range can be read and given again.
        let now_ms = self.source_ms(sources, clock) / 1000 * 1000;
        let (from_ms, to_ms) = match (self.args.from, self.args.to) {
            (Some(_), Some(to)) if to.as_millisecond() > now_ms => {
                return Err(Error::Usage(format!(
                    "the source's clock has not reached `--to {to}`; what is to come is recorded with `--for`"
                )));
            }
            (Some(from), Some(to)) => (from.as_millisecond(), to.as_millisecond()),
            _ => {
                let back_ms = self.args.last.map_or(0, HumanDuration::as_millis);
                let ahead_ms = self.args.watch.map_or(0, HumanDuration::as_millis);
                (now_ms - back_ms, now_ms + ahead_ms)
            }
        };
        Ok(Plan {
            question: self.question.clone(),
            from_ms,
            to_ms,
            slice_ms: if self.args.watch.is_some() {
                WATCHED_MS
            } else {
                SLICE_MS
            },
        })
    }

    /// Asks for nothing, to hear what the source's clock reads and whether it answers at all.
    async fn probe(&self, sources: &Connected) -> Result<(), Error> {
        let selector = Selector::Metric {
            name: PROBE,
            match_labels: Vec::new(),
        };
        let request = ReadRequest {
            source: self.name.as_str(),
            selector: &selector,
            window_ms: WATCHED_MS,
            as_of_ms: None,
        };
        match sources.read(&request).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::Usage(format!(
                "source `{}` does not answer: {error}; `gpuscale check --live --config {}` finds out why",
                self.name.as_str(),
                self.args.config.display()
            ))),
        }
    }

    fn source_ms(&self, sources: &Connected, clock: &SystemClock) -> Millis {
        let source = sources.get(self.name.as_str());
        let skew_ms = source.and_then(|source| source.inner().inner().skew_ms());
        clock.now().wall_ms + skew_ms.unwrap_or_default()
    }

    /// What stands before the samples.
    fn head(&self) -> Result<Vec<u8>, Error> {
        let mut head = OpenMetrics::new(Vec::new());
        let mut names: Vec<&str> = self.wanted.iter().map(Wanted::name).collect();
        names.push(schema::INFO);
        names.sort_unstable();
        names.dedup();
        for name in names {
            head.gauge(name, "")?;
        }
        Ok(head.into_inner())
    }

    /// A slice of all that is wanted, as text, and the number of its samples.
    async fn slice(
        &self,
        recorder: &Recorder<'_, Connected, SystemClock>,
        (from_ms, to_ms): (Millis, Millis),
        done: Done,
    ) -> Result<(Vec<u8>, u64), Error> {
        let mut all = Slice::new();
        for wanted in &self.wanted {
            let slice = recorder
                .slice(wanted, from_ms, to_ms)
                .await
                .map_err(|error| unanswered(&error))?;
            all.extend(slice);
        }
        let mut text = OpenMetrics::new(Vec::new());
        let first_ms = all
            .values()
            .filter_map(|samples| samples.first())
            .map(|(at_ms, _)| *at_ms)
            .min();
        if let Some(first_ms) = first_ms.filter(|_| done.samples == 0) {
            text.series(&self.info()?, &[(first_ms, 1.0)])?;
        }
        for (labels, samples) in &all {
            text.series(labels, samples)?;
        }
        let samples = all.values().map(Vec::len).sum::<usize>();
        Ok((text.into_inner(), samples as u64))
    }

    fn info(&self) -> Result<Labels, Error> {
        let gpus = self.args.gpus_per_node.map(|gpus| gpus.to_string());
        let labels = [
            (schema::VERSION_LABEL, schema::VERSION),
            (schema::GPUS_PER_NODE_LABEL, gpus.as_deref().unwrap_or_default()),
        ];
        Labels::new(schema::INFO, labels).map_err(Error::Usage)
    }

    /// Reads the recording back, as a simulation will.
    fn summary(&self, plan: &Plan, bytes: u64) -> Result<Summary, Error> {
        let out = &self.args.out;
        let loaded = recordings::load(std::slice::from_ref(out), &[], &Reading::default())?;
        let Loaded::Metrics(metrics) = loaded else {
            return Err(Error::Usage(format!(
                "`{}` is no recording of metrics",
                out.display()
            )));
        };
        let history = History::new(
            &metrics,
            &self.judged.config,
            &self.judged.queries,
            &LabelMapping::default(),
        )
        .map_err(|source| Error::History {
            path: out.clone(),
            source: Box::new(source),
        })?;
        let time =
            |ms: Millis| Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| at.to_string());
        let counted = counts(&metrics);
        Ok(Summary {
            recording: out.display().to_string(),
            from: time(plan.from_ms),
            to: time(plan.to_ms),
            bytes,
            samples: counted.values().map(|counts| counts.samples as u64).sum(),
            remarks: self
                .lacking(&counted)
                .chain(history.remarks().iter().cloned())
                .collect(),
            metrics: counted,
        })
    }

    /// What the policy reads and the recording does not have.
    fn lacking(&self, counted: &BTreeMap<String, Counts>) -> impl Iterator<Item = String> {
        let pods = self
            .judged
            .queries
            .iter()
            .filter(|query: &&Query| query.source == QuerySource::GpuRequests)
            .map(|query| {
                format!(
                    "signal `{}` is not recorded: pods that wait are seen in the cluster",
                    query.signal
                )
            });
        let missing = self
            .wanted
            .iter()
            .filter(|wanted| !counted.contains_key(wanted.name()))
            .map(|wanted| format!("the source has no {} in that time", wanted.name()));
        pods.chain(missing)
    }
}

fn counts(metrics: &Metrics) -> BTreeMap<String, Counts> {
    let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
    for series in metrics.series() {
        if series.labels().name() == schema::INFO {
            continue;
        }
        let of_name = counts.entry(series.labels().name().to_owned()).or_default();
        of_name.series += 1;
        of_name.samples += series.len();
    }
    counts
}

/// The source that the policy names, if it can be used.
fn source(config: &Config, name: &Name, path: &Path) -> Result<MetricsSource, Error> {
    let known: Vec<&str> = config.metrics_sources.keys().map(Name::as_str).collect();
    let Some(source) = config.metrics_sources.get(name) else {
        return Err(Error::Usage(format!(
            "the policy reads source `{}`, which `{}` does not have; it has {}",
            name.as_str(),
            path.display(),
            if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            }
        )));
    };
    let own = format!("metricsSources.{}.", name.as_str());
    match config
        .problems()
        .iter()
        .find(|problem| problem.path.starts_with(&own))
    {
        Some(problem) => Err(Error::Usage(format!(
            "`{}`: {}: {}",
            path.display(),
            problem.path,
            problem.message
        ))),
        None => Ok(source.clone()),
    }
}

fn unanswered(error: &RecordError) -> Error {
    Error::Usage(format!("{error}; the same command goes on from here"))
}

/// What is recorded of whom, to tell whether it is the same recording.
fn question(name: &Name, source: &MetricsSource, wanted: &[Wanted], args: &RecordArgs) -> String {
    let prometheus = source.prometheus.as_ref().map(|server| &*server.url);
    let azure = source
        .azure_managed_prometheus
        .as_ref()
        .map(|server| &*server.endpoint);
    let exporters = source.dcgm.as_ref().map(|dcgm| &dcgm.targets);
    format!(
        "{} {} {exporters:?} {:?} {wanted:?} {} gpus per node {:?}, partial answers {}",
        name.as_str(),
        prometheus.or(azure).unwrap_or_default(),
        source.label_mapping,
        range(args),
        args.gpus_per_node,
        args.allow_partial
    )
}

/// The range as it was given.
fn range(args: &RecordArgs) -> String {
    match (args.from, args.to, args.last, args.watch) {
        (Some(from), Some(to), ..) => format!("from {from} to {to}"),
        (_, _, Some(last), _) => format!("last {last}"),
        (_, _, _, Some(watch)) => format!("for {watch}"),
        _ => String::new(),
    }
}

/// Progress on standard error, where somebody can see it.
fn progress(slices: u64) -> ProgressBar {
    if slices < 2 || !output::shows_progress() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(slices), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{bar:30} {pos}/{len} slices, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

impl Summary {
    /// What was recorded, a line for each metric.
    fn table(&self) -> String {
        let mut table = format!(
            "{}: {} samples in {} bytes, from {} to {}",
            self.recording, self.samples, self.bytes, self.from, self.to
        );
        let widest = self.metrics.keys().map(String::len).max().unwrap_or_default();
        for (name, counts) in &self.metrics {
            // Writing into a string cannot fail.
            let _ = write!(
                table,
                "\n  {name:widest$}  {:>5} series  {:>9} samples",
                counts.series, counts.samples
            );
        }
        table
    }

    /// What else is to be known, a sentence to a line.
    fn lines(&self, args: &RecordArgs) -> Vec<String> {
        let mut lines: Vec<String> = self
            .remarks
            .iter()
            .map(|remark| format!("note: {remark}"))
            .collect();
        lines.push(format!(
            "judge it: `gpuscale simulate --loop open --recording {} --policy {}`",
            args.out.display(),
            args.policy.display()
        ));
        lines
    }
}
