//! How many nodes the waiting pods need.
//!
//! Pods are placed one by one, each on one node: four pods of one GPU and one of eight are not twelve GPUs'
//! worth of anything. Largest first, onto the first node with room (first-fit decreasing, at most 11/9 of the
//! optimum plus 6/9; Dósa 2007), because the scheduler is free to do worse than any plan.

use super::observation::{NodeView, Nodes, Observation, Placement, PodRequest};

/// What the waiting pods need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needed {
    /// Nodes beyond those that are there or on their way.
    pub nodes: u32,
    /// Nodes, there or on their way, that stay wholly empty after every pod has its place.
    pub left_empty: u32,
    /// Pods larger than any node of the pool: no size helps them.
    pub unfittable: u32,
}

/// Places `waiting` on the free GPUs of the pool's nodes, then on the `arriving` nodes, then on new ones.
#[must_use]
pub fn place(waiting: &[PodRequest], observation: &Observation<'_>, arriving: u32) -> Needed {
    let per_node = observation.gpus_per_node;
    // No pod needs more than one node to itself, so more empty ones than pods need not be looked at.
    let most = u32::try_from(waiting.len()).unwrap_or(u32::MAX);
    let (mut room, mut unseen) = free_room(observation, most);
    let existing = room.len();
    unseen = unseen.saturating_add(arriving.saturating_sub(most));
    room.extend(std::iter::repeat_n(per_node, arriving.min(most) as usize));
    let there = room.len();
    let mut pods: Vec<&PodRequest> = waiting.iter().collect();
    pods.sort_by_key(|pod| std::cmp::Reverse(pod.gpus));
    let mut needed = Needed::default();
    for pod in pods {
        if pod.gpus > per_node {
            needed.unfittable += 1;
            continue;
        }
        let first = match pod.placement {
            Placement::AnyNode => 0,
            Placement::NewNode => existing,
        };
        match room.iter_mut().skip(first).find(|room| **room >= pod.gpus) {
            Some(room) => *room -= pod.gpus,
            None => room.push(per_node - pod.gpus),
        }
    }
    needed.nodes = u32::try_from(room.len() - there).unwrap_or(u32::MAX);
    let empty = room[..there].iter().filter(|&&room| room == per_node).count();
    needed.left_empty = u32::try_from(empty).unwrap_or(u32::MAX).saturating_add(unseen);
    needed
}

/// Free GPUs node by node, and the number of empty nodes beyond `most` that were left out. Without names only the
/// sum of free GPUs is known; then they are taken to be packed, which is how the fewest pods would fail to fit.
fn free_room(observation: &Observation<'_>, most: u32) -> (Vec<u32>, u32) {
    match observation.nodes {
        Nodes::Named(nodes) => (nodes.iter().map(usable).collect(), 0),
        Nodes::Unseen | Nodes::Interchangeable => {
            let free = observation.free_gpus.unwrap_or(0);
            let whole = free / observation.gpus_per_node.max(1);
            let rest = free % observation.gpus_per_node.max(1);
            let mut room = vec![observation.gpus_per_node; whole.min(most) as usize];
            room.extend((rest > 0).then_some(rest));
            (room, whole.saturating_sub(most))
        }
    }
}

fn usable(node: &NodeView) -> u32 {
    match node.condition {
        super::observation::Condition::Healthy => node.free_gpus,
        super::observation::Condition::Unhealthy => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::observation::{Condition, Protection};
    use super::super::sample::NodeId;
    use super::*;

    fn check(free: &[u32], arriving: u32, pods: &[u32], wanted: (u32, u32, u32)) {
        let nodes: Vec<NodeView> = free
            .iter()
            .zip(0..)
            .map(|(&free_gpus, id)| NodeView {
                id: NodeId(id),
                ready_since_ms: 0,
                free_gpus,
                gpu_pods: 0,
                protection: Protection::None,
                condition: Condition::Healthy,
            })
            .collect();
        let observation = Observation {
            gpus_per_node: 8,
            nodes: Nodes::Named(&nodes),
            ..Observation::default()
        };
        let pods: Vec<PodRequest> = pods
            .iter()
            .map(|&gpus| PodRequest {
                gpus,
                placement: Placement::AnyNode,
            })
            .collect();
        let needed = place(&pods, &observation, arriving);
        assert_eq!(
            (needed.nodes, needed.left_empty, needed.unfittable),
            wanted,
            "{free:?} {arriving} {pods:?}"
        );
    }

    #[test]
    fn pods_are_placed_node_by_node_and_never_by_their_sum() {
        check(&[], 0, &[], (0, 0, 0));
        check(&[4, 4], 0, &[8], (1, 0, 0)); // eight free GPUs, and no place for eight
        check(&[8, 4], 0, &[8, 4], (0, 0, 0));
        check(&[8, 8], 0, &[1], (0, 1, 0));
        check(&[], 2, &[8, 8, 8], (1, 0, 0)); // two are on their way
        check(&[], 0, &[5, 5, 3, 3], (2, 0, 0));
        check(&[], 0, &[9], (0, 0, 1));
    }

    #[test]
    fn a_pod_that_no_node_of_today_matches_needs_a_new_one() {
        let observation = Observation {
            gpus_per_node: 8,
            free_gpus: Some(64),
            ..Observation::default()
        };
        let pod = PodRequest {
            gpus: 1,
            placement: Placement::NewNode,
        };
        assert_eq!(place(&[pod], &observation, 0).nodes, 1);
        assert_eq!(place(&[pod], &observation, 1).nodes, 0);
    }
}
