//! Finds the fewest faults with which a seed still fails in the same way.
//!
//! Draws do not come from a shared stream, so leaving a fault out changes nothing else, and taking them out bit by
//! bit works.

/// The smallest list of places, out of `count`, for which `fails` still says yes. It must say so for all of them.
pub fn shrink(count: usize, mut fails: impl FnMut(&[usize]) -> bool) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..count).collect();
    let mut chunk = count.div_ceil(2).max(1);
    loop {
        let before = kept.len();
        let mut start = 0;
        while start < kept.len() {
            let end = (start + chunk).min(kept.len());
            let mut without = kept.clone();
            without.drain(start..end);
            if fails(&without) {
                kept = without;
            } else {
                start = end;
            }
        }
        if chunk > 1 {
            chunk = chunk.div_ceil(2);
        } else if kept.len() == before {
            return kept;
        }
    }
}
