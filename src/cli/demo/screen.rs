//! What `demo` draws: one picture of a few lines, over and over, or plain lines where nobody could see it move.
//!
//! Pure: values in, text out.

use std::fmt::Write as _;

/// Bars of a height, lowest first.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Lines of the log that are shown.
const LINES: usize = 8;

/// What there is to see at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Frame {
    /// Emulated time since the start, in ms.
    pub(super) elapsed_ms: i64,
    /// When the story is over.
    pub(super) total_ms: i64,
    /// How many times as fast as real time.
    pub(super) speed: u32,
    /// Demand in GPUs, oldest first.
    pub(super) demand: Vec<f64>,
    /// Utilization of the GPUs that can be scheduled, 0 to 1; `None` while there are none.
    pub(super) utilization: Vec<Option<f64>>,
    /// Nodes asked for, oldest first.
    pub(super) asked: Vec<u32>,
    /// Nodes whose GPUs can be scheduled.
    pub(super) serving: u32,
    /// Nodes that boot.
    pub(super) booting: u32,
    /// The last decision in words.
    pub(super) decision: String,
    /// Resizes so far, oldest first.
    pub(super) log: Vec<String>,
}

/// The picture, each line at most `width` characters.
pub(super) fn picture(frame: &Frame, width: usize) -> Vec<String> {
    let chart = width.saturating_sub(34).clamp(10, 100);
    let demand = frame.demand.last().copied().unwrap_or(0.0);
    let busy = match frame.utilization.last().copied().flatten() {
        Some(share) => format!("{:.0} %", share * 100.0),
        None => "no GPU".to_owned(),
    };
    let utilization: Vec<f64> = frame
        .utilization
        .iter()
        .map(|share| share.unwrap_or(0.0))
        .collect();
    let asked: Vec<f64> = frame.asked.iter().map(|nodes| f64::from(*nodes)).collect();
    let nodes = match frame.booting {
        0 => format!("{} serve", frame.serving),
        booting => format!("{} serve, {booting} boot", frame.serving),
    };
    let mut lines = vec![
        format!(
            "gpuscale demo   {} of {}, {}× real time",
            clock(frame.elapsed_ms),
            clock(frame.total_ms),
            frame.speed
        ),
        String::new(),
        format!(
            "{:<14}{:<18}{}",
            "demand",
            format!("{demand:.1} GPUs"),
            bars(&frame.demand, chart)
        ),
        format!(
            "{:<14}{busy:<18}{}",
            "utilization",
            scaled(&utilization, 1.0, chart)
        ),
        format!("{:<14}{nodes:<18}{}", "nodes", bars(&asked, chart)),
        String::new(),
        frame.decision.clone(),
        String::new(),
    ];
    let skipped = frame.log.len().saturating_sub(LINES);
    lines.extend(frame.log.iter().skip(skipped).cloned());
    lines.resize(8 + LINES, String::new());
    lines
        .iter()
        .map(|line| line.chars().take(width).collect())
        .collect()
}

/// One line that says the same, for where nothing can be drawn.
pub(super) fn line(frame: &Frame) -> String {
    let mut line = format!(
        "{}  demand {:.1} GPUs, nodes asked for {}, serving {}",
        clock(frame.elapsed_ms),
        frame.demand.last().copied().unwrap_or(0.0),
        frame.asked.last().copied().unwrap_or(0),
        frame.serving
    );
    if let Some(share) = frame.utilization.last().copied().flatten() {
        let _ = write!(line, ", {:.0} % busy", share * 100.0);
    }
    line
}

/// Hours, minutes and seconds.
pub(super) fn clock(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A chart as high as its largest value.
fn bars(values: &[f64], width: usize) -> String {
    let most = values.iter().copied().fold(0.0, f64::max);
    scaled(values, most, width)
}

/// A chart in which `most` is a full bar: each character is the largest value of its part.
fn scaled(values: &[f64], most: f64, width: usize) -> String {
    let per = values.len().div_ceil(width.max(1)).max(1);
    let bar = |part: &[f64]| {
        let value = part.iter().copied().fold(0.0, f64::max);
        let full = BARS.len() - 1;
        let height = if most > 0.0 { value / most * 7.0 } else { 0.0 };
        // Out of range is the lowest or the highest bar.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 7, and a cast of floats saturates"
        )]
        let index = height.round() as usize;
        BARS[index.min(full)]
    };
    values.chunks(per).map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        Frame {
            elapsed_ms: 3_723_000,
            total_ms: 5_700_000,
            speed: 60,
            demand: vec![0.0, 4.0, 8.0],
            utilization: vec![None, Some(0.5), Some(1.0)],
            asked: vec![2, 2, 4],
            serving: 2,
            booting: 2,
            decision: "hold at 4 nodes: nodes are on their way".to_owned(),
            log: (0..20).map(|number| format!("line {number}")).collect(),
        }
    }

    #[test]
    fn the_picture_has_always_as_many_lines_and_fits() {
        let full = picture(&frame(), 100);
        assert_eq!(full[0], "gpuscale demo   1:02:03 of 1:35:00, 60× real time");
        assert_eq!(full[2], "demand        8.0 GPUs          ▁▅█");
        assert_eq!(full[3], "utilization   100 %             ▁▅█");
        assert_eq!(full[4], "nodes         2 serve, 2 boot   ▅▅█");
        assert_eq!(full.last().unwrap(), "line 19");
        for (frame, width) in [(frame(), 40), (Frame::default(), 100), (frame(), 10)] {
            let lines = picture(&frame, width);
            assert_eq!(lines.len(), full.len());
            assert!(
                lines.iter().all(|line| line.chars().count() <= width),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn a_chart_fits_whatever_its_length_and_shows_the_peak_of_each_part() {
        let values: Vec<f64> = (0..1000).map(|at| if at == 500 { 9.0 } else { 1.0 }).collect();
        let chart = bars(&values, 50);
        assert_eq!(chart.chars().count(), 50);
        assert_eq!(chart.chars().filter(|bar| *bar == '█').count(), 1);
        assert_eq!(bars(&[], 50), "");
        assert_eq!(bars(&[0.0, 0.0], 50), "▁▁");
    }

    #[test]
    fn a_line_says_what_the_picture_shows() {
        assert_eq!(
            line(&frame()),
            "1:02:03  demand 8.0 GPUs, nodes asked for 4, serving 2, 100 % busy"
        );
        assert_eq!(
            line(&Frame::default()),
            "0:00:00  demand 0.0 GPUs, nodes asked for 0, serving 0"
        );
    }
}
