//! What the loop holds of one policy while it runs, and how that is saved and taken up again.
//!
//! A session begins with a start of the process, a changed policy, or after a panic: windows are empty and are fetched
//! again, the memory is the one that was saved. Nothing is decided before both are there.

use std::rc::Rc;

use crate::journal::{Beginning, JournalError, Sink};
use crate::policy::config::Millis;
use crate::policy::observation::Now;
use crate::policy::{Memory, Windows};

use super::intake::Intake;
use super::policy::Policy;
use super::ports::{PolicyKey, Pool, PoolKey};
use super::roster::{Arrivals, Roster};
use super::state::{Ended, InFlight, Phase, STATE_VERSION, Saved, SavedPool};
use super::{Failure, Freeze};

/// Longest time that a restart may seem to have taken.
const LONGEST_OUTAGE_MS: Millis = 24 * 3_600_000;

/// How often in a row it takes to be told that a fallback pool does not exist, until it is believed: an owner that is not
/// well answers so too.
const GONE_AFTER: u32 = 3;

/// One policy at work.
pub(super) struct Session {
    pub(super) policy: Rc<Policy>,
    pub(super) windows: Windows,
    pub(super) intake: Intake,
    pub(super) roster: Roster,
    pub(super) memory: Memory,
    /// The target, then the fallback pools.
    pub(super) pools: Vec<Track>,
    /// Whether the memory is the one that was saved, or known not to exist.
    pub(super) state: State,
    /// Whether the loop changed the memory since the last decision.
    pub(super) touched: Touched,
    pub(super) journal: Journal,
    pub(super) source: SourceClock,
    /// Timer of the last successful read of each selector.
    pub(super) read_ms: Vec<Option<Millis>>,
    pub(super) saved_ms: Option<Millis>,
    /// On whose timer the saved state is.
    saved_by: SavedBy,
    /// Since when a resize has been wanted, so that whoever waits longest goes first.
    pub(super) wanted_since_ms: Option<Millis>,
    /// Why the last resize that was decided was not sent: the word, the pool's place and the count.
    pub(super) told: Option<(&'static str, usize, u32)>,
}

/// Whether the loop changed the memory since the last decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Touched {
    No,
    Yes,
}

/// On whose timer a saved state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SavedBy {
    /// That of a process before this one, which is moved to this one's as far as the outage is known.
    Another,
    /// That of this process: it needs no moving, and moving it would make what was long ago recent.
    This,
}

/// Where a session's memory is from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum State {
    /// Not read yet.
    Unread,
    /// Read, and not yet moved to the clocks of this process: that takes an answer of the metrics source.
    Read(Option<Box<Saved>>),
    /// In use.
    Live,
}

/// A pool of the group.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) key: PoolKey,
    /// The count as last seen.
    pub(super) count: Option<u32>,
    /// The pool as last read by this process, for ticks in which a fallback pool cannot be read.
    pub(super) last: Option<Pool>,
    pub(super) arrivals: Arrivals,
    pub(super) in_flight: Option<InFlight>,
    /// A fallback pool's own memory of a capacity failure.
    pub(super) capacity: Option<(Failure, Millis)>,
    /// Timer before which the owner is not asked for a resize.
    pub(super) not_before_ms: Millis,
    /// Resizes refused in a row.
    pub(super) refusals: u32,
    /// A resize of ours that failed.
    pub(super) failed: Option<Failed>,
    /// How often in a row the owner said that there is no such pool.
    pub(super) gone: u32,
}

/// A resize that failed after it was accepted.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) flight: InFlight,
    /// How many nodes it was to bring.
    pub(super) nodes: u32,
    /// Whether the platform had none: then they are not on their way.
    pub(super) no_capacity: bool,
    /// Until when the platform may take the count back for it.
    pub(super) until_ms: Millis,
}

impl Track {
    fn new(key: PoolKey) -> Self {
        Self {
            key,
            count: None,
            last: None,
            arrivals: Arrivals::default(),
            in_flight: None,
            capacity: None,
            not_before_ms: Millis::MIN,
            refusals: 0,
            failed: None,
            gone: 0,
        }
    }
}

/// What the source's clock reads, between its answers too.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SourceClock(Option<(Millis, Millis)>);

impl SourceClock {
    /// The source said that it is `source_ms`.
    pub(super) fn set(&mut self, source_ms: Millis, timer_ms: Millis) {
        self.0 = Some((source_ms, timer_ms));
    }

    /// What it reads now; the local wall clock while the source has never answered.
    pub(super) fn at(self, now: Now) -> Millis {
        self.known(now).unwrap_or(now.wall_ms)
    }

