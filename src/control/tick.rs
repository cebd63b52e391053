//! One tick of one policy: look, settle what is on its way, decide, keep the record, act.
//!
//! Looking is concurrent and may fail piece by piece; a piece that fails is unknown, never zero. Deciding is one
//! synchronous stretch. Acting is `submit.rs`.

use std::pin::pin;

use futures_util::future::{join_all, join3};

use crate::journal::{Checkpoint, Decided, TickRecord};
use crate::policy::config::Millis;
use crate::policy::evaluate;
use crate::policy::evaluation::Evaluation;
use crate::policy::observation::{Now, Observation, Operation};
use crate::policy::windows::Delta;

use super::deadline::with_timeout;
use super::outcome::settle;
use super::ports::{
    Answer, ClusterError, ClusterView as _, Completeness, Lever, MetricsSource as _, NodePools as _, Pool,
    PoolError, PoolErrorKind, PoolState, Ports, Progress, ReadRequest, SourceError, SourceErrorKind,
    StateStore as _, View,
};
use super::roster::{Input, Naming, PoolInput};
use super::session::{Session, State, Touched, Track, is_frozen};
use super::state::{Ended, Phase};
use super::task::Slot;
use super::{Action, Shared, Watch};

/// Why nothing was decided: a `CamelCase` word and more about it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Held {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Held {
    pub(super) fn new(reason: &'static str, message: impl std::fmt::Display) -> Self {
        Self {
            reason,
            message: message.to_string(),
        }
    }
}

/// What a tick saw.
pub(super) struct Sight {
    answers: Vec<(usize, Result<Answer, SourceError>)>,
    /// The timer when each of them was asked for, and when it came.
    asked: Vec<(Millis, Millis)>,
    pub(super) pools: Vec<PoolSight>,
    views: Result<Option<Vec<View>>, ClusterError>,
}

/// What a tick saw of one pool.
pub(super) struct PoolSight {
    pub(super) progress: Option<Result<Progress, PoolError>>,
    pub(super) pool: Result<Pool, PoolError>,
}

/// Runs one tick. The session is whole whenever this is dropped: at a timeout, at a shutdown.
pub(super) async fn tick<P: Ports, W: Watch>(
    shared: &Shared<P, W>,
    slot: &Slot,
    session: &mut Session,
) -> Result<Box<Evaluation>, Held> {
    load(shared, session).await?;
    let sight = look(shared, session).await;
    let now = shared.now();
    ingest(session, &sight);
    if matches!(session.state, State::Read(_)) {
        session.resume(now);
    }
    // From the first sample that is taken to the decision nothing waits: a tick that is cut has taken all of them or none.
    let over = settle(shared, session, &sight, now);
    let decided = match observe(session, &sight, now) {
        Ok(()) => Ok(decide(shared, session, &sight, now)),
        Err(held) => {
            keep_undecided(session, now);
            Err(held)
        }
    };
    if over {
        // A restart must not find a resize that is over.
        let _ = save(shared, session, Ended::Running).await;
    }
    let evaluation = decided?;
    super::submit::act(shared, slot, session, &evaluation).await;
    save_if_due(shared, session).await;
    Ok(evaluation)
}

/// Reads the saved state, once.
async fn load<P: Ports, W: Watch>(shared: &Shared<P, W>, session: &mut Session) -> Result<(), Held> {
    if session.state != State::Unread {
        return Ok(());
    }
    let loading = shared.ports.store().load(session.key());
    let loaded = with_timeout(shared.ports.clock(), shared.settings.call_timeout_ms, loading).await;
    match loaded {
        Ok(Ok(saved)) => {
            session.state = State::Read(saved.map(Box::new));
            Ok(())
        }
        Ok(Err(error)) => Err(Held::new("StateUnreadable", error)),
        Err(_) => Err(Held::new(
            "StateUnreadable",
            "the state of the policy was not read in time",
        )),
    }
}

/// Looks at everything at once.
async fn look<P: Ports, W: Watch>(shared: &Shared<P, W>, session: &Session) -> Sight {
    let (reads, pools, views) = join3(
        metrics(shared, session),
        join_all(session.pools.iter().map(|track| pool(shared, track))),
        views(shared, session),
    )
    .await;
    let (answers, asked) = reads.into_iter().unzip();
    Sight {
        answers,
        asked,
        pools,
        views,
    }
}

