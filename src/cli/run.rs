//! `gpuscale run`: the control loop outside a cluster, from files.
//!
//! Everything that decides is the library's. Here the loop gets its ports ([`world`]), its policies from files that may be
//! edited while it runs ([`policies`]), a folder for what must survive ([`store`]), and somebody to tell ([`watch`],
//! [`serve`]).

pub(super) mod abort;
mod policies;
mod serve;
mod store;
mod watch;
pub(super) mod world;

use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures_util::future::{Either, select};
use gpuscale::actuator::aks::Aks;
use gpuscale::clock::{SystemClock, SystemRandomness};
use gpuscale::config::Config;
use gpuscale::control::listed::Listed;
use gpuscale::control::ports::Clock as _;
use gpuscale::control::throttle::Throttled;
use gpuscale::control::{Controller, PlatformChooses, Settings};
use gpuscale::logged::Logged;
use gpuscale::metrics::{Metered, SourceCounts};
use gpuscale::policy::observation::Freeze;

use super::output::{self, Terminal};
use super::{input, sources};
use crate::error::Error;
use policies::Files;
use store::Folder;
use watch::{First, Watching};
use world::World;

/// The longest that a request to Azure Resource Manager may take: it checks quotas before it answers a resize.
const ARM_TIMEOUT: Duration = Duration::from_secs(30);

/// How often files are looked at for changes, in ms.
const LOOK_MS: i64 = 2_000;

pub(super) const ABOUT: &str = "\
Keep node pools at the size that policies want.

Reads metrics from the sources of the configuration, decides by the policies, and resizes agent pools of AKS through Azure \
Resource Manager. A policy acts only if its `mode` is Enforce; one with Recommend says what it would do. Policies are read \
again when their files change; a file that cannot be used leaves the policies as they were.

There is no view of the cluster's nodes and pods here. So a pool shrinks only if its policy says `victims: PlatformChooses`, \
the configuration says `limits.allowPlatformChooses: true`, and every GPU was idle over the whole window. With `actuation: \
AutoscalerFloor` the pool's own autoscaler sees the pods: its `minCount` is moved, up and down, and nothing else.";

pub(super) const EXAMPLES: &str = "\
Examples:
  gpuscale run --config gpuscale.yaml --policy a100.yaml --once --dry-run
  gpuscale run --config gpuscale.yaml --policy policies/ --state /var/lib/gpuscale

What it shows, at the address `listen.metrics` of the configuration:
  /metrics  /healthz  /readyz

Exit codes are those of `gpuscale --help`; with --once, 2 also stands for a policy that could not decide.";

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The administrator's configuration: metrics sources, clusters, limits
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// Policies: a file, or a directory of `.yaml`, `.yml` and `.json` files; may be given more than once
    #[arg(long = "policy", value_name = "PATH", required = true)]
    policies: Vec<PathBuf>,

    /// Where to keep what must survive a restart, and the journal of every decision; required without `--dry-run`
    #[arg(
        long,
        value_name = "DIR",
        env = "STATE_DIRECTORY",
        required_unless_present = "dry_run"
    )]
    state: Option<PathBuf>,

    /// Decide and say so, and resize nothing, whatever the policies' modes are
    #[arg(long)]
    dry_run: bool,

    /// Decide once for each policy, act on it, print why, and end
    #[arg(long)]
    once: bool,

    /// Form of the log on standard error
    #[arg(long, value_enum, default_value_t = LogForm::Text, value_name = "FORM")]
    log: LogForm,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogForm {
    /// Lines for people
    Text,
    /// One JSON object to a line
    Json,
}

/// Whether policies act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acting {
    /// As their mode says.
    AsTheySay,
    /// They only say what they would do.
    Never,
}

/// Runs until it is told to stop.
pub(super) fn run(args: &RunArgs, terminal: &Terminal) -> Result<(), Error> {
    let config = usable(&args.config)?;
    let acting = if args.dry_run {
        Acting::Never
    } else {
        Acting::AsTheySay
    };
    let mut files = Files::new(&args.policies, acting);
    let first = files
        .read(&config)
        .map_err(|problems| Error::Usage(problems.join("\n")))?;
    start_log(args.log);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let told = runtime.block_on(live(args, config, files, first))?;
    // Connections that are open to whoever reads metrics end with the process.
    runtime.shutdown_background();
    if !args.once {
        return Ok(());
    }
    let lines: Vec<String> = told.lines().iter().map(|line| terminal.wrapped(line)).collect();
    output::print(&lines.join("\n"))?;
    match told.undecided() {
        undecided if undecided.is_empty() => Ok(()),
        undecided => Err(Error::Usage(format!("no decision for {}", undecided.join(", ")))),
    }
}

