//! A folder for what must survive a restart: for each policy its state and its journal.
//!
//! A state is written to another file, flushed to the disk and put in place of the old one, so that a crash leaves the one or
//! the other and never half of each. It is written in the loop's own thread: a resize has to wait for it anyway, and a
//! policy writes a few kilobytes once a minute.
//!
//! One process at a time owns the folder, by a lock that ends with the process.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use gpuscale::control::ports::{PolicyKey, StoreError};
use gpuscale::control::state::{STATE_VERSION, Saved};

use crate::error::Error;

/// What a policy's state is called in its folder.
const STATE: &str = "state.json";

/// The folder.
#[derive(Debug)]
pub(in crate::cli) struct Folder {
    root: PathBuf,
    /// Held for as long as this lives.
    _lock: File,
}

/// Where the journals of the policies are.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Journals(PathBuf);

impl Folder {
    /// Opens a folder, which is made if it is not there.
    pub(in crate::cli) fn open(root: &Path) -> Result<Self, Error> {
        let cannot = |source: io::Error| Error::Write {
            what: "the state in",
            path: root.to_owned(),
            source,
        };
        fs::create_dir_all(root).map_err(cannot)?;
        let lock = File::create(root.join(".lock")).map_err(cannot)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                root: root.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(Error::Usage(format!(
                "another process runs with the state in `{}`; two of them would resize against each other",
                root.display()
            ))),
            Err(TryLockError::Error(error)) => Err(cannot(error)),
        }
    }

    /// Where the journals are.
    pub(in crate::cli) fn journals(&self) -> Journals {
        Journals(self.root.clone())
    }

    pub(super) fn load(&self, policy: &PolicyKey) -> Result<Option<Saved>, StoreError> {
        saved(&self.root, policy)
    }

    pub(super) fn save(&self, policy: &PolicyKey, state: &Saved) -> Result<(), StoreError> {
        let folder = folder_of(&self.root, policy)?;
        let (file, new) = (folder.join(STATE), folder.join("state.json.new"));
        let mut bytes = serde_json::to_vec_pretty(state).map_err(|error| StoreError(error.to_string()))?;
        bytes.push(b'\n');
        let replace = || {
            fs::create_dir_all(&folder)?;
            let mut written = File::create(&new)?;
            written.write_all(&bytes)?;
            written.sync_all()?;
            fs::rename(&new, &file)?;
            // The name is on the disk only when its folder is.
            File::open(&folder)?.sync_all()
        };
        replace().map_err(|error| fault("write", &file, &error))
    }
}

/// The state of a policy in a folder that somebody else may own: it is replaced as a whole.
pub(super) fn saved(root: &Path, policy: &PolicyKey) -> Result<Option<Saved>, StoreError> {
    let file = folder_of(root, policy)?.join(STATE);
    let bytes = match fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault("read", &file, &error)),
    };
    let unusable = |why: String| {
        StoreError(format!(
            "`{}` cannot be used: {why}; if it is beyond repair, see to it that nothing is being resized and remove it",
            file.display()
        ))
    };
    let saved: Saved = serde_json::from_slice(&bytes).map_err(|error| unusable(error.to_string()))?;
    if saved.version != STATE_VERSION {
        let version = saved.version;
        return Err(unusable(format!(
            "it is of version {version}, and this build knows {STATE_VERSION} only"
        )));
    }
    Ok(Some(saved))
}

impl Journals {
    /// The folder of a policy's journal, which is made if it is not there.
    pub(super) fn of(&self, policy: &PolicyKey) -> Result<PathBuf, StoreError> {
        let folder = folder_of(&self.0, policy)?.join("journal");
        fs::create_dir_all(&folder).map_err(|error| fault("make", &folder, &error))?;
        Ok(folder)
    }
}

/// The folder of a policy. Names of Kubernetes need no escapes, and what is no such name is no name of a folder either.
fn folder_of(root: &Path, policy: &PolicyKey) -> Result<PathBuf, StoreError> {
    for name in [&policy.namespace, &policy.name] {
        let plain = name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
        if name.is_empty() || name.starts_with('.') || !plain {
            return Err(StoreError(format!(
                "`{name}` is no name of Kubernetes, and of no folder"
            )));
        }
    }
    Ok(root.join(&*policy.namespace).join(&*policy.name))
}

fn fault(what: &str, path: &Path, error: &io::Error) -> StoreError {
    StoreError(format!("cannot {what} `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use gpuscale::control::state::Ended;
    use gpuscale::policy::Memory;
    use gpuscale::policy::observation::Now;

    use super::*;

    fn saved(wall_ms: i64) -> Saved {
        Saved {
            version: STATE_VERSION,
            saved_at: Now::at(wall_ms),
            source_ms: Some(5),
            ended: Ended::Running,
            memory: Memory::default(),
            pools: Vec::new(),
        }
    }

    #[test]
    fn what_was_saved_last_is_loaded_and_what_never_was_is_nothing() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(&root.path().join("new")).unwrap();
        let (a, b) = (PolicyKey::new("x", "a.b"), PolicyKey::new("x.a", "b"));
        assert_eq!(folder.load(&a), Ok(None));
        folder.save(&a, &saved(1)).unwrap();
        folder.save(&a, &saved(2)).unwrap();
        folder.save(&b, &saved(3)).unwrap();
        assert_eq!(folder.load(&a), Ok(Some(saved(2))));
        assert_eq!(folder.load(&b), Ok(Some(saved(3))));
        let lock = PolicyKey::new("lock", "a");
        folder.save(&lock, &saved(4)).unwrap();
        assert_eq!(folder.load(&lock), Ok(Some(saved(4))));
    }

    #[test]
    fn a_crash_while_it_is_written_leaves_the_state_of_before() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let key = PolicyKey::new("x", "a");
        folder.save(&key, &saved(1)).unwrap();
        fs::write(root.path().join("x/a/state.json.new"), "{\"half\":").unwrap();
        assert_eq!(folder.load(&key), Ok(Some(saved(1))));
    }

    #[test]
    fn a_state_that_cannot_be_used_is_an_error_and_never_nothing() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let key = PolicyKey::new("x", "a");
        folder.save(&key, &saved(1)).unwrap();
        let of_later = Saved {
            version: 2,
            ..saved(1)
        };
        folder.save(&key, &of_later).unwrap();
        let error = folder.load(&key).unwrap_err().to_string();
        assert!(
            error.contains("it is of version 2, and this build knows 1 only"),
            "{error}"
        );
        fs::write(root.path().join("x/a/state.json"), "").unwrap();
        let error = folder.load(&key).unwrap_err().to_string();
        assert!(error.contains("x/a/state.json` cannot be used: EOF"), "{error}");
        for (namespace, name) in [("..", "a"), ("x", ""), ("x", "a/b"), ("x", ".hidden")] {
            assert!(folder.save(&PolicyKey::new(namespace, name), &saved(1)).is_err());
        }
    }

    #[test]
    fn one_process_at_a_time_owns_the_folder() {
        let root = tempfile::tempdir().unwrap();
        let first = Folder::open(root.path()).unwrap();
        let error = Folder::open(root.path()).unwrap_err().to_string();
        assert!(
            error.contains("another process runs with the state in"),
            "{error}"
        );
        drop(first);
        Folder::open(root.path()).unwrap();
    }
}
