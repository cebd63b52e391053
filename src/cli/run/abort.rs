//! `gpuscale abort`: asks the platform to give up a resize that `run` has on its way.
//!
//! The API gives up whatever runs in a pool, whosever it is. So the state of `run` says which operation is ours, and the
//! platform that it still runs, before it is asked; a pool runs one operation at a time.

use std::path::PathBuf;
use std::rc::Rc;

use clap::Args;
use gpuscale::actuator::aks::Aks;
use gpuscale::clock::SystemClock;
use gpuscale::control::ports::{NodePools as _, PoolError, PoolErrorKind, PoolKey, Progress};
use gpuscale::control::state::{InFlight, Phase};

use super::policies::Files;
use super::{ARM_TIMEOUT, Acting, store, usable};
use crate::cli::output::{self, Terminal};
use crate::cli::sources;
use crate::error::Error;

pub(in crate::cli) const ABOUT: &str = "\
Ask Azure Resource Manager to give up the resizes that policies have on their way.

Only an operation that `run` began, by its state folder, and that still runs is given up; whatever else goes on in a pool is \
left alone. Nodes that have come by then stay. `run` may go on meanwhile: it sees what became of the operation and decides \
again, so suspend the policy or set `freeze` first if it must not ask for the same once more.";

/// Arguments of `abort`.
#[derive(Debug, Args)]
pub(in crate::cli) struct AbortArgs {
    /// The configuration of `run`
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// The policies whose resizes are given up: a file, or a directory; may be given more than once
    #[arg(long = "policy", value_name = "PATH", required = true)]
    policies: Vec<PathBuf>,

    /// The state folder of `run`
    #[arg(long, value_name = "DIR", env = "STATE_DIRECTORY")]
    state: PathBuf,
}

pub(in crate::cli) fn run(args: &AbortArgs, terminal: &Terminal) -> Result<(), Error> {
    let config = usable(&args.config)?;
    let mut files = Files::new(&args.policies, Acting::Never);
    let loaded = files
        .read(&config)
        .map_err(|problems| Error::Usage(problems.join("\n")))?;
    let issuer = sources::issuer(&Rc::new(SystemClock::new()));
    let aks = Aks::connect(&config, &issuer, ARM_TIMEOUT).map_err(|error| Error::Usage(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    if !args.state.is_dir() {
        let message = format!(
            "there is no state folder `{}`; name the one of `run`",
            args.state.display()
        );
        return Err(Error::Usage(message));
    }
    let mut failed = Vec::new();
    for policy in &loaded.policies {
        let saved =
            store::saved(&args.state, &policy.key).map_err(|error| Error::Usage(error.to_string()))?;
        let pools = saved.into_iter().flat_map(|saved| saved.pools);
        let flights = pools.filter_map(|pool| Some((pool.name, pool.in_flight?)));
        let mut is_idle = true;
        for (name, flight) in flights {
            is_idle = false;
            let pool = PoolKey::new(&policy.target.cluster, &name);
            let what = format!(
                "{}: {pool} from {} to {} nodes",
                policy.key, flight.from, flight.to
            );
            match runtime.block_on(give_up(&aks, &pool, &flight)) {
                Ok(outcome) => output::print(&terminal.wrapped(&format!("{what}: {outcome}")))?,
                Err(error) => failed.push(format!("{what}: {error}")),
            }
        }
        if is_idle {
            output::print(&terminal.wrapped(&format!("{}: no resize is on its way", policy.key)))?;
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Error::Usage(failed.join("\n")))
    }
}

/// What became of asking to give up one resize.
async fn give_up(aks: &Aks, pool: &PoolKey, flight: &InFlight) -> Result<&'static str, PoolError> {
    let Phase::Accepted {
        operation: Some(operation),
        ..
    } = &flight.phase
    else {
        return Ok("nobody knows its operation, and nothing is given up on a guess");
    };
    match aks.poll(pool, operation).await {
        Ok(Progress::Running(_)) => {}
        Ok(Progress::Succeeded) => return Ok("it has succeeded already"),
        Ok(Progress::Failed(_)) => return Ok("it has failed already"),
        Ok(Progress::Cancelled) => return Ok("it was cancelled already"),
        Err(error) if error.kind == PoolErrorKind::Gone => {
            return Ok("nobody knows its operation any more, and nothing is given up on a guess");
        }
        Err(error) => return Err(error),
    }
    match aks.abort(pool).await {
        Ok(_) => Ok("the platform was asked to give it up"),
        Err(error) if error.kind == PoolErrorKind::Busy => Ok("it was over first"),
        Err(error) => Err(error),
    }
}
