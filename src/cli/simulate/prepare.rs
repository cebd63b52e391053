//! From scenarios and flags to runs: files are read, demand is derived where it has to be, and everything that can be
//! refused without a simulation is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gpuscale::devices::LabelMapping;
use gpuscale::recording::{Demand, MICRO, Metrics};
use gpuscale::report::advice;
use gpuscale::report::json::DerivedFrom;
use gpuscale::simulator::history::{Derived, History, Inventory};
use gpuscale::simulator::open_loop::Declared;
use gpuscale::simulator::scenario::{Loop, PolicySource, Pool, Reading, Scenario, ScenarioError};
use gpuscale::simulator::scenario_run::{Case, Judged, interval_ms};
use rayon::prelude::*;

use super::Simulate;
use crate::cli::input;
use crate::cli::recordings::{self, Loaded};
use crate::cli::sweep::Prepared;
use crate::error::Error;

/// A run, ready to go.
#[derive(Debug)]
pub(super) enum Ready {
    /// Policies drive a simulated pool.
    Closed(Box<Prepared>),
    /// Policies are shown what happened.
    Open(Box<Replay>),
}

/// A history and the policies that it will be shown to.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) name: String,
    pub(super) recording: String,
    pub(super) path: PathBuf,
    pub(super) metrics: Metrics,
    pub(super) judged: Vec<Judged>,
    pub(super) declared: Declared,
}

impl Replay {
    /// The history as one of the policies meets it.
    pub(super) fn history(&self, judged: &Judged) -> Result<History<'_>, Error> {
        history(&self.metrics, judged, &self.path)
    }
}

fn history<'a>(metrics: &'a Metrics, judged: &Judged, path: &Path) -> Result<History<'a>, Error> {
    History::new(metrics, &judged.config, &judged.queries, &LabelMapping::default()).map_err(|source| {
        Error::History {
            path: path.to_owned(),
            source: Box::new(source),
        }
    })
}

/// Reads all inputs. The optima are computed here, so that is done on all cores as well.
pub(super) fn prepare(args: &Simulate) -> Result<Vec<Ready>, Error> {
    if !args.recordings.is_empty() {
        return Ok(vec![Wanted::from_flags(args)?.ready(args)?]);
    }
    if args.scenarios.is_empty() {
        let problem = "nothing to simulate; name a scenario directory, such as `simulations/servegen-m-small`, or give \
                       `--recording`";
        return Err(Error::Usage(problem.to_owned()));
    }
    args.scenarios
        .par_iter()
        .map(|path| Wanted::from_scenario(args, path)?.ready(args))
        .collect()
}

/// Where a run was described, for errors that are about the description.
#[derive(Debug)]
enum Origin {
    Flags,
    Scenario(PathBuf),
}

/// What is wanted, before anything but its description was read.
#[derive(Debug)]
struct Wanted {
    origin: Origin,
    name: Option<String>,
    recordings: Vec<PathBuf>,
    signals: Vec<(String, PathBuf)>,
    reading: Reading,
    r#loop: Loop,
    series: Option<String>,
    scale: f64,
    policy: Option<PolicySource>,
    directory: PathBuf,
    pool: Pool,
    /// GPUs of one node as they were stated; a recording of metrics may say it otherwise.
    gpus: Option<u32>,
}

impl Wanted {
    fn from_flags(args: &Simulate) -> Result<Self, Error> {
        let pool = args.pool.applied_to(Pool::default())?;
        Ok(Self {
            origin: Origin::Flags,
            name: None,
            recordings: args.recordings.clone(),
            signals: replaced(std::iter::empty(), args.reading.signals())?,
            reading: args.reading.applied_to(Reading::default()),
            r#loop: args.reading.loop_or(Loop::Closed),
            series: args.series.clone(),
            scale: args.scale.unwrap_or(1.0),
            policy: None,
            directory: PathBuf::new(),
            gpus: args.pool.states_gpus().then_some(pool.gpus_per_node),
            pool,
        })
    }

