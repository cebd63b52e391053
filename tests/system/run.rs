//! One seed: a world, two policies, a plan of faults, and as many processes of the controller as it takes.

use std::pin::pin;
use std::rc::Rc;

use gpuscale::control::{Controller, PlatformChooses, Settings};
use gpuscale::policy::config::Millis;

use crate::arguments::{Arguments, Detail};
use crate::chance::Stream;
use crate::clock::Time;
use crate::director::Director;
use crate::event::Event;
use crate::executor::{self, End};
use crate::gate::Gate;
use crate::invariants::{self, Checker, Rules, Sight, Times, Violation};
use crate::plan::{Fault, Plan, Planned, QUIET_MS, Stage};
use crate::ports::{Shared, SimPorts};
use crate::shapes::{self, Edition, Fallback, POLICIES, Shape, Signals};
use crate::watch::SimWatch;
use crate::world::demand::{PLATEAU_FROM_MS, RUN_MS, SILENCE_FROM_MS};
use crate::world::prometheus::faults::{Fault as MetricsFault, History};
use crate::world::whole::{Visible, World};

/// The longest that a node takes until its GPUs can be used, with its operation, while nothing fails.
const SLOWEST_BOOT_MS: Millis = 15 * 60_000;

/// A seed, as it is played.
#[derive(Debug)]
pub struct Scene {
    pub seed: u64,
    pub shapes: [Shape; POLICIES],
    /// The faults, each with its number in the seed's whole plan.
    pub plan: Vec<(usize, Planned)>,
    visible: Visible,
    skew_ms: Millis,
}

/// What came of a seed.
#[derive(Debug, Default)]
pub struct Outcome {
    pub violations: Vec<Violation>,
    pub faults: Vec<((&'static str, &'static str), u64)>,
    pub checks: Vec<(&'static str, u64)>,
    pub policy_ms: Millis,
    pub ticks: u64,
    /// Over all facts; the same seed gives the same.
    pub checksum: u64,
}

impl Outcome {
    /// Of a seed that could not be played.
    pub fn failed(violation: Violation) -> Self {
        Self {
            violations: vec![violation],
            ..Self::default()
        }
    }
}

impl Scene {
    /// The scene of a seed, with those of its faults that are in `only`, if it is given.
    pub fn of(seed: u64, only: Option<&[usize]>) -> Self {
        let shapes = shapes::draw_all(seed);
        let mut pools = 0;
        let groups = shapes.iter().map(|shape| {
            let count = if shape.fallback == Fallback::One { 2 } else { 1 };
            pools += count;
            (pools - count..pools).collect()
        });
        let stage = Stage {
            pools: groups.collect(),
        };
        let plan = Plan::from_seed(seed, &stage).0.into_iter().enumerate();
        let mut stream = Stream::new(seed, &[0x5ce2]);
        // Pods that wait are never known without a view, and nobody promises anything about such a policy.
        let sees_pods = shapes.iter().any(|shape| shape.signals == Signals::WithPods);
        let unseen = stream.percent(33) && !sees_pods;
        Self {
            seed,
            shapes,
            plan: plan
                .filter(|(number, _)| only.is_none_or(|only| only.contains(number)))
                .collect(),
            visible: if unseen { Visible::Never } else { Visible::Always },
            skew_ms: if stream.percent(20) {
                stream.between(-600, 600) * 1_000
            } else {
                0
            },
        }
    }

    /// Prints what is played.
    pub fn print(&self) {
        println!(
            "\nseed {}: cluster view {:?}, constant skew {} s",
            self.seed,
            self.visible,
            self.skew_ms / 1_000
        );
        for shape in &self.shapes {
            println!("  {shape:?}");
        }
        for (number, planned) in &self.plan {
            let (from, to) = (clock_face(planned.from_ms), clock_face(planned.to_ms));
            println!("  {number:>3}  {from} - {to}  {:?}", planned.fault);
        }
    }

