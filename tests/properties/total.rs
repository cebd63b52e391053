//! The engine is total: no input, however absurd, makes it panic or overflow.

use gpuscale::policy::config::{Micro, Millis};
use gpuscale::policy::observation::{
    Booting, Condition, Failure, Freeze, NodeView, Nodes, Now, Observation, Operation, Overrides, Pause,
    Placement, PodRequest, Protection, Waiting,
};
use gpuscale::policy::sample::{Channel, DeviceId, NodeId, POOL, Sample};
use gpuscale::policy::windows::{Delta, Device, Health, ReadStatus, Windows};
use gpuscale::policy::{Memory, evaluate};
use proptest::prelude::*;
use proptest::sample::select;

use crate::configs::{any_config, cases};
use crate::rig::START_MS;

fn count() -> impl Strategy<Value = u32> {
    prop_oneof![3 => 0_u32..12, 1 => Just(u32::MAX), 1 => any::<u32>()]
}

fn time() -> impl Strategy<Value = Millis> {
    prop_oneof![
        6 => (-3_600_000_i64..3_600_000).prop_map(|ms| START_MS + ms),
        1 => Just(0_i64),
        1 => -10_000_000_i64..0,
        1 => Just(Millis::MAX),
        1 => Just(Millis::MIN),
        1 => any::<Millis>(),
    ]
}

/// Thirty thousand years.
const FAR_MS: Millis = 1_000_000_000_000_000;

/// A time on the source's clock: of samples, of devices, and of the tick. Not the ends of `i64`: windows subtract two
/// such times without saturation.
fn source_time() -> impl Strategy<Value = Millis> {
    time().prop_map(|ms| ms.clamp(-FAR_MS, FAR_MS))
}

/// Not the ends of `i64`: windows sum weighted readings, and subtract sums, without saturation.
fn value() -> impl Strategy<Value = Option<Micro>> {
    prop_oneof![
        4 => (0_i64..=1_000_000).prop_map(Some),
        1 => Just(None),
        1 => (-1_000_000_000_000_000_000_i64..=1_000_000_000_000_000_000).prop_map(Some),
    ]
}

fn sample() -> impl Strategy<Value = Sample> {
    let device = prop_oneof![(0_u32..6).prop_map(DeviceId), Just(POOL)];
    let weight = select(vec![1_000_000_i64, 142_857, 0, 8_000_000]);
    let channel = select(vec![
        Channel::Load,
        Channel::Load,
        Channel::Power,
        Channel::Memory,
    ]);
    (source_time(), 0_u16..6, device, value(), weight, channel).prop_map(
        |(at_ms, signal, device, value, weight, channel)| Sample {
            at_ms,
            signal,
            device,
            value,
            weight,
            channel,
        },
    )
}

fn inventory() -> impl Strategy<Value = Option<Vec<Device>>> {
    let device =
        (0_u32..6, 0_u32..3, source_time(), any::<bool>()).prop_map(|(id, node, ready_since_ms, sick)| {
            Device {
                ready_since_ms,
                health: if sick { Health::Unhealthy } else { Health::Healthy },
                ..Device::new(DeviceId(id), NodeId(node), 0)
            }
        });
    prop::option::weighted(0.7, prop::collection::vec(device, 0..6)).prop_map(|devices| {
        devices.map(|mut devices| {
            devices.sort_by_key(|device| device.id);
            devices.dedup_by_key(|device| device.id);
            devices
        })
    })
}

/// One tick of nonsense, with what an [`Observation`] borrows.
#[derive(Debug, Clone)]
struct Nonsense {
    now: Now,
    samples: Vec<Sample>,
    inventory: Option<Vec<Device>>,
    counts: [u32; 6],
    booting: Vec<Booting>,
    pods: Option<Vec<PodRequest>>,
    nodes: Option<Vec<NodeView>>,
    price: Option<Micro>,
    overrides: Overrides,
    failure: Option<Failure>,
    operation: Operation,
    read: ReadStatus,
}

