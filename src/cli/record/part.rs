//! A recording that is not done yet: the text so far, and how far it is good.
//!
//! Beside `FILE` lie `FILE.part` with the text and `FILE.part.json`, which says what is recorded and how many bytes of the
//! text are whole slices. It is written after each slice, so that a command that was stopped goes on where it was, and
//! the recording is the same to the byte. `FILE` appears when it is complete.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use gpuscale::policy::config::Millis;
use gpuscale::recording::OpenMetrics;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Level of Zstandard that is worth its time: text of numbers.
const ZSTD_LEVEL: i32 = 9;

/// What is recorded. Of two with the same question, the range that was begun with counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// Source, policy's questions and range as they were given, to tell whether it is the same recording.
    pub(super) question: String,
    /// The range on the source's clock: after `from_ms` until `to_ms`.
    pub(super) from_ms: Millis,
    pub(super) to_ms: Millis,
    /// Time between two slices.
    pub(super) slice_ms: Millis,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Done {
    /// Slices that are written.
    pub(super) slices: u64,
    /// Bytes that they and what is before them take.
    pub(super) bytes: u64,
    /// Samples in them.
    pub(super) samples: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct State {
    plan: Plan,
    done: Done,
}

/// A recording that is being written.
#[derive(Debug)]
pub(super) struct Part {
    out: PathBuf,
    state: State,
    text: BufWriter<File>,
}

/// The file beside `out` with that ending.
fn beside(out: &Path, ending: &str) -> PathBuf {
    let mut path = out.as_os_str().to_owned();
    path.push(ending);
    PathBuf::from(path)
}

fn write_error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Write {
        what: "recording",
        path,
        source,
    }
}

/// What was begun before, if anything was.
pub(super) fn begun(out: &Path) -> Result<Option<(Plan, Done)>, Error> {
    let path = beside(out, ".part.json");
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(Error::Open {
                what: "what was recorded",
                path,
                source,
            });
        }
    };
    let state: State = serde_json::from_slice(&text).map_err(|error| {
        Error::Usage(format!(
            "`{}` does not say how far the recording is ({error}); remove it and `{}` to begin anew",
            path.display(),
            beside(out, ".part").display()
        ))
    })?;
    Ok(Some((state.plan, state.done)))
}

impl Part {
    /// Begins a recording with these lines.
    pub(super) fn begin(out: &Path, plan: Plan, head: &[u8]) -> Result<Self, Error> {
        let path = beside(out, ".part");
        let file = File::create(&path).map_err(write_error(&path))?;
        let done = Done::default();
        let mut part = Self {
            out: out.to_owned(),
            state: State { plan, done },
            text: BufWriter::new(file),
        };
        part.append(head, Done::default())?;
        Ok(part)
    }

    /// Goes on with one that was begun. What was written after its last slice is dropped.
    pub(super) fn resume(out: &Path, plan: Plan, done: Done) -> Result<Self, Error> {
        let path = beside(out, ".part");
        let open = || {
            let mut file = OpenOptions::new().write(true).open(&path)?;
            if file.metadata()?.len() < done.bytes {
                let message = "it is shorter than what was recorded; remove it to begin anew";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
            }
            file.set_len(done.bytes)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        let file = open().map_err(write_error(&path))?;
        Ok(Self {
            out: out.to_owned(),
            state: State { plan, done },
            text: BufWriter::new(file),
        })
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.state.plan
    }

    pub(super) fn done(&self) -> Done {
        self.state.done
    }

    /// Writes a slice, and that it is written.
    pub(super) fn slice(&mut self, text: &[u8], samples: u64) -> Result<(), Error> {
        let slice = Done {
            slices: 1,
            bytes: 0,
            samples,
        };
        self.append(text, slice)
    }

    fn append(&mut self, text: &[u8], more: Done) -> Result<(), Error> {
        let path = beside(&self.out, ".part");
        let text_out = &mut self.text;
        let write = |to: &mut BufWriter<File>| {
            to.write_all(text)?;
            to.flush()?;
            to.get_ref().sync_data()
        };
        write(text_out).map_err(write_error(&path))?;
        let done = &mut self.state.done;
        done.slices += more.slices;
        done.samples += more.samples;
        done.bytes += text.len() as u64;
        self.save()
    }

    /// The old state is there until the new one is.
    fn save(&self) -> Result<(), Error> {
        let (path, fresh) = (
            beside(&self.out, ".part.json"),
            beside(&self.out, ".part.json.new"),
        );
        let json = serde_json::to_vec(&self.state).map_err(|error| Error::Output(error.into()))?;
        fs::write(&fresh, json)
            .and_then(|()| fs::rename(&fresh, &path))
            .map_err(write_error(&path))
    }

    /// Ends the text and puts it where it belongs, packed if the name says so; the bytes of the file.
    pub(super) fn finish(self) -> Result<u64, Error> {
        let part = beside(&self.out, ".part");
        let text = self
            .text
            .into_inner()
            .map_err(|error| write_error(&part)(error.into_error()))?;
        let text = OpenMetrics::new(text).finish().map_err(write_error(&part))?;
        text.sync_all().map_err(write_error(&part))?;
        let packed = match self.out.extension().and_then(|ending| ending.to_str()) {
            Some("gz") => Some(pack(&part, &self.out, gzip)),
            Some("zst") => Some(pack(&part, &self.out, zstandard)),
            _ => None,
        };
        match packed {
            Some(packed) => {
                packed.map_err(write_error(&self.out))?;
                fs::remove_file(&part)
            }
            None => fs::rename(&part, &self.out),
        }
        .map_err(write_error(&self.out))?;
        let state = beside(&self.out, ".part.json");
        fs::remove_file(&state).map_err(write_error(&state))?;
        let metadata = fs::metadata(&self.out).map_err(write_error(&self.out))?;
        Ok(metadata.len())
    }

    /// Takes away what was begun: there is nothing in it.
    pub(super) fn discard(self) {
        for ending in [".part", ".part.json"] {
            // What stays is begun anew over.
            let _ = fs::remove_file(beside(&self.out, ending));
        }
    }
}

/// Packs a text into a file beside its place, which it then takes.
fn pack(
    text: &Path,
    out: &Path,
    packing: fn(&mut BufReader<File>, BufWriter<File>) -> io::Result<BufWriter<File>>,
) -> io::Result<()> {
    let fresh = beside(out, ".part.packed");
    let mut packed = packing(
        &mut BufReader::new(File::open(text)?),
        BufWriter::new(File::create(&fresh)?),
    )?;
    packed.flush()?;
    packed.get_ref().sync_all()?;
    fs::rename(fresh, out)
}

fn gzip(text: &mut BufReader<File>, to: BufWriter<File>) -> io::Result<BufWriter<File>> {
    let mut encoder = GzEncoder::new(to, Compression::default());
    io::copy(text, &mut encoder)?;
    encoder.finish()
}

fn zstandard(text: &mut BufReader<File>, to: BufWriter<File>) -> io::Result<BufWriter<File>> {
    let mut encoder = zstd::Encoder::new(to, ZSTD_LEVEL)?;
    io::copy(text, &mut encoder)?;
    encoder.finish()
}
