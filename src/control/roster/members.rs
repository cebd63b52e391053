//! Which nodes the pools have: by the cluster view where there is one, else by who reports and how many were asked for.
//!
//! Without a view nobody tells a node that left from one whose exporter died. What is known is how many were asked
//! for, so as many are expected: those that are heard, then those that fell silent last, then nodes that were never
//! heard at all. Only nodes asked for within living memory, and not heard yet, are taken to be booting.
//!
//! A node that was evicted is silent for ever, and waiting for it for ever would hold the pool for ever. So one that is
//! silent for longer than the policy's `provisionTimeout`, while others are heard, is missing: others may grow in its
//! place. It may be busy all the same, so nothing shrinks by the platform's choice while any node is not heard.

use crate::control::intake::Intake;
use crate::policy::config::Millis;
use crate::policy::sample::NodeId;

use super::{Input, PoolInput};

/// How long before the first sample a node that was there at the opening counts as Ready.
const LONG_BEFORE_MS: Millis = 24 * 3_600_000;

/// A node that is heard, expected, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that do not depend on each other"
)]
pub(super) struct Member {
    pub(super) id: NodeId,
    /// Since when it counts as Ready, on the source's clock; `None` until it is expected for the first time.
    pub(super) ready_since_ms: Option<Millis>,
    /// Whether its devices are expected.
    pub(super) expected: bool,
    /// Whether it was Ready once.
    pub(super) was_ready: bool,
    /// GPUs that it should have.
    pub(super) gpus: u32,
    /// First and last sample of any device of it.
    pub(super) first_ms: Millis,
    pub(super) last_ms: Millis,
    /// Whether any device of it is known to the intake.
    pub(super) heard: bool,
    /// Whether it had fallen silent at the last look.
    pub(super) silent: bool,
    /// Whether the node carries a GPU condition.
    pub(super) condition: bool,
    /// Whether the view shows it.
    pub(super) seen: bool,
}

impl Member {
    fn new(id: NodeId) -> Self {
        Self {
            id,
            ready_since_ms: None,
            expected: false,
            was_ready: false,
            gpus: 0,
            first_ms: Millis::MAX,
            last_ms: Millis::MIN,
            heard: false,
            silent: false,
            condition: false,
            seen: false,
        }
    }
}

/// The nodes of a policy's pools.
#[derive(Debug, Clone, Default)]
pub(super) struct Members {
    /// In order of their ids.
    pub(super) list: Vec<Member>,
    /// Nodes that were asked for long ago and were never heard.
    pub(super) presumed: u32,
    /// Nodes that are heard beyond what was asked for.
    pub(super) excess: u32,
    /// Nodes that are heard now.
    pub(super) fresh: u32,
    /// Nodes that were asked for and are not waited for any longer: silent for too long while others were heard.
    given_up: u32,
    /// Timers since which any node has been heard without a break, and since which nodes have been presumed.
    heard_since_ms: Option<Millis>,
    presumed_since_ms: Option<Millis>,
    ranked: Vec<(Rank, usize)>,
    met: bool,
}

/// Who is kept first: the heard before the silent, those that are heard on before those that have just stopped, those
/// that were kept before, and of the silent the last heard.
type Rank = (bool, bool, bool, Millis, NodeId);

impl Members {
    pub(super) fn at(&mut self, id: NodeId) -> Option<&mut Member> {
        let place = match self.list.binary_search_by_key(&id, |member| member.id) {
            Ok(place) => place,
            Err(place) => {
                self.list.insert(place, Member::new(id));
                place
            }
        };
        self.list.get_mut(place)
    }

    /// Takes note of who reports.
    pub(super) fn hear(&mut self, intake: &Intake) {
        for member in &mut self.list {
            (member.heard, member.seen) = (false, false);
        }
        for device in intake.devices() {
            if let Some(member) = self.at(device.node) {
                if !member.heard {
                    (member.first_ms, member.heard) = (device.first_ms, true);
                }
                member.first_ms = member.first_ms.min(device.first_ms);
                member.last_ms = member
                    .last_ms
                    .max(device.last_ms)
                    .min(intake.now_ms().unwrap_or(Millis::MAX));
            }
        }
    }

