//! What somebody sees who waits until files are published: a bar on a terminal, a line now and then elsewhere.

use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::terminal::{self, Terminal};

/// How often a line is written where no bar can be drawn.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// How the waiting for a publishing looks.
pub(super) struct PublishProgress {
    bar: Option<ProgressBar>,
    /// The most bytes that there were, what has landed included.
    total: u64,
    left: u64,
    told_at: Instant,
}

impl PublishProgress {
    /// Shows nothing until it is told of something.
    pub(super) fn new() -> PublishProgress {
        let terminal = Terminal::of_stderr();
        let bar = terminal.is_terminal.then(|| bar(&terminal));
        PublishProgress { bar, total: 0, left: 0, told_at: Instant::now() }
    }

    /// So many files are not published, and so many bytes of them have not landed.
    pub(super) fn tell(&mut self, files: u64, bytes: u64) {
        // What comes in meanwhile makes the whole longer, and takes nothing from what is done.
        let done = self.total - self.left.min(self.total);
        self.total = self.total.max(done + bytes);
        self.left = bytes;
        if let Some(bar) = &self.bar {
            bar.set_length(self.total);
            bar.set_position(self.total - bytes);
            bar.set_message(format!("publishing {}", counted(files)));
        } else if self.told_at.elapsed() >= LINE_EVERY {
            self.told_at = Instant::now();
            terminal::warn(&format!("waiting for {} with {} to be published", counted(files), BinaryBytes(bytes)));
        }
    }
}

impl Drop for PublishProgress {
    /// Takes the bar away.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn counted(files: u64) -> String {
    format!("{files} file{}", if files == 1 { "" } else { "s" })
}

fn bar(terminal: &Terminal) -> ProgressBar {
    let template = "{msg} [{bar:24}] {percent:>3} %, {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let style = style.progress_chars(if terminal.unicode { "█▌ " } else { "#- " });
    ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_meanwhile_takes_nothing_from_what_is_done() {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        let mut progress = PublishProgress { bar: Some(bar.clone()), total: 0, left: 0, told_at: Instant::now() };
        let mut positions = Vec::new();
        for left in [100, 60, 80, 10, 0] {
            progress.tell(1, left);
            positions.push((bar.position(), bar.length().unwrap()));
        }
        assert_eq!(positions, [(0, 100), (40, 100), (40, 120), (110, 120), (120, 120)]);
    }
}