async fn metrics<P: Ports, W: Watch>(
    shared: &Shared<P, W>,
    session: &Session,
) -> Vec<((usize, Result<Answer, SourceError>), (Millis, Millis))> {
    let asked_ms = shared.now().timer_ms;
    let wants = session.intake.wants().iter().enumerate();
    let wants = wants.filter(|(index, _)| session.intake.is_due(*index));
    let reads = wants.map(|(index, want)| async move {
        let last_ms = session.read_ms.get(index).copied().flatten();
        let request = ReadRequest {
            source: &session.policy.source,
            selector: &want.selector,
            window_ms: session.intake.window_ms(last_ms.map(|at_ms| asked_ms - at_ms)),
            as_of_ms: None,
        };
        // Pinned here: a call moved into its timeout would take room for itself twice.
        let reading = pin!(shared.ports.metrics().read(&request));
        let answer = with_timeout(shared.ports.clock(), shared.settings.read_timeout_ms, reading).await;
        let answer = answer.unwrap_or_else(|_| {
            Err(SourceError {
                kind: SourceErrorKind::Timeout,
                message: "no answer in time".to_owned(),
            })
        });
        ((index, answer), (asked_ms, shared.now().timer_ms))
    });
    join_all(reads).await
}

/// How an operation of ours is getting on, if it is time to ask, and then the pool itself.
async fn pool<P: Ports, W: Watch>(shared: &Shared<P, W>, track: &Track) -> PoolSight {
    let (clock, call_ms) = (shared.ports.clock(), shared.settings.call_timeout_ms);
    let due = track.in_flight.as_ref().and_then(|flight| match &flight.phase {
        Phase::Accepted {
            operation: Some(operation),
            ask_at_ms,
        } if *ask_at_ms <= shared.now().timer_ms => Some(operation),
        _ => None,
    });
    let progress = match due {
        Some(operation) => {
            let polling = pin!(shared.ports.pools().poll(&track.key, operation));
            Some(
                with_timeout(clock, call_ms, polling)
                    .await
                    .unwrap_or_else(|_| Err(no_answer())),
            )
        }
        None => None,
    };
    // What was written and has not settled is looked at as it is, and after its operation.
    let settled = track.in_flight.is_none() && track.failed.is_none();
    let reading = pin!(async {
        if settled {
            shared.ports.pools().glance(&track.key).await
        } else {
            shared.ports.pools().read(&track.key).await
        }
    });
    let pool = with_timeout(clock, call_ms, reading)
        .await
        .unwrap_or_else(|_| Err(no_answer()));
    PoolSight { progress, pool }
}

/// The owner of a pool gave no answer in time.
pub(super) fn no_answer() -> PoolError {
    PoolError {
        kind: PoolErrorKind::NoAnswer,
        code: "Timeout".to_owned(),
        message: "no answer in time".to_owned(),
    }
}

/// The view of each pool; `None` where there is no cluster view.
pub(super) async fn views<P: Ports, W: Watch>(
    shared: &Shared<P, W>,
    session: &Session,
) -> Result<Option<Vec<View>>, ClusterError> {
    let looks = session.pools.iter().map(|track| async {
        let looking = pin!(shared.ports.cluster().look(&track.key));
        with_timeout(shared.ports.clock(), shared.settings.call_timeout_ms, looking).await
    });
    let mut views = Vec::with_capacity(session.pools.len());
    for look in join_all(looks).await {
        match look {
            Ok(Ok(view)) => views.push(view),
            Ok(Err(ClusterError::None)) => return Ok(None),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(ClusterError::Unreachable("no answer in time".to_owned())),
        }
    }
    Ok(Some(views))
}

