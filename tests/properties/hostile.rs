//! A hostile life: everything that can happen to a pool, in any order.

use gpuscale::policy::config::{Config, MINUTE_MS, ONE};
use gpuscale::policy::evaluation::Evaluation;
use gpuscale::policy::observation::{
    Booting, Condition, Failure, Freeze, Operation, Pause, Placement, PodRequest, Protection,
};
use gpuscale::policy::windows::ReadStatus;
use proptest::prelude::*;
use proptest::sample::select;

use crate::rig::{Rig, View};
use crate::world::{Load, World};

/// Something that happens, and how many ticks pass after it.
#[derive(Debug, Clone)]
pub struct Turn {
    pub event: Event,
    pub ticks: usize,
}

#[derive(Debug, Clone)]
pub enum Event {
    Calm,
    Load { node: usize, percent: f64 },
    LoadAll(f64),
    Silence(usize),
    Foreign(u32),
    Fails(Failure),
    Operation(Operation),
    Freeze(Freeze),
    Pause(Pause),
    AtLeast { nodes: u32, minutes: i64 },
    Protect { node: usize, protection: Protection },
    Sick { node: usize, condition: Condition },
    Waiting { pods: usize, gpus: u32 },
    Read(ReadStatus),
    Price(Option<i64>),
    Evict(usize),
    SlowBoots,
}

/// A life of up to `most` turns.
pub fn life(most: usize) -> impl Strategy<Value = Vec<Turn>> {
    prop::collection::vec((event(), 0_usize..40), 1..most).prop_map(|turns| {
        turns
            .into_iter()
            .map(|(event, ticks)| Turn { event, ticks })
            .collect()
    })
}

fn event() -> impl Strategy<Value = Event> {
    let failures = vec![
        Failure::QuotaLow,
        Failure::QuotaZero,
        Failure::Allocation,
        Failure::Sku,
    ];
    let pauses = vec![
        Pause::None,
        Pause::ScaleIn,
        Pause::ScaleOut,
        Pause::Both,
        Pause::At(3),
    ];
    let node = 0_usize..8;
    let protections = vec![Protection::None, Protection::Drainable, Protection::Protected];
    let conditions = vec![Condition::Healthy, Condition::Unhealthy];
    let reads = vec![ReadStatus::Answered, ReadStatus::Partial, ReadStatus::Failed];
    prop_oneof![
        3 => Just(Event::Calm),
        4 => (node.clone(), 0.0_f64..100.0).prop_map(|(node, percent)| Event::Load { node, percent }),
        3 => select(vec![0.0, 20.0, 60.0, 90.0, 100.0]).prop_map(Event::LoadAll),
        2 => node.clone().prop_map(Event::Silence),
        2 => (0_u32..12).prop_map(Event::Foreign),
        1 => select(failures).prop_map(Event::Fails),
        1 => select(vec![Operation::None, Operation::Ours, Operation::Foreign]).prop_map(Event::Operation),
        1 => select(vec![Freeze::Off, Freeze::On]).prop_map(Event::Freeze),
        1 => select(pauses).prop_map(Event::Pause),
        1 => (0_u32..14, 1_i64..60).prop_map(|(nodes, minutes)| Event::AtLeast { nodes, minutes }),
        1 => (node.clone(), select(protections)).prop_map(|(node, protection)| Event::Protect { node, protection }),
        1 => (node.clone(), select(conditions)).prop_map(|(node, condition)| Event::Sick { node, condition }),
        2 => (0_usize..6, 1_u32..4).prop_map(|(pods, gpus)| Event::Waiting { pods, gpus }),
        1 => select(reads).prop_map(Event::Read),
        1 => prop::option::of(1_i64..60).prop_map(Event::Price),
        1 => node.prop_map(Event::Evict),
        1 => Just(Event::SlowBoots),
    ]
}

/// A pool that lives through it.
pub fn pool(config: &Config, nodes: u32, view: View) -> World {
    let mut world = World::new(config.clone(), nodes, 2, Load::Pinned(vec![]), 5.0);
    world.rig.view = view;
    world
}

/// What happens, happens.
pub fn strike(world: &mut World, event: &Event) {
    let rig = &mut world.rig;
    let count = rig.nodes.len();
    let some = |node: usize| node.checked_rem(count);
    match *event {
        Event::Calm => {}
        Event::Load { node, percent } => {
            if let Some(index) = some(node) {
                rig.load(index, percent);
            }
        }
        Event::LoadAll(percent) => rig.load_all(percent),
        Event::Silence(node) => {
            if let Some(index) = some(node) {
                rig.silence(index);
            }
        }
        Event::Foreign(asked) => foreign(rig, asked),
        Event::Fails(failure) => rig.failure = Some(failure),
        Event::Operation(operation) => rig.operation = operation,
        Event::Freeze(freeze) => rig.freeze = freeze,
        Event::Pause(pause) => rig.overrides.pause = pause,
        Event::AtLeast { nodes, minutes } => {
            rig.overrides.at_least = Some((nodes, rig.now_ms + minutes * MINUTE_MS));
        }
        Event::Protect { node, protection } => {
            if let Some(index) = some(node) {
                rig.nodes[index].protection = protection;
            }
        }
        Event::Sick { node, condition } => {
            if let Some(index) = some(node) {
                rig.nodes[index].condition = condition;
            }
        }
        Event::Waiting { pods, gpus } => {
            let pod = PodRequest {
                gpus,
                placement: Placement::AnyNode,
            };
            rig.waiting = Some(vec![pod; pods]);
        }
        Event::Read(status) => rig.reads = vec![status; rig.config.signals.len()],
        Event::Price(usd) => rig.node_price = usd.map(|usd| usd * ONE),
        Event::Evict(node) => {
            if let Some(index) = some(node) {
                rig.nodes.remove(index);
            }
        }
        Event::SlowBoots => rig.boot_ms = 45 * MINUTE_MS,
    }
}

/// Somebody else sets the count: nodes are asked for, or those that boot and then the youngest leave.
fn foreign(rig: &mut Rig, asked: u32) {
    if asked > rig.asked {
        rig.booting.push(Booting {
            nodes: asked - rig.asked,
            since_ms: rig.now_ms,
        });
    }
    let mut leaving = rig.asked.saturating_sub(asked);
    while let Some(boot) = rig.booting.last_mut().filter(|_| leaving > 0) {
        let gone = boot.nodes.min(leaving);
        (boot.nodes, leaving) = (boot.nodes - gone, leaving - gone);
        if boot.nodes == 0 {
            rig.booting.pop();
        }
    }
    let staying = rig.nodes.len().saturating_sub(leaving as usize);
    rig.nodes.truncate(staying);
    rig.asked = asked;
}

/// The whole life, with `each` called on every evaluation before it is carried out.
pub fn live(
    world: &mut World,
    turns: &[Turn],
    mut each: impl FnMut(&mut World, &Evaluation) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    for turn in turns {
        strike(world, &turn.event);
        for _ in 0..=turn.ticks {
            let evaluation = world.watch();
            each(world, &evaluation)?;
            world.rig.carry_out(&evaluation);
        }
    }
    Ok(())
}

/// How nodes are seen.
pub fn view() -> impl Strategy<Value = View> {
    select(vec![
        View::Named,
        View::Named,
        View::Interchangeable,
        View::Unseen,
    ])
}