    fn world(&self) -> World {
        let saboteur = |(_, planned): &(usize, Planned)| match planned.fault {
            Fault::Saboteur(policy) => Some((policy, planned.from_ms, planned.to_ms)),
            _ => None,
        };
        let saboteurs = self.plan.iter().filter_map(saboteur).collect();
        let mut world = World::new(self.seed, &self.shapes, self.visible, saboteurs);
        let waving: Vec<&Shape> = self.shapes.iter().filter(|shape| world.waves(shape.id)).collect();
        for shape in waving {
            let what = if shape.rules.up.is_some() {
                "waves round a threshold"
            } else {
                "waves round a target"
            };
            world.log.add(0, Event::Fault { name: "F18", what });
        }
        if self.skew_ms != 0 {
            let skew = MetricsFault::Skew {
                by_ms: self.skew_ms,
                history: History::Shifted,
            };
            world.prometheus.set(0, skew);
            let (name, what) = ("F7", "constant skew");
            world.log.add(0, Event::Fault { name, what });
        }
        world
    }
}

/// A time of the run as hours, minutes, seconds and milliseconds.
pub fn clock_face(ms: Millis) -> String {
    let seconds = ms / 1_000;
    format!(
        "{}:{:02}:{:02}.{:03}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60,
        ms % 1_000
    )
}

fn settings() -> Settings {
    Settings {
        platform_chooses: PlatformChooses::Allowed,
        ..Settings::default()
    }
}

/// Plays a seed.
pub fn run(scene: &Scene, arguments: &Arguments) -> Outcome {
    let time = Time::default();
    let world = scene.world();
    let verbose = arguments.detail == Detail::Events;
    let shared = Rc::new(Shared::new(time.clone(), Gate::new(scene.seed), world, verbose));
    let checker = checker(scene, &shared);
    let mut director = Director::new(
        scene.seed,
        Rc::clone(&shared),
        &scene.plan,
        &scene.shapes,
        checker,
    );
    let mut process = 0;
    while time.true_ms() < RUN_MS {
        match live(scene.seed, process, &mut director) {
            End::TimeUp => break,
            End::Crashed => shared.log(Event::Crashed),
            End::Finished => {
                if !director.was_asked_to_stop() {
                    shared.trouble("ends-only-when-asked", "the loop came back by itself".to_owned());
                }
                shared.log(Event::Stopped);
            }
            End::Livelock => {
                shared.trouble(
                    "livelock",
                    "the loop wakes itself for ever while time stands still".to_owned(),
                );
                break;
            }
        }
        let up_ms = (time.true_ms() + shared.down_ms.take().max(1)).min(RUN_MS);
        executor::idle(&time, &mut director, up_ms);
        process += 1;
    }
    director.tell();
    let decisions = keep_journals(scene, &shared, arguments);
    let mut outcome = director.end();
    outcome.checks.push(("replay-is-equal", decisions));
    outcome
}

/// Makes every decision again from the journals, and keeps those that are asked for; how many decisions there were.
fn keep_journals(scene: &Scene, shared: &Shared, arguments: &Arguments) -> u64 {
    let mut decisions = 0;
    for (policy, shelf) in shared.shelves.iter().enumerate() {
        match shelf.replay(scene.shapes[policy].policy(Edition::First)) {
            Ok(replay) => decisions += replay.verified,
            Err(problem) => shared.trouble("replay-is-equal", format!("policy {policy}: {problem}")),
        }
        if let Some(folder) = &arguments.journals {
            shelf
                .write(folder, scene.seed, policy)
                .expect("journals can be written");
        }
    }
    decisions
}

/// One process of the controller, from its start to its end.
fn live(seed: u64, process: u64, director: &mut Director<'_>) -> End {
    let shared = Rc::clone(&director.shared);
    let mut stream = Stream::new(seed, &[0x11fe, process]);
    let now_ms = shared.time.true_ms();
    // A process on another machine, or after a boot, has another origin.
    let origin_ms = stream.between(-now_ms, 10 * 24 * 3_600_000);
    shared.world.borrow_mut().synced_ms = now_ms + director.sync_ms();
    shared.log(Event::Started);
    let ports = SimPorts::new(Rc::clone(&shared), origin_ms, stream);
    let watch = SimWatch {
        shared: Rc::clone(&shared),
    };
    let controller = Rc::new(Controller::new(ports, watch, settings()));
    controller.set_freeze(director.freeze());
    controller.set_policies(director.policies());
    director.begin_process(Rc::clone(&controller));
    let end = {
        let root = pin!(controller.run());
        executor::run(&shared.time, root, director, RUN_MS)
    };
    director.end_process();
    end
}

fn checker(scene: &Scene, shared: &Shared) -> Checker {
    let world = shared.world.borrow();
    let settings = settings();
    let rules = scene.shapes.iter().map(|shape| {
        let place = invariants::World {
            pools: world.group(shape.id).to_vec(),
            gpus_per_node: shape.gpus_per_node,
            node_price: Some(shape.node_price()),
            boot_ms: SLOWEST_BOOT_MS,
            sight: match scene.visible {
                Visible::Never => Sight::Counted,
                Visible::Always => Sight::Named,
            },
        };
        let policy = shape.policy(Edition::First);
        Rules::new(&policy.config, &settings, &place)
    });
    let times = Times {
        quiet_ms: QUIET_MS,
        plateau_ms: PLATEAU_FROM_MS,
        zero_ms: SILENCE_FROM_MS,
        end_ms: RUN_MS,
    };
    Checker::new(rules.collect(), world.pools(), times)
}
