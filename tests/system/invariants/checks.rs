//! Whether the invariants bite: hand-made logs, each good but for one thing, and a good one in which every invariant
//! was asked and none objects. Run before the first seed, since a checker that cannot fail proves nothing.

use gpuscale::policy::config::{MINUTE_MS, ONE};

use super::super::event::{Decided, Event};
use super::Invariant;
use super::story::{END_MS, GROWTH_MS, SHRINK_MS, STOP_MS, Story, decided, hold, sent, taken};

/// Checks every invariant against a log that breaks it, and all of them against logs that break none.
///
/// # Panics
/// If one of them is blind or cries wolf.
pub fn run() {
    let mut checked = [0; Invariant::ALL.len()];
    for (name, story) in [("faults", Story::faults()), ("quiet", Story::quiet())] {
        let findings = story.play();
        assert_eq!(findings.violations, [], "the good story of {name}");
        findings
            .checked()
            .for_each(|(invariant, count)| checked[invariant as usize] += count);
    }
    for &invariant in Invariant::ALL {
        assert!(
            checked[invariant as usize] > 0,
            "{} is never asked",
            invariant.name()
        );
        assert!(
            BAD.iter().any(|(bad, ..)| *bad == invariant),
            "{} is never broken",
            invariant.name()
        );
    }
    for (invariant, what, start, spoil) in BAD {
        let mut story = start();
        spoil(&mut story);
        let findings = story.play();
        let found = findings
            .violations
            .iter()
            .any(|violation| violation.invariant == invariant.name());
        assert!(
            found,
            "{} is blind to {what}; found: {:?}",
            invariant.name(),
            findings.violations
        );
    }
}

type Spoil = fn(&mut Story);

