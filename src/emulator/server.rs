//! The emulator on a socket of this machine.
//!
//! One port serves everything: ARM at its own paths, `/prometheus/api/v1/query`, and `/nodes/<node>/metrics`. Handlers only
//! translate; what is answered is decided in [`World`].

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method as HttpMethod, Response, StatusCode, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::clock::AcceleratedClock;
use crate::policy::config::{Micro, Millis};
use crate::policy::observation::Now;
use crate::recording::Demand;

use super::arm::Violation;
use super::behavior::Behavior;
use super::cut::{Cuttable, Knife};
use super::fault::Fault;
use super::fleet::{Account, Load};
use super::message::{Authorization, Call, Content, Method, Reply};
use super::scenario::{BackgroundKind, Scenario, ScenarioError};
use super::world::{Fate, Logged, PoolView, World};

/// Largest body of a request, in bytes.
const LARGEST_BODY: usize = 1 << 20;

/// How often the world is looked at when nobody asks, so that there is never much to catch up with.
const TICK: Duration = Duration::from_millis(200);

/// How often a delayed answer looks at the clock.
const GLANCE: Duration = Duration::from_millis(5);

/// How long answers may take to end once it is stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads a clock. Only its monotonic reading moves the emulator; its wall clock says when it begins.
pub type ClockReading = Arc<dyn Fn() -> Now + Send + Sync>;

/// Why an emulator does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// Its scenario cannot be used.
    #[error("cannot emulate the scenario")]
    Scenario(#[from] ScenarioError),
    /// A pool's recording was not brought.
    #[error("pool `{pool}` names recording `{recording}`, which was not read; call `Scenario::record`")]
    Recording {
        /// The pool.
        pool: String,
        /// What it names.
        recording: String,
    },
    /// The address is not one of this machine alone.
    #[error("{0} is no loopback address; the emulator asks nobody who they are, so it stays on this machine")]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

/// Starts emulators.
#[derive(Debug, Clone, Copy)]
pub struct Emulator;

/// An emulator that runs. It stops when this is dropped; [`Running::stop`] lets answers end first.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<io::Result<()>>,
    ticker: JoinHandle<()>,
}

/// Looks into an emulator that runs, and meddles with it. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    clock: ClockReading,
    /// What the clock read at the start.
    started: Now,
    world: Arc<Mutex<World>>,
}

impl core::fmt::Debug for Handle {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Handle")
            .field("started", &self.started)
            .finish_non_exhaustive()
    }
}

impl Emulator {
    /// Starts an emulator on the tokio runtime that this is awaited on. Port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// [`StartError`] if the scenario cannot be used or the address cannot be listened on.
    pub async fn start(
        scenario: &Scenario,
        clock: ClockReading,
        listen: SocketAddr,
    ) -> Result<Running, StartError> {
        scenario.check()?;
        if let Some((pool, demand)) = scenario.recordings().next() {
            return Err(StartError::Recording {
                pool: pool.to_owned(),
                recording: demand.recording.clone().unwrap_or_default(),
            });
        }
        if !listen.ip().is_loopback() {
            return Err(StartError::NotLoopback(listen));
        }
        let failed = |source| StartError::Listen {
            address: listen,
            source,
        };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let started = clock();
        let handle = Handle {
            clock,
            started,
            world: Arc::new(Mutex::new(World::new(scenario, started.wall_ms))),
        };
        let (stop, stopped) = oneshot::channel();
        let service = Router::new()
            .fallback(serve)
            .with_state(handle.clone())
            .into_make_service_with_connect_info::<Knife>();
        let server = axum::serve(Cuttable(listener), service).with_graceful_shutdown(async {
            // A sender that is gone wants it to stop as well.
            let _ = stopped.await;
        });
        let watched = handle.clone();
        let ticker = async move {
            loop {
                tokio::time::sleep(TICK).await;
                drop(watched.world());
            }
        };
        Ok(Running {
            address,
            handle,
            stop: Some(stop),
            server: tokio::spawn(server.into_future()),
            ticker: tokio::spawn(ticker),
        })
    }
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base of ARM: `http://127.0.0.1:…`, without a slash at its end.
    #[must_use]
    pub fn arm_endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The base of the Prometheus API: `…/prometheus`, to which clients add `/api/v1/query`.
    #[must_use]
    pub fn prometheus_endpoint(&self) -> String {
        format!("http://{}/prometheus", self.address)
    }

