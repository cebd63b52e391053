//! The pool as it was shown to the engine: kept between ticks, so that only what changed is written.

use super::numbers::{Input, Malformed, put, put_length, put_option, put_signed};
use crate::policy::observation::{
    Booting, Condition, Failure, Freeze, NodeView, Nodes, Observation, Operation, Overrides, Pause,
    Placement, PodRequest, Protection, Waiting,
};
use crate::policy::sample::NodeId;

/// Most entries of a list of nodes or pods.
pub(super) const LONGEST_LIST: usize = 1 << 17;

/// An observation that owns its lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    plain: Plain,
    booting: Vec<Booting>,
    waiting: Option<Vec<PodRequest>>,
    nodes: SeenNodes,
}

/// What of an observation borrows nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Plain {
    counts: [u32; 5],
    free_gpus: Option<u32>,
    operation: Operation,
    failure: Option<Failure>,
    node_price: Option<i64>,
    overrides: Overrides,
    freeze: Freeze,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum SeenNodes {
    #[default]
    Unseen,
    Interchangeable,
    Named(Vec<NodeView>),
}

impl Plain {
    fn of(observation: &Observation<'_>) -> Self {
        Self {
            counts: [
                observation.asked,
                observation.ready,
                observation.schedulable,
                observation.unhealthy,
                observation.gpus_per_node,
            ],
            free_gpus: observation.free_gpus,
            operation: observation.operation,
            failure: observation.failure,
            node_price: observation.node_price,
            overrides: observation.overrides,
            freeze: observation.freeze,
        }
    }
}

const COUNTS: u8 = 1;
const FREE: u8 = 2;
const CONDITION: u8 = 4;
const PRICE: u8 = 8;
const OVERRIDES: u8 = 16;
const BOOTING: u8 = 32;
const WAITING: u8 = 64;
const NODES: u8 = 128;