    /// The nodes as the views show them.
    pub(super) fn see(&mut self, intake: &mut Intake, input: &mut Input<'_>) {
        let met = std::mem::replace(&mut self.met, true);
        for pool in input.pools.iter_mut() {
            let Some(view) = pool.view else { continue };
            let per_node = pool.pool.gpus_per_node;
            let (mut ready, mut coming) = (0_u32, 0_u32);
            for node in &view.nodes {
                let id = intake.node(&node.name);
                let Some(member) = self.at(id) else { continue };
                (member.seen, member.condition) = (true, node.unhealthy);
                member.gpus = per_node.unwrap_or(member.gpus.max(node.schedulable_gpus));
                let since_ms = node
                    .ready_since_ms
                    .map(|since_ms| since_ms.saturating_add(input.offset_ms));
                if since_ms.is_some() {
                    ready = ready.saturating_add(1);
                    if met && !member.was_ready {
                        pool.arrivals.arrived(1);
                    }
                    member.was_ready = true;
                } else if !member.was_ready && node.gpu_pods == 0 && !member.heard {
                    coming = coming.saturating_add(1);
                }
                // A node that flaps is as old as it was; one that works while it is not Ready was there all along.
                let works = node.gpu_pods > 0 || member.heard;
                if works || (since_ms.is_some() && node.schedulable_gpus > 0) {
                    member.expected = true;
                }
                if member.expected || since_ms.is_some() {
                    let known = member.ready_since_ms.into_iter().chain(since_ms).min();
                    let long_ago = input.now_ms.saturating_sub(LONG_BEFORE_MS);
                    member.ready_since_ms = known.or(works.then_some(long_ago));
                }
            }
            settle_arrivals(pool, ready, coming, met, input.timer_ms);
        }
        self.list.retain(|member| member.seen || member.heard);
        for member in self.list.iter_mut().filter(|member| !member.seen) {
            (member.expected, member.was_ready, member.ready_since_ms) = (false, false, None);
        }
        (self.presumed, self.excess) = (0, 0);
    }

    /// The nodes as counts and reports tell them.
    pub(super) fn guess(&mut self, intake: &Intake, input: &mut Input<'_>) {
        let met = std::mem::replace(&mut self.met, true);
        let count = input.asked();
        let quiet_ms = intake.quiet_ms();
        let now_ms = input.now_ms;
        let fresh = |member: &Member| member.heard && member.last_ms.saturating_add(quiet_ms) >= now_ms;
        let opening_ms = intake.opening_ms().unwrap_or(now_ms);
        for member in &mut self.list {
            if fresh(member) && !member.expected {
                // One that was silent and not expected any more may be another of the same name.
                let heard_ms = if member.silent {
                    member.last_ms
                } else {
                    member.first_ms
                };
                let came = input.arrive(heard_ms);
                let since_ms = since(member.first_ms, opening_ms, came, met);
                member.ready_since_ms = Some(member.ready_since_ms.unwrap_or(since_ms));
            }
        }
        let heard = self.list.iter().filter(|member| fresh(member)).count();
        let heard = u32::try_from(heard).unwrap_or(u32::MAX);
        let slots = input.slots(heard);
        self.excess = heard.saturating_sub(count);
        self.fresh = heard;
        let given_up_ms = self.patience(heard, input);
        let lost = |member: &Member| !fresh(member) && member.last_ms < given_up_ms;
        let newly_lost = self
            .list
            .iter()
            .filter(|member| member.expected && lost(member))
            .count();
        self.given_up = self
            .given_up
            .saturating_add(u32::try_from(newly_lost).unwrap_or(u32::MAX));
        self.rank(intake, now_ms, given_up_ms, met);
        let kept = self
            .ranked
            .len()
            .min(usize::try_from(slots).unwrap_or(usize::MAX));
        for member in &mut self.list {
            (member.expected, member.silent) = (false, !fresh(member));
        }
        for &(_, place) in self.ranked.iter().take(kept) {
            if let Some(member) = self.list.get_mut(place) {
                member.expected = true;
                let since_ms = since(member.first_ms, opening_ms, false, met);
                member.ready_since_ms = Some(member.ready_since_ms.unwrap_or(since_ms));
                member.gpus = input.gpus_per_node;
            }
        }
        let kept = u32::try_from(kept).unwrap_or(u32::MAX);
        self.presume(slots.saturating_sub(kept), given_up_ms > Millis::MIN, input);
        self.list.retain(|member| member.expected || member.heard);
    }