    /// The page of a node's exporter.
    #[must_use]
    pub fn exporter(&self, node: &str) -> String {
        format!("http://{}/nodes/{node}/metrics", self.address)
    }

    /// The list of exporters, for Prometheus' `http_sd_configs`.
    #[must_use]
    pub fn discovery_endpoint(&self) -> String {
        format!("http://{}{}", self.address, super::world::DISCOVERY)
    }

    /// The pages of all nodes that are there now. Those of booting ones do not answer yet.
    #[must_use]
    pub fn exporters(&self) -> Vec<String> {
        let pools = self.handle.pools();
        let nodes = pools.iter().flat_map(|pool| &pool.nodes);
        nodes.map(|node| self.exporter(&node.name)).collect()
    }

    /// Looks into it and meddles with it.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Takes no more connections, lets answers end for at most five seconds, and stops.
    ///
    /// # Errors
    ///
    /// What the server failed with.
    pub async fn stop(mut self) -> io::Result<()> {
        drop(self.stop.take());
        self.ticker.abort();
        match tokio::time::timeout(PATIENCE, &mut self.server).await {
            Ok(ended) => ended.unwrap_or_else(|error| Err(io::Error::other(error))),
            // Answers that are held back by a clock that stands still; dropping this cuts them off.
            Err(_) => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ticker.abort();
        self.server.abort();
    }
}

impl Handle {
    /// The world, as of now. Whoever failed while holding it has left it whole: nothing in it waits.
    fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.advance(self.now_ms());
        world
    }

    /// The emulator's time, in ms since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> Millis {
        let passed_ms = (self.clock)().timer_ms.saturating_sub(self.started.timer_ms);
        self.started.wall_ms.saturating_add(passed_ms)
    }

    /// Resource id of the cluster.
    #[must_use]
    pub fn cluster_id(&self) -> String {
        self.world().arm().cluster_id()
    }

    /// Every pool as it is now, by name.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolView> {
        self.world().pools()
    }

    /// One pool as it is now.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<PoolView> {
        self.pools().into_iter().find(|pool| pool.name == name)
    }

    /// What a pool was asked for, gave and cost since the start.
    #[must_use]
    pub fn account(&self, pool: &str) -> Option<Account> {
        self.world().arm().fleet(pool).map(super::fleet::Fleet::account)
    }

    /// The requests that came, oldest first. The last ten thousand are kept.
    #[must_use]
    pub fn log(&self) -> Vec<Logged> {
        self.world().log().cloned().collect()
    }

    /// What clients did that they must never do.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.world().arm().violations().to_vec()
    }

    /// One more fault from now on, after those that are there. Its times count from the start of the emulator.
    pub fn inject(&self, fault: Fault) {
        self.world().faults_mut().add(fault);
    }

    /// No faults from now on. Operations that fail or hang already go on to do so.
    pub fn clear_faults(&self) {
        self.world().faults_mut().clear();
    }

    /// Other switches from now on.
    pub fn set_behavior(&self, behavior: Behavior) {
        let mut world = self.world();
        let now_ms = world.now_ms();
        world.arm_mut().set_behavior(behavior, now_ms);
    }

    /// A pool's GPUs are asked for so much from now on, in 1e-6 GPU.
    pub fn set_demand(&self, pool: &str, micro_gpus: Micro) {
        self.set_load(pool, Load::Constant(micro_gpus));
    }

    /// A pool's GPUs are asked for what was recorded, from its beginning and over and over.
    pub fn replay_demand(&self, pool: &str, demand: Demand) {
        self.set_load(pool, Load::Recorded(Arc::new(demand), self.now_ms()));
    }

    fn set_load(&self, pool: &str, load: Load) {
        let mut world = self.world();
        let now_ms = world.now_ms();
        if let Some(fleet) = world.arm_mut().fleet_mut(pool) {
            fleet.set_load(now_ms, load);
        }
    }

    /// Most nodes that there are for a pool from now on; `None` is no limit.
    pub fn set_available(&self, pool: &str, nodes: Option<u32>) {
        self.world().arm_mut().set_available(pool, nodes);
    }

    /// Most nodes of a pool that the quota allows from now on; `None` is no limit.
    pub fn set_quota(&self, pool: &str, nodes: Option<u32>) {
        self.world().arm_mut().set_quota(pool, nodes);
    }

    /// A node vanishes, as an evicted one does: the count stays. Says whether there was one.
    #[must_use]
    pub fn lose_node(&self, pool: &str, node: &str) -> bool {
        let mut world = self.world();
        let now_ms = world.now_ms();
        let fleet = world.arm_mut().fleet_mut(pool);
        fleet.is_some_and(|fleet| fleet.remove(now_ms, &[node.to_owned()].into()) > 0)
    }

    /// The platform starts an operation by itself.
    pub fn start_background(&self, pool: &str, kind: BackgroundKind, takes_ms: Millis) {
        let mut world = self.world();
        let now_ms = world.now_ms();
        world.arm_mut().start_background(now_ms, pool, kind, takes_ms);
    }
}

