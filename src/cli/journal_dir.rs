//! A journal in a directory: one file for each segment.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use gpuscale::journal::{JournalError, Segments};

/// What the file of a segment ends with.
const EXTENSION: &str = "gsj";

/// The segments of one policy, each in a file that is called by its number.
#[derive(Debug)]
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The numbers of the segments and their files, oldest first.
    pub(super) fn files(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            if let Some(number) = number.filter(|_| path.extension().is_some_and(|found| found == EXTENSION))
            {
                files.push((number, path));
            }
        }
        files.sort();
        Ok(files)
    }

    fn file(&self, segment: u64) -> PathBuf {
        self.0.join(format!("{segment:010}.{EXTENSION}"))
    }
}

fn fault(what: &str, path: &Path, error: &io::Error) -> JournalError {
    JournalError(format!("cannot {what} `{}`: {error}", path.display()))
}

impl Segments for Directory {
    fn kept(&self) -> Vec<(u64, u64)> {
        let files = self.files().unwrap_or_default();
        let length = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
        files
            .iter()
            .map(|(number, path)| (*number, length(path)))
            .collect()
    }

    /// The bytes are on the disk when this comes back: what is done to the platform next must have its reason kept.
    fn append(&mut self, segment: u64, bytes: &[u8]) -> Result<(), JournalError> {
        let path = self.file(segment);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_data()
        })
        .map_err(|error| fault("write", &path, &error))
    }

    fn drop_segment(&mut self, segment: u64) -> Result<(), JournalError> {
        let path = self.file(segment);
        fs::remove_file(&path).map_err(|error| fault("remove", &path, &error))
    }
}

#[cfg(test)]
mod tests {
    use gpuscale::journal::{ActionRecord, Beginning, Limits, Reader, Sink, Writer};
    use gpuscale::policy::Now;

    use super::*;

    #[test]
    fn segments_are_files_in_order_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.txt"), "not a segment").unwrap();
        let limits = Limits {
            total_bytes: 900,
            segment_bytes: 1,
            ..Limits::default()
        };
        for start in 0..12 {
            let mut writer = Writer::new(Directory::new(folder.path()), limits).unwrap();
            let now = Now::at(start);
            writer
                .begin(&Beginning {
                    policy: "a policy",
                    now,
                })
                .unwrap();
            let action = ActionRecord {
                now,
                pool: "a100",
                from: 1,
                to: 2,
                what: "sending",
                message: "words of the owner, which take some room",
            };
            writer.action(&action).unwrap();
        }
        let files = Directory::new(folder.path()).files().unwrap();
        assert!(files.len() < 12 && files.len() > 3, "{files:?}");
        assert_eq!(files.last().unwrap().1, folder.path().join("0000000011.gsj"));
        let bytes: u64 = Directory::new(folder.path())
            .kept()
            .iter()
            .map(|(_, bytes)| bytes)
            .sum();
        assert!(bytes <= 900, "{bytes}");
        for (_, path) in files {
            let records: Result<Vec<_>, _> = Reader::new(fs::File::open(path).unwrap()).collect();
            assert_eq!(records.unwrap().len(), 2);
        }
    }

    #[test]
    fn a_directory_that_is_gone_is_said_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut gone = Directory::new(&folder.path().join("gone"));
        assert!(gone.kept().is_empty());
        let error = gone.append(0, b"x").unwrap_err().to_string();
        assert!(error.contains("gone/0000000000.gsj"), "{error}");
        assert!(gone.drop_segment(0).is_err());
    }
}
