//! Policies from files that people edit while the loop runs.
//!
//! All of them are taken or none: a file that cannot be used leaves the policies as they were, since half of an edit is what
//! nobody wrote. Files are read and compared, which sees every kind of change, the swapped links of mounted `ConfigMap`s too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use gpuscale::api::bounds::TargetKind;
use gpuscale::api::{self, GpuScalePolicy, QuerySource};
use gpuscale::check::documents;
use gpuscale::config::Config;
use gpuscale::control::ports::PoolKey;
use gpuscale::control::{Mode, Policy};

use super::Acting;

/// Names of files in a directory that are read.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// The files, and what they said last.
#[derive(Debug)]
pub(super) struct Files {
    paths: Vec<PathBuf>,
    acting: Acting,
    last: Option<Result<Texts, String>>,
    /// What they were at the last look, if that was a change.
    next: Option<Result<Texts, String>>,
}

type Texts = BTreeMap<PathBuf, String>;

/// Policies that can be run.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) policies: Vec<Policy>,
    /// What people may not expect.
    notes: Vec<String>,
}

impl Loaded {
    /// Tells the log about it.
    pub(super) fn tell(&self) {
        for note in &self.notes {
            tracing::warn!(note, "about the policies");
        }
    }
}

impl Files {
    pub(super) fn new(paths: &[PathBuf], acting: Acting) -> Self {
        Self {
            paths: paths.to_owned(),
            acting,
            last: None,
            next: None,
        }
    }

    /// The policies as the files have them now, or everything that is wrong with them.
    pub(super) fn read(&mut self, config: &Config) -> Result<Loaded, Vec<String>> {
        let texts = self.texts();
        self.last = Some(texts.clone());
        load(&texts.map_err(|error| vec![error])?, config, self.acting)
    }

    /// The same if the files changed since they were read last, and have been as they are for two looks: half of a file may be
    /// an empty one, and a policy that is in no file releases its pool.
    pub(super) fn changed(&mut self, config: &Config) -> Option<Result<Loaded, Vec<String>>> {
        let texts = Some(self.texts());
        if texts == self.last {
            self.next = None;
            return None;
        }
        if texts != self.next {
            self.next = texts;
            return None;
        }
        self.next = None;
        self.last.clone_from(&texts);
        let texts = texts?;
        Some(
            texts
                .map_err(|error| vec![error])
                .and_then(|texts| load(&texts, config, self.acting)),
        )
    }

    fn texts(&self) -> Result<Texts, String> {
        let mut texts = Texts::new();
        for path in &self.paths {
            let files = if path.is_dir() {
                listed(path).map_err(|error| cannot(path, &error))?
            } else {
                vec![path.clone()]
            };
            for file in files {
                let text = fs::read_to_string(&file).map_err(|error| cannot(&file, &error))?;
                texts.insert(file, text);
            }
        }
        Ok(texts)
    }
}

fn cannot(path: &Path, error: &io::Error) -> String {
    format!("cannot read policies `{}`: {error}", path.display())
}

/// The files of a directory that hold policies.
fn listed(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) && path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

fn load(texts: &Texts, config: &Config, acting: Acting) -> Result<Loaded, Vec<String>> {
    let (mut loaded, mut problems) = (Loaded::default(), Vec::new());
    let mut keys = BTreeSet::new();
    for (file, text) in texts {
        for part in documents(text) {
            let line = text[..part.start].matches('\n').count() + 1;
            let place = format!("`{}`, document at line {line}", file.display());
            match document(&text[part], config, acting) {
                Ok(Some(policy)) if !keys.insert(policy.key.clone()) => {
                    problems.push(format!("{place}: policy `{}` is there twice", policy.key));
                }
                Ok(Some(policy)) => {
                    loaded
                        .notes
                        .extend(unmatched(&policy).map(|note| format!("{place}: {note}")));
                    loaded.policies.push(policy);
                }
                Ok(None) => loaded.notes.push(format!(
                    "{place}: it targets a ScaledObject, which has no node pool to resize; it is left alone"
                )),
                Err(problem) => problems.push(format!("{place}: {problem}")),
            }
        }
    }
    if problems.is_empty() && loaded.policies.is_empty() {
        problems.push("no policy of a node pool is in the files that `--policy` names".to_owned());
    }
    if problems.is_empty() {
        Ok(loaded)
    } else {
        Err(problems)
    }
}