/// The configuration, if it can be used as a whole: one that is wrong somewhere is not run in part.
fn usable(path: &Path) -> Result<Config, Error> {
    let config = input::config(path)?;
    let problems = config.problems();
    if let Some(problem) = problems.first() {
        return Err(Error::Usage(format!(
            "cannot use configuration `{}`: {}: {}; `gpuscale check` shows all of it",
            path.display(),
            problem.path,
            problem.message
        )));
    }
    Ok(config)
}

fn start_log(form: LogForm) {
    let lines = tracing_subscriber::fmt().with_writer(io::stderr);
    // A second one in the process would be refused; the first goes on.
    let _ = match form {
        LogForm::Text => {
            let ansi = output::shows_progress();
            lines.with_ansi(ansi).with_target(false).try_init()
        }
        LogForm::Json => lines.json().flatten_event(true).with_target(false).try_init(),
    };
}

/// The loop and all that stands around it, until a signal, or until every policy has decided if it is to be once.
async fn live(
    args: &RunArgs,
    config: Config,
    files: Files,
    first: policies::Loaded,
) -> Result<Rc<First>, Error> {
    let (clock, randomness) = (Rc::new(SystemClock::new()), Rc::new(SystemRandomness));
    let issuer = sources::issuer(&clock);
    let unusable = |error: &dyn std::fmt::Display| Error::Usage(error.to_string());
    let metrics = sources::connect(&config, &clock, &randomness).map_err(|error| unusable(&error))?;
    let metrics = Rc::new(metrics);
    let aks = Aks::connect(&config, &issuer, ARM_TIMEOUT).map_err(|error| unusable(&error))?;
    let subscriptions = aks.subscriptions();
    let folder = args.state.as_deref().map(Folder::open).transpose()?;
    let told = Rc::new(First::default());
    let watching = Watching::new(Rc::clone(&told), folder.as_ref().map(Folder::journals));
    let metered = Rc::new(Metered::new(watching));
    let throttled = Throttled::new(aks, Rc::clone(&clock)).with_subscriptions(subscriptions);
    let world = World {
        pools: Listed::new(throttled, Rc::clone(&clock)),
        sources: Rc::clone(&metrics),
        clock: Rc::clone(&clock),
        randomness,
        store: folder,
    };
    let settings = settings(&config);
    metered.set_frozen(settings.freeze);
    let served = if args.once {
        None
    } else {
        let page = metered.page();
        Some(serve::start(&config.listen.metrics, page, told.readiness()).await?)
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        policies = first.policies.len(),
        resizes = policies::acts(&first.policies),
        freeze = config.freeze,
        metrics = served.as_ref().map(tracing::field::display),
        "started"
    );
    let controller = Controller::new(world, Logged::new(Rc::clone(&metered)), settings);
    told.await_first(first.policies.iter().map(|policy| policy.key.clone()));
    metered.set_policies(&first.policies);
    first.tell();
    controller.set_policies(first.policies);
    let tending = Tending {
        args,
        config,
        unusable: None,
        files,
        controller: &controller,
        metered: &metered,
        sources: &metrics,
        told: &told,
        clock: &clock,
    };
    let around = async {
        let () = tending.until_the_end().await;
        controller.stop();
    };
    let run = futures_util::future::join(controller.run(), around);
    match select(pin!(run), pin!(metrics.follow())).await {
        Either::Left(_) => {}
        Either::Right((never, _)) => match never {},
    }
    tracing::info!("ended");
    Ok(told)
}

fn settings(config: &Config) -> Settings {
    let call_timeout_ms = i64::try_from(ARM_TIMEOUT.as_millis()).unwrap_or(i64::MAX);
    let longest_ms = config
        .metrics_sources
        .values()
        .map(|source| source.timeout.as_millis())
        .max();
    // What passes is tried again for half as long, and a token may have to be fetched first.
    let read_timeout_ms = longest_ms.unwrap_or(0).saturating_mul(2).max(call_timeout_ms);
    let defaults = Settings::default();
    Settings {
        call_timeout_ms,
        read_timeout_ms,
        tick_timeout_ms: defaults
            .tick_timeout_ms
            .max(read_timeout_ms.saturating_add(2 * call_timeout_ms)),
        max_nodes: config.limits.max_nodes,
        platform_chooses: if config.limits.allow_platform_chooses {
            PlatformChooses::Allowed
        } else {
            PlatformChooses::Refused
        },
        freeze: freeze(config),
        ..defaults
    }
}

