//! What one device reported for one signal, over all the series that it reported as.

use crate::devices::Unit;
use crate::policy::config::Millis;
use crate::policy::sample::{Channel, DeviceId, Sample};
use crate::recording::Samples;

/// One series of a track.
#[derive(Debug, Clone)]
pub(super) struct Member<'a> {
    pub(super) start_ms: Millis,
    pub(super) samples: Samples<'a>,
    /// Whether a pod had the device while it reported as this series.
    pub(super) pod: bool,
}

/// The readings of one device for one signal, in order of time.
///
/// A device reports as one series after another (the pod on it changes) or as several at a time (it is shared, or
/// two Prometheis scrape it). At one time the largest reading counts, and any reading counts more than a stale
/// marker, which only says that one of the names ended.
#[derive(Debug, Clone)]
pub(super) struct Track<'a> {
    pub(super) signal: u16,
    pub(super) device: DeviceId,
    pub(super) weight: i64,
    pub(super) channel: Channel,
    unit: Unit,
    /// Series that have begun and not ended.
    running: Vec<Member<'a>>,
    /// Series that have not begun, the next one last.
    waiting: Vec<Member<'a>>,
    pod: bool,
    /// The time of the last reading that was one.
    read_ms: Option<Millis>,
}

impl<'a> Track<'a> {
    pub(super) fn new(
        (signal, channel): (u16, Channel),
        (device, weight): (DeviceId, i64),
        unit: Unit,
        mut members: Vec<Member<'a>>,
    ) -> Self {
        members.sort_by_key(|member| std::cmp::Reverse(member.start_ms));
        Self {
            signal,
            device,
            weight,
            channel,
            unit,
            running: Vec::new(),
            waiting: members,
            pod: false,
            read_ms: None,
        }
    }

    /// Whether no pod has the device, which only a reading that still holds can tell.
    pub(super) fn is_free(&self, now_ms: Millis, hold_ms: Millis) -> bool {
        let told = self
            .read_ms
            .is_some_and(|at_ms| now_ms < at_ms.saturating_add(hold_ms));
        told && !self.pod
    }

    /// Hands out the readings up to and including `now_ms`.
    pub(super) fn read_until(&mut self, now_ms: Millis, mut take: impl FnMut(Sample)) {
        while let Some(at_ms) = self.next_ms().filter(|&at_ms| at_ms <= now_ms) {
            take(self.read(at_ms));
        }
    }

    fn next_ms(&self) -> Option<Millis> {
        let times = self.running.iter().filter_map(|member| member.samples.peek());
        let running = times.map(|(at_ms, _)| at_ms).min();
        let waiting = self.waiting.last().map(|member| member.start_ms);
        running.into_iter().chain(waiting).min()
    }

    fn read(&mut self, at_ms: Millis) -> Sample {
        while let Some(member) = self.waiting.pop_if(|member| member.start_ms <= at_ms) {
            self.running.push(member);
        }
        let (mut value, mut pod) = (None, false);
        for member in &mut self.running {
            let Some((_, raw)) = member.samples.peek().filter(|&(next_ms, _)| next_ms == at_ms) else {
                continue;
            };
            member.samples.next();
            if let Ok(reading) = self.unit.normalize(raw) {
                value = Some(value.map_or(reading, |other: i64| other.max(reading)));
                pod |= member.pod;
            }
        }
        self.running.retain(|member| member.samples.peek().is_some());
        if value.is_some() {
            (self.pod, self.read_ms) = (pod, Some(at_ms));
        }
        Sample {
            at_ms,
            signal: self.signal,
            device: self.device,
            value,
            weight: self.weight,
            channel: self.channel,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::config::ONE;
    use crate::policy::dcgm::DcgmMetric;
    use crate::recording::{Labels, Metrics, MetricsBuilder};

    const T0: i64 = 1_700_000_000_000;

    fn metrics(series: &[(&str, &[(i64, f64)])]) -> Metrics {
        let mut builder = MetricsBuilder::new();
        for (pod, samples) in series {
            let labels = Labels::new("DCGM_FI_DEV_GPU_UTIL", [("gpu", "0"), ("pod", pod)]).unwrap();
            let id = builder.series(labels).unwrap();
            for &(second, value) in *samples {
                builder.push(id, T0 + second * 1000, value, 1).unwrap();
            }
        }
        builder.finish().unwrap()
    }

    fn track(metrics: &Metrics) -> Track<'_> {
        let members = metrics.series().iter().map(|series| Member {
            start_ms: series.span_ms().unwrap().0,
            samples: series.samples(),
            pod: series.labels().get("pod").is_some(),
        });
        let unit = Unit::Dcgm(DcgmMetric::GpuUtilization, 0.0);
        Track::new((0, Channel::Load), (DeviceId(0), ONE), unit, members.collect())
    }

    fn readings(track: &mut Track<'_>, until_second: i64) -> Vec<(i64, Option<i64>)> {
        let mut found = Vec::new();
        track.read_until(T0 + until_second * 1000, |sample| {
            found.push((
                (sample.at_ms - T0) / 1000,
                sample.value.map(|value| value / 10_000),
            ));
        });
        found
    }

    #[test]
    fn a_device_goes_on_under_another_name() {
        let metrics = metrics(&[
            ("", &[(0, 1.0), (15, 2.0), (30, f64::NAN), (90, 0.0)]),
            ("vllm-0", &[(30, 80.0), (45, 85.0), (60, f64::NAN)]),
        ]);
        let mut track = track(&metrics);
        assert_eq!(readings(&mut track, 14), [(0, Some(1))]);
        assert!(track.is_free(T0 + 1_000_000, 2_000_000));
        assert_eq!(
            readings(&mut track, 45),
            [(15, Some(2)), (30, Some(80)), (45, Some(85))]
        );
        assert!(!track.is_free(T0 + 45_000, 90_000));
        assert_eq!(readings(&mut track, 1000), [(60, None), (90, Some(0))]);
        assert!(track.is_free(T0 + 1_000_000, 2_000_000));
        assert_eq!(readings(&mut track, 2000), []);
    }

    #[test]
    fn a_shared_device_reports_its_largest_reading_once() {
        let metrics = metrics(&[
            ("", &[(0, 40.0), (15, 40.0)]),
            ("a", &[(0, 40.0), (15, 50.0)]),
            ("b", &[(0, 40.0), (7, 45.0)]),
        ]);
        let found = readings(&mut track(&metrics), 60);
        assert_eq!(found, [(0, Some(40)), (7, Some(45)), (15, Some(50))]);
    }

    #[test]
    fn a_value_that_the_metric_cannot_have_ends_the_one_before() {
        let metrics = metrics(&[("", &[(0, 40.0), (15, 9.2e18), (30, 101.0), (45, 100.0)])]);
        let found = readings(&mut track(&metrics), 60);
        assert_eq!(found, [(0, Some(40)), (15, None), (30, None), (45, Some(100))]);
    }
}