    /// Orders the nodes that may be kept.
    fn rank(&mut self, intake: &Intake, now_ms: Millis, given_up_ms: Millis, met: bool) {
        // After a shrink, those that left are not heard on; they are not waited for while others are there.
        let newest_ms = self.list.iter().map(|member| member.last_ms).max();
        let newest_ms = newest_ms.unwrap_or(Millis::MIN);
        let (quiet_ms, late_ms) = (intake.quiet_ms(), intake.late_ms());
        self.ranked.clear();
        for (place, member) in self.list.iter().enumerate() {
            let silent = !(member.heard && member.last_ms.saturating_add(quiet_ms) >= now_ms);
            let waited_for = member.expected && member.last_ms >= given_up_ms;
            if met && silent && !waited_for {
                continue;
            }
            // Of the silent only the last word counts.
            let rank = if silent {
                (true, false, false, member.last_ms.saturating_neg(), member.id)
            } else {
                let late = member.last_ms.saturating_add(late_ms) < newest_ms;
                (false, late, !member.expected, member.first_ms, member.id)
            };
            self.ranked.push((rank, place));
        }
        self.ranked.sort_unstable();
    }

    /// The last word of a node that is still waited for. While nobody at all is heard it is the source that is silent,
    /// and no node is given up.
    fn patience(&mut self, heard: u32, input: &Input<'_>) -> Millis {
        if heard == 0 {
            self.heard_since_ms = None;
            return Millis::MIN;
        }
        // How long this has been waited for is told by the timer: the other clock may have been anywhere.
        let since_ms = *self.heard_since_ms.get_or_insert(input.timer_ms);
        if since_ms < input.timer_ms.saturating_sub(input.patience_ms) {
            input.now_ms.saturating_sub(input.patience_ms)
        } else {
            Millis::MIN
        }
    }

    /// Of the nodes that should be there and are not known by name, some are not waited for any longer.
    fn presume(&mut self, nodes: u32, gives_up: bool, input: &Input<'_>) {
        self.given_up = self.given_up.min(nodes);
        let presumed = nodes - self.given_up;
        if presumed == 0 {
            self.presumed_since_ms = None;
        } else {
            let since_ms = *self.presumed_since_ms.get_or_insert(input.timer_ms);
            if gives_up && since_ms < input.timer_ms.saturating_sub(input.patience_ms) {
                self.given_up = nodes;
            }
        }
        self.presumed = nodes - self.given_up;
    }
}

/// Since when a node without a view counts as Ready. What was there when everything began was there before; of what
/// is first heard later only the nodes that were asked for are new.
fn since(first_ms: Millis, opening_ms: Millis, came: bool, met: bool) -> Millis {
    let at_the_opening = first_ms.saturating_sub(opening_ms) <= crate::devices::OPENING_MS;
    if came || (!met && !at_the_opening) {
        first_ms
    } else {
        opening_ms.min(first_ms).saturating_sub(LONG_BEFORE_MS)
    }
}

/// No more can be on their way than are not there. At first sight of a pool of which nothing is remembered, nodes
/// that the view shows and that were never Ready are on their way since now.
fn settle_arrivals(pool: &mut PoolInput<'_>, ready: u32, coming: u32, met: bool, timer_ms: Millis) {
    let away = pool.pool.count.saturating_sub(ready);
    if !met && pool.arrivals.nodes() == 0 {
        pool.arrivals.asked_changed(0, coming.min(away), timer_ms);
    }
    let many = pool.arrivals.nodes().saturating_sub(away);
    pool.arrivals.arrived(many);
}