fn freeze(config: &Config) -> Freeze {
    if config.freeze { Freeze::On } else { Freeze::Off }
}

type Loop = Controller<World<SystemClock>, Logged<Rc<Metered<Watching>>>>;

/// What is done beside the loop while it runs.
struct Tending<'a> {
    args: &'a RunArgs,
    config: Config,
    /// Why the configuration as it is now cannot be used, so that it is said once.
    unusable: Option<String>,
    files: Files,
    controller: &'a Loop,
    metered: &'a Metered<Watching>,
    sources: &'a sources::Connected,
    told: &'a First,
    clock: &'a SystemClock,
}

impl Tending<'_> {
    /// Comes back when the loop is to stop.
    async fn until_the_end(mut self) {
        let mut stop = pin!(asked_to_stop());
        let mut look_ms = self.clock.now().timer_ms;
        loop {
            look_ms = look_ms.saturating_add(LOOK_MS).max(self.clock.now().timer_ms);
            let look = async {
                if self.args.once {
                    self.told.all().await;
                } else {
                    self.clock.sleep_until(look_ms).await;
                }
            };
            match select(stop.as_mut(), pin!(look)).await {
                Either::Left((signal, _)) => {
                    tracing::info!(signal, "stopping: what is being sent is finished and saved");
                    return;
                }
                Either::Right(_) if self.args.once => return,
                Either::Right(_) => self.look(),
            }
        }
    }

    /// Takes changes of the files, and shows what the sources counted.
    fn look(&mut self) {
        for (name, source) in self.sources.iter() {
            let counts = source.counts();
            let counts = SourceCounts {
                reads: counts.reads,
                queries: counts.queries,
                failures: counts.failures,
            };
            self.metered.set_source(name, &counts);
        }
        self.look_at_configuration();
        let Some(outcome) = self.files.changed(&self.config) else {
            return;
        };
        match outcome {
            Ok(loaded) => {
                tracing::info!(policies = loaded.policies.len(), "policies changed");
                self.told
                    .await_first(loaded.policies.iter().map(|policy| policy.key.clone()));
                self.metered.set_policies(&loaded.policies);
                loaded.tell();
                self.controller.set_policies(loaded.policies);
                self.metered.set_reload(Ok(()));
            }
            Err(problems) => {
                for problem in &problems {
                    tracing::error!(
                        problem,
                        "policies changed and cannot be used; those of before go on"
                    );
                }
                self.metered.set_reload(Err(()));
            }
        }
    }

    /// `freeze` is taken at once: it is for when something goes wrong. All else needs a restart.
    fn look_at_configuration(&mut self) {
        let frozen = match usable(&self.args.config) {
            Ok(config) => {
                self.unusable = None;
                config.freeze
            }
            Err(error) => {
                let problem = error.to_string();
                if self.unusable.as_deref() != Some(&problem) {
                    tracing::error!(
                        problem,
                        "the configuration changed and cannot be used; of what it says only `freeze: true` counts"
                    );
                    self.unusable = Some(problem);
                }
                // An editor may be writing it: what cannot be read releases nothing.
                let text = std::fs::read_to_string(&self.args.config).unwrap_or_default();
                self.config.freeze || Config::says_freeze(&text)
            }
        };
        if frozen != self.config.freeze {
            self.config.freeze = frozen;
            tracing::warn!(freeze = frozen, "the administrator changed `freeze`");
            let freeze = freeze(&self.config);
            self.controller.set_freeze(freeze);
            self.metered.set_frozen(freeze);
        }
    }
}

/// Comes back with the name of the signal that asks to stop.
pub(super) async fn asked_to_stop() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = |kind| async move {
        match signal(kind) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            // Without it the other one is left, and the kill that needs no consent.
            Err(_) => std::future::pending().await,
        }
    };
    let terminate = pin!(wait(SignalKind::terminate()));
    let interrupt = pin!(wait(SignalKind::interrupt()));
    match select(terminate, interrupt).await {
        Either::Left(_) => "SIGTERM",
        Either::Right(_) => "SIGINT",
    }
}
