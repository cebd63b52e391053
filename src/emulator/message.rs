//! Requests and answers as values, so that everything behind the server can be tried without one.

use serde_json::{Value, json};

use crate::policy::config::Millis;

/// A method of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Creates or updates.
    Put,
    /// Updates.
    Patch,
    /// Acts.
    Post,
    /// Deletes.
    Delete,
    /// Any that nothing here answers to.
    Other,
}

impl Method {
    /// As requests have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Post => "POST",
            Self::Delete => "DELETE",
            Self::Other => "OTHER",
        }
    }
}

/// Whether a request brought a credential. What it was is nobody's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorization {
    /// It did not.
    Absent,
    /// It did.
    Present,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What it does.
    pub method: Method,
    /// The path.
    pub path: String,
    /// The query, without its question mark.
    pub query: String,
    /// `Host`, for addresses that answers name.
    pub host: String,
    /// `If-Match`.
    pub if_match: Option<String>,
    /// `If-None-Match`.
    pub if_none_match: Option<String>,
    /// Whether there was an `Authorization`.
    pub authorization: Authorization,
    /// The body.
    pub body: String,
}

impl Call {
    /// A request without headers and body to `address`, a path with its query.
    #[must_use]
    pub fn new(method: Method, address: &str) -> Self {
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        Self {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            host: "127.0.0.1".to_owned(),
            if_match: None,
            if_none_match: None,
            authorization: Authorization::Absent,
            body: String::new(),
        }
    }

    /// The first value of a parameter of the query.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<String> {
        parameter(&self.query, name)
    }
}

/// The first value of a parameter in the encoding of a form.
#[must_use]
pub fn parameter(form: &str, name: &str) -> Option<String> {
    form.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key).as_deref() == Some(name))
            .then(|| decoded(value))
            .flatten()
    })
}

/// Undoes the encoding of a form; `None` for what is none.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

/// The body of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// None.
    Empty,
    /// A document.
    Json(Value),
    /// Text in this form.
    Text(&'static str, String),
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Headers besides those of the body.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub content: Content,
}

impl Reply {
    /// An answer without a body.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            content: Content::Empty,
        }
    }

    /// A document.
    #[must_use]
    pub fn json(status: u16, body: Value) -> Self {
        Self {
            content: Content::Json(body),
            ..Self::empty(status)
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The document, or null.
    #[must_use]
    pub fn body(&self) -> &Value {
        match &self.content {
            Content::Json(body) => body,
            Content::Empty | Content::Text(..) => &Value::Null,
        }
    }
}

/// A request that is not granted, in the words of ARM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// `error.code`.
    pub code: String,
    /// `error.message`.
    pub message: String,
    /// `error.target`.
    pub target: Option<String>,
    /// How long to wait, where that is known.
    pub wait_ms: Option<Millis>,
}

impl Refusal {
    /// A refusal with these words.
    #[must_use]
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            target: None,
            wait_ms: None,
        }
    }

    /// The same about a property.
    #[must_use]
    pub fn about(mut self, target: &str) -> Self {
        self.target = Some(target.to_owned());
        self
    }

    /// As an answer.
    #[must_use]
    pub fn reply(&self) -> Reply {
        let reply = Reply::json(
            self.status,
            error_body(&self.code, &self.message, self.target.as_deref()),
        );
        match self.wait_ms {
            Some(wait_ms) => reply.with("retry-after", seconds(wait_ms)),
            None => reply,
        }
    }
}

/// `{"error": …}` as ARM says it.
#[must_use]
pub fn error_body(code: &str, message: &str, target: Option<&str>) -> Value {
    let mut error = json!({ "code": code, "message": message, "details": [] });
    if let Some(target) = target {
        error["target"] = target.into();
    }
    json!({ "error": error })
}

/// Whole seconds, rounded up.
#[must_use]
pub fn seconds(ms: Millis) -> String {
    ms.max(0).saturating_add(999).div_euclid(1000).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded() {
        let form = "query=up%7Ba%3D%22b+c%22%7D&time=1.5&empty=&flag&bad=%zz&utf=%ff";
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(parameter(form, name).as_deref(), expected, "{name}");
        };
        check("query", Some("up{a=\"b c\"}"));
        check("time", Some("1.5"));
        check("empty", Some(""));
        check("flag", Some(""));
        check("bad", None);
        check("utf", None);
        check("none", None);
    }

    #[test]
    fn a_refusal_speaks_as_arm_does() {
        let refusal = Refusal {
            wait_ms: Some(1001),
            ..Refusal::new(429, "Throttled", "wait").about("a")
        };
        let reply = refusal.reply();
        assert_eq!((reply.status, reply.header("Retry-After")), (429, Some("2")));
        let expected =
            json!({ "error": { "code": "Throttled", "message": "wait", "target": "a", "details": [] } });
        assert_eq!(reply.body(), &expected);
    }
}
