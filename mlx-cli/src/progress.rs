//! What a user sees while a model is fetched.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};
use inference_api::{LoadProgress, LoadStage};
use mlx_models::packaged::Progress;

/// A bar on standard error; where that is no terminal, one line that says what is fetched.
pub(crate) struct FetchBar {
    model: String,
    bar: Option<ProgressBar>,
}

impl FetchBar {
    /// A bar that is seen once something is fetched for `model`.
    pub(crate) fn new(model: &str) -> Self {
        FetchBar { model: model.to_owned(), bar: None }
    }

    /// Shows how far a fetch has come.
    pub(crate) fn show(&mut self, label: &str, done: u64, total: u64) {
        let bar = self.bar.get_or_insert_with(|| {
            let mut stderr = std::io::stderr();
            if !stderr.is_terminal() {
                // A fetch does not fail for want of a reader.
                let _ = writeln!(stderr, "fetching {} ({} MB)", self.model, total.div_ceil(1_000_000));
            }
            let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}");
            ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        bar.set_message(label.to_owned());
        bar.set_length(total);
        bar.set_position(done);
    }

    /// Takes the bar away.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Says on standard error what was done.
pub(crate) fn note(text: &str) {
    // Nothing fails for want of a reader.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Shows the fetching that a backend does while it loads a model.
pub(crate) fn of_loading(model: &str) -> impl Fn(&LoadProgress) + Send + Sync + use<> {
    let bar = Mutex::new(FetchBar::new(model));
    move |progress| {
        let Ok(mut bar) = bar.lock() else { return };
        match progress.stage {
            LoadStage::Fetch => {
                bar.show(&progress.label, progress.done_bytes, progress.total_bytes.unwrap_or(0))
            }
            _ => bar.finish(),
        }
    }
}

/// Finds a model on this machine, fetching it first if need be.
pub(crate) fn locate(model: &str) -> mlx_models::Result<std::path::PathBuf> {
    let mut bar = FetchBar::new(model);
    let mut show = |progress: Progress| {
        // Of several files, how far the one at hand is.
        let label = match progress.item_total_bytes {
            total if total == progress.total_bytes || total == 0 => progress.item.to_owned(),
            total => {
                let share = progress.item_done_bytes as f64 / total as f64;
                format!("{} {:.0}%", progress.item, (100.0 * share).min(100.0))
            }
        };
        bar.show(&label, progress.done_bytes, progress.total_bytes);
    };
    let path = mlx_models::locate(model, &mut show);
    bar.finish();
    path
}
