//! Every test that `docs/SEMANTICS.md` names exists, so that what it promises is shown by something.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;

/// The words in backquotes that name a test, as (file, function).
fn named_tests(text: &str) -> Vec<(String, String)> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter_map(|word| word.split_once("::"))
        .map(|(file, function)| (format!("tests/{file}.rs"), function.to_owned()))
        .collect()
}

/// Whether a file has a test function of that name.
fn has_test(text: &str, function: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let defines = |line: &&str| line.contains(&format!("fn {function}("));
    lines.iter().enumerate().any(|(at, line)| {
        let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with(['#', '/']));
        defines(line) && attributes.into_iter().any(|attribute| attribute.contains("test"))
    })
}

#[test]
fn every_test_that_the_semantics_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = named_tests(&fs::read_to_string(root.join("docs/SEMANTICS.md")).unwrap());
    assert!(named.len() > 30, "the names are found: {}", named.len());
    let is_missing = |(file, function): &&(String, String)| {
        let in_source = file.replacen("tests/", "src/", 1);
        let has = |file: &str| fs::read_to_string(root.join(file)).is_ok_and(|text| has_test(&text, function));
        !has(file) && !has(&in_source)
    };
    let missing: Vec<String> =
        named.iter().filter(is_missing).map(|(file, function)| format!("{file}::{function}")).collect();
    assert!(missing.is_empty(), "SEMANTICS.md names tests that are not there:\n{}", missing.join("\n"));
}

#[test]
fn a_test_is_a_function_with_the_attribute() {
    let text = "#[test]\nfn one() {}\n\n/// Doc.\n#[tokio::test]\nasync fn two() {}\n\nfn three() {}\n";
    assert!(has_test(text, "one") && has_test(text, "two"));
    assert!(!has_test(text, "three") && !has_test(text, "tw"));
}
