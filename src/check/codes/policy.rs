//! `GS2xx`: rules of the policy, and bounds that are valid but ill-advised.

use super::entries;

entries! {
    /// A rule of the custom resource does not hold.
    RULE = "GS201" Error "a rule of the policy does not hold":
        "The same rules are in the custom resource definition, so the API server would refuse the policy \
         with the same words. All rules that do not hold are reported at once.",
        "change the marked value so that the sentence above holds",
        "minNodes: 10\nmaxNodes: 8";
    /// The engine of this version cannot run the policy.
    NOT_RUN = "GS202" Warning "this version cannot run the policy":
        "The document is valid, but it asks for something that the engine of this version does not have. It \
         can be stored; it cannot be simulated or enforced.",
        "use what this version has, as the message says",
        "strategy: { forecast: {} }";
    /// A threshold that only a perfect reading reaches.
    UNREACHABLE = "GS203" Warning "the threshold is next to unreachable":
        "A mean of 100 % is reached only when every device reads exactly 100 in every sample; utilization \
         counters are sampled and seldom do. A shrink threshold of 0 is reached only when every sample is \
         exactly 0, which one health check prevents. The rule is valid, and it may never be met.",
        "leave room: 90 instead of 100 to grow, 5 instead of 0 to shrink",
        "up: { above: 100 }";
    /// A threshold that looks like a fraction where percent is meant.
    FRACTION = "GS204" Warning "a percentage below 1 looks like a fraction":
        "Thresholds of a utilization are percentages, also where the unit of the expression is `ratio`. 0.3 \
         means 0.3 %, not 30 %.",
        "write 30 for 30 %",
        "down: { below: 0.3 }";
    /// A window that holds fewer than two samples.
    FEW_SAMPLES = "GS205" Note "the window holds fewer than two samples":
        "The exporter collects every `dataQuality.scrapeInterval`; scraping faster repeats a value and adds \
         nothing. A window shorter than two of them, or a quantile that leaves less than one of them above \
         it, is decided by a single sample.",
        "lengthen the window to at least two scrape intervals, or correct `dataQuality.scrapeInterval`",
        "up: { above: 80, for: 30s }";
    /// Data counts as stale after one late scrape.
    IMPATIENT = "GS206" Warning "one late scrape makes the data stale":
        "A sample older than `dataQuality.maxAge` makes its signal Unknown, and an Unknown signal neither \
         grows nor shrinks the pool. With less than two scrape intervals, one late or lost scrape is enough.",
        "set `maxAge` to at least twice `scrapeInterval`",
        "dataQuality: { maxAge: 45s, scrapeInterval: 30s }";
    /// A delay so long that the policy hardly moves.
    LONG_DELAY = "GS207" Note "the delay is very long":
        "A pool that waits half a day before it may shrink keeps idle nodes all that time; one that waits \
         many minutes before it may grow misses the demand that it was meant for. Some pools are wanted so.",
        "shorten it unless the cost is meant; the defaults and their reasons are in the field's \
         documentation",
        "behavior: { scaleDown: { stabilization: 24h } }";
    /// Nodes are asked for again before the first ones can be there.
    SHORT_PROVISION = "GS208" Warning "nodes are asked for again while the first ones boot":
        "A100 nodes take 5 to 12 minutes from the request to Ready on AKS. A `provisionTimeout` below that \
         counts healthy boots as missing and asks for the same nodes a second time.",
        "set `provisionTimeout` to at least 12m; the default is 20m",
        "provisionTimeout: 5m";
    /// A schedule that is always open.
    ALWAYS_OPEN = "GS209" Warning "the schedule is always open":
        "Each opening comes before the one before it has ended, so its bounds hold day and night and the \
         policy's own bounds never do.",
        "shorten `duration`, open it less often, or change the policy's own bounds instead",
        "schedules: [ { name: day, cron: \"0 8 * * *\", duration: 24h, minNodes: 2 } ]";
    /// A schedule that does not open within a year.
    RARELY_OPEN = "GS210" Warning "the schedule does not open within a year":
        "The cron expression names no instant in the next 366 days, most often because it names 29 February.",
        "correct the day and month of the cron expression",
        "schedules: [ { name: leap, cron: \"0 8 29 2 *\", duration: 1h, minNodes: 2 } ]";
    /// A schedule whose bounds are the policy's own.
    NO_CHANGE = "GS211" Warning "the schedule changes nothing":
        "Its bounds are those that the policy has anyway.",
        "change a bound, or remove the schedule",
        "minNodes: 1\nschedules: [ { name: night, cron: \"0 20 * * *\", duration: 8h, minNodes: 1 } ]";
    /// The smallest size is the largest.
    FIXED_SIZE = "GS212" Note "the size cannot change":
        "The smallest and the largest size are the same and no schedule changes them, so every decision is \
         to hold.",
        "raise the maximum or lower the minimum if the pool is meant to scale",
        "minNodes: 4\nmaxNodes: 4";
    /// A shrink rule that one idle moment meets.
    HASTY_SHRINK = "GS213" Warning "half a busy window lets the pool shrink":
        "A shrink rule with a quantile of one half or less is met while the devices are busy for half of the \
         window or more.",
        "use `rule: Hold`, or a quantile of at least 0.9",
        "down: { below: 30, rule: Quantile, quantile: 0.1 }";
    /// A source or cluster that the configuration does not have.
    NOT_CONFIGURED = "GS214" Error "the configuration has no such source or cluster":
        "Policies name metrics sources and clusters; their addresses and secrets belong to the \
         administrator's configuration. The configuration that was given beside this policy has no entry of \
         that name.",
        "use a name of the configuration, or ask the administrator for an entry",
        "metricsSource: tanos";
    /// An up rule without a target.
    NO_TARGET = "GS215" Warning "the up rule permits growth that nothing asks for":
        "With the strategy targetUtilization an up rule says when the pool may grow, and `targetPercentage` \
         says how far. Without a target the load is held against fully busy nodes, which no reading exceeds.",
        "set `targetPercentage` below `up.above`, or use `strategy: { step: {} }` for fixed steps",
        "dcgm: { metric: GpuUtilization }\nup: { above: 80 }";
}
