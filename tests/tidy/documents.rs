//! Documents name files that are there, and decisions are numbered without a gap.
//!
//! A file of the source is named by its path below `src` or `tests`, by its path in the package, or by the end of one of
//! them where the sentence says where that is.

use std::collections::BTreeSet;

use super::{Texts, texts_below};

/// The files among the texts in backticks that no path ends with.
fn missing(text: &str, paths: &BTreeSet<String>) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let files = quoted.filter(|quoted| quoted.ends_with(".rs") && !quoted.contains(char::is_whitespace));
    let is_there = |file: &str| {
        paths.iter().any(|path| path.strip_suffix(file).is_some_and(|rest| rest.is_empty() || rest.ends_with('/')))
    };
    files.filter(|file| !is_there(file)).map(str::to_owned).collect()
}

/// All files of the package's own source, by their path in it.
fn paths() -> BTreeSet<String> {
    let folders = ["src", "tests", "benches", "crates"];
    folders
        .iter()
        .flat_map(|folder| texts_below(folder, "rs").into_keys().map(move |path| format!("{folder}/{path}")))
        .collect()
}

#[test]
fn files_that_documents_name_are_there() {
    let mut documents: Texts = texts_below("docs", "md");
    for document in ["README.md", "CONTRIBUTING.md"] {
        let path = format!("{}/{document}", env!("CARGO_MANIFEST_DIR"));
        documents.insert(document.to_owned(), std::fs::read_to_string(path).expect("a text file can be read"));
    }
    let paths = paths();
    let found: Vec<String> = documents
        .iter()
        .flat_map(|(document, text)| {
            missing(text, &paths).into_iter().map(move |file| format!("{document} names {file}, which is not there"))
        })
        .collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_decision_has_a_number_of_its_own_and_bears_it_in_its_title() {
    let decisions: Texts =
        texts_below("docs/decisions", "md").into_iter().filter(|(file, _)| file != "README.md").collect();
    let number = |file: &str| file.split('-').next().unwrap_or_default().to_owned();
    for (file, text) in &decisions {
        let number = number(file);
        assert!(number.len() == 4 && number.parse::<u16>().is_ok(), "{file} begins with no number");
        assert!(text.starts_with(&format!("# {number}. ")), "{file} has another number in its title");
    }
    let numbers: BTreeSet<String> = decisions.keys().map(|file| number(file)).collect();
    assert_eq!(numbers.len(), decisions.len(), "two decisions have one number: {:?}", decisions.keys());
}

#[test]
fn what_is_not_there_is_found() {
    let paths = BTreeSet::from(["src/fs/tree/told.rs".to_owned(), "tests/tidy/main.rs".to_owned()]);
    let text = "As `fs/tree/told.rs` and `told.rs` say, not `old.rs`, nor\n`src/told.rs`, `a word.rs` or fs/heads.rs; `tests/tidy/main.rs`";
    assert_eq!(missing(text, &paths), ["old.rs", "src/told.rs"]);
}
