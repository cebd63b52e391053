//! What the loop told and the emulator counted, as the scorecard and the page need it.

use std::cell::RefCell;

use gpuscale::control::ports::PolicyKey;
use gpuscale::control::{Action, TickResult, Ticked, Watch};
use gpuscale::emulator::Handle;
use gpuscale::emulator::fleet::Phase;
use gpuscale::emulator::world::PoolView;
use gpuscale::journal::Sink;
use gpuscale::policy::Config;
use gpuscale::policy::evaluation::Evaluation;
use gpuscale::report::explain::headline;
use gpuscale::report::html::{Loop, Timeline};
use gpuscale::simulator::closed_loop::{Tick, Watch as _};
use gpuscale::simulator::scorecard::{Interval, Meter};

use super::screen::{Frame, clock};

const HOUR_MS: i64 = 3_600_000;

/// How far a difference of what the emulator counted may be off, in 1e-6 GPU-hours.
const ROUNDED: i64 = 2;

/// Collects a run.
pub(super) struct Told<'a> {
    emulator: Handle,
    pool: &'static str,
    collected: RefCell<Collected<'a>>,
}

struct Collected<'a> {
    frame: Frame,
    meter: Meter,
    timeline: Timeline<'a>,
    before: (i64, PoolView),
    start_ms: i64,
    interval_ms: i64,
    ticks: i64,
    fresh: Vec<String>,
}

/// What a run came to.
pub(super) struct Run<'a> {
    pub(super) meter: Meter,
    pub(super) timeline: Timeline<'a>,
}

impl<'a> Told<'a> {
    /// Begins with the emulator as it is.
    pub(super) fn new(
        emulator: Handle,
        view: PoolView,
        frame: Frame,
        config: &'a Config,
        gpus_per_node: u32,
    ) -> Self {
        let timeline = Timeline::new(config, gpus_per_node, Loop::Live);
        let interval_ms = config.evaluation_interval_ms;
        let now_ms = emulator.now_ms();
        let collected = Collected {
            frame,
            meter: Meter::new(gpus_per_node),
            timeline,
            before: (now_ms, view),
            start_ms: now_ms,
            interval_ms,
            ticks: 0,
            fresh: Vec::new(),
        };
        Self {
            emulator,
            pool: super::POOL,
            collected: RefCell::new(collected),
        }
    }

    /// What there is to see now.
    pub(super) fn frame(&self) -> Frame {
        let mut frame = self.collected.borrow().frame.clone();
        frame.elapsed_ms = self.elapsed_ms();
        frame
    }

    /// Emulated time since the start.
    pub(super) fn elapsed_ms(&self) -> i64 {
        self.emulator
            .now_ms()
            .saturating_sub(self.collected.borrow().start_ms)
    }

    /// Lines of the log that nobody has taken yet.
    pub(super) fn fresh(&self) -> Vec<String> {
        std::mem::take(&mut self.collected.borrow_mut().fresh)
    }

    /// What it came to.
    pub(super) fn end(self) -> Run<'a> {
        let collected = self.collected.into_inner();
        Run {
            meter: collected.meter,
            timeline: collected.timeline,
        }
    }

    fn log(&self, words: &str) {
        let line = format!("{}  {words}", clock(self.elapsed_ms()));
        let mut collected = self.collected.borrow_mut();
        collected.frame.log.push(line.clone());
        collected.fresh.push(line);
    }
}

impl Collected<'_> {
    fn tick(&mut self, now_ms: i64, view: PoolView, evaluation: &Evaluation) {
        let (before_ms, before) = &self.before;
        let length_ms = now_ms.saturating_sub(*before_ms);
        if length_ms <= 0 {
            return;
        }
        // Micro-GPU-hours of the interval as its mean.
        let mean = |now: i64, then: i64| (now - then).saturating_mul(HOUR_MS) / length_ms;
        let demand = mean(view.demanded_micro_gpu_hours, before.demanded_micro_gpu_hours);
        // Both are rounded: what is missing by that was not missed.
        let unserved = view.unserved_micro_gpu_hours - before.unserved_micro_gpu_hours;
        let served = if unserved <= ROUNDED {
            demand
        } else {
            mean(view.served_micro_gpu_hours, before.served_micro_gpu_hours).min(demand)
        };
        let nodes = |phase| {
            u32::try_from(view.nodes.iter().filter(|node| node.phase == phase).count()).unwrap_or(u32::MAX)
        };
        let serving = nodes(Phase::Schedulable);
        let all = u32::try_from(view.nodes.len()).unwrap_or(u32::MAX);
        self.meter.interval(&Interval {
            length_ms,
            billed_nodes: all,
            demand,
            served,
        });
        self.ticks += 1;
        self.timeline.tick(&Tick {
            // A page is drawn on the grid of the policy's interval; ticks are some milliseconds late.
            now_ms: self
                .start_ms
                .saturating_add(self.ticks.saturating_mul(self.interval_ms)),
            demand,
            served,
            asked: view.count,
            ready: serving,
            evaluation,
        });
        let frame = &mut self.frame;
        frame.demand.push(real(view.demand_micro_gpus));
        let share = (view.schedulable_gpus > 0).then(|| real(view.utilization_micros));
        frame.utilization.push(share);
        frame.asked.push(view.count);
        (frame.serving, frame.booting) = (serving, all.saturating_sub(serving));
        frame.decision = headline(evaluation);
        self.before = (now_ms, view);
    }
}

/// Micros for people.
#[expect(clippy::cast_precision_loss, reason = "for people")]
fn real(micros: i64) -> f64 {
    micros as f64 / 1e6
}

impl Watch for Told<'_> {
    fn tick(&self, tick: &Ticked<'_>) {
        match tick.result {
            TickResult::Decided(evaluation) => {
                if let Some(view) = self.emulator.pool(self.pool) {
                    self.collected
                        .borrow_mut()
                        .tick(self.emulator.now_ms(), view, evaluation);
                }
            }
            TickResult::Held { reason, message } => self.log(&format!("no decision: {reason}: {message}")),
            TickResult::TimedOut => self.log("no decision: the tick took too long"),
            TickResult::Panicked(words) => self.log(&format!("a fault of this program: {words}")),
        }
    }

    fn action(&self, action: &Action<'_>) {
        let Action {
            from,
            to,
            what,
            message,
            ..
        } = action;
        if *what == "accepted" {
            self.collected
                .borrow_mut()
                .meter
                .resized(self.emulator.now_ms(), *from, *to);
        }
        let what = match (*what, message.is_empty()) {
            ("sending", _) => return,
            (what, true) => what.to_owned(),
            (what, false) => format!("{what}: {message}"),
        };
        self.log(&format!("{from} → {to} nodes: {what}"));
    }

    fn journal(&self, _: &PolicyKey) -> Option<Box<dyn Sink>> {
        None
    }
}