    fn from_scenario(args: &Simulate, path: &Path) -> Result<Self, Error> {
        let (scenario, directory) = input::scenario(path)?;
        let Scenario {
            name,
            recordings,
            reading,
            r#loop,
            series,
            scale,
            policy,
            pool,
            ..
        } = scenario;
        let pool = args.pool.applied_to(pool)?;
        let own = reading.signals.iter();
        let own = own.map(|(signal, file)| (signal.clone(), directory.join(file)));
        Ok(Self {
            origin: Origin::Scenario(path.to_owned()),
            name: Some(name),
            recordings: recordings.iter().map(|file| directory.join(file)).collect(),
            signals: replaced(own, args.reading.signals())?,
            reading: args.reading.applied_to(reading),
            r#loop: args.reading.loop_or(r#loop),
            series,
            scale,
            policy,
            directory,
            gpus: Some(pool.gpus_per_node),
            pool,
        })
    }

    fn ready(self, args: &Simulate) -> Result<Ready, Error> {
        let path = self.recordings.first().cloned().unwrap_or_default();
        if self.r#loop == Loop::Closed && (!self.signals.is_empty() || self.reading.nodes.is_some()) {
            return Err(Error::Usage(
                "recorded signals and nodes (`--signal`, `--nodes`) are for the open loop: in the closed one, queues and \
                 nodes are simulated; leave them out, or use `--loop open`"
                    .to_owned(),
            ));
        }
        match (
            recordings::load(&self.recordings, &self.signals, &self.reading)?,
            self.r#loop,
        ) {
            (Loaded::Demand(_), Loop::Open) => Err(Error::Usage(format!(
                "`{}` is a recording of demand, which no exporter showed to anybody; the open loop needs a recording of \
                 metrics",
                path.display()
            ))),
            (Loaded::Demand(recording), Loop::Closed) => {
                let demand = input::series_of(&recording, &path, self.series.as_deref(), self.scale)?;
                let judged = self.policies(args, &demand, self.pool.gpus_per_node)?;
                self.closed(args, &demand, judged, None)
            }
            (Loaded::Metrics(_), _) if self.series.is_some() => Err(Error::Usage(
                "`series` chooses from a recording of demand; of metrics, the policy's `matchLabels` choose"
                    .to_owned(),
            )),
            (Loaded::Metrics(metrics), Loop::Closed) => self.derived(args, &metrics, &path),
            (Loaded::Metrics(metrics), Loop::Open) => self.open(args, metrics, path),
        }
    }

    fn policies(&self, args: &Simulate, demand: &Demand, gpus_per_node: u32) -> Result<Vec<Judged>, Error> {
        if !args.policies.is_empty() {
            return input::policies(&args.policies, demand, gpus_per_node);
        }
        let source = self.policy.as_ref();
        input::scenario_policy(source, &self.directory, demand, gpus_per_node).map(|policy| vec![policy])
    }

    /// The policies where no demand is known yet: the bounds of the default one are not final.
    fn policies_unseen(&self, args: &Simulate) -> Result<Vec<Judged>, Error> {
        let demand =
            Demand::new("unknown", 0, 1000, vec![1000 * MICRO]).map_err(|source| Error::Recording {
                path: self.recordings.first().cloned().unwrap_or_default(),
                source,
            })?;
        self.policies(args, &demand, self.pool.gpus_per_node)
    }

    /// The GPUs of one node: as stated, unless the recording shows more, which would be a mistake.
    fn gpus_per_node(&self, history: &History<'_>) -> Result<u32, Error> {
        let shown = history.gpus_per_node();
        match self.gpus {
            Some(stated) if shown > stated => Err(Error::Usage(format!(
                "nodes are said to have {stated} GPUs, and the recording shows {shown} in one; correct `gpusPerNode` \
                 (`--gpus-per-node`)"
            ))),
            Some(stated) => Ok(stated),
            None if shown > 0 => Ok(shown),
            None => Err(Error::Usage(
                "the recording does not show how many GPUs a node has; give `--gpus-per-node`".to_owned(),
            )),
        }
    }

    /// A closed loop over the demand behind recorded utilization.
    fn derived(mut self, args: &Simulate, metrics: &Metrics, path: &Path) -> Result<Ready, Error> {
        self.name = self.name.take().or_else(|| Some(self.recording()));
        let unseen = self.policies_unseen(args)?;
        let Some(first) = unseen.first() else {
            return Err(Error::Usage("there is no policy to judge".to_owned()));
        };
        let history = history(metrics, first, path)?;
        self.pool.gpus_per_node = self.gpus_per_node(&history)?;
        let step_ms = interval_ms(&self.pool, &unseen)?;
        let refused = |source| Error::History {
            path: path.to_owned(),
            source: Box::new(source),
        };
        let derived = history.demand(&first.config, step_ms).map_err(refused)?;
        let demand = derived
            .demand
            .scaled(self.scale)
            .map_err(|source| Error::Recording {
                path: path.to_owned(),
                source,
            })?;
        self.pool.initial_nodes = self.pool.initial_nodes.or(derived.initial_nodes);
        self.pool.node_price = self
            .pool
            .node_price
            .or_else(|| history.price_at(history.span_ms().0));
        let from = DerivedFrom {
            devices: history.devices(),
            coverage: match history.inventory() {
                Inventory::Recorded => "recorded".to_owned(),
                Inventory::Assumed => "assumed".to_owned(),
            },
            censored_percent: advice::percent(derived.share(&derived.censored)),
            unknown_percent: advice::percent(derived.share(&derived.unknown)),
            unknown_device_percent: advice::percent(derived.unknown_share),
            remarks: history.remarks().to_vec(),
        };
        let judged = self.policies(args, &demand, self.pool.gpus_per_node)?;
        self.closed(args, &demand, judged, Some((from, derived)))
    }

    fn closed(
        self,
        args: &Simulate,
        demand: &Demand,
        judged: Vec<Judged>,
        derived: Option<(DerivedFrom, Derived)>,
    ) -> Result<Ready, Error> {
        let seeds = args
            .seeds
            .clone()
            .unwrap_or(self.pool.seed..self.pool.seed.saturating_add(1));
        let recording = self.recording();
        let case = Case::new(self.pool, demand, &judged).map_err(|source| self.origin.blame(source))?;
        Ok(Ready::Closed(Box::new(Prepared {
            name: self.name.unwrap_or_else(|| demand.name().to_owned()),
            recording,
            scale: self.scale,
            case,
            judged,
            seeds,
            derived,
        })))
    }

    /// An open loop over what was recorded.
    fn open(self, args: &Simulate, metrics: Metrics, path: PathBuf) -> Result<Ready, Error> {
        let unseen = self.policies_unseen(args)?;
        let Some(first) = unseen.first() else {
            return Err(Error::Usage("there is no policy to judge".to_owned()));
        };
        let history = history(&metrics, first, &path)?;
        let declared = Declared {
            nodes: self.reading.nodes,
            gpus_per_node: self.gpus_per_node(&history)?,
            node_price: self.pool.node_price,
            interval_ms: interval_ms(&self.pool, &unseen)?,
        };
        // The default policy's bounds follow what the history shows.
        for (signal, _) in &self.signals {
            let known = |judged: &Judged| judged.queries.iter().any(|query| query.signal == *signal);
            if !unseen.iter().any(known) {
                return Err(Error::Usage(format!(
                    "no policy has a signal `{signal}`, for which there is a recording; correct the name"
                )));
            }
        }
        let refused = |source| Error::History {
            path: path.clone(),
            source: Box::new(source),
        };
        history.walkable(declared.interval_ms).map_err(refused)?;
        let judged = match history.demand(&first.config, declared.interval_ms) {
            Ok(derived) => self.policies(args, &derived.demand, declared.gpus_per_node)?,
            Err(_) => unseen,
        };
        let recording = self.recording();
        Ok(Ready::Open(Box::new(Replay {
            name: self.name.unwrap_or_else(|| recording.clone()),
            recording,
            path,
            metrics,
            judged,
            declared,
        })))
    }

    /// The file names of the recordings.
    fn recording(&self) -> String {
        let names: Vec<String> = self
            .recordings
            .iter()
            .map(|path| input::file_name(path))
            .collect();
        names.join(", ")
    }
}

/// Recordings of signals: those of the flags in place of a scenario's, each once.
fn replaced(
    own: impl Iterator<Item = (String, PathBuf)>,
    flags: &[(String, PathBuf)],
) -> Result<Vec<(String, PathBuf)>, Error> {
    let mut signals: BTreeMap<String, PathBuf> = own.collect();
    for (index, (signal, file)) in flags.iter().enumerate() {
        if flags[..index].iter().any(|(other, _)| other == signal) {
            return Err(Error::Usage(format!(
                "`--signal {signal}=…` is given twice; keep one"
            )));
        }
        signals.insert(signal.clone(), file.clone());
    }
    Ok(signals.into_iter().collect())
}

impl Origin {
    fn blame(&self, source: ScenarioError) -> Error {
        match self {
            Self::Flags => Error::Flags(source),
            Self::Scenario(path) => Error::Scenario {
                what: "scenario",
                path: path.clone(),
                source,
            },
        }
    }
}