/// What a policy reads that may be another pool's. There is no view of nodes here to tell them apart.
fn unmatched(policy: &Policy) -> Option<String> {
    let all = policy.queries.iter().any(
        |query| matches!(&query.source, QuerySource::Dcgm { match_labels, .. } if match_labels.is_empty()),
    );
    all.then(|| {
        format!(
            "a signal of `{}` has no `matchLabels` and reads every GPU of its source; name those of its pool by a label, \
             unless there are no others",
            policy.key
        )
    })
}

/// One document; nothing if it is a policy for replicas.
fn document(text: &str, config: &Config, acting: Acting) -> Result<Option<Policy>, String> {
    let read = api::validate(text).map_err(|error| error.to_string())?;
    if read.spec.target_ref.kind != TargetKind::AksNodePool {
        return Ok(None);
    }
    let clusters = config.cluster_names();
    let alone = match clusters[..] {
        [only] => only,
        _ => "",
    };
    let policy = Policy::new(text, created_ms(&read), alone).map_err(|error| error.to_string())?;
    if !clusters.contains(&&*policy.target.cluster) {
        return Err(unknown_cluster(&policy.target, &clusters));
    }
    let sources = config.metrics_sources.iter();
    let source = sources
        .clone()
        .find_map(|(name, source)| (name.as_str() == &*policy.source).then_some(source));
    let Some(source) = source else {
        return Err(format!(
            "`metricsSource: {}` is not under `metricsSources` in the configuration, which has {}",
            policy.source,
            listing(&config.source_names())
        ));
    };
    let policy = policy.mapped(source.label_mapping.labels());
    Ok(Some(match acting {
        Acting::AsTheySay => policy,
        Acting::Never => policy.recommending(),
    }))
}

fn unknown_cluster(target: &PoolKey, clusters: &[&str]) -> String {
    let known = listing(clusters);
    if target.cluster.is_empty() {
        return format!(
            "`targetRef` names no cluster, and which is meant is not clear: the configuration has {known}"
        );
    }
    format!(
        "`targetRef.cluster: {}` is not under `aksClusters` in the configuration, which has {known}",
        target.cluster
    )
}

