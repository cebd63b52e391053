//! `GS6xx`: the administrator's configuration.

use super::entries;

entries! {
    /// A field makes no sense, alone or beside another.
    SETTING = "GS601" Error "a setting makes no sense":
        "Settings are held against each other when the file is read, so that a controller does not start \
         with half of them.",
        "correct the marked setting; `deploy/guide/configuration.md` has all of them",
        "metricsSources: { default: {} }";
    /// A secret in the text.
    SECRET = "GS602" Error "a secret stands in the text":
        "The configuration is mounted, printed and committed. Secrets come from files, which are read again \
         when they change.",
        "put it into a file and name it: `bearerTokenFile`, or `passwordFile` of `basicAuth`",
        "headers: { Authorization: Bearer eyJhbGciOi }";
    /// A secret over plain HTTP.
    PLAIN_HTTP = "GS603" Error "a credential would travel in clear text":
        "A token or password sent over `http://` can be read by everyone on the path. Only the loopback \
         address is exempt.",
        "use `https://`",
        "url: http://prometheus:9090\nbearerTokenFile: /var/run/token";
    /// A link-local address.
    LINK_LOCAL = "GS604" Error "the address is link-local":
        "169.254.0.0/16 and fe80::/10 hold the cloud's metadata service, which hands out credentials. \
         gpuscale does not speak to them unless `allowedAddresses` names the address.",
        "use another address, or add this one to `allowedAddresses` of the source",
        "url: http://169.254.169.254/metrics";
    /// Everything is frozen.
    FROZEN = "GS605" Note "everything is frozen":
        "While `freeze` is true no policy changes anything; decisions are still shown.",
        "set `freeze: false` when the maintenance is over",
        "freeze: true";
}
