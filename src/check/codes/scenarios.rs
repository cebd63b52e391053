//! `GS5xx`: scenarios, suites and their recordings.

use super::entries;

entries! {
    /// A field makes no sense, alone or beside another.
    SCENARIO = "GS501" Error "a field of the scenario makes no sense":
        "Fields of a scenario are held against each other before anything runs, because a scenario that is \
         half nonsense gives a scorecard that looks right.",
        "correct the marked field; `simulations/README.md` documents all of them",
        "bootDelay: { uniform: { min: 12m, max: 5m } }";
    /// A file that the scenario names cannot be opened.
    MISSING_FILE = "GS502" Error "a file that the document names cannot be opened":
        "Paths are relative to the directory of the document that names them.",
        "correct the path, or add the file",
        "recording: recordings/lost.csv.gz";
    /// The recording cannot be read.
    RECORDING = "GS503" Error "the recording cannot be read":
        "The message has the line. Recordings are read strictly, because a half read one looks like a quiet \
         night.",
        "correct the recording, or write it again",
        "recording: cut-short.csv.gz";
    /// The recording has no such series.
    SERIES = "GS504" Error "the recording has no such series":
        "A recording holds one or more series; a scenario picks one by name.",
        "use one of the names that the message lists",
        "series: earth_vcXXX";
    /// A fault after the end.
    FAULT_TOO_LATE = "GS505" Error "the fault begins after the recording has ended":
        "It would never happen, and the scenario would look as if the policy survived it.",
        "move it into the recording's time",
        "faults: [ { at: 30d, for: 1h, staleSeries: {} } ]";
    /// Faults of one kind overlap.
    FAULTS_OVERLAP = "GS506" Warning "two faults of one kind overlap":
        "Where faults of one kind overlap the worst holds, so part of one of them is not felt.",
        "separate them in time, or write one fault with the longer span",
        "faults: [ { at: 1h, for: 2h, staleSeries: {} }, { at: 2h, for: 1h, staleSeries: {} } ]";
    /// A fault between two ticks.
    FAULT_UNFELT = "GS507" Warning "the fault falls between two evaluations":
        "A fault is felt at the first evaluation at or after its time; one that ends before the next \
         evaluation is not felt.",
        "lengthen it to at least one evaluation interval",
        "faults: [ { at: 1h, for: 5s, staleSeries: {} } ]";
    /// The start is outside the bounds.
    INITIAL_NODES = "GS508" Warning "the initial size is outside the policy's bounds":
        "The simulation starts at the nearest bound instead, which is not what the scenario says.",
        "set `initialNodes` within the bounds of the policy",
        "initialNodes: 40";
    /// Nodes for nothing.
    FREE_NODES = "GS509" Warning "a node costs nothing":
        "With a price of 0 every cost in the scorecard is 0, and a budget never binds.",
        "write the price of a node-hour, or remove `priceUsdPerHour` to judge by node-hours alone",
        "priceUsdPerHour: 0";
    /// Boots longer than the policy waits.
    BOOT_TOO_LONG = "GS510" Warning "nodes boot for longer than the policy waits":
        "A node that is not Ready within the policy's `provisionTimeout` counts as missing and is asked for \
         again, so every growth of this scenario asks twice.",
        "raise `provisionTimeout` of the policy, or correct the boot delay",
        "bootDelay: 25m";
    /// The loop is coarser than the windows.
    COARSE_INTERVAL = "GS511" Warning "the interval is coarser than the policy's windows":
        "Samples are taken once per interval. A window that is shorter than the interval holds at most one \
         of them, and the policy is judged on data that it will never see in production.",
        "shorten `interval`, or leave it out to use the policy's `evaluationInterval`",
        "interval: 10m";
    /// The peak cannot be served.
    CERTAIN_MISS = "GS512" Warning "the peak exceeds the largest size: a miss is certain":
        "No policy can serve the peak of this demand within `maxNodes`, so the miss percentage says more \
         about the bound than about the policy.",
        "lower `scale`, or raise `maxNodes`; keep it if the bound itself is what is judged",
        "scale: 10";
    /// The minimum alone exceeds the budget.
    BUDGET_BELOW_MIN = "GS513" Warning "the smallest size costs more than the budget":
        "The budget forbids growth beyond it and takes nothing away: the pool stays at its minimum, above \
         the budget.",
        "raise the budget or lower the minimum",
        "priceUsdPerHour: 32.77 # with budget 20 and minNodes 1";
    /// A budget without a price.
    NO_PRICE = "GS514" Warning "the policy has a budget, and the scenario has no price":
        "While the price of a node is unknown a policy with a budget does not grow at all.",
        "write `priceUsdPerHour`",
        "policy: budgeted.yaml # and no priceUsdPerHour";
}
