//! Packed bytes: gzip and Zstandard, told from their first bytes.
//!
//! Both may be several streams one after another, as `cat a.gz b.gz` makes them. Unpacking holds no more than a window:
//! a small file that unpacks to terabytes is met by the bounds of the readers behind.

use std::io::{self, BufRead, Read};

use super::read_error::{Cause, ReadError};

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// The largest window that a Zstandard stream may ask for, as a power of two: 128 MiB, which is also what the `zstd`
/// command accepts unless it is told otherwise.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Unpacks what is packed and passes on what is not.
///
/// A stream that was cut short or garbled is seen while it is read: an error of the kind
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof), or another with what the decoder said.
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
        let decoder = zstd::stream::read::Decoder::with_buffer(input).and_then(|mut decoder| {
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Ok(decoder)
        });
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// With a checksum, as the `zstd` command writes it.
    fn zstandard(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(bytes: &[u8]) -> Result<Vec<u8>, Cause> {
        let mut all = Vec::new();
        let mut input = unpacked(bytes).map_err(|error| error.cause)?;
        input.read_to_end(&mut all).map_err(|error| fault(&error))?;
        Ok(all)
    }

    fn text() -> Vec<u8> {
        (0..20_000_u32)
            .flat_map(|i| format!("{i}:{},", i.wrapping_mul(2_654_435_761)).into_bytes())
            .collect()
    }

    #[test]
    fn one_stream_or_several_are_unpacked_and_plain_bytes_pass() {
        let text = text();
        for pack in [gzip, zstandard] {
            assert_eq!(unpack(&pack(&text)).unwrap(), text);
            let two = [pack(&text[..999]), pack(b""), pack(&text[999..])].concat();
            assert_eq!(unpack(&two).unwrap(), text);
        }
        assert_eq!(unpack(&text).unwrap(), text);
        assert_eq!(unpack(b"").unwrap(), b"");
    }

    #[test]
    fn a_cut_stream_is_seen_wherever_it_is_cut() {
        let text = text();
        for packed in [gzip(&text), zstandard(&text)] {
            let two = [&packed[..], &packed[..]].concat();
            for whole in [&packed, &two] {
                let last = whole.len();
                for cut in [5, 40, last / 3, last - 9, last - 5, last - 4, last - 1] {
                    let error = unpack(&whole[..cut]).unwrap_err();
                    assert_eq!(
                        error,
                        Cause::Truncated { what: "packed data" },
                        "cut at {cut} of {last}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_garbled_stream_is_refused() {
        let text = text();
        for packed in [gzip(&text), zstandard(&text)] {
            for at in [packed.len() / 2, packed.len() - 3] {
                let mut garbled = packed.clone();
                garbled[at] ^= 0x55;
                let error = unpack(&garbled).unwrap_err();
                let refused = matches!(error, Cause::Unreadable { .. } | Cause::Truncated { .. });
                assert!(refused, "byte {at}: {error}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for magic in [GZIP, ZSTD, &[]] {
                let _ = unpack(&[magic, &bytes].concat());
            }
        }
    }
}
