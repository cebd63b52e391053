//! Metrics servers on loopback that answer whatever a test wants.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses its own part, and a fault of a fixture may end it at once"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

pub const GOOD: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"m","gpu":"0"},"values":[[1700000000,"85"]]}]}}"#;

/// What a server got.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    pub head: String,
    pub body: String,
}

/// A server that answers every request by one function; what it was asked is kept.
pub struct Hostile {
    pub at: SocketAddr,
    pub heard: Arc<Mutex<Vec<Heard>>>,
    pub requests: Arc<AtomicU64>,
}

impl Hostile {
    pub fn new(answer: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        Self::asked(move |_, stream| answer(stream))
    }

    /// Answers what it was asked.
    pub fn asked(
        answer: impl Fn(&Heard, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let requests: Arc<AtomicU64> = Arc::default();
        let answer = Arc::new(answer);
        let (all, count) = (Arc::clone(&heard), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let (answer, all, count) = (Arc::clone(&answer), Arc::clone(&all), Arc::clone(&count));
                thread::spawn(move || {
                    // A client that has heard enough hangs up: then writing fails, and that is the end.
                    if let Ok(heard) = receive(&stream) {
                        count.fetch_add(1, Ordering::SeqCst);
                        // Before the answer: whoever has that may look.
                        all.lock().unwrap().push(heard.clone());
                        let _ = answer(&heard, &mut stream);
                    }
                });
            }
        });
        Self { at, heard, requests }
    }

    /// Answers with this, as it stands.
    pub fn saying(answer: String) -> Self {
        Self::new(move |stream| stream.write_all(answer.as_bytes()))
    }

    pub fn url(&self) -> String {
        format!("http://{}/prometheus", self.at)
    }
}

pub fn receive(stream: impl Read) -> std::io::Result<Heard> {
    let mut reader = BufReader::new(stream);
    let mut heard = Heard::default();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        heard.head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    heard.body = String::from_utf8(body).unwrap();
    Ok(heard)
}

/// A response with its length.
pub fn response(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}
