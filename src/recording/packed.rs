//! Packed bytes: gzip and Zstandard, told from their first bytes.

use std::io::{self, BufRead, Read};

use super::read_error::{Cause, ReadError};

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Unpacks what is packed and passes on what is not.
///
/// # Errors
///
/// [`Cause::Unreadable`] if not even the first bytes can be read.
pub fn unpacked<'a>(mut input: impl BufRead + Send + 'a) -> Result<Box<dyn Read + Send + 'a>, ReadError> {
    let head = input
        .fill_buf()
        .map_err(|error| ReadError::whole(fault(&error)))?;
    Ok(if head.starts_with(GZIP) {
        Box::new(flate2::bufread::MultiGzDecoder::new(input))
    } else if head.starts_with(ZSTD) {
        let decoder = zstd::stream::read::Decoder::with_buffer(input);
        Box::new(decoder.map_err(|error| ReadError::whole(fault(&error)))?)
    } else {
        Box::new(input)
    })
}

/// What an error of reading says about the recording.
pub(super) fn fault(error: &io::Error) -> Cause {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Cause::Truncated { what: "packed data" },
        _ => Cause::Unreadable {
            reason: error.to_string(),
        },
    }
}
