//! What a request carries to be let in, and where it comes from.
//!
//! Secrets are files that others rotate: a mounted Secret, a projected token. So each is read for every request, which
//! costs a few microseconds, and never kept.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use futures_util::future::LocalBoxFuture;
use reqwest::RequestBuilder;
use reqwest::header::HeaderValue;

/// Characters of a secret from which on a text is taken to repeat it.
const TELLING: usize = 12;

/// Longest secret that is read, in bytes. A token with many groups has some kilobytes.
const LONGEST: u64 = 64 << 10;

/// Longest certificate bundle that is read, in bytes. That of a Linux distribution has a quarter of a megabyte.
const LONGEST_BUNDLE: u64 = 4 << 20;

/// Gives tokens that somebody issues, such as Microsoft Entra.
pub trait Tokens {
    /// A token that is valid now, without the word `Bearer`.
    ///
    /// # Errors
    /// Why there is none and what to do, in words without secrets.
    fn token(&self) -> LocalBoxFuture<'_, Result<String, String>>;

    /// The server that this token was sent to did not take it: it was revoked, or its key was replaced. Whoever keeps tokens
    /// does not give it again.
    fn refused(&self, _token: &str) {}
}

/// What a request carries to be let in.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Nothing.
    #[default]
    None,
    /// A user name, and a file with the password.
    Basic {
        /// The user.
        username: String,
        /// The file.
        password: PathBuf,
    },
    /// A file with a bearer token.
    Bearer(PathBuf),
    /// Tokens that somebody issues.
    Issued(Rc<dyn Tokens>),
}

impl core::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Basic { .. } => "Basic",
            Self::Bearer(_) => "Bearer",
            Self::Issued(_) => "Issued",
        })
    }
}

impl Credentials {
    /// The request with its credential, and what of it must not be shown.
    ///
    /// # Errors
    /// Why there is none, in words without secrets.
    pub(super) async fn add(&self, request: RequestBuilder) -> Result<(RequestBuilder, Secrets), String> {
        let (request, secret) = match self {
            Self::None => return Ok((request, Secrets::default())),
            Self::Basic { username, password } => {
                let password = secret(password)?;
                (request.basic_auth(username, Some(&password)), password)
            }
            Self::Bearer(file) => {
                let token = secret(file)?;
                (request.bearer_auth(&token), token)
            }
            Self::Issued(tokens) => {
                let token = tokens.token().await?;
                (request.bearer_auth(&token), token)
            }
        };
        Ok((request, Secrets(vec![secret])))
    }
}

impl Credentials {
    /// The server did not take what was sent.
    pub(super) fn refused(&self, sent: &Secrets) {
        if let (Self::Issued(tokens), Some(token)) = (self, sent.0.first()) {
            tokens.refused(token);
        }
    }
}

/// What was sent with a request and must not be shown: there are servers that repeat in an error what they were sent.
#[derive(Clone, Default)]
pub(super) struct Secrets(Vec<String>);

impl core::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

impl Secrets {
    /// Hides the value of `Authorization` too, as it was sent.
    pub(super) fn and_header(mut self, value: Option<&HeaderValue>) -> Self {
        let sent = value.and_then(|value| value.to_str().ok()?.split_once(' '));
        self.0.extend(sent.map(|(_, credential)| credential.to_owned()));
        self
    }

    /// Hides the secrets in a text that may have been cut, and what the cut left of one.
    pub(super) fn hide(&self, text: String) -> String {
        self.0.iter().fold(text, |text, secret| hide(&text, secret))
    }
}

/// A text without a secret, and without whatever begins as it does.
fn hide(text: &str, secret: &str) -> String {
    let beginning: String = secret.chars().take(TELLING).collect();
    if beginning.is_empty() {
        return text.to_owned();
    }
    let mut hidden = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, found)) = rest.split_once(beginning.as_str()) {
        hidden.push_str(before);
        hidden.push_str("[hidden]");
        let of_secret = secret[beginning.len()..].chars();
        let same = found.chars().zip(of_secret).take_while(|(a, b)| a == b);
        rest = &found[same.map(|(c, _)| c.len_utf8()).sum::<usize>()..];
    }
    hidden.push_str(rest);
    hidden
}

/// The secret in a file, without the line end that editors add.
fn secret(file: &Path) -> Result<String, String> {
    let bytes = read(file, LONGEST)?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{} is not text", file.display()))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(format!("{} is empty; it has to hold the secret", file.display()));
    }
    if secret.chars().any(char::is_control) {
        return Err(format!("{} holds more than one line", file.display()));
    }
    Ok(secret.to_owned())
}

/// A file of certificates or keys.
pub(super) fn pem(file: &Path) -> Result<Vec<u8>, String> {
    read(file, LONGEST_BUNDLE)
}

fn read(file: &Path, longest: u64) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("{} cannot be read: {error}", file.display());
    let mut bytes = Vec::new();
    let opened = File::open(file).map_err(cannot)?;
    opened.take(longest + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > longest {
        return Err(format!("{} has more than {longest} bytes", file.display()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_repeats_of_a_secret_is_hidden() {
        let sent = HeaderValue::from_static("Basic QWxhZGRpbjpvcGVu");
        let secrets = Secrets(vec!["open".to_owned()]).and_header(Some(&sent));
        let said = "cannot open with Basic QWxhZGRpbjpvcGVu".to_owned();
        assert_eq!(secrets.hide(said), "cannot [hidden] with Basic [hidden]");
        assert_eq!(format!("{secrets:?}"), "Secrets(2)");
    }

    #[test]
    fn what_a_cut_left_of_a_secret_is_hidden() {
        let token = format!("eyJ0eXAiOiJKV1Qi.{}.signature", "payload".repeat(99));
        let secrets = Secrets(vec![token.clone()]);
        for (said, shown) in [
            (
                format!("no: {}… and more", &token[..200]),
                "no: [hidden]… and more",
            ),
            (format!("{token}, {token}"), "[hidden], [hidden]"),
            (
                format!("{}, {}", &token[..40], &token[..12]),
                "[hidden], [hidden]",
            ),
            (
                "eyJ0eXAi is how they begin".to_owned(),
                "eyJ0eXAi is how they begin",
            ),
        ] {
            assert_eq!(secrets.hide(said), shown);
        }
    }

    #[test]
    fn a_secret_is_what_the_file_holds_without_its_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let error = secret(&file).unwrap_err();
        assert!(error.contains("cannot be read"), "{error}");
        for (held, found) in [("abc\n", "abc"), ("abc\r\n", "abc"), (" a b ", " a b ")] {
            std::fs::write(&file, held).unwrap();
            assert_eq!(secret(&file).unwrap(), found);
        }
        std::fs::write(&file, "a\nb\n").unwrap();
        assert!(secret(&file).unwrap_err().contains("more than one line"));
        std::fs::write(&file, "\n").unwrap();
        assert!(secret(&file).unwrap_err().contains("is empty"));
        std::fs::write(&file, vec![b'a'; 65 << 10]).unwrap();
        let error = secret(&file).unwrap_err();
        assert!(
            error.contains("more than 65536 bytes") && !error.contains("aaa"),
            "{error}"
        );
    }
}
