//! An emulator beside a test, on a thread of its own.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::JoinHandle;

use gpuscale::emulator::{ClockReading, Emulator, Handle, Scenario};
use gpuscale::policy::observation::Now;
use tokio::sync::oneshot;

/// When the time of a stage begins: 2026-11-20T12:00:00Z.
pub const START_MS: i64 = 1_795_176_000_000;

pub const SECOND: i64 = 1000;

pub const MINUTE: i64 = 60 * SECOND;

/// An emulator in this process, whose time stands still until a test moves it.
pub struct Stage {
    now_ms: Arc<AtomicI64>,
    pub arm: String,
    pub prometheus: String,
    pub handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Stage {
    pub fn new(yaml: &str) -> Self {
        let scenario = Scenario::from_yaml(yaml).unwrap();
        let now_ms = Arc::new(AtomicI64::new(0));
        let timer = Arc::clone(&now_ms);
        let clock: ClockReading = Arc::new(move || Now {
            wall_ms: START_MS,
            timer_ms: timer.load(Ordering::SeqCst),
        });
        let (stop, stopped) = oneshot::channel();
        let (started, starting) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            runtime().block_on(async {
                let listen = "127.0.0.1:0".parse().unwrap();
                let running = Emulator::start(&scenario, clock, listen).await.unwrap();
                let handle = running.handle().clone();
                let endpoints = (running.arm_endpoint(), running.prometheus_endpoint(), handle);
                started.send(endpoints).unwrap();
                let _ = stopped.await;
                running.stop().await.unwrap();
            });
        });
        let (arm, prometheus, handle) = starting.recv().unwrap();
        Self {
            now_ms,
            arm,
            prometheus,
            handle,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub fn wait(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .unwrap()
}
