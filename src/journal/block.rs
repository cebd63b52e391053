//! Blocks: stretches of records, packed, each with its length and its checksum.
//!
//! A block is read alone or not at all, so what a crash or a fault of the disk did to one is seen at its beginning,
//! and nothing is decoded that was not written so.

use std::cell::Cell;
use std::io::{self, Read};

use thiserror::Error;

use super::numbers::Malformed;
use crate::policy::checksum::Checksum;

/// The first bytes of a block; the last of them is the version of the format.
const MAGIC: [u8; 4] = *b"GSJ\x01";

/// Bytes before the packed records: magic, lengths packed and plain, checksum.
const HEAD: usize = 20;

/// The most that the records of one block may be, plain. A larger one is not written, and not read.
pub const LARGEST_BLOCK: usize = 16 << 20;

/// Level 1: a block must not cost more than the ticks in it.
const LEVEL: i32 = 1;

/// What is wrong with a journal, and where.
#[derive(Debug, Error)]
#[error("byte {offset}: {cause}")]
pub struct ReadError {
    /// Where the block begins that could not be read; everything before it was.
    pub offset: u64,
    /// What is wrong with it.
    #[source]
    pub cause: Cause,
}

/// What is wrong with a block.
#[derive(Debug, Error)]
pub enum Cause {
    /// It is no journal.
    #[error("there is no block of a journal here; is this a file that `run` wrote?")]
    NoBlock,
    /// It was written by another version.
    #[error(
        "the journal has format {0}, and this build reads format 1; replay it with the build that wrote it"
    )]
    Version(u8),
    /// It ends early.
    #[error("the block is cut short, as a crash leaves the last one; everything before it can be used")]
    Cut,
    /// Its bytes are not those that were written.
    #[error("the block is damaged; copy the file again, or use what comes before it")]
    Damaged,
    /// It holds no records, though its bytes are those that were written.
    #[error("the block holds something else than records ({0}); replay it with the build that wrote it")]
    Record(#[from] Malformed),
    /// It cannot be read.
    #[error("the journal cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl Cause {
    /// Whether a crash does this to the end of a journal, so that nothing is wrong with it.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        matches!(self, Self::Cut)
    }
}

fn checksum(lengths: &[u8], packed: &[u8]) -> u64 {
    let mut sum = Checksum::new();
    sum.bytes(lengths);
    sum.bytes(packed);
    sum.value()
}

/// Packs blocks. The packer's workspace is kept from one to the next.
struct Packer {
    compressor: zstd::bulk::Compressor<'static>,
    packed: Vec<u8>,
    block: Vec<u8>,
}

impl Packer {
    fn new() -> io::Result<Self> {
        Ok(Self {
            compressor: zstd::bulk::Compressor::new(LEVEL)?,
            packed: Vec::new(),
            block: Vec::new(),
        })
    }

    /// The block of some records.
    fn seal(&mut self, records: &[u8]) -> io::Result<&[u8]> {
        let too_large = |_| io::Error::other("a block is too large");
        if records.len() > LARGEST_BLOCK {
            return Err(io::Error::other("a block is too large"));
        }
        self.packed.clear();
        self.packed
            .reserve(zstd::zstd_safe::compress_bound(records.len()));
        self.compressor.compress_to_buffer(records, &mut self.packed)?;
        let packed = u32::try_from(self.packed.len()).map_err(too_large)?;
        let plain = u32::try_from(records.len()).map_err(too_large)?;
        let mut lengths = [0; 8];
        lengths[..4].copy_from_slice(&packed.to_le_bytes());
        lengths[4..].copy_from_slice(&plain.to_le_bytes());
        self.block.clear();
        self.block.extend_from_slice(&MAGIC);
        self.block.extend_from_slice(&lengths);
        self.block
            .extend_from_slice(&checksum(&lengths, &self.packed).to_le_bytes());
        self.block.extend_from_slice(&self.packed);
        Ok(&self.block)
    }
}

thread_local! {
    /// The packer of this thread's journals. Its workspace is about a megabyte, which a journal needs for a moment
    /// every ten minutes: thousands of policies share one.
    static SHARED: Cell<Option<Packer>> = const { Cell::new(None) };
}

/// Makes sure that this thread can pack.
pub(super) fn prepare() -> io::Result<()> {
    let packer = SHARED.take().map_or_else(Packer::new, Ok)?;
    SHARED.set(Some(packer));
    Ok(())
}

