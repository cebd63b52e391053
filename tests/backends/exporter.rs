//! A stand-in for `dcgm-exporter` that can die: pages over HTTP, one after the other.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// An exporter on a port of its own of 127.0.0.1.
pub struct Exporter {
    address: SocketAddr,
    served: Arc<AtomicUsize>,
    dying: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Exporter {
    /// Answers the scrape of index n, from 0, with `page(n)`.
    pub fn start(page: impl Fn(usize) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (served, dying) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stop) = (Arc::clone(&served), Arc::clone(&dying));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                // A client that goes away in the middle has not been served.
                let index = count.load(Ordering::SeqCst);
                if stream.is_ok_and(|stream| answer(stream, &page(index)).is_ok()) {
                    count.store(index + 1, Ordering::SeqCst);
                }
            }
        });
        Self {
            address,
            served,
            dying,
            thread: Some(thread),
        }
    }

    /// `host:port`, as the target of a scrape.
    pub fn target(&self) -> String {
        self.address.to_string()
    }

    /// Ends it, so that connections are refused from here on. Gives the number of pages that were served.
    pub fn die(mut self) -> usize {
        self.stop();
        self.served.load(Ordering::SeqCst)
    }

    fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.dying.store(true, Ordering::SeqCst);
            // Wakes the thread; it has to be gone, and its listener with it, before this returns.
            let _ = TcpStream::connect(self.address);
            let _ = thread.join();
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Reads the head of a request, whatever it asks for, and answers with the page.
fn answer(stream: TcpStream, page: &str) -> std::io::Result<()> {
    let mut request = BufReader::new(&stream);
    let mut line = String::new();
    while request.read_line(&mut line)? > 0 && line != "\r\n" {
        line.clear();
    }
    write!(
        &stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{page}",
        page.len()
    )
}
