//! Multipart uploads that are running, each as a grid of cells.
//!
//! Up to a thousand parts have a cell each; of more, a cell is several. Colour is never the only sign: cells differ by pattern,
//! and how many parts fare how is said in words.

use std::hash::{DefaultHasher, Hash, Hasher};

use maud::{Markup, html};

use super::super::status::{FileStage, FileStatus, PartCounts, Status, UploadStatus};
use super::words;

/// Cells of one upload.
const CELLS_MAX: usize = 1000;

/// Cells that are drawn in their full size.
const LARGE_CELLS_MAX: usize = 200;

/// Uploads with cells; the others are in the table of files.
pub(super) const UPLOADS_MAX: usize = 12;

/// Of several parts in one cell, some have landed.
const PARTLY: char = 'p';

/// One upload as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct UploadView {
    /// What it is called in the document; the same for as long as it runs.
    pub(super) id: String,
    path: String,
    /// In words, as HTML.
    pub(super) told: String,
    /// In words, for those who do not see the cells.
    pub(super) label: String,
    /// One letter for each cell, as in [`UploadStatus::map`].
    pub(super) cells: String,
    /// Parts in one cell.
    pub(super) parts_per_cell: usize,
}

/// Those that are running, as far as they are shown.
pub(super) fn uploads(status: &Status) -> Vec<UploadView> {
    let running = status.files.iter().filter_map(|file| Some((file, file.upload.as_ref()?)));
    running.take(UPLOADS_MAX).map(|(file, upload)| view(file, upload)).collect()
}

fn view(file: &FileStatus, upload: &UploadStatus) -> UploadView {
    let path = file.path.clone().unwrap_or_else(|| "a removed file".to_owned());
    let (parts_per_cell, cells) = cells(&upload.map);
    let mut hasher = DefaultHasher::new();
    file.key.hash(&mut hasher);
    UploadView {
        id: format!("u{:016x}", hasher.finish()),
        path,
        told: told(file, upload, parts_per_cell).into_string(),
        label: label(&upload.parts),
        cells,
        parts_per_cell,
    }
}

/// How many parts are in each cell, and the cells.
fn cells(map: &str) -> (usize, String) {
    let parts: Vec<char> = map.chars().collect();
    let parts_per_cell = parts.len().div_ceil(CELLS_MAX).max(1);
    if parts_per_cell == 1 {
        return (1, map.to_owned());
    }
    (parts_per_cell, parts.chunks(parts_per_cell).map(together).collect())
}

/// The letter of several parts.
fn together(parts: &[char]) -> char {
    let all = |wanted: char| parts.iter().all(|part| *part == wanted);
    let has_landed = |part: &char| [UploadStatus::LANDED, UploadStatus::COPIED].contains(part);
    match () {
        () if all(UploadStatus::WAITING) => UploadStatus::WAITING,
        () if all(UploadStatus::COPIED) => UploadStatus::COPIED,
        () if parts.iter().all(has_landed) => UploadStatus::LANDED,
        () if parts.contains(&UploadStatus::SENDING) => UploadStatus::SENDING,
        () => PARTLY,
    }
}

fn label(parts: &PartCounts) -> String {
    let count = |number: usize| words::count(number as u64);
    format!(
        "{}: {} in the bucket, {} on their way, {} waiting",
        words::counted(parts.total as u64, "part"),
        count(parts.landed),
        count(parts.sending),
        count(parts.waiting)
    )
}

/// How far it has come, in words, with what each kind of cell means.
fn told(file: &FileStatus, upload: &UploadStatus, parts_per_cell: usize) -> Markup {
    let (parts, size) = (&upload.parts, file.size.unwrap_or(0));
    let count = |number: usize| words::count(number as u64);
    let kinds = [
        (UploadStatus::LANDED, parts.landed - parts.copied, "in the bucket"),
        (UploadStatus::COPIED, parts.copied, "copied there"),
        (UploadStatus::SENDING, parts.sending, "on their way"),
        (UploadStatus::WAITING, parts.waiting, "waiting"),
    ];
    html! {
        p.facts {
            strong { (words::bytes(upload.landed_bytes)) } " in the bucket of "
            (words::bytes(size)) @if file.state == FileStage::Publishing { ", which is all" } @else { " written so far" }
            " · " (words::rate(upload.bytes_per_second))
            @if let Some(seconds) = upload.left_seconds.filter(|seconds| *seconds > 0) { " · about " (words::span(seconds)) " left for these" }
        }
        ul.legend {
            @for (letter, number, meaning) in kinds {
                @if letter != UploadStatus::COPIED || number > 0 {
                    li { i.cell data-state=(letter) {} (count(number)) " " (meaning) }
                }
            }
            @if parts_per_cell > 1 {
                li { i.cell data-state=(PARTLY) {} "partly there; a cell is " (count(parts_per_cell)) " parts" }
            }
            @if parts.resent > 0 { li { (words::counted(parts.resent, "part")) " sent again" } }
        }
    }
}

impl UploadView {
    /// All of it.
    pub(super) fn article(&self) -> Markup {
        let title = format!("{}-title", self.id);
        let size = if self.cells.len() > LARGE_CELLS_MAX { "cells small" } else { "cells" };
        html! {
            article.upload id=(self.id) aria-labelledby=(title) {
                h3 id=(title) { (self.path) }
                div.told { (maud::PreEscaped(&self.told)) }
                div class=(size) role="img" aria-label=(self.label) data-parts-per-cell=(self.parts_per_cell) {
                    @for (index, letter) in self.cells.chars().enumerate() {
                        @if self.parts_per_cell == 1 {
                            i.cell data-part=(index + 1) data-state=(letter) {}
                        } @else {
                            i.cell data-state=(letter) {}
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::samples;
    use super::*;

    #[test]
    fn each_part_has_its_cell() {
        let shown = uploads(&samples::status());
        assert_eq!((shown.len(), shown[0].cells.as_str(), shown[0].parts_per_cell), (1, "LLCss.", 1));
        assert_eq!(shown[0].label, "6 parts: 3 in the bucket, 2 on their way, 1 waiting");
        let html = shown[0].article().into_string();
        assert!(html.contains("data-part=\"3\" data-state=\"C\"") && html.contains("/film&lt;1&gt;.mkv"), "{html}");
        assert!(html.contains("1 part sent again"), "{html}");
    }

    #[test]
    fn many_parts_share_cells_and_are_counted_in_words() {
        let map = format!("{}{}{}", "L".repeat(4995), "s".repeat(8), ".".repeat(4997));
        let (parts_per_cell, cells) = cells(&map);
        assert_eq!((parts_per_cell, cells.len()), (10, 1000));
        assert_eq!((&cells[498..502], cells.matches('L').count()), ("Ls s.".replace(' ', "").as_str(), 499));
        let table = [("LL", 'L'), ("LC", 'L'), ("CC", 'C'), ("L.", 'p'), ("Ls", 's'), ("s.", 's'), ("..", '.')];
        for (parts, expected) in table {
            assert_eq!(together(&parts.chars().collect::<Vec<_>>()), expected, "{parts}");
        }
    }
}
