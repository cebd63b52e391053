//! `GS7xx`: what the metrics sources answer now. Found by `gpuscale check --live` alone.

use super::entries;

entries! {
    /// No connection.
    UNREACHABLE = "GS701" Error "the source cannot be reached":
        "No connection came about: the name does not resolve, nobody listens, or TLS failed. Without metrics \
         a policy holds its pool as it is.",
        "correct the address, and let the network and its policies allow the way from gpuscale to it",
        "prometheus: { url: \"https://prometheus.example.com:9\" } # nobody listens there";
    /// No answer in time.
    TOO_SLOW = "GS702" Error "the source does not answer in time":
        "A request that takes longer than `timeout` is given up, and a tick without an answer holds.",
        "find out why it is slow; raise `timeout` of the source if it always is",
        "prometheus: { url: \"https://thanos.example.com\" }\ntimeout: 100ms # and it takes seconds";
    /// No credential, or one that is refused.
    NOT_AUTHORISED = "GS703" Error "the source does not let gpuscale in":
        "It refused the credential (401, 403), or there is none to send: the file is missing or empty, or no \
         token could be had.",
        "look at the file with the credential, and at what it is allowed to read",
        "bearerTokenFile: /var/run/secrets/token # of a user who may not read";
    /// Something else answers there.
    NOT_THE_API = "GS704" Error "this is no Prometheus API":
        "What answers is a page, a redirect or 404: a user interface, a login in between, or the API under \
         another path. gpuscale asks `<url>/api/v1/query`.",
        "put the path before `/api/v1` into `url`: `/prometheus` for Mimir and Cortex, `/select/0/prometheus` \
         for a VictoriaMetrics cluster, `/api/datasources/proxy/uid/<uid>` for Grafana",
        "prometheus: { url: \"https://mimir.example.com\" } # without /prometheus";
    /// Asked to wait.
    THROTTLED = "GS705" Warning "the source asks to be left alone":
        "It answered 429, or 503 with a time to wait. gpuscale waits as long as it is told to, and decides on \
         nothing new meanwhile.",
        "raise the limit of queries at the source, or evaluate fewer policies on it",
        "prometheus: { url: \"https://mimir.example.com/prometheus\" } # over its limit of queries";
    /// Not all there is.
    PARTIAL = "GS706" Warning "the answer is not whole":
        "The source says so itself, by `warnings` or `isPartial`: one of its stores did not answer, or a \
         limit cut the answer. A pool is never shrunk on a part of the picture.",
        "mend what the source names; for Thanos look at the stores, for VictoriaMetrics at the storage nodes",
        "prometheus: { url: \"https://thanos.example.com\" } # one of its stores is down";
    /// The clocks differ.
    CLOCK_OFF = "GS707" Warning "the source's clock differs from the local one":
        "Windows run on the source's clock, and what is known of nodes on that of the cluster. Where the two \
         differ, samples of a node seem to come before it was there, or after it left.",
        "let NTP or chrony set the clocks of both machines",
        "prometheus: { url: \"https://prometheus.example.com\" } # its clock is 20 s ahead";
    /// The clocks differ by more than samples may be old.
    CLOCK_WRONG = "GS708" Error "the source's clock is off by more than `maxAge`":
        "Every sample is then older than `dataQuality.maxAge` to one clock, or from the future to the other.",
        "set the clocks first; no policy on this source can be trusted until then",
        "prometheus: { url: \"https://prometheus.example.com\" } # its clock is an hour behind";
    /// An error of the server.
    FAILS = "GS709" Error "the source answers with an error":
        "It was reached and let gpuscale in, and could not answer the simplest question. A proxy without a \
         backend answers so, too.",
        "look at the source's own log and at what stands in front of it",
        "prometheus: { url: \"https://prometheus.example.com\" } # answers 502";
    /// This kind of source is not asked.
    NOT_ASKED = "GS710" Note "the source was not asked":
        "Exporters that are to be found by the cluster's nodes need the cluster, which `check` does not look at.",
        "list some of them as `targets` to have them asked",
        "dcgm: { nodes: { port: 19400 } }";
    /// Nothing comes back.
    NO_SERIES = "GS711" Error "the query answers with no series":
        "A source answers a name that it does not know, and labels that no series has, with nothing and \
         without an error. The signal is Unknown for as long as that lasts.",
        "see whether the exporter runs and is scraped, and whether its counters file has the metric",
        "dcgm: { metric: GpuUtilization, matchLabels: { pool: a1000 } } # the pool is called a100";
    /// The source refuses the query.
    QUERY_FAILS = "GS712" Error "the query fails":
        "The source was reached and refuses this query, or fails while it answers it.",
        "try the query in the query page of the source, and correct what it says",
        "promql: sum(a) / sum(b) # and the source takes one metric to a query";
    /// More than the limits allow.
    TOO_LARGE = "GS713" Error "the answer is larger than the source's `limits`":
        "A larger answer is refused and never cut, since a part of a fleet looks like a smaller fleet.",
        "narrow `matchLabels` to the pool, or raise `limits` of the source",
        "limits: { series: 10 } # and the pool has 64 GPUs";
    /// Series of no device.
    NO_DEVICE = "GS714" Warning "series do not tell their device":
        "A device is known by its UUID, else by its node and its index there. A series that tells neither is \
         left out.",
        "name the label with the node in `labelMapping.node` of the source, and keep `gpu` when relabelling",
        "labelMapping: { node: host } # and no series has a label `host`";
    /// The exporter's pod in place of the node.
    EXPORTER_AS_NODE = "GS715" Warning "the node's label names the exporter's pod":
        "Without `NODE_NAME` the exporter puts its own pod name into `Hostname`. Series then cannot be held \
         against the nodes of the pool, and every restart of the exporter looks like a new node.",
        "pass `NODE_NAME` to the exporter, or add a label `node` from `__meta_kubernetes_pod_node_name` when \
         scraping and name it in `labelMapping.node`",
        "labelMapping: { node: Hostname } # which is dcgm-exporter-x7k2p";
    /// The exporter's own pod in place of the workload's.
    EXPORTED = "GS716" Warning "the label matches the exporter and not the workload":
        "With `honorLabels: false`, the chart's default, `pod`, `namespace` and `container` are those of the \
         exporter, and the workload's are `exported_pod`, `exported_namespace` and `exported_container`.",
        "match by the `exported_` label, or scrape with `honorLabels: true`",
        "dcgm: { metric: GpuUtilization, matchLabels: { namespace: gpu-operator } }";
    /// Instances cannot be told apart.
    MIG_COLLAPSED = "GS717" Warning "MIG instances cannot be told apart":
        "The metric is the one for MIG, and the series have neither a UUID nor `GPU_I_ID`. The instances of a \
         GPU then fall together into one device. The built-in job of Azure Managed Prometheus keeps only \
         `cluster`, `instance`, `gpu` and `job`.",
        "keep `UUID`, `GPU_I_ID` and `GPU_I_PROFILE` when scraping, on Azure by a scrape job of your own; \
         where the pool has no MIG, nothing is lost",
        "dcgm: { metric: GraphicsEngineActive } # from series without UUID and GPU_I_ID";
    /// Too few devices report.
    COVERAGE_LOW = "GS718" Warning "too few of the devices report":
        "Of the devices that reported in the last hour, fewer than `dataQuality.minCoverage` have a sample \
         that is younger than `maxAge`. The pool would not be shrunk now.",
        "see whether the exporters of the silent nodes run; nodes that were removed are forgotten after an \
         hour",
        "dataQuality: { minCoverage: 0.8 } # and 12 of 16 devices report";
    /// Another interval than the policy says.
    INTERVAL = "GS719" Warning "samples come at another interval than the policy says":
        "`dataQuality.scrapeInterval` decides how long a sample speaks for its device: twice the interval, \
         and 90 s at least. Where samples come more rarely, every window has holes; where they come much more \
         often, a dead exporter is noticed late.",
        "set `dataQuality.scrapeInterval` to what was measured",
        "dataQuality: { scrapeInterval: 30s } # and a sample comes every 2m";
    /// Values that the unit does not have.
    OUT_OF_UNIT = "GS720" Warning "values are outside of the unit's range":
        "A value that the unit does not have is dropped, and a ratio where a percentage is expected is an \
         idle GPU for ever.",
        "look at the series in the source; a recording rule or a relabelling may have scaled it",
        "promql: avg(utilization)\nunit: ratio # and the values go to 100";
    /// One device, several series.
    DUPLICATES = "GS721" Note "devices are there more than once":
        "Two scrapers of one exporter do that, and so does time-slicing, where the exporter repeats a device \
         for every pod on it. The largest value of a device counts, so nothing is counted twice.",
        "nothing has to be done; answers would be smaller with one of the replicas in `matchLabels`",
        "dcgm: { metric: GpuUtilization } # scraped by two replicas";
    /// Nothing to hold a zero against.
    NO_GUARD = "GS722" Note "power or memory is not there":
        "A profiling metric may read zero under full load. Power tells such a zero from an idle GPU, and \
         memory tells whether a node still holds a model. Without them a zero is believed.",
        "leave `DCGM_FI_DEV_POWER_USAGE`, `DCGM_FI_DEV_FB_USED` and `DCGM_FI_DEV_FB_FREE` in the counters file",
        "dcgm: { metric: GraphicsEngineActive } # and the counters file has no power";
    /// More than one series.
    SEVERAL_SERIES = "GS723" Error "the expression gives several series":
        "A `promql` signal is one number for the pool. Which of several was meant cannot be known, so all are \
         refused.",
        "reduce them to one: `sum(…)`, `avg(…)` or `max(…)`",
        "promql: vllm_num_requests_waiting # one series for each model";
    /// One of several exporters.
    EXPORTER = "GS724" Warning "an exporter says less than it should":
        "The others answer, so the source does; but nothing is known of the GPUs behind this one. They count as \
         busy for shrinking and as idle for growing.",
        "the page is dcgm-exporter's own: port 19400 and `/metrics` on managed AKS GPU nodes, 9400 elsewhere; take \
         nodes that are gone out of `targets`",
        "targets: ['http://10.0.0.4:19400/metrics'] # where nothing listens";
}