/// Takes the metrics in. The windows move even if nothing can be decided.
fn ingest(session: &mut Session, sight: &Sight) {
    session.intake.take(&sight.answers);
    let came_ms = sight.asked.iter().map(|&(_, came_ms)| came_ms).max();
    if let Some((source_ms, came_ms)) = session.intake.told_ms().zip(came_ms) {
        session.source.set(source_ms, came_ms);
    }
    for ((index, answer), (asked_ms, _)) in sight.answers.iter().zip(&sight.asked) {
        let Some(read_ms) = session.read_ms.get_mut(*index) else {
            continue;
        };
        // What was left out of a partial answer may be in the next one.
        let (answer, refused) = (answer.as_ref().ok(), session.intake.is_refused(*index));
        let whole = answer.filter(|answer| !refused && answer.completeness == Completeness::Whole);
        let behind_ms = whole.and_then(Answer::behind_ms);
        *read_ms = behind_ms.map_or(*read_ms, |behind_ms| Some(asked_ms.saturating_sub(behind_ms)));
    }
}

/// Puts together what the engine is shown; the windows take their samples and devices.
fn observe(session: &mut Session, sight: &Sight, now: Now) -> Result<(), Held> {
    let views = match &sight.views {
        Ok(views) => views.as_deref(),
        Err(error @ ClusterError::Unsynced) => return Err(Held::new("ClusterNotSynced", error)),
        Err(error) => return Err(Held::new("ClusterUnreachable", error)),
    };
    let target = sight.pools.first().map(|seen| &seen.pool);
    match target {
        Some(Ok(pool)) if pool.state == PoolState::Stopped => {
            return Err(Held::new("PoolStopped", "the pool is stopped and has no nodes"));
        }
        Some(Ok(_)) => {}
        Some(Err(error)) => return Err(Held::new("PoolUnreadable", error)),
        None => return Err(Held::new("PoolUnreadable", "the policy has no pool")),
    }
    for (track, seen) in session.pools.iter().zip(&sight.pools).skip(1) {
        // Nodes of a fallback pool count like any other: with their number unknown, no bound could hold.
        if let (None, Err(error)) = (&track.last, &seen.pool)
            && !(error.kind == PoolErrorKind::Gone && track.is_gone())
        {
            return Err(Held::new(
                "FallbackPoolUnreadable",
                format!("{}: {error}", track.key),
            ));
        }
    }
    let Some(gpus_per_node) = gpus_per_node(sight, views) else {
        return Err(Held::new(
            "GpusPerNodeUnknown",
            "neither the pool's size nor its nodes tell how many GPUs a node has",
        ));
    };
    let source_ms = session.source.at(now);
    let Session {
        policy,
        pools,
        roster,
        intake,
        ..
    } = session;
    let mut shown: Vec<PoolInput<'_>> = Vec::with_capacity(pools.len());
    for (index, (track, seen)) in pools.iter_mut().zip(&sight.pools).enumerate() {
        let Some(pool) = seen.pool.as_ref().ok().or(track.last.as_ref()) else {
            continue;
        };
        shown.push(PoolInput {
            pool,
            view: views.and_then(|views| views.get(index)),
            arrivals: &mut track.arrivals,
        });
    }
    roster.update(
        intake,
        Input {
            pools: &mut shown,
            now_ms: source_ms,
            timer_ms: now.timer_ms,
            // Of the cluster's clock all that is known is the local one, which may have jumped. A node that seems to be
            // Ready for longer than it is can only be unknown for longer.
            offset_ms: source_ms.saturating_sub(now.wall_ms).min(0),
            gpus_per_node,
            patience_ms: policy.config.provision_timeout_ms,
        },
    );
    Ok(())
}

/// GPUs in a node of the target: what the pool says, else the most that one of its nodes shows.
fn gpus_per_node(sight: &Sight, views: Option<&[View]>) -> Option<u32> {
    let target = sight.pools.first().and_then(|seen| seen.pool.as_ref().ok());
    let stated = target.and_then(|pool| pool.gpus_per_node);
    let nodes = views
        .and_then(|views| views.first())
        .into_iter()
        .flat_map(|view| &view.nodes);
    let shown = || nodes.map(|node| node.schedulable_gpus).max();
    stated.or_else(shown).filter(|&gpus| gpus > 0)
}

