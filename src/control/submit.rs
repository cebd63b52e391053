//! From a decision to a request: whose turn it is, whether the world is still as it was when the decision was made,
//! and what is written down before anything is sent.
//!
//! The order is what makes a crash at any point harmless: the journal has the decision, then the state has the
//! request, then the request goes out with the pool's etag, then the state has the answer.

use futures_util::future::join_all;

use crate::journal::JournalError;
use crate::policy::config::VictimPolicy;
use crate::policy::evaluation::Evaluation;
use crate::policy::observation::Now;

use super::deadline::with_timeout;
use super::flight::ASK_AGAIN_MS;
use super::outcome::refused;
use super::plan::{Resize, after_refusal, plan};
use super::policy::Mode;
use super::ports::{
    Accepted, Lever, NodePools as _, Pool, PoolAutoscaler, PoolError, PoolErrorKind, PoolKey, PoolState,
    Ports,
};
use super::session::{Session, Touched, Track};
use super::state::{Ended, InFlight, Phase};
use super::task::Slot;
use super::tick::{frozen, no_answer, save, tell, views};
use super::turnstile::{Direction, Priority};
use super::{PlatformChooses, Shared, Watch};

/// Why a resize that was decided is not sent: a word and more about it.
type Refusal = (&'static str, String);

fn refusal<T>(word: &'static str, message: impl std::fmt::Display) -> Result<T, Refusal> {
    Err((word, message.to_string()))
}

/// The autoscaler's least is what is wanted already. What it then does to the count is what was decided.
const FLOOR_STANDS: &str = "FloorStands";

/// Does what was decided, as far as the world lets it.
pub(super) async fn act<P: Ports, W: Watch>(
    shared: &Shared<P, W>,
    slot: &Slot,
    session: &mut Session,
    evaluation: &Evaluation,
) {
    let now = shared.now();
    let most = shared.settings.max_nodes.unwrap_or(u32::MAX);
    let Some(mut resize) = plan(session, evaluation, most, now) else {
        session.wanted_since_ms = None;
        return;
    };
    let since_ms = *session.wanted_since_ms.get_or_insert(now.timer_ms);
    if session.policy.mode == Mode::Recommend {
        tell_once(shared, session, resize, ("recommended", ""), now);
        return;
    }
    let priority = Priority {
        direction: Direction::of(resize.from, resize.to),
        since_ms,
        policy: session.key().clone(),
    };
    let turnstile = shared.turnstile(&session.policy.target.cluster);
    let turn = turnstile.acquire(priority).await;
    // A pool that cannot give the growth sends it on to the next one of the group, in the same turn.
    for _ in 0..session.pools.len() {
        let Err((word, message)) = send(shared, slot, session, evaluation, resize).await else {
            (session.wanted_since_ms, session.told) = (None, None);
            break;
        };
        let now = shared.now();
        if word != FLOOR_STANDS {
            session.memory.not_sent();
            session.touched = Touched::Yes;
        }
        tell_once(shared, session, resize, (word, &message), now);
        let Some(next) = after_refusal(session, resize, word, most, now) else {
            break;
        };
        resize = next;
    }
    drop(turn);
}

/// Tells why a resize is not sent, unless that was the last that was told: most reasons last for many ticks.
fn tell_once<P: Ports, W: Watch>(
    shared: &Shared<P, W>,
    session: &mut Session,
    resize: Resize,
    (word, message): (&'static str, &str),
    now: Now,
) {
    let told = Some((word, resize.index, resize.to));
    if session.told != told {
        session.told = told;
        tell(
            shared,
            session,
            resize.index,
            (resize.from, resize.to),
            (word, message),
            now,
        );
    }
}

/// Sends one resize, or says why not.
async fn send<P: Ports, W: Watch>(
    shared: &Shared<P, W>,
    slot: &Slot,
    session: &mut Session,
    evaluation: &Evaluation,
    resize: Resize,
) -> Result<(), Refusal> {
    let resize = within_limits(shared, session, resize)?;
    still_wanted(shared, slot, session, evaluation)?;
    let Some(key) = session.pools.get(resize.index).map(|track| track.key.clone()) else {
        return refusal("PoolUnreadable", "the pool is not in the group");
    };
    still_owned(shared, session, &key)?;
    let pool = look_again(shared, session, resize).await?;
    note_sent(session, resize, evaluation, &pool, shared.now());
    if let Err(error) = save(shared, session, Ended::Running).await {
        withdraw(session, resize.index);
        return refusal("StateNotSaved", error);
    }
    // The last look, after the last wait: a freeze or a deletion that came meanwhile must still be in time.
    let wanted = still_wanted(shared, slot, session, evaluation);
    if let Err(late) = wanted.and_then(|()| still_owned(shared, session, &key)) {
        withdraw(session, resize.index);
        return Err(late);
    }
    let now = shared.now();
    if let Some(track) = session.pools.get_mut(resize.index) {
        // From here on a count that goes back was asked for, and not taken back by the platform.
        track.failed = None;
    }
    tell(
        shared,
        session,
        resize.index,
        (resize.from, resize.to),
        ("sending", ""),
        now,
    );
    if resize.to < resize.from
        && let Err(broken) = on_record(session)
    {
        withdraw(session, resize.index);
        return Err(broken);
    }
    let pools = shared.ports.pools();
    let sending = async {
        match session.policy.lever {
            Lever::Count => pools.resize(&key, &pool, resize.to).await,
            Lever::Least => pools.set_least(&key, &pool, resize.to).await,
        }
    };
    let answer = with_timeout(shared.ports.clock(), shared.settings.call_timeout_ms, sending).await;
    let answer = answer.unwrap_or_else(|_| Err(no_answer()));
    answered(shared, session, resize, answer).await
}

/// The administrator's bounds, and who may take nodes away.
fn within_limits<P: Ports, W: Watch>(
    shared: &Shared<P, W>,
    session: &Session,
    mut resize: Resize,
) -> Result<Resize, Refusal> {
    if resize.to > resize.from {
        let most = shared.settings.max_nodes.unwrap_or(u32::MAX);
        resize.to = resize.to.min(most.max(resize.from));
        if resize.to == resize.from {
            return refusal(
                "AdministratorLimit",
                format!("no pool may have more than {most} nodes"),
            );
        }
        let autoscaler = session.pools.get(resize.index).and_then(most_of_autoscaler);
        if let Some(most) = autoscaler.filter(|_| session.policy.lever == Lever::Least) {
            resize.to = resize.to.min(most.max(resize.from));
            if resize.to == resize.from {
                let message = format!("the pool's autoscaler has at most {most} nodes");
                return refusal("AutoscalerLimit", message);
            }
        }
        return Ok(resize);
    }
    let platform_chooses = session.policy.lever == Lever::Count;
    if platform_chooses && session.policy.config.scale_in.victims != VictimPolicy::PlatformChooses {
        return refusal(
            "ScaleInByName",
            "releasing nodes by name is not part of this version; `victims: PlatformChooses` shrinks by count",
        );
    }
    if platform_chooses && shared.settings.platform_chooses == PlatformChooses::Refused {
        return refusal(
            "PlatformChoosesRefused",
            "`limits.allowPlatformChooses` is off in the configuration",
        );
    }
    if session.roster.unheard_nodes() > 0 {
        let message = format!(
            "{} nodes are not heard and may be busy, and the platform would choose; a cluster view would tell",
            session.roster.unheard_nodes()
        );
        return refusal("NodesUnheard", message);
    }
    if session.roster.excess_nodes() > 0 {
        let message = format!(
            "{} nodes report beyond those asked for, and which of them left is not known without a cluster view; if \
             they go on, narrow the labels",
            session.roster.excess_nodes()
        );
        return refusal("NodesExcess", message);
    }
    on_record(session)?;
    Ok(resize)
}

/// Whether the journal takes what it is given. That something is about to be sent is the first record that reaches the disk
/// at once, so this is asked again after it.
fn on_record(session: &Session) -> Result<(), Refusal> {
    match &session.journal.broken {
        None => Ok(()),
        Some(JournalError(error)) => refusal(
            "JournalBroken",
            format!("nothing is taken away without a record: {error}"),
        ),
    }
}

fn still_owned<P: Ports, W: Watch>(
    shared: &Shared<P, W>,
    session: &Session,
    key: &PoolKey,
) -> Result<(), Refusal> {
    if shared.owns(session.key(), key) {
        return Ok(());
    }
    refusal("Conflicting", "an older policy owns the pool")
}

/// The most that the pool's own autoscaler asks for.
fn most_of_autoscaler(track: &Track) -> Option<u32> {
    match track.last.as_ref()?.autoscaler {
        PoolAutoscaler::On { most, .. } => Some(most),
        PoolAutoscaler::Off => None,
    }
}

/// Whether the decision is still to be carried out.
fn still_wanted<P: Ports, W: Watch>(
    shared: &Shared<P, W>,
    slot: &Slot,
    session: &Session,
    evaluation: &Evaluation,
) -> Result<(), Refusal> {
    let age_ms = shared.now().timer_ms.saturating_sub(evaluation.at.timer_ms);
    if slot.is_leaving() {
        return refusal(
            "Stopping",
            "the policy was removed or changed, or the loop is stopping",
        );
    }
    if frozen(shared) {
        return refusal("Frozen", "the administrator froze everything");
    }
    if age_ms > session.policy.config.evaluation_interval_ms {
        return refusal(
            "Outdated",
            format!("the decision is {age_ms} ms old; the next tick decides anew"),
        );
    }
    Ok(())
}

/// Reads the pools again right before one of them is written: their counts, its etag, and whether it may be written at
/// all. A shrink looks at the pods again too.
async fn look_again<P: Ports, W: Watch>(
    shared: &Shared<P, W>,
    session: &Session,
    resize: Resize,
) -> Result<Pool, Refusal> {
    let reads = session.pools.iter().map(|track| {
        let reading = shared.ports.pools().read(&track.key);
        with_timeout(shared.ports.clock(), shared.settings.call_timeout_ms, reading)
    });
    let mut pool = None;
    // The etag fences one pool; the bounds are those of the group, so all of it has to be as it was.
    for ((index, track), read) in session.pools.iter().enumerate().zip(join_all(reads).await) {
        let seen = match read.unwrap_or_else(|_| Err(no_answer())) {
            Ok(seen) => seen,
            Err(error)
                if error.kind == PoolErrorKind::Gone && index != resize.index && track.count == Some(0) =>
            {
                continue;
            }
            Err(error) => return refusal("PoolUnreadable", error),
        };
        if track.count != Some(seen.count) {
            let before = track.count.unwrap_or(0);
            let message = format!(
                "the count of {} is {} and was {before} when it was decided",
                track.key, seen.count
            );
            return refusal("Changed", message);
        }
        if index == resize.index {
            pool = Some(seen);
        }
    }
    let Some(pool) = pool else {
        return refusal("PoolUnreadable", "the pool is not in the group");
    };
    let lever = session.policy.lever;
    may_be_written(&pool, lever, resize)?;
    if resize.to < resize.from && lever == Lever::Count {
        match views(shared, session).await {
            Ok(None) => {}
            Ok(Some(views))
                if views
                    .iter()
                    .flat_map(|view| &view.nodes)
                    .all(|node| node.gpu_pods == 0) => {}
            Ok(Some(_)) => {
                return refusal(
                    "NoSafeVictim",
                    "a node has GPU pods, and the platform would choose",
                );
            }
            Err(error) => return refusal("ClusterUnreachable", error),
        }
    }
    Ok(pool)
}

/// Whether what is wanted may be written to a pool as it is, by this lever.
fn may_be_written(pool: &Pool, lever: Lever, resize: Resize) -> Result<(), Refusal> {
    match (pool.state, pool.autoscaler) {
        (_, PoolAutoscaler::On { .. }) if lever == Lever::Count => refusal(
            "ConflictingAutoscaler",
            "the cluster autoscaler owns the pool's count",
        ),
        (_, PoolAutoscaler::Off) if lever == Lever::Least => refusal(
            "NoAutoscaler",
            "the pool has no cluster autoscaler whose least could be set; turn it on, or use actuation Count",
        ),
        (_, PoolAutoscaler::On { most, .. }) if most < resize.to => {
            let message = format!("the most of the pool's autoscaler is {most} now");
            refusal("Changed", message)
        }
        (_, PoolAutoscaler::On { least, .. }) if stands(resize, least) => {
            let message =
                format!("the pool's autoscaler keeps {least} nodes at least already, and does the rest");
            refusal(FLOOR_STANDS, message)
        }
        (PoolState::Busy, _) => refusal("PoolBusy", "an operation is running in the pool"),
        (PoolState::Stopped, _) => refusal("PoolStopped", "the pool is stopped"),
        (PoolState::Steady | PoolState::Failed, _) => Ok(()),
    }
}

/// Whether an autoscaler that keeps `least` does what is wanted without being told. One that keeps fewer than a shrink asks
/// for has grown by itself, and lets go by itself.
fn stands(resize: Resize, least: u32) -> bool {
    if resize.to > resize.from {
        least >= resize.to
    } else {
        least <= resize.to
    }
}

/// Writes the request down before it is sent.
fn note_sent(session: &mut Session, resize: Resize, evaluation: &Evaluation, pool: &Pool, now: Now) {
    let asked = session.asked();
    let Some(track) = session.pools.get_mut(resize.index) else {
        return;
    };
    track.in_flight = Some(InFlight {
        lever: session.policy.lever,
        from: resize.from,
        to: resize.to,
        etag: pool.etag.clone(),
        sent_ms: now.timer_ms,
        phase: Phase::Sent,
    });
    let to = asked.saturating_sub(resize.from).saturating_add(resize.to);
    let decided = session
        .memory
        .intent
        .is_some_and(|intent| intent.from == asked && intent.to == to);
    if !decided {
        // Another pool of the group, or less than was decided.
        session.memory.asked_for(asked, to, evaluation.guesses(), now);
        session.touched = Touched::Yes;
    }
}

fn withdraw(session: &mut Session, index: usize) {
    if let Some(track) = session.pools.get_mut(index) {
        track.in_flight = None;
    }
}

/// Takes the answer in and writes it down.
async fn answered<P: Ports, W: Watch>(
    shared: &Shared<P, W>,
    session: &mut Session,
    resize: Resize,
    answer: Result<Accepted, PoolError>,
) -> Result<(), Refusal> {
    let now = shared.now();
    match answer {
        Ok(accepted) => {
            if let Some(track) = session.pools.get_mut(resize.index) {
                track.refusals = 0;
            }
            let wait_ms = accepted
                .retry_after_ms
                .unwrap_or(ASK_AGAIN_MS)
                .clamp(0, 5 * 60_000);
            if let Some(flight) = session
                .pools
                .get_mut(resize.index)
                .and_then(|track| track.in_flight.as_mut())
            {
                flight.phase = Phase::Accepted {
                    operation: accepted.operation,
                    ask_at_ms: now.timer_ms.saturating_add(wait_ms),
                };
            }
            tell(
                shared,
                session,
                resize.index,
                (resize.from, resize.to),
                ("accepted", ""),
                now,
            );
            // Should this fail, a restart finds the request and asks the pool.
            let _ = save(shared, session, Ended::Running).await;
            Ok(())
        }
        Err(error) if error.kind.leaves_unknown() => {
            let message = error.to_string();
            tell(
                shared,
                session,
                resize.index,
                (resize.from, resize.to),
                ("no answer", &message),
                now,
            );
            Ok(())
        }
        Err(error) => {
            withdraw(session, resize.index);
            refused(session, resize.index, &error, now);
            session.memory.not_sent();
            session.touched = Touched::Yes;
            let _ = save(shared, session, Ended::Running).await;
            refusal(error.kind.as_str(), error)
        }
    }
}
