//! The guide for users does what it says: every command of it is run, and what it shows is what comes.
//!
//! [`document`] reads the pages, [`running`] goes through one as a user would, on a [`stage`] where nothing of the machine
//! changes. What does not run is read by who would read it ([`parsed`], [`policies`]), or listed with its reason ([`elsewhere`]).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod costs;
mod document;
mod elsewhere;
mod flags;
mod links;
mod messages;
mod parsed;
mod policies;
mod running;
mod stage;
mod theirs;

use running::run_page;

#[test]
fn mount_at_boot() {
    run_page("mount-at-boot.md");
}

#[test]
fn containers() {
    run_page("containers.md");
}

#[test]
fn many_small_files() {
    run_page("many-small-files.md");
}

#[test]
fn large_files() {
    run_page("large-files.md");
}

#[test]
fn several_machines() {
    run_page("several-machines.md");
}

#[test]
fn services_of_s3() {
    run_page("s3.md");
}

#[test]
fn tuning() {
    run_page("tuning.md");
}

#[test]
fn costs_page() {
    run_page("costs.md");
}

#[test]
fn security() {
    run_page("security.md");
}

#[test]
fn troubleshooting() {
    run_page("troubleshooting.md");
}

#[test]
fn migration() {
    run_page("migration.md");
}

#[test]
fn everyday() {
    run_page("everyday.md");
}

#[test]
fn the_index() {
    run_page("README.md");
}

/// A page that no test runs would be one that nobody has tried.
#[test]
fn every_page_has_a_test() {
    let tests = include_str!("main.rs");
    for page in document::pages() {
        let call = format!("run_page(\"{}\")", page.file_name());
        assert!(tests.contains(&call), "{} has no test here", page.name);
    }
}
