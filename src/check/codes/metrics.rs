//! `GS3xx`: DCGM metrics and PromQL.

use super::entries;

entries! {
    /// The expression cannot be read.
    PROMQL_SYNTAX = "GS301" Error "the expression is not PromQL":
        "The source would answer every query with an error, the signal would be Unknown for ever, and the \
         pool would never shrink.",
        "correct the expression; try it in the query page of the source first",
        "promql: sum(rate(requests_total[5m])";
    /// The expression yields a range or a text.
    PROMQL_TYPE = "GS302" Error "the expression yields no instant vector":
        "gpuscale evaluates an expression at every step of the window, as `(expr)[window:scrapeInterval]`. \
         That needs an instant vector or a scalar; a range such as `x[5m]` or a text cannot be nested.",
        "remove the range: the policy's own `window` and `for` say over which span to judge",
        "promql: vllm_queue[5m]";
    /// No exporter emits this series.
    UNKNOWN_SERIES = "GS303" Warning "dcgm-exporter does not emit this series":
        "The name is close to a series of dcgm-exporter, or is one of those that a published table of AKS \
         metrics lists and no exporter emits. A query for a name that does not exist answers with nothing \
         and without an error.",
        "use the name that the exporter emits; look for it on the exporter's `/metrics` page",
        "promql: avg(DCGM_FI_DEV_SM_UTIL)";
    /// A rate of a gauge.
    RATE_OF_GAUGE = "GS304" Warning "a rate of a gauge means nothing":
        "`rate`, `irate` and `increase` are for counters: every fall is taken for a reset, so the rate of a \
         utilization is large when it jumps up and down and zero while it is steadily high.",
        "use the series itself; the policy averages over its own window",
        "promql: rate(DCGM_FI_DEV_GPU_UTIL[5m])";
    /// A label that dcgm-exporter never sets.
    LABEL_NOT_SET = "GS305" Warning "dcgm-exporter never sets this label":
        "The exporter knows pods, namespaces and containers, not the objects above them. A matcher on a \
         label that no series has selects nothing, and KEDA-style readers turn nothing into zero; grouping \
         by it puts all devices into one group.",
        "match by `exported_pod=~\"name-.*\"` or by the nodes' own label, or add the label when scraping",
        "promql: avg(DCGM_FI_DEV_GPU_UTIL{deployment=\"chat\"})";
    /// A label that means something else, depending on how the exporter is scraped.
    LABEL_AMBIGUOUS = "GS306" Note "this label depends on how the exporter is scraped":
        "With `honorLabels: false`, the chart's default, `namespace`, `pod` and `container` name the \
         exporter itself and those of the workload become `exported_namespace`, `exported_pod` and \
         `exported_container`. `Hostname` became `hostname` in 2026. Other labels are there only if the \
         scrape adds them.",
        "look at a series in the source and use the label that is there",
        "dcgm: { metric: GpuUtilization, matchLabels: { namespace: ml } }";
    /// A comparison that filters.
    FILTER_DROPS = "GS307" Warning "the comparison drops what does not pass":
        "Without `bool`, a comparison in PromQL is a filter: points that fail vanish instead of becoming 0. \
         The window then holds only passing points, and a rule over it is met as soon as there is one.",
        "remove the comparison and let the policy's own thresholds compare, or write `> bool`",
        "promql: avg(DCGM_FI_DEV_GPU_UTIL) > 70";
    /// Rows of one device are counted more than once.
    DUPLICATE_ROWS = "GS308" Note "a shared device may be counted more than once":
        "With time-slicing the exporter repeats a device's value once for every pod that shares it, and two \
         Prometheus replicas repeat it again. `sum`, `avg` and `count` over the raw rows then weigh shared \
         devices more.",
        "reduce to devices first: `avg(max by (UUID, GPU_I_ID) (…))`; a `dcgm` signal does it by itself",
        "promql: avg(DCGM_FI_DEV_GPU_UTIL)";
    /// Averaged in the query and again in the policy.
    DOUBLE_WINDOW = "GS309" Warning "the expression averages, and so does the policy":
        "A value that looks back over ten minutes and must then hold for five is fifteen minutes late. \
         gpuscale averages over the signal's `window` and judges rules over their `for`; a window inside the \
         expression comes on top.",
        "remove the `…_over_time` or the range, and set `window` and `for` instead",
        "promql: avg_over_time(gpu_busy[10m])\nup: { above: 80, for: 5m }";
    /// No data reads as zero.
    ABSENT_IS_ZERO = "GS310" Warning "no data would read as idle":
        "`or vector(0)` turns a dead exporter, a renamed series or a typing error into an idle pool, and an \
         idle pool shrinks. An outage of the monitoring becomes an outage of the service.",
        "remove it; for a count that really is absent when there is nothing, use `absent: Zero`, which holds \
         only while the source itself answers",
        "promql: sum(queue_length) or vector(0)";
    /// The same can be said with `dcgm`.
    SAY_DCGM = "GS311" Note "the same is said better with `dcgm`":
        "A `dcgm` signal knows the unit, reduces duplicate rows, weighs MIG slices, selects the pool's own \
         nodes and counts devices that do not answer. An expression does none of it.",
        "replace `promql` and `unit` by the `dcgm` metric",
        "promql: avg(DCGM_FI_DEV_GPU_UTIL)\nunit: percent";
    /// The unit is not that of the series.
    UNIT_MISMATCH = "GS312" Warning "the unit is not that of the series":
        "`DCGM_FI_DEV_*_UTIL` run from 0 to 100, `DCGM_FI_PROF_*` from 0 to 1, `DCGM_FI_DEV_FB_*` are MiB. A \
         ratio read as percent is always idle, a percentage read as a ratio is refused as out of range, and \
         a sum over devices is no utilization at all.",
        "state the unit that the expression has, or bring the expression into the unit",
        "promql: avg(DCGM_FI_PROF_GR_ENGINE_ACTIVE)\nunit: percent";
    /// Bytes compared with MiB.
    MEBIBYTES = "GS313" Warning "framebuffer series are MiB, not bytes":
        "A published table gives `DCGM_FI_DEV_FB_*` in bytes; the exporter writes MiB. A number that is \
         right in bytes is a million times too large.",
        "divide the number by 1048576, or use `dcgm: { metric: MemoryUsed }`, which is a share of the device",
        "promql: max(DCGM_FI_DEV_FB_USED) / 85899345920";
    /// A metric that MIG instances do not have.
    NOT_FOR_MIG = "GS314" Warning "GpuUtilization does not exist for MIG instances":
        "NVIDIA does not support it there: the series is absent, or reads 0 whatever the load is.",
        "use GraphicsEngineActive, which MIG instances have",
        "dcgm: { metric: GpuUtilization, matchLabels: { GPU_I_PROFILE: 1g.10gb } }";
    /// A metric outside the exporter's default set.
    CUSTOM_COUNTERS = "GS315" Note "the exporter emits this only when told to":
        "The series is commented out in the exporter's default counters files, so without a counters file of \
         your own the signal has no data and stays Unknown.",
        "add the field to the exporter's counters file, or use GraphicsEngineActive",
        "dcgm: { metric: SmActive }";
    /// Memory taken for load.
    MEMORY_IS_NOT_LOAD = "GS316" Note "memory held is not work done":
        "Model servers reserve nearly all memory when they start, whatever the load is. Where yours does, \
         the signal wants more nodes for ever and never lets one go. It fits where memory is filled by need, \
         such as tables or caches that grow.",
        "make sure that memory falls when load does; otherwise use a utilization or a queue",
        "dcgm: { metric: MemoryUsed }\ntargetPercentage: 80";
    /// A power threshold below the idle draw.
    POWER_FLOOR = "GS317" Warning "an idle GPU draws more than this":
        "A data-centre GPU draws 10 to 20 % of its limit when idle, so a power ratio below that is never \
         read.",
        "set the threshold above the idle draw, for example 25",
        "dcgm: { metric: PowerRatio }\ndown: { below: 5 }";
    /// A query that Azure Managed Prometheus does not answer.
    ONE_METRIC = "GS318" Error "Azure Managed Prometheus takes one metric per query":
        "Every query to an Azure Monitor workspace has to name exactly one metric. One that names several, or \
         none by its full name, is refused there, and the signal stays Unknown.",
        "write one signal for each metric, or record the expression as a series of its own with a recording rule",
        "promql: sum(vllm:num_requests_waiting) / sum(vllm:num_requests_running)";
}