/// Lends the block of some records to `then`.
pub(super) fn sealed<T>(records: &[u8], then: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
    let mut packer = SHARED.take().map_or_else(Packer::new, Ok)?;
    let result = packer.seal(records).map(then);
    SHARED.set(Some(packer));
    result
}

/// Unpacks blocks. Its workspace is made for the first and kept.
#[derive(Default)]
pub(super) struct Unpacker(Option<zstd::bulk::Decompressor<'static>>);

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacker").finish_non_exhaustive()
    }
}

impl Unpacker {
    fn records(&mut self, packed: &[u8], plain_length: usize) -> Result<Vec<u8>, Cause> {
        let decompressor = match &mut self.0 {
            Some(kept) => kept,
            none => none.insert(zstd::bulk::Decompressor::new()?),
        };
        decompressor
            .decompress(packed, plain_length)
            .map_err(|_| Cause::Damaged)
    }
}

/// The block of some records, as a writer makes it.
///
/// # Errors
/// If they are more than [`LARGEST_BLOCK`] bytes.
pub fn seal(records: &[u8]) -> io::Result<Vec<u8>> {
    sealed(records, <[u8]>::to_vec)
}

/// The records of the next block and its length, or `None` at the end of a journal.
///
/// # Errors
/// [`Cause`] if there is no whole block.
pub fn open(from: &mut impl Read) -> Result<Option<(Vec<u8>, u64)>, Cause> {
    open_with(&mut Unpacker::default(), from)
}

/// The same with a workspace that is kept.
pub(super) fn open_with(
    unpacker: &mut Unpacker,
    from: &mut impl Read,
) -> Result<Option<(Vec<u8>, u64)>, Cause> {
    let mut head = [0; HEAD];
    let mut have = 0;
    while let Some(rest) = head.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(more) => have += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let (magic, rest) = head.split_at(MAGIC.len());
    let seen = have.min(MAGIC.len());
    match (have, magic) {
        (0, _) => return Ok(None),
        _ if magic[..seen.min(3)] != MAGIC[..seen.min(3)] => return Err(Cause::NoBlock),
        (4.., [.., version]) if *version != MAGIC[3] => return Err(Cause::Version(*version)),
        (..HEAD, _) => return Err(Cause::Cut),
        _ => {}
    }
    let (lengths, sum) = rest.split_at(8);
    let length = |at: usize| {
        lengths
            .iter()
            .skip(at)
            .take(4)
            .rev()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (packed_length, plain_length) = (length(0), length(4));
    if plain_length > LARGEST_BLOCK || packed_length > zstd::zstd_safe::compress_bound(LARGEST_BLOCK) {
        return Err(Cause::Damaged);
    }
    // Grows with what is there, whatever the head says.
    let mut packed = Vec::new();
    from.take(packed_length as u64).read_to_end(&mut packed)?;
    if packed.len() < packed_length {
        return Err(Cause::Cut);
    }
    if checksum(lengths, &packed).to_le_bytes() != *sum {
        return Err(Cause::Damaged);
    }
    let records = unpacker.records(&packed, plain_length)?;
    if records.len() != plain_length {
        return Err(Cause::Damaged);
    }
    Ok(Some((records, (HEAD + packed_length) as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_comes_back_whole_or_says_what_happened_to_it() {
        let records: Vec<u8> = (0..=255).cycle().take(5_000).collect();
        let block = seal(&records).unwrap();
        assert_eq!(open(&mut &*block).unwrap(), Some((records, block.len() as u64)));
        assert_eq!(open(&mut &b""[..]).unwrap(), None);
        for length in 1..block.len() {
            assert!(open(&mut &block[..length]).unwrap_err().is_cut(), "{length}");
        }
        for at in 0..block.len() {
            let mut damaged = block.clone();
            damaged[at] ^= 0x10;
            let cause = open(&mut &*damaged).unwrap_err();
            let named = match at {
                0..3 => matches!(cause, Cause::NoBlock),
                3 => matches!(cause, Cause::Version(0x11)),
                _ => matches!(cause, Cause::Damaged | Cause::Cut),
            };
            assert!(named, "{at}: {cause}");
        }
    }

    #[test]
    fn no_length_is_believed_before_the_bytes_are_there() {
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&[0xff; 16]);
        assert!(matches!(open(&mut &*head), Err(Cause::Damaged)));
        assert!(seal(&vec![0; LARGEST_BLOCK + 1]).is_err());
    }
}
