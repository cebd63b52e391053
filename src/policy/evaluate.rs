//! One evaluation, from top to bottom.

use super::config::{Config, MAX_SIGNALS};
use super::evaluation::{Evaluation, Reason, Rule, Trace};
use super::growth::{self, Context};
use super::limits;
use super::memory::{Intent, Memory};
use super::observation::{Now, Observation};
use super::windows::Windows;
use super::wish::{self, Growth, Known, Wish};
use super::{evidence, shrink};

/// Decides what size the pool should have now.
///
/// Total and deterministic: the same arguments give the same evaluation and the same memory, on every machine. It
/// never fails; what is missing, stale or contradictory gives a hold that says why. In the steady state it
/// allocates nothing.
///
/// Call [`Windows::ingest`] first, with an empty delta if nothing was read; windows that are behind `now` count as
/// unknown for the time they lack.
pub fn evaluate(
    config: &Config,
    windows: &Windows,
    observation: &Observation<'_>,
    memory: &mut Memory,
    now: Now,
) -> Evaluation {
    memory.notice(config, observation, now);
    if windows.told_the_time() {
        memory.hear_clock(config, now);
    }
    let mut evaluation = Evaluation::hold(now, observation.asked);
    let mut trace = Trace::new(&mut evaluation);
    let missing = growth::missing(config, observation, now);
    let wish = wish_of(config, windows, observation, memory, missing, now, &mut trace);
    remember_wish(config, observation, memory, now, &mut trace);
    let bounds = limits::shape(config, observation, missing, now, &mut trace);
    let context = Context {
        config,
        observation,
        now,
        wish,
        bounds,
        missing,
    };
    if trace.size() > trace.current() {
        growth::limit(&context, memory, &mut trace);
    } else if trace.size() < trace.current() {
        shrink::limit(&context, windows, memory, &mut trace);
    }
    guard(&context, &mut trace);
    let unplaced = growth::unplaced(&context, memory, trace.size());
    let hold = trace.size() == trace.current();
    let decision = trace.decision_mut();
    decision.unplaced = unplaced;
    decision.placeable = growth::placeable(&context, memory, unplaced, hold);
    remember_decision(&evaluation, wish, memory, now);
    evaluation
}

/// Evidence of every signal, and the wish they make together.
fn wish_of(
    config: &Config,
    windows: &Windows,
    observation: &Observation<'_>,
    memory: &Memory,
    missing: u32,
    now: Now,
    trace: &mut Trace<'_>,
) -> Wish {
    let supply = trace.current().saturating_sub(missing);
    let mut reasons = [Reason::WithinTarget; MAX_SIGNALS];
    for ((index, signal), reason) in config.signals.iter().enumerate().zip(&mut reasons) {
        let Some(evidence) = trace.next_signal() else {
            break;
        };
        evidence::gather(config, windows, observation, memory, index, now, evidence);
        *reason = wish::sizes(config, signal, observation, supply, evidence);
    }
    wish::combine(&reasons, missing, trace)
}

/// Every tick's wish is a recommendation that shrinking has to respect for a while; an unknown wish recommends the
/// size as it is.
fn remember_wish(
    config: &Config,
    observation: &Observation<'_>,
    memory: &mut Memory,
    now: Now,
    trace: &mut Trace<'_>,
) {
    let recommended = trace.size();
    memory
        .largest_wishes
        .keep_largest(now.timer_ms, recommended, config.down.stabilization_ms);
    memory
        .smallest_wishes
        .keep_smallest(now.timer_ms, recommended, config.up.stabilization_ms);
    if recommended <= observation.asked && observation.asked >= config.min_nodes {
        // The demand is gone, or was met: a refusal of the platform says nothing about the next demand.
        memory.capacity = None;
    }
    let longest = config
        .up
        .policies
        .iter()
        .chain(&config.down.policies)
        .map(|policy| policy.period_ms)
        .max();
    memory
        .resizes
        .forget_before(now.timer_ms.saturating_sub(longest.unwrap_or(0)));
}

/// The last check, independent of every rule above: whatever they did, Unknown never ends below the current size,
/// and nothing ends above the bound.
fn guard(context: &Context<'_>, trace: &mut Trace<'_>) {
    let current = trace.current();
    if context.wish.known != Known::All && trace.size() < current {
        trace.veto(Rule::Guard, i64::from(trace.size()), i64::from(current));
    }
    let most = context.bounds.max.max(current);
    if trace.size() > most {
        trace.ask(Rule::Guard, most, i64::from(trace.size()), i64::from(most));
    }
}

fn remember_decision(evaluation: &Evaluation, wish: Wish, memory: &mut Memory, now: Now) {
    let decision = &evaluation.decision;
    let saturated = wish.growth == Growth::Guessed && decision.to > decision.from.max(wish.measured);
    if !decision.is_hold() {
        memory.intent = Some(Intent {
            from: decision.from,
            to: decision.to,
            at_ms: now.timer_ms,
            saturated,
        });
    }
    let pinned = evaluation.signals().iter().any(|signal| signal.pinned > 0);
    if !pinned {
        memory.growths_without_relief = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::evaluation::Quality;
    use super::super::limits::Bounds;
    use super::*;

    /// What the guard makes of a proposal that every other rule let pass.
    fn guarded(known: Known, current: u32, proposed: u32, max: u32) -> u32 {
        let policy = "apiVersion: gpuscale.dev/v1alpha1\nkind: GpuScalePolicy\nmetadata: { name: p }\nspec:\n  \
                      targetRef: { kind: AksNodePool, name: p }\n  maxNodes: 9\n  \
                      signals: [ { name: gpu, dcgm: { metric: GpuUtilization } } ]\n";
        let config = crate::api::compile(&crate::api::validate(policy).unwrap()).unwrap();
        let observation = Observation::default();
        let wish = Wish {
            floor: 0,
            known,
            growth: Growth::Measured,
            needs: 0,
            measured: 0,
            unpinned: 0,
        };
        let bounds = Bounds { min: 0, max };
        let context = Context {
            config: &config,
            observation: &observation,
            now: Now::at(0),
            wish,
            bounds,
            missing: 0,
        };
        let mut evaluation = Evaluation::hold(Now::at(0), current);
        let mut trace = Trace::new(&mut evaluation);
        trace.wish(proposed, Reason::DemandBelowTarget, 1, 1);
        guard(&context, &mut trace);
        evaluation.decision.to
    }

    #[test]
    fn the_guard_stops_what_every_other_rule_let_pass() {
        let unknown = Known::Not {
            signal: 0,
            quality: Quality::Stale,
        };
        assert_eq!(
            guarded(unknown, 5, 2, 9),
            5,
            "Unknown never ends below the current size"
        );
        assert_eq!(guarded(unknown, 5, 7, 9), 7);
        assert_eq!(guarded(Known::All, 5, 2, 9), 2);
        assert_eq!(guarded(Known::All, 5, 12, 9), 9, "nothing ends above the bound");
        assert_eq!(
            guarded(Known::All, 11, 12, 9),
            11,
            "and nothing is forced out by it"
        );
    }
}
