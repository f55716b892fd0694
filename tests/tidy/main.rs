//! The shape of the source, kept by tests: [`layers`] that import downward only, the size of what a reader has to keep
//! in mind at once ([`measures`]), and documents that name what is there ([`documents`]).
//!
//! `cargo test --test tidy -- --nocapture` shows what is largest.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod documents;
mod imports;
mod layers;
mod measures;
mod names;

use std::collections::BTreeMap;
use std::path::Path;

/// Texts by their path below a folder, with `/`.
type Texts = BTreeMap<String, String>;

/// All files with this extension in a folder of the package, and below it.
fn texts_below(folder: &str, extension: &str) -> Texts {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut texts = Texts::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the package can be listed") {
            let path = entry.expect("a folder of the package can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|of_file| of_file == extension) {
                let below = path.strip_prefix(&root).expect("found below it").to_string_lossy().replace('\\', "/");
                texts.insert(below, std::fs::read_to_string(&path).expect("a text file can be read"));
            }
        }
    }
    texts
}