impl Seen {
    /// The observation.
    #[must_use]
    pub fn view(&self) -> Observation<'_> {
        let [asked, ready, schedulable, unhealthy, gpus_per_node] = self.plain.counts;
        Observation {
            asked,
            ready,
            schedulable,
            unhealthy,
            booting: &self.booting,
            gpus_per_node,
            free_gpus: self.plain.free_gpus,
            waiting: self.waiting.as_deref().map_or(Waiting::Unseen, Waiting::Pods),
            nodes: match &self.nodes {
                SeenNodes::Unseen => Nodes::Unseen,
                SeenNodes::Interchangeable => Nodes::Interchangeable,
                SeenNodes::Named(nodes) => Nodes::Named(nodes),
            },
            operation: self.plain.operation,
            failure: self.plain.failure,
            node_price: self.plain.node_price,
            overrides: self.plain.overrides,
            freeze: self.plain.freeze,
        }
    }

    /// Writes what differs in `new` and takes it over.
    pub(super) fn put(&mut self, out: &mut Vec<u8>, new: &Observation<'_>) {
        let (old, plain) = (self.plain, Plain::of(new));
        let condition = |plain: &Plain| (plain.operation, plain.failure, plain.freeze);
        let changed = |yes: bool, bit: u8| if yes { bit } else { 0 };
        let shown = self.view();
        let mask = changed(old.counts != plain.counts, COUNTS)
            | changed(old.free_gpus != plain.free_gpus, FREE)
            | changed(condition(&old) != condition(&plain), CONDITION)
            | changed(old.node_price != plain.node_price, PRICE)
            | changed(old.overrides != plain.overrides, OVERRIDES)
            | changed(shown.booting != new.booting, BOOTING)
            | changed(shown.waiting != new.waiting, WAITING)
            | changed(shown.nodes != new.nodes, NODES);
        out.push(mask);
        if mask == 0 {
            return;
        }
        self.plain = plain;
        if mask & COUNTS != 0 {
            for count in plain.counts {
                put(out, u64::from(count));
            }
        }
        if mask & FREE != 0 {
            put_option(out, plain.free_gpus.map(i64::from));
        }
        if mask & CONDITION != 0 {
            out.push(plain.operation as u8);
            out.push(plain.failure.map_or(0, |failure| failure as u8 + 1));
            out.push(plain.freeze as u8);
        }
        if mask & PRICE != 0 {
            put_option(out, plain.node_price);
        }
        if mask & OVERRIDES != 0 {
            put_overrides(out, plain.overrides);
        }
        self.put_lists(out, new, mask);
    }

    fn put_lists(&mut self, out: &mut Vec<u8>, new: &Observation<'_>, mask: u8) {
        if mask & BOOTING != 0 {
            put_length(out, new.booting.len());
            for boot in new.booting {
                put(out, u64::from(boot.nodes));
                put_signed(out, boot.since_ms);
            }
            self.booting.clear();
            self.booting.extend_from_slice(new.booting);
        }
        if mask & WAITING != 0 {
            self.waiting = put_waiting(out, new.waiting);
        }
        if mask & NODES != 0 {
            self.nodes = put_nodes(out, new.nodes);
        }
    }

    /// Whether a block can hold it.
    pub(super) fn is_too_long(observation: &Observation<'_>) -> bool {
        let waiting = match observation.waiting {
            Waiting::Unseen => 0,
            Waiting::Pods(pods) => pods.len(),
        };
        let nodes = match observation.nodes {
            Nodes::Named(nodes) => nodes.len(),
            Nodes::Unseen | Nodes::Interchangeable => 0,
        };
        observation.booting.len().max(waiting).max(nodes) > LONGEST_LIST
    }

    /// Reads what differs.
    pub(super) fn take(&mut self, input: &mut Input<'_>) -> Result<(), Malformed> {
        let mask = input.byte()?;
        if mask & COUNTS != 0 {
            for count in &mut self.plain.counts {
                *count = input.small("a count of nodes")?;
            }
        }
        if mask & FREE != 0 {
            let free = input.option()?.map(u32::try_from).transpose();
            self.plain.free_gpus = free.map_err(|_| Malformed::Range("free GPUs"))?;
        }
        if mask & CONDITION != 0 {
            self.plain.operation = operation(input.byte()?)?;
            self.plain.failure = failure(input.byte()?)?;
            self.plain.freeze = one_of(&[Freeze::Off, Freeze::On], input.byte()?, "a brake")?;
        }
        if mask & PRICE != 0 {
            self.plain.node_price = input.option()?;
        }
        if mask & OVERRIDES != 0 {
            self.plain.overrides = overrides(input)?;
        }
        if mask & BOOTING != 0 {
            self.booting.clear();
            for _ in 0..input.count(LONGEST_LIST, "a list of booting nodes")? {
                self.booting.push(Booting {
                    nodes: input.small("booting nodes")?,
                    since_ms: input.signed()?,
                });
            }
        }
        if mask & WAITING != 0 {
            self.waiting = waiting(input)?;
        }
        if mask & NODES != 0 {
            self.nodes = nodes(input)?;
        }
        Ok(())
    }
}

pub(super) fn one_of<T: Copy>(values: &[T], number: u8, what: &'static str) -> Result<T, Malformed> {
    values
        .get(usize::from(number))
        .copied()
        .ok_or(Malformed::Unknown(what))
}

fn operation(number: u8) -> Result<Operation, Malformed> {
    one_of(
        &[Operation::None, Operation::Ours, Operation::Foreign],
        number,
        "an operation",
    )
}

fn failure(number: u8) -> Result<Option<Failure>, Malformed> {
    let failures = [
        None,
        Some(Failure::QuotaLow),
        Some(Failure::QuotaZero),
        Some(Failure::Allocation),
        Some(Failure::Sku),
    ];
    one_of(&failures, number, "a failure")
}

