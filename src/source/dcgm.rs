//! The exporters themselves, without a store: their pages are scraped and remembered here.
//!
//! For clusters without Prometheus, and where its answers come too late. What a store would do is done in memory: a page
//! says what is now, so windows fill while we watch, and a policy that has just begun knows nothing until they have
//! (its signals are `Unknown`, and nothing shrinks). Labels are the exporter's own, with `instance` added as a scrape
//! would; there are no expressions.
//!
//! An exporter that is dead, answers with an empty page or with something else says nothing of its GPUs, and the others
//! are not kept waiting for it: their samples are answered, its own are missing, and the devices behind it become silent.
//! Only if nobody answers is there no answer.
//!
//! Pages are scraped when somebody reads and the last round is an interval ago; [`Dcgm::follow`] keeps the rounds going
//! for readers that come less often.

mod history;
mod page;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use futures_util::lock::Mutex;
use futures_util::{StreamExt, stream};

use crate::control::ports::{
    Answer, Clock, Completeness, MetricsSource, ReadRequest, Selector, SeriesBuilder, SourceError,
    SourceErrorKind,
};
use crate::devices::{MEMORY_FREE, POWER_LIMIT, XID_ERRORS};
use crate::policy::config::Millis;
use crate::policy::dcgm::DcgmMetric;
use crate::recording::Labels;

use super::http::{Client, ClientError, Settings};
use super::prometheus::answer::Limits;
use super::remembered::Remembered;
use history::{Bounds, History};
use page::Page;

/// Pages that are fetched at a time.
const AT_A_TIME: usize = 16;

/// The largest page that is read. One of eight GPUs has some 100 KiB.
const MOST_OF_A_PAGE: usize = 4 << 20;

/// The label that says which exporter a sample is from.
const INSTANCE: &str = "instance";

/// A round is due a tenth of the interval early: ticks come a little sooner or later, and a round that is missed by a
/// millisecond would come a whole tick late.
const EARLY: Millis = 10;

/// The list of series of an answer.
type Known = Arc<[Arc<Labels>]>;

/// What an exporter said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its address.
    pub target: String,
    /// Samples of its page, or why there was none.
    pub page: Result<PageCounts, SourceError>,
}

/// What a page had, as far as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PageCounts {
    /// Samples.
    pub samples: usize,
    /// Lines that say nothing that can be understood.
    pub refused: usize,
    /// The first of them and what is wrong with it.
    pub first_refused: Option<String>,
}

/// One exporter.
#[derive(Debug)]
struct Target {
    url: String,
    /// Host and port, as a scrape names them.
    instance: String,
    client: Client,
    said: RefCell<Option<Result<PageCounts, SourceError>>>,
}

/// Exporters that are scraped.
#[derive(Debug)]
pub struct Dcgm<C> {
    targets: Vec<Target>,
    clock: Rc<C>,
    interval_ms: Millis,
    limits: Limits,
    /// What the wall clock was ahead of the timer at the start. The source's clock is the timer plus this: whoever sets the
    /// wall clock leaves the windows alone.
    ahead_ms: Millis,
    history: RefCell<History>,
    /// Held while a round is under way.
    round: Mutex<()>,
    /// Timer at which the last round began.
    began_ms: Cell<Option<Millis>>,
    /// The series of the last answer to each question.
    known: Remembered<Known>,
}

