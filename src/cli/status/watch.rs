//! What somebody sees who watches a mount: bars on a terminal, one line at a time elsewhere.

use std::collections::BTreeMap;

use indicatif::{BinaryBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::report::{cells, stage};
use crate::cli::terminal::{self, Terminal, clipped, harmless};
use crate::monitor::{FileStage, FileStatus, Status};

/// Files that have a bar of their own.
const BARS_MAX: usize = 12;

/// Columns for the cells of an upload.
const CELLS_MAX: usize = 24;

/// What is drawn.
pub(super) struct View {
    terminal: Terminal,
    drawn: Option<Drawn>,
    /// What was said last, where nothing can be drawn.
    said: String,
}

struct Drawn {
    all: MultiProgress,
    head: ProgressBar,
    files: BTreeMap<String, ProgressBar>,
    foot: ProgressBar,
}

impl View {
    /// Shows nothing until it is told of something.
    pub(super) fn new(terminal: Terminal) -> View {
        let drawn = terminal.is_terminal.then(|| {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
            let (head, foot) = (all.add(line()), all.add(line()));
            Drawn { all, head, files: BTreeMap::new(), foot }
        });
        View { terminal, drawn, said: String::new() }
    }

    /// Shows how the mount fares now. Returns whether somebody still reads it.
    pub(super) fn show(&mut self, status: &Status) -> bool {
        let View { terminal, drawn, said } = self;
        let Some(drawn) = drawn else {
            // A line for each change, and not one twice a second for nothing.
            let line = summary(status);
            return *said == line || {
                let is_read = terminal::tells(&format!("{} {line}", status.at));
                *said = line;
                is_read
            };
        };
        let columns = terminal.columns.saturating_sub(1);
        drawn.head.set_message(clipped(&format!("{} on {}", status.source, status.mount_point), columns));
        let busy = || status.files.iter().filter(|file| file.state != FileStage::Clean).take(BARS_MAX);
        let name = |file: &FileStatus| file.path.clone().or(file.key.clone()).unwrap_or_default();
        let wanted: Vec<String> = busy().map(name).collect();
        drawn.files.retain(|name, bar| {
            let stays = wanted.contains(name);
            if !stays {
                drawn.all.remove(bar);
            }
            stays
        });
        for file in busy() {
            let (all, foot) = (&drawn.all, &drawn.foot);
            let bar = drawn.files.entry(name(file)).or_insert_with(|| all.insert_before(foot, line()));
            bar.set_message(clipped(&file_line(file, terminal), columns));
        }
        drawn.foot.set_message(clipped(&summary(status), columns));
        true
    }

    /// Leaves what was drawn last, and the cursor below it.
    pub(super) fn end(&self) {
        if let Some(drawn) = &self.drawn {
            let lines = drawn.files.values().chain([&drawn.head, &drawn.foot]);
            lines.for_each(ProgressBar::abandon);
        }
    }
}

fn line() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_style(style)
}

fn summary(status: &Status) -> String {
    let last = status.transfer.rates.last().copied().unwrap_or_default();
    let errors = match status.errors.len() {
        0 => String::new(),
        count => format!(", {count} errors"),
    };
    format!(
        "{} unpublished, {}/s up, {}/s down, {} of {} in memory, {} requests{errors}",
        status.unpublished_count,
        BinaryBytes(last.up),
        BinaryBytes(last.down),
        BinaryBytes(status.memory.used as u64),
        BinaryBytes(status.memory.limit as u64),
        status.transfer.requests,
    )
}

fn file_line(file: &FileStatus, terminal: &Terminal) -> String {
    let name = file.path.as_deref().unwrap_or("a removed file");
    let word = stage(file.state);
    let size = BinaryBytes(file.size.unwrap_or_default());
    let Some(upload) = &file.upload else { return format!("{} {word}, {size}", harmless(name)) };
    let cells = cells(&upload.map, CELLS_MAX, terminal.unicode);
    let (landed, total) = (upload.parts.landed, upload.parts.total);
    let rate = BinaryBytes(upload.bytes_per_second);
    format!("[{cells:CELLS_MAX$}] {landed}/{total} of {size}, {rate}/s, {word} {}", harmless(name))
}