fn put_overrides(out: &mut Vec<u8>, overrides: Overrides) {
    put_option(out, overrides.at_least.map(|(_, until_ms)| until_ms));
    put(out, overrides.at_least.map_or(0, |(nodes, _)| u64::from(nodes)));
    let (kind, size) = match overrides.pause {
        Pause::None => (0, 0),
        Pause::ScaleIn => (1, 0),
        Pause::ScaleOut => (2, 0),
        Pause::Both => (3, 0),
        Pause::At(size) => (4, size),
    };
    out.push(kind);
    put(out, u64::from(size));
}

fn overrides(input: &mut Input<'_>) -> Result<Overrides, Malformed> {
    let until_ms = input.option()?;
    let nodes = input.small("an override")?;
    let kind = input.byte()?;
    let size = input.small("a pause")?;
    let pauses = [
        Pause::None,
        Pause::ScaleIn,
        Pause::ScaleOut,
        Pause::Both,
        Pause::At(size),
    ];
    Ok(Overrides {
        at_least: until_ms.map(|until_ms| (nodes, until_ms)),
        pause: one_of(&pauses, kind, "a pause")?,
    })
}

fn put_waiting(out: &mut Vec<u8>, waiting: Waiting<'_>) -> Option<Vec<PodRequest>> {
    let Waiting::Pods(pods) = waiting else {
        out.push(0);
        return None;
    };
    out.push(1);
    put_length(out, pods.len());
    for pod in pods {
        let anywhere = u64::from(pod.placement == Placement::AnyNode);
        put(out, u64::from(pod.gpus) << 1 | anywhere);
    }
    Some(pods.to_vec())
}

fn waiting(input: &mut Input<'_>) -> Result<Option<Vec<PodRequest>>, Malformed> {
    if input.byte()? == 0 {
        return Ok(None);
    }
    let mut pods = Vec::new();
    for _ in 0..input.count(LONGEST_LIST, "a list of pods")? {
        let number = input.number()?;
        pods.push(PodRequest {
            gpus: u32::try_from(number >> 1).map_err(|_| Malformed::Range("GPUs of a pod"))?,
            placement: if number & 1 == 1 {
                Placement::AnyNode
            } else {
                Placement::NewNode
            },
        });
    }
    Ok(Some(pods))
}

fn put_nodes(out: &mut Vec<u8>, nodes: Nodes<'_>) -> SeenNodes {
    match nodes {
        Nodes::Unseen => {
            out.push(0);
            SeenNodes::Unseen
        }
        Nodes::Interchangeable => {
            out.push(1);
            SeenNodes::Interchangeable
        }
        Nodes::Named(nodes) => {
            out.push(2);
            put_length(out, nodes.len());
            for node in nodes {
                put(out, u64::from(node.id.0));
                put_signed(out, node.ready_since_ms);
                put(out, u64::from(node.free_gpus));
                put(out, u64::from(node.gpu_pods));
                out.push(node.protection as u8);
                out.push(node.condition as u8);
            }
            SeenNodes::Named(nodes.to_vec())
        }
    }
}

fn nodes(input: &mut Input<'_>) -> Result<SeenNodes, Malformed> {
    match input.byte()? {
        0 => return Ok(SeenNodes::Unseen),
        1 => return Ok(SeenNodes::Interchangeable),
        2 => {}
        _ => return Err(Malformed::Unknown("a kind of nodes")),
    }
    let protections = [Protection::None, Protection::Drainable, Protection::Protected];
    let mut nodes = Vec::new();
    for _ in 0..input.count(LONGEST_LIST, "a list of nodes")? {
        nodes.push(NodeView {
            id: NodeId(input.small("a node")?),
            ready_since_ms: input.signed()?,
            free_gpus: input.small("free GPUs")?,
            gpu_pods: input.small("pods of a node")?,
            protection: one_of(&protections, input.byte()?, "a protection")?,
            condition: one_of(
                &[Condition::Healthy, Condition::Unhealthy],
                input.byte()?,
                "a condition",
            )?,
        });
    }
    Ok(SeenNodes::Named(nodes))
}