/// The synchronous heart: windows, evaluation, record.
fn decide<P: Ports, W: Watch>(
    shared: &Shared<P, W>,
    session: &mut Session,
    sight: &Sight,
    now: Now,
) -> Box<Evaluation> {
    let now = Now {
        wall_ms: session.source.at(now),
        timer_ms: now.timer_ms,
    };
    let Session {
        policy,
        windows,
        intake,
        roster,
        memory,
        pools,
        journal,
        touched,
        ..
    } = session;
    let delta = Delta {
        now_ms: now.wall_ms,
        samples: intake.samples(),
        inventory: roster.changed(),
        reads: intake.reads(),
    };
    windows.ingest(&delta);
    let naming = match policy.lever {
        Lever::Count => Naming::Unseen,
        Lever::Least => Naming::Autoscaler,
    };
    let mut observation: Observation<'_> = roster.observation(naming);
    observation.operation = operation(pools, sight);
    observation.freeze = shared.freeze.get();
    let before = (*touched == Touched::Yes && journal.sink.is_some()).then(|| memory.clone());
    // An evaluation is large, and goes through every layer of the tick.
    let evaluation = Box::new(evaluate(&policy.config, windows, &observation, memory, now));
    *touched = Touched::No;
    let record = TickRecord {
        delta,
        decided: Some(Decided {
            now,
            observation: &observation,
            memory: before.as_ref().map(|memory| (memory, Checkpoint::Changed)),
            evaluation: &evaluation,
            after: memory,
        }),
    };
    journal.keep(|sink| sink.tick(&record));
    evaluation
}

/// The windows move although nothing is decided.
fn keep_undecided(session: &mut Session, now: Now) {
    let source_ms = session.source.at(now);
    let Session {
        windows,
        intake,
        journal,
        ..
    } = session;
    let delta = Delta {
        now_ms: source_ms,
        samples: intake.samples(),
        inventory: None,
        reads: intake.reads(),
    };
    windows.ingest(&delta);
    journal.keep(|sink| sink.tick(&TickRecord { delta, decided: None }));
}

/// A resize in flight in the group: ours, or somebody's.
fn operation(pools: &[Track], sight: &Sight) -> Operation {
    let busy = |seen: &PoolSight| matches!(&seen.pool, Ok(pool) if pool.state == PoolState::Busy);
    if pools.iter().any(|track| track.in_flight.is_some()) {
        Operation::Ours
    } else if sight.pools.first().is_some_and(busy) {
        // Somebody's work on a fallback pool stops that pool, not the group.
        Operation::Foreign
    } else {
        Operation::None
    }
}

/// Tells what was done, in the journal and to whoever watches.
pub(super) fn tell<P: Ports, W: Watch>(
    shared: &Shared<P, W>,
    session: &mut Session,
    index: usize,
    (from, to): (u32, u32),
    (what, message): (&str, &str),
    now: Now,
) {
    let Some(track) = session.pools.get(index) else {
        return;
    };
    let record = crate::journal::ActionRecord {
        now,
        pool: &track.key.name,
        from,
        to,
        what,
        message,
    };
    session.journal.keep(|sink| sink.action(&record));
    shared.watch.action(&Action {
        policy: &session.policy.key,
        pool: &track.key,
        now,
        from,
        to,
        what,
        message,
    });
}

/// Saves if the last time is long enough ago. Failing is no news worth a hold: nothing is sent without a save.
async fn save_if_due<P: Ports, W: Watch>(shared: &Shared<P, W>, session: &mut Session) {
    let now_ms = shared.now().timer_ms;
    let due = session
        .saved_ms
        .is_none_or(|at_ms| now_ms.saturating_sub(at_ms) >= shared.settings.save_every_ms);
    if due {
        let _ = save(shared, session, Ended::Running).await;
    }
}

/// Saves the state; whether it was kept.
pub(super) async fn save<P: Ports, W: Watch>(
    shared: &Shared<P, W>,
    session: &mut Session,
    ended: Ended,
) -> Result<(), String> {
    let now = shared.now();
    let state = session.to_save(now, ended);
    let saving = shared.ports.store().save(session.key(), &state);
    let saved = with_timeout(shared.ports.clock(), shared.settings.call_timeout_ms, saving).await;
    match saved {
        Ok(Ok(())) => {
            session.saved_ms = Some(now.timer_ms);
            Ok(())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the state was not saved in time".to_owned()),
    }
}

/// Whether the brake is on.
pub(super) fn frozen<P: Ports, W: Watch>(shared: &Shared<P, W>) -> bool {
    is_frozen(shared.freeze.get())
}