/// An invariant, what breaks it, in which story, and how.
const BAD: &[(Invariant, &str, fn() -> Story, Spoil)] = &[
    (Invariant::Bounds, "a growth above max", Story::faults, |s| {
        s.arrival(GROWTH_MS).to = 9;
    }),
    (Invariant::Bounds, "a shrink below min", Story::faults, |s| {
        s.arrival(SHRINK_MS).to = 0;
    }),
    (Invariant::OneInFlight, "two operations", Story::faults, |s| {
        s.arrival(SHRINK_MS).ours_running = true;
    }),
    (
        Invariant::OneInFlight,
        "a write into a running one",
        Story::faults,
        |s| {
            s.add(GROWTH_MS + 60_000, sent(0, 6));
        },
    ),
    (Invariant::OneSubmission, "two submissions", Story::faults, |s| {
        s.add(GROWTH_MS + 400, sent(1, 4));
    }),
    (
        Invariant::IfMatch,
        "a write without a fence",
        Story::faults,
        |s| {
            s.replace(|event| {
                if let Event::ResizeSent { pool, count, .. } = event {
                    *event = Event::ResizeSent {
                        pool: *pool,
                        etag: String::new(),
                        count: *count,
                    }
                }
            });
        },
    ),
    (Invariant::IfMatch, "a stale fence", Story::faults, |s| {
        s.arrival(SHRINK_MS).etag_current = false;
    }),
    (
        Invariant::NeverRepeated,
        "a growth sent twice",
        Story::faults,
        |s| {
            s.add(GROWTH_MS + 1_000, sent(0, 7));
            s.add(GROWTH_MS + 1_200, Event::ResizeArrived(taken(0, 5, 7)));
        },
    ),
    (
        Invariant::ForeignAdopted,
        "a write on top of another's",
        Story::faults,
        |s| {
            s.add(
                SHRINK_MS + 50,
                Event::ForeignWrite {
                    pool: 0,
                    from: 6,
                    to: 7,
                },
            );
            s.arrival(SHRINK_MS).from = 7;
        },
    ),
    (
        Invariant::Conflicting,
        "a write into a fight",
        Story::faults,
        |s| {
            for minute in [35, 40] {
                s.add(
                    minute * MINUTE_MS,
                    Event::ForeignWrite {
                        pool: 0,
                        from: 6,
                        to: 7,
                    },
                );
                s.add(minute * MINUTE_MS + 1, hold(0, 7));
                s.add(minute * MINUTE_MS + 2, hold(0, 6));
            }
        },
    ),
    (
        Invariant::RecordedBeforeWrite,
        "a write that was not saved",
        Story::faults,
        |s| {
            s.events
                .retain(|(_, event)| !matches!(event, Event::Saved { .. }));
        },
    ),
    (
        Invariant::RecordedBeforeWrite,
        "a save that was lost",
        Story::faults,
        |s| {
            s.replace(|event| {
                if let Event::Saved { kept, .. } = event {
                    *kept = false;
                }
            });
        },
    ),
    (
        Invariant::RecordedBeforeWrite,
        "a write without a record",
        Story::faults,
        |s| {
            s.events
                .retain(|(_, event)| !matches!(event, Event::Recorded { .. }));
        },
    ),
    (
        Invariant::Autoscaler,
        "a write under an autoscaler",
        Story::faults,
        |s| {
            s.arrival(GROWTH_MS).autoscaler = true;
        },
    ),
    (Invariant::Throttle, "a burst of writes", Story::faults, |s| {
        (0..21).for_each(|n| s.add(GROWTH_MS + 200_000 + n * 1_000, sent(0, 5)));
    }),
    (
        Invariant::NoShrinkWithoutData,
        "half the devices silent",
        Story::faults,
        |s| s.truth.known = ONE / 2,
    ),
    (
        Invariant::NoShrinkWithoutData,
        "an old newest sample",
        Story::faults,
        |s| {
            s.truth.newest_ms = SHRINK_MS - 10 * MINUTE_MS;
        },
    ),
    (
        Invariant::NoBusyTaken,
        "work within the idle window",
        Story::faults,
        |s| {
            s.truth.busy_until_ms = SHRINK_MS - 10 * MINUTE_MS;
        },
    ),
    (
        Invariant::NoBusyTaken,
        "a busy node that leaves",
        Story::faults,
        |s| {
            s.truth.busy_until_ms = END_MS;
            s.replace(|event| {
                if let Event::NodesLeft { busy, .. } = event {
                    *busy = 1;
                }
            });
        },
    ),
    (
        Invariant::Cooldown,
        "a shrink after a growth",
        Story::faults,
        |s| {
            s.add(
                GROWTH_MS + 5 * MINUTE_MS,
                Event::Recorded {
                    policy: 0,
                    from: 5,
                    to: 4,
                },
            );
        },
    ),
    (
        Invariant::Cooldown,
        "the same across a restart",
        Story::faults,
        |s| {
            s.add(GROWTH_MS + 4 * MINUTE_MS, Event::Crashed);
            s.add(GROWTH_MS + 4 * MINUTE_MS + 1, Event::Started);
            s.add(
                GROWTH_MS + 5 * MINUTE_MS,
                Event::Recorded {
                    policy: 0,
                    from: 5,
                    to: 4,
                },
            );
        },
    ),
    (
        Invariant::Stabilization,
        "a larger wish shortly before",
        Story::faults,
        |s| {
            let wished = Decided {
                wish: 6,
                ..decided(6, 6)
            };
            s.add(
                SHRINK_MS - 10 * MINUTE_MS,
                Event::Ticked {
                    policy: 0,
                    decided: Some(wished),
                },
            );
        },
    ),
    (Invariant::Rate, "a shrink by three", Story::faults, |s| {
        s.replace(|event| match event {
            Event::Recorded { from: 6, to, .. } => *to = 3,
            Event::ResizeSent { count, .. } if *count == 5 => *count = 3,
            _ => {}
        });
        s.arrival(SHRINK_MS).to = 3;
    }),
    (
        Invariant::DeadInput,
        "a source that is silent",
        Story::faults,
        |s| {
            s.without((SHRINK_MS - 20 * MINUTE_MS, END_MS), |event| {
                matches!(event, Event::MetricsRead { .. })
            });
        },
    ),
    (
        Invariant::DeadInput,
        "a source that answers with nothing",
        Story::faults,
        |s| {
            let range = SHRINK_MS - 20 * MINUTE_MS..END_MS;
            s.events
                .iter_mut()
                .filter(|(at_ms, _)| range.contains(at_ms))
                .for_each(|(_, event)| {
                    if let Event::MetricsRead { newest_ms, .. } = event {
                        *newest_ms = None;
                    }
                });
        },
    ),
    (
        Invariant::PartialHolds,
        "a part taken for the whole",
        Story::faults,
        |s| {
            s.replace(|event| {
                if let Event::Ticked {
                    decided: Some(decided),
                    ..
                } = event
                {
                    decided.known = true;
                }
            });
        },
    ),
    (
        Invariant::WarmStart,
        "a shrink right after the start",
        Story::faults,
        |s| {
            let range = (SHRINK_MS - 5 * MINUTE_MS, SHRINK_MS);
            s.without(range, |event| matches!(event, Event::MetricsRead { .. }));
            s.add(SHRINK_MS - 1_000, Event::Crashed);
            s.add(SHRINK_MS - 999, Event::Started);
        },
    ),
    (
        Invariant::NotByForce,
        "a refused growth taken back",
        Story::faults,
        |s| {
            s.truth.busy_until_ms = SHRINK_MS - 10 * MINUTE_MS;
        },
    ),
    (
        Invariant::Guarded,
        "a shrink from what is not known",
        Story::faults,
        |s| {
            let blind = Decided {
                known: false,
                ..decided(6, 5)
            };
            s.add(
                SHRINK_MS - 1,
                Event::Ticked {
                    policy: 0,
                    decided: Some(blind),
                },
            );
        },
    ),
    (Invariant::Frozen, "a write while frozen", Story::faults, |s| {
        s.add(SHRINK_MS - 2_000, Event::Frozen(true));
    }),
    (
        Invariant::Deleted,
        "a write of a policy that is gone",
        Story::faults,
        |s| {
            s.add(
                GROWTH_MS - 2_000,
                Event::PolicyPresent {
                    policy: 0,
                    present: false,
                },
            );
        },
    ),
    (Invariant::Isolation, "a policy that stalls", Story::faults, |s| {
        let stalled = |event: &Event| matches!(event, Event::Ticked { policy: 1, .. });
        s.without((40 * MINUTE_MS, 45 * MINUTE_MS), stalled);
    }),
    (
        Invariant::Shutdown,
        "an end that takes too long",
        Story::faults,
        |s| {
            s.without((STOP_MS + 1, END_MS), |event| {
                matches!(event, Event::Stopped | Event::Started)
            });
            s.add(STOP_MS + MINUTE_MS, Event::Stopped);
        },
    ),
    (
        Invariant::LivenessUp,
        "capacity that never comes",
        Story::quiet,
        |s| s.truth.counts[0] = 2,
    ),
    (
        Invariant::LivenessDown,
        "an idle pool that stays",
        Story::quiet,
        |s| s.truth.falls = false,
    ),
    (
        Invariant::LivenessSteady,
        "a hold without an end",
        Story::quiet,
        |s| {
            s.replace(|event| {
                if let Event::Ticked {
                    decided: Some(decided),
                    ..
                } = event
                {
                    decided.reason = "PoolBusy";
                }
            });
        },
    ),
    (
        Invariant::LivenessSteady,
        "a policy that never decides",
        Story::quiet,
        |s| {
            s.replace(|event| {
                if let Event::Ticked { decided, .. } = event {
                    *decided = None;
                }
            });
        },
    ),
];