impl<C: Clock> Dcgm<C> {
    /// The exporters at `urls`, each with the path of its page, scraped every `interval_ms`.
    ///
    /// `settings` say how they are reached; its address is not looked at. One that does not answer within its time limit
    /// has no page in that round.
    ///
    /// # Errors
    /// [`ClientError`] for the first address that cannot be used.
    pub fn new(
        urls: &[String],
        settings: &Settings,
        clock: Rc<C>,
        interval_ms: Millis,
        limits: Limits,
    ) -> Result<Self, ClientError> {
        let mut targets: Vec<Target> = Vec::new();
        for url in urls {
            let client = match targets.first() {
                Some(first) => first.client.beside(url)?,
                None => Client::new(Settings {
                    url: url.clone(),
                    ..settings.clone()
                })?,
            };
            targets.push(Target {
                url: url.clone(),
                instance: client.authority(),
                client,
                said: RefCell::new(None),
            });
        }
        let now = clock.now();
        let bounds = Bounds {
            series: limits.series,
            samples: limits.samples,
        };
        Ok(Self {
            targets,
            clock,
            interval_ms: interval_ms.max(1),
            limits,
            ahead_ms: now.wall_ms.saturating_sub(now.timer_ms),
            history: RefCell::new(History::new(bounds)),
            round: Mutex::new(()),
            began_ms: Cell::new(None),
            known: Remembered::default(),
        })
    }

    /// What each exporter said in the last round; those that were not asked yet are left out.
    pub fn said(&self) -> impl Iterator<Item = Said> {
        self.targets.iter().filter_map(|target| {
            Some(Said {
                target: target.url.clone(),
                page: target.said.borrow().clone()?,
            })
        })
    }

    /// How far the source's clock is ahead of the local wall clock, in ms.
    pub fn skew_ms(&self) -> Millis {
        let now = self.clock.now();
        self.source_ms().saturating_sub(now.wall_ms)
    }

    /// Scrapes every interval, for as long as it is polled.
    pub async fn follow(&self) {
        loop {
            self.scrape_if_due().await;
            let began_ms = self.began_ms.get().unwrap_or_default();
            let next_ms = began_ms.saturating_add(self.interval_ms);
            self.clock.sleep_until(next_ms).await;
        }
    }

    fn source_ms(&self) -> Millis {
        self.clock.now().timer_ms.saturating_add(self.ahead_ms)
    }

    fn is_due(&self) -> bool {
        let wait_ms = self.interval_ms - self.interval_ms / EARLY;
        let passed = |began_ms: Millis| self.clock.now().timer_ms.saturating_sub(began_ms) >= wait_ms;
        self.began_ms.get().is_none_or(passed)
    }

    /// A round, unless the last one is recent; whoever comes while one is under way waits for it.
    async fn scrape_if_due(&self) {
        let _round = self.round.lock().await;
        if !self.is_due() {
            return;
        }
        self.began_ms.set(Some(self.clock.now().timer_ms));
        let scrapes = self.targets.iter().map(|target| self.scrape(target));
        let mut scrapes = stream::iter(scrapes).buffer_unordered(AT_A_TIME);
        while scrapes.next().await.is_some() {}
        self.history.borrow_mut().sweep(self.source_ms());
    }

    async fn scrape(&self, target: &Target) {
        // As of when it was asked: what the exporter says may be that old.
        let at_ms = self.source_ms();
        let page = self.page(target).await;
        let counts = page.map(|page| {
            let counts = PageCounts {
                samples: page.samples.len(),
                refused: page.refused,
                first_refused: page.first_refused,
            };
            let mut history = self.history.borrow_mut();
            for (labels, value) in page.samples {
                history.push(target.own(labels), at_ms, value);
            }
            counts
        });
        target.note(counts);
    }