/// The readings of an accelerated clock, as the emulator takes them.
#[must_use]
pub fn readings(clock: AcceleratedClock) -> ClockReading {
    Arc::new(move || clock.read())
}

async fn serve(
    Shared(handle): Shared<Handle>,
    ConnectInfo(knife): ConnectInfo<Knife>,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LARGEST_BODY).await else {
        return response(&Reply::empty(413), handle.now_ms());
    };
    let call = Call {
        method: method(&parts.method),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        host: text(&parts.headers, &header::HOST).unwrap_or_default(),
        if_match: text(&parts.headers, &header::IF_MATCH),
        if_none_match: text(&parts.headers, &header::IF_NONE_MATCH),
        authorization: if parts.headers.contains_key(header::AUTHORIZATION) {
            Authorization::Present
        } else {
            Authorization::Absent
        },
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let outcome = {
        let mut world = handle.world();
        let now_ms = world.now_ms();
        world.handle(now_ms, call)
    };
    let until_ms = handle.now_ms().saturating_add(outcome.delay_ms);
    while handle.now_ms() < until_ms {
        tokio::time::sleep(GLANCE).await;
    }
    if outcome.fate == Fate::Lost {
        knife.cut();
    }
    response(&outcome.reply, handle.now_ms())
}

fn method(method: &HttpMethod) -> Method {
    match *method {
        HttpMethod::GET => Method::Get,
        HttpMethod::PUT => Method::Put,
        HttpMethod::PATCH => Method::Patch,
        HttpMethod::POST => Method::Post,
        HttpMethod::DELETE => Method::Delete,
        _ => Method::Other,
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn response(reply: &Reply, now_ms: Millis) -> Response<Body> {
    let (form, body) = match &reply.content {
        Content::Empty => (None, Body::empty()),
        Content::Json(body) => (
            Some("application/json; charset=utf-8"),
            Body::from(body.to_string()),
        ),
        Content::Text(form, text) => (Some(*form), Body::from(text.clone())),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    let date = Timestamp::from_millisecond(now_ms)
        .ok()
        .and_then(|now| DateTimePrinter::new().timestamp_to_rfc9110_string(&now).ok());
    let own = [("date", date), ("content-type", form.map(str::to_owned))];
    let own = own.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let given = reply.headers.iter().map(|(name, value)| (*name, value.clone()));
    for (name, value) in own.chain(given) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}