fn listing(names: &[&str]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// When it was made, for files that came from a cluster. Others are of the same age: then the name decides who owns a pool.
fn created_ms(policy: &GpuScalePolicy) -> i64 {
    let created = policy.metadata.creation_timestamp.as_ref();
    created.map_or(0, |time| time.0.as_millisecond())
}

/// Whether any of the policies acts.
pub(super) fn acts(policies: &[Policy]) -> bool {
    policies.iter().any(|policy| policy.mode == Mode::Enforce)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "
metricsSources:
  default: { prometheus: { url: 'http://127.0.0.1:9090' }, labelMapping: { node: Hostname } }
aksClusters:
  prod: { subscriptionId: 00000000-0000-0000-0000-000000000000, resourceGroup: r, name: c }
";

    fn policy(name: &str, more: &str) -> String {
        format!(
            "apiVersion: gpuscale.dev/v1alpha1
kind: GpuScalePolicy
metadata: {{ name: {name} }}
spec:
  targetRef: {{ kind: AksNodePool, name: a100 }}
  mode: Enforce
  signals: [ {{ name: gpu, dcgm: {{ metric: GpuUtilization }} }} ]
  maxNodes: 8
{more}"
        )
    }

    fn read(files: &[(&str, &str)], acting: Acting) -> Result<Loaded, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let config = Config::parse(CONFIG).unwrap();
        Files::new(&[folder.path().to_owned()], acting).read(&config)
    }

    #[test]
    fn a_directory_gives_the_policies_of_its_yaml_files() {
        let two = format!("{}---\n# nothing here\n---\n{}", policy("a", ""), policy("b", ""));
        let loaded = read(
            &[
                ("x.yaml", &two),
                ("y.yml", &policy("c", "")),
                ("z.txt", "no"),
                (".h.yaml", "no"),
            ],
            Acting::AsTheySay,
        );
        let loaded = loaded.unwrap();
        let names: Vec<&str> = loaded.policies.iter().map(|policy| &*policy.key.name).collect();
        assert_eq!(names, ["a", "b", "c"]);
        let first = &loaded.policies[0];
        assert_eq!((&*first.target.cluster, first.mode), ("prod", Mode::Enforce));
        assert_eq!(first.mapping.node, ["Hostname"]);
        assert!(acts(&loaded.policies));
        let dry = read(&[("x.yaml", &two)], Acting::Never).unwrap();
        assert!(!acts(&dry.policies));
    }

    #[test]
    fn what_cannot_be_run_is_said_with_its_place_and_all_at_once() {
        let other_source = policy("c", "  metricsSource: other\n");
        let other_cluster = policy("d", "").replace("name: a100 }", "name: a100, cluster: dev }");
        let floor = policy(
            "e",
            "  actuation: AutoscalerFloor\n  fallbackNodePools: [ { name: b } ]\n",
        );
        let files = [
            ("1.yaml", "kind: Pod"),
            ("2.yaml", &*format!("{}---\n{}", policy("a", ""), policy("a", ""))),
            ("3.yaml", &*other_source),
            ("4.yaml", &*other_cluster),
            ("5.yaml", &*floor),
        ];
        let problems = read(&files, Acting::AsTheySay).unwrap_err();
        for (problem, (file, words)) in problems.iter().zip([
            ("1.yaml`, document at line 1", ""),
            ("2.yaml`, document at line 9", "policy `default/a` is there twice"),
            ("3.yaml", "`metricsSource: other` is not under `metricsSources` in the configuration, which has `default`"),
            ("4.yaml", "`targetRef.cluster: dev` is not under `aksClusters` in the configuration, which has `prod`"),
            ("5.yaml", "remove fallbackNodePools"),
        ]) {
            assert!(problem.contains(file) && problem.contains(words), "{problem}");
        }
        assert_eq!(problems.len(), 5, "{problems:#?}");
        let nothing = read(&[("a.yaml", "# nothing\n")], Acting::AsTheySay).unwrap_err();
        assert!(nothing[0].contains("no policy of a node pool"), "{nothing:?}");
    }

    #[test]
    fn only_a_change_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p.yaml");
        fs::write(&file, policy("a", "")).unwrap();
        let config = Config::parse(CONFIG).unwrap();
        let mut files = Files::new(std::slice::from_ref(&file), Acting::AsTheySay);
        files.read(&config).unwrap();
        assert!(files.changed(&config).is_none());
        fs::write(&file, policy("a", "  minNodes: 9\n")).unwrap();
        assert!(files.changed(&config).is_none(), "it may be written right now");
        assert!(files.changed(&config).unwrap().is_err());
        assert!(files.changed(&config).is_none(), "a problem is told once");
        fs::write(&file, policy("b", "")).unwrap();
        assert!(files.changed(&config).is_none());
        assert_eq!(files.changed(&config).unwrap().unwrap().policies.len(), 1);
        fs::remove_file(&file).unwrap();
        assert!(files.changed(&config).is_none());
        assert!(files.changed(&config).unwrap().unwrap_err()[0].contains("cannot read policies"));
    }

    /// Found by review: the pool was released while its file was written anew.
    #[test]
    fn a_file_that_is_being_written_releases_no_policy() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        for name in ["a", "b"] {
            fs::write(place(&format!("{name}.yaml")), policy(name, "")).unwrap();
        }
        let config = Config::parse(CONFIG).unwrap();
        let mut files = Files::new(&[folder.path().to_owned()], Acting::AsTheySay);
        files.read(&config).unwrap();
        fs::write(place("a.yaml"), "").unwrap();
        assert!(files.changed(&config).is_none());
        fs::write(place("a.yaml"), &policy("a", "")[..80]).unwrap();
        assert!(files.changed(&config).is_none());
        fs::write(place("a.yaml"), policy("a", "")).unwrap();
        assert!(files.changed(&config).is_none());
        assert!(files.changed(&config).is_none(), "nothing has changed");
    }
}
