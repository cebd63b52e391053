//! Where the bytes of a journal go: numbered segments, of which the oldest is dropped when there is no more room.

use std::collections::BTreeMap;

use super::JournalError;

/// Keeps the bytes of one policy's journal.
pub trait Segments {
    /// Number and length of what is kept already, oldest first.
    fn kept(&self) -> Vec<(u64, u64)>;

    /// Adds bytes to the end of a segment, which begins with them if it is new.
    ///
    /// # Errors
    /// [`JournalError`] if they were not kept, or only in part: nothing is added to that segment any more.
    fn append(&mut self, segment: u64, bytes: &[u8]) -> Result<(), JournalError>;

    /// Forgets a segment.
    ///
    /// # Errors
    /// [`JournalError`] if it is still there.
    fn drop_segment(&mut self, segment: u64) -> Result<(), JournalError>;
}

impl<S: Segments> Segments for &mut S {
    fn kept(&self) -> Vec<(u64, u64)> {
        (**self).kept()
    }

    fn append(&mut self, segment: u64, bytes: &[u8]) -> Result<(), JournalError> {
        (**self).append(segment, bytes)
    }

    fn drop_segment(&mut self, segment: u64) -> Result<(), JournalError> {
        (**self).drop_segment(segment)
    }
}

/// Segments in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InMemory {
    /// The segments by number.
    pub segments: BTreeMap<u64, Vec<u8>>,
}

impl Segments for InMemory {
    fn kept(&self) -> Vec<(u64, u64)> {
        let segments = self.segments.iter();
        segments
            .map(|(number, bytes)| (*number, bytes.len() as u64))
            .collect()
    }

    fn append(&mut self, segment: u64, bytes: &[u8]) -> Result<(), JournalError> {
        self.segments.entry(segment).or_default().extend_from_slice(bytes);
        Ok(())
    }

    fn drop_segment(&mut self, segment: u64) -> Result<(), JournalError> {
        self.segments.remove(&segment);
        Ok(())
    }
}
