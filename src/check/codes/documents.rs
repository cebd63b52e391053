//! `GS1xx`: the text itself.

use super::entries;

entries! {
    /// The text cannot be read as YAML.
    NOT_YAML = "GS101" Error "the text is not YAML":
        "Nothing else can be said about a text that cannot be read. The place is where reading stopped; the \
         fault is there or shortly before it. Tabs, a missing quote, a missing closing bracket and a second \
         colon in an unquoted value are the usual causes.",
        "correct the syntax where the text is marked; quote values that contain `: `, `#` or brackets",
        "signals: [ { name: gpu";
    /// A field is unknown, missing, or holds a value outside its type.
    FIELD = "GS102" Error "a field is unknown, missing, or outside its type":
        "Documents are read strictly. A misspelt field that is silently ignored leaves its writer with a \
         default that nobody chose, so every field must be known and every value must fit its type.",
        "correct the field; `kubectl explain gpuscalepolicy.spec` and `simulations/README.md` list all of \
         them",
        "spec: { maxnodes: 8 }";
    /// The file holds no document.
    EMPTY = "GS103" Error "there is no document":
        "The file is empty or holds only comments. Most often it was written by a command that failed.",
        "write a policy, a scenario, a suite or a configuration into it",
        "# nothing but a comment";
    /// The document is of no known kind.
    UNKNOWN_KIND = "GS104" Error "the document is of no known kind":
        "What a document is, is told from its content: `apiVersion: gpuscale.dev/v1alpha1` with `kind: \
         GpuScalePolicy` is a policy, `recording` makes a scenario, `traces` a suite, and `metricsSources` \
         or `aksClusters` the administrator's configuration. This one has none of them.",
        "give the file to the tool that it belongs to, or correct `apiVersion` and `kind`",
        "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject";
    /// A key is written twice.
    TWICE = "GS105" Error "a key is written twice":
        "Of two equal keys one would be lost, and readers do not agree which.",
        "keep one of the two",
        "maxNodes: 8\nmaxNodes: 80";
}
