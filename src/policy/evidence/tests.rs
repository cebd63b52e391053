//! Shares of sick nodes.

use super::super::config::{Absent, Across, MINUTE_MS, SeriesUnit};
use super::super::dcgm::DcgmMetric;
use super::*;

fn signal(source: SignalSource) -> Signal {
    Signal {
        name: "signal".into(),
        source,
        across: Across::Mean,
        target: None,
        per_node: None,
        up: None,
        down: None,
        demand_window_ms: MINUTE_MS,
        absent: Absent::Unknown,
    }
}

#[test]
fn more_than_a_fifth_is_too_many() {
    for (ready, schedulable, unhealthy, wanted) in [
        (0, 0, 0, false),
        (5, 5, 1, false),
        (4, 4, 1, true),
        (10, 10, 2, false),
        (10, 10, 3, true),
        (1, 1, 1, true),
        (10, 7, 2, false), // sick ones may be unschedulable and are nodes all the same
        (0, 0, 1, true),
    ] {
        let observation = Observation {
            ready,
            schedulable,
            unhealthy,
            ..Observation::default()
        };
        let devices = signal(SignalSource::Device(DcgmMetric::SmActive));
        let queue = signal(SignalSource::Series(SeriesUnit::Count));
        assert_eq!(
            too_many_unhealthy(&devices, &observation),
            wanted,
            "{unhealthy} of {ready}"
        );
        assert!(
            !too_many_unhealthy(&queue, &observation),
            "a queue does not fall ill"
        );
    }
}
