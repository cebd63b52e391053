//! From a rule that does not hold to the words that break it.
//!
//! A rule belongs to the object that holds all of its fields, often the whole `spec`, and its message names
//! those fields. So the message is read: the first field that it names and that is written is the culprit,
//! and the second one is shown beside it. A few rules speak of items of a list; those are found by looking at
//! the values, in [`item`].

use serde_json::Value;

use crate::api::Violation;

use super::codes;
use super::page::Page;

/// Reports a violation at the place of its culprit.
pub(super) fn report(page: &mut Page<'_>, violation: &Violation) {
    let (what, help) = split(&violation.message);
    let mut places = item(&page.value, violation);
    if places.is_empty() {
        places = mentioned(page, violation, &what);
    }
    if places.is_empty() {
        places = mentioned(page, violation, &violation.message);
    }
    let label = if places.is_empty() {
        "in here"
    } else {
        "this breaks the rule"
    };
    let mut spans = places.iter().map(|path| page.at(path));
    let first = spans.next().unwrap_or_else(|| page.at(&violation.path));
    let second = spans.find(|other| *other != first);
    drop(spans);
    let finding = page.report(&codes::policy::RULE, first, label, what);
    if let Some(second) = second {
        finding.also(second, "together with this");
    }
    if let Some(help) = help {
        finding.help(help);
    }
}

/// Words by which the second half of a message is known as advice.
const ADVICE: &[&str] = &[
    "use", "set", "add", "remove", "lower", "raise", "keep", "write", "check", "rename", "give", "say",
    "name", "change", "correct", "try", "lengthen", "delete", "mean", "choose", "sort", "move", "fetch",
];

/// A message in two: what is wrong, and what to do.
pub(super) fn split(message: &str) -> (String, Option<String>) {
    let advises = |rest: &str| {
        rest.starts_with("did you mean")
            || rest
                .split(' ')
                .any(|word| ADVICE.contains(&word.trim_end_matches(',')))
    };
    let halves = message.split_once("; ").filter(|(_, rest)| advises(rest));
    // The second form is that of the readers of single values.
    let halves = halves.or_else(|| {
        let at = [": use ", ": write "]
            .iter()
            .find_map(|mark| message.find(mark))?;
        Some((&message[..at], &message[at + 2..]))
    });
    match halves {
        Some((what, help)) => (what.to_owned(), Some(help.to_owned())),
        None => (message.to_owned(), None),
    }
}

/// Paths of the fields that a message names and that are written, in the order of the message.
fn mentioned(page: &Page<'_>, violation: &Violation, message: &str) -> Vec<String> {
    let part_of_name = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let mut paths: Vec<String> = Vec::new();
    for word in message.split(|c: char| !part_of_name(c)) {
        let word = word.trim_matches('.');
        // Fields begin with a small letter; values and kinds with a capital one.
        if !word.starts_with(|c: char| c.is_ascii_lowercase()) {
            continue;
        }
        let exact = format!("{}.{word}", violation.path);
        let found = if page.written(&exact).is_some() {
            Some(exact)
        } else if word.contains('.') {
            // A field that is named with its parent and not written: the parent, if that is.
            let parent = exact.rsplit_once('.').map(|(parent, _)| parent.to_owned());
            parent.filter(|parent| page.written(parent).is_some())
        } else if is_plain_word(word) {
            None
        } else {
            page.named(&violation.path, word).into_iter().next()
        };
        paths.extend(found.filter(|path| !paths.contains(path)));
    }
    let own = violation.path.rsplit('.').next().unwrap_or_default();
    if paths.is_empty()
        && !own.is_empty()
        && page.written(&violation.path).is_some()
        && violation.path != "spec"
    {
        paths.push(violation.path.clone());
    }
    paths
}

/// Names of fields that are also words of a sentence; they are looked for only where the rule stands.
fn is_plain_word(word: &str) -> bool {
    matches!(
        word,
        "name"
            | "for"
            | "mode"
            | "up"
            | "down"
            | "value"
            | "type"
            | "period"
            | "unit"
            | "window"
            | "rule"
            | "a"
            | "duration"
            | "kind"
            | "cluster"
            | "step"
            | "policies"
            | "signals"
            | "absent"
            | "above"
            | "below"
    )
}

/// Rules about fields of one object of which too many, or the wrong ones, are written.
const FIELDS: [(&str, &[&str]); 3] = [
    (
        "a signal has exactly one source",
        &["gpuRequests", "promql", "dcgm"],
    ),
    ("a count means nothing", &["unit"]),
    (
        "a policy has exactly one strategy",
        &["forecast", "targetUtilization", "step"],
    ),
];

