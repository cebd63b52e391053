//! Recording as time passes: when a slice is all there is of its time, and whether one that was stopped can go on.

use gpuscale::clock::SystemClock;
use gpuscale::control::ports::{Clock as _, Selector};
use gpuscale::policy::config::Millis;
use gpuscale::source::record::Recorder;
use jiff::Timestamp;

use super::part::{Done, Plan};
use super::{Job, LATE_MS, unanswered};
use crate::cli::sources::Connected;
use crate::error::Error;

/// How long samples of a slice are waited for that a source shows late, while it shows none that is later.
pub(super) const PATIENCE_MS: Millis = 5 * 60_000;

impl Job<'_> {
    /// Whether what was stopped can go on: what exporters said meanwhile is nowhere.
    pub(super) fn may_go_on(&self, plan: &Plan, done: Done, now_ms: Millis) -> Result<(), Error> {
        let slices = Millis::try_from(done.slices).unwrap_or(Millis::MAX);
        let reached_ms = plan.slice_ms.saturating_mul(slices).saturating_add(plan.from_ms);
        if self.source.dcgm.is_none() || now_ms <= reached_ms.saturating_add(LATE_MS) {
            return Ok(());
        }
        let reached = Timestamp::from_millisecond(reached_ms)
            .map_or_else(|_| reached_ms.to_string(), |at| at.to_string());
        Err(Error::Usage(format!(
            "`{out}.part` was stopped, and goes until {reached}: what the exporters have said since then is lost; remove \
             `{out}.part` and `{out}.part.json` and begin again",
            out = self.args.out.display()
        )))
    }

    /// Waits until the source shows a sample that is later than `to_ms`: then it shows all until then. Some stores are minutes
    /// behind. Says whether it waited.
    pub(super) async fn is_late(
        &self,
        recorder: &Recorder<'_, Connected, SystemClock>,
        to_ms: Millis,
        now_ms: impl Fn() -> Millis,
        patience_ms: &mut Millis,
    ) -> Result<bool, Error> {
        if self.shows(recorder, to_ms, now_ms()).await? {
            return Ok(false);
        }
        let began_ms = now_ms();
        if !self.shows(recorder, began_ms - PATIENCE_MS, began_ms).await? {
            // It has nothing to be late with.
            return Ok(false);
        }
        let step_ms = (self.judged.config.data_quality.scrape_interval_ms / 2).clamp(1_000, 15_000);
        while *patience_ms > 0 {
            *patience_ms -= step_ms;
            let timer_ms = recorder.clock.now().timer_ms;
            recorder.clock.sleep_until(timer_ms + step_ms).await;
            if self.shows(recorder, to_ms, now_ms()).await? {
                *patience_ms = PATIENCE_MS;
                break;
            }
        }
        Ok(true)
    }

    /// Whether the source shows a sample in that time. A function has a value at any time, of however late samples, so it is
    /// not asked.
    async fn shows(
        &self,
        recorder: &Recorder<'_, Connected, SystemClock>,
        from_ms: Millis,
        to_ms: Millis,
    ) -> Result<bool, Error> {
        let metrics = self.wanted.iter();
        for wanted in metrics.filter(|wanted| matches!(wanted.selector, Selector::Metric { .. })) {
            let slice = recorder.slice(wanted, from_ms, to_ms).await;
            if !slice.map_err(|error| unanswered(&error))?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