    async fn page(&self, target: &Target) -> Result<Page, SourceError> {
        let mut answer = target.client.get("", "").await?;
        let most = MOST_OF_A_PAGE.min(usize::try_from(self.limits.bytes).unwrap_or(usize::MAX));
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.as_ref().len() > most {
                let message = format!("a page of more than {most} bytes");
                let kind = SourceErrorKind::TooLarge;
                return Err(SourceError { kind, message });
            }
            body.extend_from_slice(chunk.as_ref());
        }
        Page::read(&body, is_kept).map_err(|error| SourceError {
            kind: SourceErrorKind::Malformed,
            message: error.to_string(),
        })
    }

    /// Why there is no answer, if no exporter gave a page.
    fn silence(&self) -> Option<SourceError> {
        let mut first = None;
        for target in &self.targets {
            match &*target.said.borrow() {
                Some(Err(error)) => {
                    first.get_or_insert_with(|| (target.url.clone(), error.clone()));
                }
                Some(Ok(_)) => return None,
                None => {}
            }
        }
        let (url, error) = first?;
        let others = match self.targets.len() {
            1 => String::new(),
            all => format!("; none of {all} exporters has a page"),
        };
        Some(SourceError {
            kind: error.kind,
            message: format!("{url}: {}{others}", error.message),
        })
    }
}

impl Target {
    /// Labels as a scrape leaves them: an `instance` of the exporter's own counts.
    fn own(&self, labels: Labels) -> Labels {
        if labels.get(INSTANCE).is_some() {
            return labels;
        }
        let with = labels.iter().chain([(INSTANCE, self.instance.as_str())]);
        Labels::new(labels.name(), with).unwrap_or(labels)
    }

    /// Notes what it said, and tells where that is news.
    fn note(&self, said: Result<PageCounts, SourceError>) {
        let before = self.said.borrow().clone();
        let failed = |said: &Result<PageCounts, SourceError>| said.as_ref().err().map(|error| error.kind);
        let target = self.url.as_str();
        match &said {
            Err(error) if before.as_ref().and_then(failed) != Some(error.kind) => {
                tracing::warn!(target, kind = error.kind.as_str(), message = %error.message, "no page");
            }
            Ok(counts) => {
                if before.as_ref().and_then(failed).is_some() {
                    tracing::info!(target, samples = counts.samples, "has a page again");
                }
                let same = matches!(&before, Some(Ok(before)) if before == counts);
                if let Some(first) = counts.first_refused.as_ref().filter(|_| !same) {
                    tracing::warn!(target, refused = counts.refused, first = %first, "lines were refused");
                }
            }
            Err(_) => {}
        }
        self.said.replace(Some(said));
    }
}

/// Whether a metric is remembered: those that signals are made of and what is read beside them.
fn is_kept(name: &str) -> bool {
    [MEMORY_FREE, POWER_LIMIT, XID_ERRORS].contains(&name)
        || DcgmMetric::ALL.iter().any(|metric| metric.series() == name)
}

impl<C: Clock> MetricsSource for Dcgm<C> {
    async fn read(&self, request: &ReadRequest<'_>) -> Result<Answer, SourceError> {
        let Selector::Metric { name, match_labels } = request.selector else {
            return Err(SourceError {
                kind: SourceErrorKind::Query,
                message: "exporters answer no PromQL; name a metric of theirs, or read a Prometheus server"
                    .to_owned(),
            });
        };
        self.history.borrow_mut().reach(request.window_ms);
        if request.as_of_ms.is_none() {
            self.scrape_if_due().await;
        }
        if let Some(error) = self.silence() {
            return Err(error);
        }
        let history = self.history.borrow();
        let too_large = |message: String| SourceError {
            kind: SourceErrorKind::TooLarge,
            message,
        };
        if history.is_full() {
            let most = self.limits.series;
            return Err(too_large(format!("the exporters show more than {most} series")));
        }
        let now_ms = request.as_of_ms.unwrap_or_else(|| self.source_ms());
        let before = self.known.take(request.selector);
        let mut series = SeriesBuilder::after(&before.unwrap_or_default());
        let from_ms = now_ms.saturating_sub(request.window_ms);
        history.read(name, match_labels, (from_ms, now_ms), &mut series);
        let series = series.finish();
        let known = Arc::clone(series.labels());
        let timer_ms = self.clock.now().timer_ms;
        self.known.keep(request.selector, known, timer_ms);
        Ok(Answer {
            now_ms,
            completeness: Completeness::Whole,
            series,
        })
    }
}
