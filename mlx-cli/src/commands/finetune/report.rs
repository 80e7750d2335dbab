//! What a user sees of the steps of a run.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use mlx_core::memory;
use mlx_models::training::StepReport;
use serde_json::{Map, json};

use crate::failure::Failure;
use crate::{output, progress, units};

/// Steps between two lines where there is no terminal to draw a bar on.
const LINE_EVERY: u64 = 10;

/// Tells of each step: a bar on a terminal, else a line now and then; with `--json` a line each on standard output.
pub(super) struct Reporter {
    json: bool,
    total: u64,
    first: u64,
    bar: Option<ProgressBar>,
    start: Instant,
    /// Losses and tokens since the last line, and their seconds.
    losses: Vec<f32>,
    tokens: usize,
    seconds: f64,
}

impl Reporter {
    pub(super) fn new(total: u64, first: u64, json: bool) -> Self {
        let bar = (!json && std::io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("{pos}/{len} {wide_bar} {msg}");
            ProgressBar::new(total)
                .with_position(first)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Reporter {
            json,
            total,
            first,
            bar,
            start: Instant::now(),
            losses: Vec::new(),
            tokens: 0,
            seconds: 0.0,
        }
    }

    /// A line of its own, which a bar must not swallow.
    pub(super) fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| progress::note(text)),
            None => progress::note(text),
        }
    }

    /// A step; `before` and `after` are losses of the validation set before the first step, and after this one.
    pub(super) fn step(
        &mut self,
        report: &StepReport,
        before: Option<f64>,
        after: Option<f64>,
    ) -> Result<(), Failure> {
        if report.skipped {
            self.note(&format!(
                "step {}: loss {} and gradient norm {} are not both finite, so it changes nothing",
                report.step, report.loss, report.gradient_norm
            ));
        }
        let peak = memory::peak_memory()?;
        if self.json {
            return self.json_line(report, before, after, peak);
        }
        self.losses.push(report.loss);
        self.tokens += report.tokens;
        self.seconds += report.seconds;
        let done = report.step - self.first;
        let left =
            self.start.elapsed().as_secs_f64() / done.max(1) as f64 * (self.total - report.step) as f64;
        let message = |loss: f64, rate: f64| {
            format!(
                "loss {loss:.4}, {rate:.0} tokens/s, peak {}, {} left",
                units::bytes(peak as u64),
                duration(left)
            )
        };
        if let Some(bar) = &self.bar {
            bar.set_position(report.step);
            bar.set_message(message(f64::from(report.loss), report.tokens as f64 / report.seconds.max(1e-9)));
        } else if report.step.is_multiple_of(LINE_EVERY) || report.step == self.total || done == 1 {
            let mean =
                self.losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / self.losses.len() as f64;
            let rate = self.tokens as f64 / self.seconds.max(1e-9);
            self.note(&format!("step {}/{}: {}", report.step, self.total, message(mean, rate)));
            self.losses.clear();
            (self.tokens, self.seconds) = (0, 0.0);
        }
        if let Some(loss) = after {
            self.note(&format!("validation loss {loss:.4} after step {}", report.step));
        }
        Ok(())
    }

    fn json_line(
        &self,
        report: &StepReport,
        before: Option<f64>,
        after: Option<f64>,
        peak: usize,
    ) -> Result<(), Failure> {
        let mut line = Map::new();
        line.insert("step".into(), json!(report.step));
        // By its shortest digits, which read back as the same float32.
        line.insert("loss".into(), float(report.loss));
        line.insert("lr".into(), json!(report.learning_rate));
        line.insert("tokens_per_sec".into(), json!(report.tokens as f64 / report.seconds.max(1e-9)));
        line.insert("tokens".into(), json!(report.tokens));
        line.insert("grad_norm".into(), float(report.gradient_norm));
        line.insert("peak_memory_bytes".into(), json!(peak));
        if report.skipped {
            line.insert("skipped".into(), json!(true));
        }
        for (name, loss) in [("valid_loss_before", before), ("valid_loss", after)] {
            if let Some(loss) = loss {
                line.insert(name.into(), json!(loss));
            }
        }
        output::write(&format!("{}\n", serde_json::Value::Object(line)))
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish();
        }
    }
}

/// A float32 by its own digits; null if it is not finite.
fn float(number: f32) -> serde_json::Value {
    number
        .to_string()
        .parse::<f64>()
        .ok()
        .filter(|number| number.is_finite())
        .map_or_else(|| serde_json::Value::Null, |number| json!(number))
}

/// A time for people to read.
fn duration(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds).map_or(0, |time| time.as_secs());
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_units_that_suit_them() {
        for (seconds, expected) in
            [(0.4, "0 s"), (59.9, "59 s"), (61.0, "1 min 01 s"), (7325.0, "2 h 02 min"), (f64::NAN, "0 s")]
        {
            assert_eq!(duration(seconds), expected);
        }
    }

    #[test]
    fn losses_read_back_as_the_same_float32() {
        for loss in [0.1f32, f32::MAX, 1.0 / 3.0, f32::from_bits(5)] {
            assert_eq!(float(loss).as_f64().unwrap() as f32, loss);
        }
        assert_eq!(float(f32::NAN), serde_json::Value::Null);
    }
}