fn node() -> impl Strategy<Value = NodeView> {
    let protection = select(vec![
        Protection::None,
        Protection::Drainable,
        Protection::Protected,
    ]);
    let condition = select(vec![Condition::Healthy, Condition::Unhealthy]);
    (0_u32..4, time(), count(), count(), protection, condition).prop_map(
        |(id, ready_since_ms, free_gpus, gpu_pods, protection, condition)| NodeView {
            id: NodeId(id),
            ready_since_ms,
            free_gpus,
            gpu_pods,
            protection,
            condition,
        },
    )
}

fn nonsense() -> impl Strategy<Value = Nonsense> {
    let now = (source_time(), time()).prop_map(|(wall_ms, timer_ms)| Now { wall_ms, timer_ms });
    let counts = prop::array::uniform6(count());
    let booting = (count(), time()).prop_map(|(nodes, since_ms)| Booting { nodes, since_ms });
    let placement = select(vec![Placement::AnyNode, Placement::NewNode]);
    let pod = (count(), placement).prop_map(|(gpus, placement)| PodRequest { gpus, placement });
    let price = prop::option::of(select(vec![0_i64, -5, 1, 20_000_000, Micro::MAX, Micro::MIN]));
    let pause = prop_oneof![3 => Just(Pause::None), 1 => count().prop_map(Pause::At)];
    let overrides = (prop::option::of((count(), time())), pause)
        .prop_map(|(at_least, pause)| Overrides { at_least, pause });
    let failure = prop::option::of(select(vec![Failure::QuotaLow, Failure::Sku]));
    let operation = select(vec![
        Operation::None,
        Operation::None,
        Operation::Ours,
        Operation::Foreign,
    ]);
    let read = select(vec![
        ReadStatus::Answered,
        ReadStatus::Partial,
        ReadStatus::Failed,
    ]);
    let world = (
        counts,
        prop::collection::vec(booting, 0..3),
        prop::option::of(prop::collection::vec(pod, 0..4)),
        prop::option::of(prop::collection::vec(node(), 0..5)),
    );
    let data = (now, prop::collection::vec(sample(), 0..30), inventory(), read);
    (data, world, (price, overrides, failure, operation)).prop_map(|(data, world, rest)| {
        let (now, samples, inventory, read) = data;
        let (counts, booting, pods, nodes) = world;
        let (price, overrides, failure, operation) = rest;
        Nonsense {
            now,
            samples,
            inventory,
            counts,
            booting,
            pods,
            nodes,
            price,
            overrides,
            failure,
            operation,
            read,
        }
    })
}

proptest! {
    #![proptest_config(cases(3000))]

    #[test]
    fn nothing_panics(config in any_config(), ticks in prop::collection::vec(nonsense(), 1..12)) {
        let mut windows = Windows::new(&config);
        let mut memory = Memory::default();
        for tick in &ticks {
            windows.ingest(&Delta {
                now_ms: tick.now.wall_ms,
                samples: &tick.samples,
                inventory: tick.inventory.as_deref(),
                reads: &[tick.read],
            });
            let [asked, ready, schedulable, unhealthy, gpus_per_node, free_gpus] = tick.counts;
            let observation = Observation {
                asked,
                ready,
                schedulable,
                unhealthy,
                booting: &tick.booting,
                gpus_per_node,
                free_gpus: Some(free_gpus),
                waiting: tick.pods.as_deref().map_or(Waiting::Unseen, Waiting::Pods),
                nodes: tick.nodes.as_deref().map_or(Nodes::Interchangeable, Nodes::Named),
                operation: tick.operation,
                failure: tick.failure,
                node_price: tick.price,
                overrides: tick.overrides,
                freeze: Freeze::Off,
            };
            let evaluation = evaluate(&config, &windows, &observation, &mut memory, tick.now);
            prop_assert_eq!(evaluation.decision.from, asked);
            memory.resume(tick.now, Now { wall_ms: tick.now.timer_ms, timer_ms: tick.now.wall_ms });
        }
    }
}
