//! Every link leads somewhere, and the index to sections.

use std::path::{Component, Path, PathBuf};

use crate::document::{Page, pages, root};

/// The fewest questions that the index answers.
const QUESTIONS_MIN: usize = 25;

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    let mut broken = Vec::new();
    let readme = Page::read("README.md");
    for page in pages().iter().chain([&readme]) {
        for link in page.links().iter().filter(|link| !link.target.contains("://")) {
            if let Err(what) = follow(page, &link.target) {
                broken.push(format!("{}:{}: {} leads to {what}", page.name, link.line, link.target));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

/// Goes where a link of a page leads.
fn follow(page: &Page, target: &str) -> Result<(), String> {
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let path = if file.is_empty() { PathBuf::from(&page.name) } else { normal(&page.directory().join(file)) };
    if !root().join(&path).exists() {
        return Err("no file".to_owned());
    }
    let Some(anchor) = anchor else { return Ok(()) };
    let led_to = Page::read(&path.to_string_lossy());
    if led_to.anchors().iter().any(|known| known == anchor) { Ok(()) } else { Err("no heading".to_owned()) }
}

/// A path without `..`.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut normal, component| {
        match component {
            Component::ParentDir => drop(normal.pop()),
            other => normal.push(other),
        }
        normal
    })
}

#[test]
fn the_index_leads_from_each_question_to_a_section() {
    let index = Page::read("docs/guide/README.md");
    let questions: Vec<_> = index.links().into_iter().filter(|link| link.text.ends_with('?')).collect();
    assert!(questions.len() >= QUESTIONS_MIN, "{} questions", questions.len());
    let mut targets: Vec<&str> = questions.iter().map(|link| link.target.as_str()).collect();
    assert!(targets.iter().all(|target| target.contains(".md#")), "a question leads to a section: {targets:?}");
    targets.sort_unstable();
    let count = targets.len();
    targets.dedup();
    assert_eq!(targets.len(), count, "two questions have one answer: make them one");
}

#[test]
fn the_index_names_every_page() {
    let index = Page::read("docs/guide/README.md");
    let targets: Vec<String> = index.links().into_iter().map(|link| link.target).collect();
    for page in pages().iter().filter(|page| page.file_name() != "README.md") {
        assert!(
            targets.iter().any(|target| target == page.file_name()),
            "the index does not name {}",
            page.file_name()
        );
    }
}
