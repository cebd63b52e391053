//! What goes wrong in a simulated world, and when.
//!
//! A [`Fault`] is what a scenario states. `Timeline` is a run's view of a list of them: what holds now, what
//! happens now, and when either changes next, so that a tick without news costs one comparison.
//!
//! A fault is felt at the first tick at or after its time; one that begins and ends between two ticks is not
//! felt. What the platform refuses follows AKS: a quota or an unknown size is refused at the door, and the
//! pool's count stays what it was; missing machines show only after the request was accepted, and the count
//! stays at what was asked, with nodes that are neither there nor coming. Where faults of one kind overlap,
//! the worst holds.

use serde::{Deserialize, Serialize};

use crate::policy::config::{Micro, Millis, ONE};
use crate::policy::observation::Failure;

/// A fault that lasts from `at_ms` for `duration_ms`, both counted from the start of the recording. The nodes
/// of a loss or an eviction go once, at `at_ms`; a loss ignores the duration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// When it begins.
    pub at_ms: Millis,
    /// How long it lasts.
    pub duration_ms: Millis,
    /// What it is.
    pub kind: FaultKind,
}

/// What goes wrong. Percentages above 100 count as 100.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FaultKind {
    /// Every growth fails with this error and brings no node. After [`Failure::Allocation`] the pool's count
    /// stays at what was asked; the others are refused at the door and leave it as it was.
    AllocationFailure(Failure),
    /// A growth gets at most this many nodes, and then fails with `QuotaLow`; the pool's count stays at what
    /// was asked.
    PartialFill(u32),
    /// This many Ready nodes die; the pool's count stays, nothing replaces them.
    NodeLoss(u32),
    /// The platform takes this many spot nodes; the pool's count stays, nothing comes back by itself, and
    /// growth fails like [`Failure::Allocation`] while it lasts.
    SpotEviction(u32),
    /// This percentage of the devices reports nothing.
    ExporterGap(u32),
    /// The series repeats its last value with its old timestamp.
    StaleSeries,
    /// The series reads this percentage whatever the load is.
    LyingSeries(u32),
}

impl FaultKind {
    /// Percentage of the devices that report nothing; 0 for every other fault.
    pub(super) fn silent_percent(self) -> u32 {
        match self {
            Self::ExporterGap(percent) => percent.min(100),
            _ => 0,
        }
    }
}

/// Whether the exporters deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Scrape {
    /// A reading of now.
    #[default]
    Fresh,
    /// The last reading again, with its time.
    Repeated,
}

/// What is wrong at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Active {
    /// Why no growth succeeds.
    refusal: Option<Failure>,
    /// Most nodes that one growth gets.
    most: Option<u32>,
    /// Percentage of the devices that report nothing.
    pub(super) silent_percent: u32,
    /// Whether the exporters deliver.
    pub(super) scrape: Scrape,
    /// Utilization that is shown whatever it is.
    pub(super) shown: Option<Micro>,
}

/// What became of a request for more nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grant {
    /// All of them come.
    Whole,
    /// The request was accepted, this many come, and then it fails.
    Part(u32, Failure),
    /// The request was refused: the count is as before.
    Refused(Failure),
}

impl Active {
    /// What becomes of a request for `nodes` more.
    pub(super) fn grant(&self, nodes: u32) -> Grant {
        match (self.refusal, self.most) {
            (Some(Failure::Allocation), _) => Grant::Part(0, Failure::Allocation),
            (Some(failure), _) => Grant::Refused(failure),
            (None, Some(most)) if most < nodes => Grant::Part(most, Failure::QuotaLow),
            (None, _) => Grant::Whole,
        }
    }

    fn add(&mut self, kind: FaultKind) {
        match kind {
            FaultKind::AllocationFailure(failure) => self.refusal = self.refusal.max(Some(failure)),
            FaultKind::SpotEviction(_) => self.refusal = self.refusal.max(Some(Failure::Allocation)),
            FaultKind::PartialFill(most) => self.most = Some(self.most.map_or(most, |m| m.min(most))),
            FaultKind::ExporterGap(_) => {
                self.silent_percent = self.silent_percent.max(kind.silent_percent());
            }
            FaultKind::StaleSeries => self.scrape = Scrape::Repeated,
            FaultKind::LyingSeries(percent) => {
                self.shown = Some(Micro::from(percent.min(100)) * ONE / 100);
            }
            FaultKind::NodeLoss(_) => {}
        }
    }
}

/// A run's view of its faults.
#[derive(Debug, Clone)]
pub(super) struct Timeline<'a> {
    faults: &'a [Fault],
    start_ms: Millis,
    /// Everything before this has happened.
    until_ms: Millis,
    /// Nothing changes before this.
    next_ms: Millis,
    active: Active,
}