    /// What it reads now, if it ever answered.
    pub(super) fn known(self, now: Now) -> Option<Millis> {
        self.0
            .map(|(source_ms, timer_ms)| source_ms.saturating_add(now.timer_ms.saturating_sub(timer_ms)))
    }
}

/// The journal of a policy. One that cannot be written stops no growth, and every shrink.
#[derive(Default)]
pub(super) struct Journal {
    pub(super) sink: Option<Box<dyn Sink>>,
    pub(super) broken: Option<JournalError>,
}

impl Journal {
    /// Hands a record to the sink, if there is one.
    pub(super) fn keep(&mut self, record: impl FnOnce(&mut dyn Sink) -> Result<(), JournalError>) {
        if let Some(sink) = &mut self.sink {
            self.broken = record(sink.as_mut()).err();
        }
    }
}

impl Session {
    /// A session with empty windows and without a memory.
    pub(super) fn new(policy: Rc<Policy>, sink: Option<Box<dyn Sink>>, now: Now) -> Self {
        let intake = Intake::new(&policy.config, &policy.queries, policy.mapping.clone());
        let pools = std::iter::once(&policy.target).chain(&policy.fallbacks);
        let mut session = Self {
            windows: Windows::new(&policy.config),
            read_ms: vec![None; intake.wants().len()],
            intake,
            roster: Roster::default(),
            memory: Memory::default(),
            pools: pools.cloned().map(Track::new).collect(),
            state: State::Unread,
            touched: Touched::Yes,
            journal: Journal { sink, broken: None },
            source: SourceClock::default(),
            saved_ms: None,
            saved_by: SavedBy::Another,
            wanted_since_ms: None,
            told: None,
            policy,
        };
        session.begin(now);
        session
    }

    fn begin(&mut self, now: Now) {
        let policy = &self.policy.document;
        self.journal.keep(|sink| sink.begin(&Beginning { policy, now }));
    }

    /// The same policy after a panic: fresh windows, and the memory that was saved last.
    pub(super) fn again(mut self, now: Now) -> Self {
        let saved_by = self.saved_by();
        let mut session = Self::new(self.policy, self.journal.sink.take(), now);
        session.saved_by = saved_by;
        session
    }

    fn saved_by(&self) -> SavedBy {
        match self.saved_ms {
            Some(_) => SavedBy::This,
            None => self.saved_by,
        }
    }

    /// The same policy after an edit: fresh windows, the memory as it is. A policy that was given another pool knows
    /// nothing of it.
    pub(super) fn edited(self, policy: Rc<Policy>, now: Now) -> Self {
        let saved_by = self.saved_by();
        let Self {
            journal,
            memory,
            state,
            source,
            pools,
            saved_ms,
            ..
        } = self;
        let same_target = self.policy.target == policy.target;
        let mut session = Self::new(policy, journal.sink, now);
        session.source = source;
        (session.saved_ms, session.saved_by) = (saved_ms, saved_by);
        if !same_target {
            session.state = State::Live;
            return session;
        }
        (session.memory, session.state) = (memory, state);
        for track in pools {
            if let Some(place) = session.pools.iter_mut().find(|place| place.key == track.key) {
                *place = track;
            }
        }
        session
    }

    /// The policy's key.
    pub(super) fn key(&self) -> &PolicyKey {
        &self.policy.key
    }

