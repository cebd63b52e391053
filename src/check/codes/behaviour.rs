//! `GS4xx`: what a short simulation shows.

use super::entries;

entries! {
    /// Saturated, and no growth.
    NEVER_GROWS = "GS401" Warning "the policy never grows, however busy the pool is":
        "The policy was run in the fluid model: from its minimum, with a demand of several times its \
         maximum. It did not ask for a single node. The message names the rule that held it most often.",
        "give the policy a signal that rises with demand, with a target or an up rule that can be met",
        "signals: [ { name: load, promql: avg(busy), unit: percent, down: { below: 30 } } ]";
    /// Saturated, and the maximum is not reached.
    STOPS_EARLY = "GS402" Warning "the policy does not reach its maximum under full saturation":
        "With a demand of several times the maximum, the policy grew for hours and stopped below it.",
        "raise the rates of `behavior.scaleUp`, or look at the rule that the message names",
        "behavior: { scaleUp: { policies: [ { type: Nodes, value: 1, period: 6h } ] } }";
    /// Idle, and no shrinking.
    NEVER_SHRINKS = "GS403" Warning "the policy never shrinks, however idle the pool is":
        "The policy was run without any demand after a busy time, for longer than all its windows together. \
         It gave back no node. Every node that a peak has brought is paid for ever.",
        "give every utilization signal a target or a down rule that an idle pool meets",
        "strategy: { step: { up: 2 } }\nsignals: [ { name: gpu, dcgm: { metric: GpuUtilization }, up: { above: 80 } } ]";
    /// Idle, and the minimum is not reached.
    STAYS_HIGH = "GS404" Warning "the policy does not come back to its minimum":
        "Without any demand the policy gave back some nodes and was still above its minimum after more than \
         a day.",
        "raise the rates of `behavior.scaleDown`, or look at the rule that the message names",
        "behavior: { scaleDown: { policies: [ { type: Nodes, value: 1, period: 6h } ] } }";
    /// Constant load, and no rest.
    OSCILLATES = "GS405" Note "the policy oscillates under constant load":
        "With a demand that did not change for hours the size went up and down again and again. A count of \
         waiting work falls to nothing as soon as there is room for it, so a policy that sees nothing else \
         gives nodes back while they are in use, and asks for them again. In a pool whose pods are seen, the \
         pods hold their nodes; replicas and nodes that somebody else chooses are not held.",
        "count work that is being done too, or add a utilization signal with a `down` rule",
        "scaler: { publish: DesiredReplicas }\nsignals: [ { name: waiting, promql: sum(waiting), unit: \
         count, perReplica: 4 } ]";
    /// Slow to react.
    SLOW_TO_GROW = "GS406" Note "the policy is slow to react to full saturation":
        "The time from full saturation to the first node asked for, in the fluid model. The boot comes on \
         top.",
        "shorten `up.for` and `window`, unless the wait is meant",
        "up: { above: 70, for: 30m, rule: Hold }";
}