impl<'a> Timeline<'a> {
    pub(super) fn new(faults: &'a [Fault], start_ms: Millis) -> Self {
        Self {
            faults,
            start_ms,
            until_ms: Millis::MIN,
            next_ms: if faults.is_empty() {
                Millis::MAX
            } else {
                Millis::MIN
            },
            active: Active::default(),
        }
    }

    /// What is wrong at the moment.
    pub(super) fn active(&self) -> &Active {
        &self.active
    }

    /// Moves time to `now_ms` and returns how many Ready nodes vanish now.
    #[inline]
    pub(super) fn advance(&mut self, now_ms: Millis) -> u32 {
        if now_ms < self.next_ms {
            0
        } else {
            self.turn(now_ms)
        }
    }

    #[cold]
    fn turn(&mut self, now_ms: Millis) -> u32 {
        let (mut vanish, mut next_ms) = (0_u32, Millis::MAX);
        self.active = Active::default();
        for fault in self.faults {
            let from_ms = self.start_ms.saturating_add(fault.at_ms);
            let to_ms = from_ms.saturating_add(fault.duration_ms.max(0));
            if from_ms <= now_ms && now_ms < to_ms {
                self.active.add(fault.kind);
            }
            if let FaultKind::NodeLoss(nodes) | FaultKind::SpotEviction(nodes) = fault.kind
                && (self.until_ms..=now_ms).contains(&from_ms)
            {
                vanish = vanish.saturating_add(nodes);
            }
            for at_ms in [from_ms, to_ms].into_iter().filter(|&at_ms| at_ms > now_ms) {
                next_ms = next_ms.min(at_ms);
            }
        }
        (self.until_ms, self.next_ms) = (now_ms.saturating_add(1), next_ms);
        vanish
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Millis = 1_000_000;

    fn fault(at_ms: Millis, duration_ms: Millis, kind: FaultKind) -> Fault {
        Fault {
            at_ms,
            duration_ms,
            kind,
        }
    }

    #[test]
    fn faults_begin_at_the_first_tick_and_end_before_their_end() {
        let faults = [
            fault(100, 50, FaultKind::StaleSeries),
            fault(100, 0, FaultKind::NodeLoss(2)),
            fault(105, 9, FaultKind::NodeLoss(1)),
            fault(120, 10, FaultKind::ExporterGap(130)),
            fault(131, 5, FaultKind::ExporterGap(10)),
        ];
        let mut timeline = Timeline::new(&faults, START);
        let mut check = |at_ms: Millis, vanish: u32, scrape: Scrape, silent: u32| {
            let found = timeline.advance(START + at_ms);
            let active = timeline.active();
            assert_eq!(
                (found, active.scrape, active.silent_percent),
                (vanish, scrape, silent),
                "at {at_ms}"
            );
        };
        check(0, 0, Scrape::Fresh, 0);
        check(99, 0, Scrape::Fresh, 0);
        check(110, 3, Scrape::Repeated, 0);
        check(111, 0, Scrape::Repeated, 0);
        check(120, 0, Scrape::Repeated, 100);
        check(140, 0, Scrape::Repeated, 0);
        check(150, 0, Scrape::Fresh, 0);
        check(9_999, 0, Scrape::Fresh, 0);
    }

    #[test]
    fn no_faults_are_never_looked_at() {
        let mut timeline = Timeline::new(&[], START);
        assert_eq!(timeline.advance(Millis::MAX - 1), 0);
        assert_eq!(timeline.active(), &Active::default());
    }

    #[test]
    fn a_growth_is_granted_whole_in_part_or_not_at_all() {
        let check = |kinds: &[FaultKind], nodes: u32, expected: Grant| {
            let faults: Vec<Fault> = kinds.iter().map(|&kind| fault(0, 10, kind)).collect();
            let mut timeline = Timeline::new(&faults, START);
            timeline.advance(START);
            assert_eq!(timeline.active().grant(nodes), expected, "{kinds:?}");
        };
        check(&[], 4, Grant::Whole);
        check(&[FaultKind::PartialFill(1)], 4, Grant::Part(1, Failure::QuotaLow));
        check(&[FaultKind::PartialFill(4)], 4, Grant::Whole);
        let refused = FaultKind::AllocationFailure;
        check(
            &[refused(Failure::QuotaLow)],
            4,
            Grant::Refused(Failure::QuotaLow),
        );
        check(
            &[refused(Failure::Allocation)],
            4,
            Grant::Part(0, Failure::Allocation),
        );
        check(
            &[FaultKind::SpotEviction(1)],
            4,
            Grant::Part(0, Failure::Allocation),
        );
        check(
            &[FaultKind::PartialFill(1), refused(Failure::Sku)],
            4,
            Grant::Refused(Failure::Sku),
        );
    }
}