    /// Takes up what was saved, on the clocks of this process. Until the metrics source has answered there is only the
    /// local clock to tell how long the outage was, and that may have jumped: then it counts as none, which can only
    /// make a timer longer. So does one of which the two clocks do not agree how long it was.
    pub(super) fn resume(&mut self, now: Now) {
        let State::Read(saved) = std::mem::replace(&mut self.state, State::Live) else {
            return;
        };
        self.touched = Touched::Yes;
        let Some(saved) = saved else { return };
        let same_target = saved
            .pools
            .first()
            .is_none_or(|pool| pool.is(&self.policy.target));
        let quality = &self.policy.config.data_quality;
        let by_source = saved.source_ms.zip(self.source.known(now));
        let by_own_ms = match self.saved_by {
            SavedBy::This => now.timer_ms.saturating_sub(saved.saved_at.timer_ms),
            SavedBy::Another => now.wall_ms.saturating_sub(saved.saved_at.wall_ms),
        };
        let outage_ms = match self.saved_by {
            SavedBy::This => by_own_ms,
            // Two clocks that do not agree say nothing: the one that says less may have been set forward too.
            SavedBy::Another => by_source.map_or(0, |(then_ms, now_ms)| {
                let by_source_ms = now_ms.saturating_sub(then_ms);
                let apart_ms = i64::try_from(by_source_ms.abs_diff(by_own_ms)).unwrap_or(Millis::MAX);
                let agreed_ms = by_source_ms.min(by_own_ms).clamp(0, LONGEST_OUTAGE_MS);
                if apart_ms > quality.hold_limit_ms() {
                    0
                } else {
                    agreed_ms
                }
            }),
        };
        let shift_ms = now
            .timer_ms
            .saturating_sub(saved.saved_at.timer_ms)
            .saturating_sub(outage_ms);
        for pool in saved.pools {
            if let Some(track) = self.pools.iter_mut().find(|track| pool.is(&track.key)) {
                track.take_up(pool, shift_ms);
            }
        }
        if !same_target {
            // Of the pool that the policy was given while nobody ran it, it knows nothing.
            return;
        }
        let told_ms = saved.memory.told.and_then(|told| told.timer_ms);
        let then = Now {
            wall_ms: 0,
            timer_ms: saved.saved_at.timer_ms,
        };
        let here = Now {
            wall_ms: outage_ms,
            timer_ms: now.timer_ms,
        };
        self.memory = saved.memory;
        match saved.ended {
            Ended::Cleanly => self.memory.resume(then, here),
            Ended::Running => self.memory.resume_after_crash(&self.policy.config, then, here),
        }
        let start_ms = now.timer_ms.saturating_sub(then.timer_ms);
        if let Some(told) = &mut self.memory.told
            && (0..=LONGEST_OUTAGE_MS).contains(&by_own_ms)
        {
            // When the source last told the time, by our own clock: where the two do not agree on how long ago that was,
            // one of them was set, and it may have been the source's. A clock of ours that is days off says nothing.
            told.timer_ms = told_ms.map(|at_ms| at_ms.saturating_add(start_ms).saturating_sub(by_own_ms));
        }
    }

    /// What has to survive.
    pub(super) fn to_save(&self, now: Now, ended: Ended) -> Saved {
        let pools = self.pools.iter().map(|track| SavedPool {
            cluster: Some(track.key.cluster.to_string()),
            name: track.key.name.to_string(),
            count: track.count,
            booting: track.arrivals.batches().to_vec(),
            in_flight: track.in_flight.clone(),
            capacity: track.capacity,
        });
        Saved {
            version: STATE_VERSION,
            saved_at: now,
            source_ms: self.source.known(now),
            ended,
            memory: self.memory.clone(),
            pools: pools.collect(),
        }
    }

    /// Nodes asked for over all pools of the group, as last seen.
    pub(super) fn asked(&self) -> u32 {
        let counts = self.pools.iter().filter_map(|track| track.count);
        counts.fold(0, u32::saturating_add)
    }
}

impl SavedPool {
    /// Whether it is this one; states of before name no cluster.
    fn is(&self, key: &PoolKey) -> bool {
        let cluster = self.cluster.as_deref();
        *self.name == *key.name && cluster.is_none_or(|cluster| *cluster == *key.cluster)
    }
}

impl Track {
    fn take_up(&mut self, saved: SavedPool, shift_ms: Millis) {
        let shift = |at_ms: Millis| at_ms.saturating_add(shift_ms);
        self.count = saved.count;
        self.arrivals = Arrivals::resumed(&saved.booting, shift_ms);
        self.capacity = saved
            .capacity
            .map(|(failure, until_ms)| (failure, shift(until_ms)));
        self.in_flight = saved.in_flight.map(|mut flight| {
            flight.sent_ms = shift(flight.sent_ms);
            if let Phase::Accepted { ask_at_ms, .. } = &mut flight.phase {
                *ask_at_ms = shift(*ask_at_ms);
            }
            flight
        });
    }

    /// Whether its owner said often enough that there is no such pool.
    pub(super) fn is_gone(&self) -> bool {
        self.gone >= GONE_AFTER
    }

    /// Whether its owner may be asked for a resize now.
    pub(super) fn may_be_asked(&self, now: Now) -> bool {
        self.in_flight.is_none() && self.not_before_ms <= now.timer_ms
    }

    /// Whether it is worth growing: no capacity failure of the recent past.
    pub(super) fn may_grow(&self, now: Now) -> bool {
        self.may_be_asked(now) && self.capacity.is_none_or(|(_, until_ms)| until_ms <= now.timer_ms)
    }
}

/// The administrator's brake as an answer.
pub(super) fn is_frozen(freeze: Freeze) -> bool {
    freeze == Freeze::On
}