/// Paths for the rules that speak of items of a list, or of several fields at once.
fn item(document: &Value, violation: &Violation) -> Vec<String> {
    let says = |start: &str| violation.message.starts_with(start);
    if let Some((_, names)) = FIELDS.iter().find(|(start, _)| says(start)) {
        return written(document, &violation.path, names);
    }
    if says("two signals") || says("two schedules") || says("fallbackNodePools names a pool twice") {
        return twins(&violation.path, list(document, &violation.path));
    }
    if says("strategy step moves only") {
        let asks = ["up", "gpuRequests", "perNode", "perReplica"];
        let idle = |item: &Value| asks.iter().all(|field| item.get(field).is_none());
        let mut paths = indexed(document, "spec.signals", "name", &idle);
        paths.push("spec.strategy.step".to_owned());
        return paths;
    }
    if says("fallbackNodePools names the target") {
        let target = at(document, "spec.targetRef.name");
        let is_target = |item: &Value| item.get("name") == target;
        let mut paths = indexed(document, "spec.fallbackNodePools", "name", &is_target);
        paths.push("spec.targetRef.name".to_owned());
        return paths;
    }
    if says("a rule's window") {
        return short_windows(document);
    }
    schedules(document, &violation.message)
}

/// Paths of the bounds of schedules that do not fit the policy's own, then of those.
fn schedules(document: &Value, message: &str) -> Vec<String> {
    let number = |value: Option<&Value>| value.and_then(Value::as_f64);
    for (min, max) in [("minNodes", "maxNodes"), ("minReplicas", "maxReplicas")] {
        let own = |field: &str| number(at(document, &format!("spec.{field}")));
        let find =
            |field: &str, wanted: &dyn Fn(&Value) -> bool| indexed(document, "spec.schedules", field, wanted);
        if message.starts_with(&format!("a schedule must stay within {max}")) {
            let above = |field: &'static str| move |item: &Value| number(item.get(field)) > own(max);
            let mut paths = find(max, &above(max));
            paths.extend(find(min, &above(min)));
            paths.push(format!("spec.{max}"));
            return paths;
        }
        if message.starts_with(&format!("a schedule's {max}")) {
            let least = own(min).unwrap_or(1.0);
            let low = |item: &Value| {
                item.get(min).is_none() && number(item.get(max)).is_some_and(|most| most < least)
            };
            let mut paths = find(max, &low);
            paths.push(format!("spec.{min}"));
            return paths;
        }
        if message.starts_with(&format!("{min} 0 needs")) && own(min) != Some(0.0) {
            return find(min, &|item| number(item.get(min)) == Some(0.0));
        }
    }
    Vec::new()
}

/// The items of a list; none where it is not written.
fn list<'v>(document: &'v Value, path: &str) -> &'v [Value] {
    at(document, path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Paths of a field of those items of a list that are wanted.
fn indexed(document: &Value, path: &str, field: &str, wanted: &dyn Fn(&Value) -> bool) -> Vec<String> {
    let items = list(document, path).iter().enumerate();
    let found = items.filter(|(_, item)| wanted(item));
    found
        .map(|(index, _)| format!("{path}[{index}].{field}"))
        .collect()
}

/// Paths of the fields among `names` that an object has.
fn written(document: &Value, path: &str, names: &[&str]) -> Vec<String> {
    let object = at(document, path);
    let has = |name: &&&str| object.is_some_and(|object| object.get(**name).is_some());
    names
        .iter()
        .filter(has)
        .map(|name| format!("{path}.{name}"))
        .collect()
}

/// The first two items of a list with the same name, the later one first.
fn twins(path: &str, items: &[Value]) -> Vec<String> {
    let name = |item: &Value| item.get("name").cloned();
    let names: Vec<_> = items.iter().map(name).collect();
    for (second, wanted) in names.iter().enumerate() {
        if let Some(first) = names[..second].iter().position(|other| other == wanted) {
            return vec![format!("{path}[{second}].name"), format!("{path}[{first}].name")];
        }
    }
    Vec::new()
}

/// Rules whose window is below the scrape interval, then the interval.
fn short_windows(document: &Value) -> Vec<String> {
    let duration = |value: &Value| {
        let text = value.as_str()?;
        text.parse::<crate::api::duration::HumanDuration>().ok()
    };
    let interval = at(document, "spec.dataQuality.scrapeInterval")
        .and_then(duration)
        .unwrap_or(crate::api::defaults::SCRAPE_INTERVAL);
    let signals = at(document, "spec.signals").and_then(Value::as_array);
    let mut paths = Vec::new();
    for (index, signal) in signals.into_iter().flatten().enumerate() {
        for rule in ["up", "down"] {
            let window = signal
                .get(rule)
                .and_then(|rule| rule.get("for"))
                .and_then(duration);
            if window.is_some_and(|window| window < interval) {
                paths.push(format!("spec.signals[{index}].{rule}.for"));
            }
        }
    }
    paths.push("spec.dataQuality.scrapeInterval".to_owned());
    paths
}

/// The value at a path such as `spec.signals[0].up`.
pub(super) fn at<'v>(document: &'v Value, path: &str) -> Option<&'v Value> {
    path.split(['.', '['])
        .try_fold(document, |value, step| match step.strip_suffix(']') {
            Some(index) => value.get(index.parse::<usize>().ok()?),
            None => value.get(step),
        })
}
