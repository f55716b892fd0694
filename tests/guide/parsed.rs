//! What the guide shows and nobody runs is read by whoever would read it: configuration by the program's own parser, units by
//! systemd.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use cosmount::config::{Environment, MountConfig, MountRequest};

use crate::document::{Block, Page, pages};

/// The blocks that have a reader, and those that need none.
const LANGUAGES: [&str; 6] = ["sh", "text", "toml", "json", "ini", "dockerfile"];

#[test]
fn every_block_says_what_it_is() {
    for page in pages() {
        for block in page.blocks() {
            assert!(LANGUAGES.contains(&block.language()), "{}:{}: {:?}", page.name, block.line, block.info);
        }
    }
}

/// The blocks of a language on all pages.
pub(crate) fn blocks_of(language: &str) -> Vec<(Page, Block)> {
    let all = pages().into_iter().flat_map(|page| {
        let blocks = page.blocks_of(language);
        let name = page.name.clone();
        blocks.into_iter().map(move |block| (Page::read(&name), block))
    });
    all.collect()
}

#[test]
fn configuration_is_what_the_program_reads() {
    let blocks = blocks_of("toml");
    assert!(blocks.len() > 3, "{} blocks", blocks.len());
    let directory = tempfile::tempdir().unwrap();
    for (page, block) in blocks {
        let file = directory.path().join("config.toml");
        fs::write(&file, &block.text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let home = directory.path().to_string_lossy().into_owned();
        let keys = [
            ("HOME".to_owned(), home),
            ("COS_SECRETID".to_owned(), "id".to_owned()),
            ("COS_SECRETKEY".to_owned(), "key".to_owned()),
        ];
        let environment = Environment::new(keys).with_system_directory(directory.path());
        // With a region that counts where the file names none; what the file says of one goes first in the file alone.
        let request = MountRequest {
            source: Some("photos-1250000000".to_owned()),
            mount_point: "/mnt/photos".into(),
            config_file: Some(file),
            mount_options: vec!["region=ap-guangzhou".to_owned()],
            ..MountRequest::default()
        };
        let built = MountConfig::build(request, &environment);
        let config = built.unwrap_or_else(|error| panic!("{}:{}: {error}", page.name, block.line));
        assert!(config.warnings.is_empty(), "{}:{}: {:?}", page.name, block.line, config.warnings);
    }
}

#[test]
fn units_are_what_systemd_takes() {
    let is_there = Command::new("systemd-analyze").arg("--version").output().is_ok_and(|done| done.status.success());
    if !is_there {
        crate::stage::say("skipped: systemd-analyze is not here");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for (page, block) in blocks_of("ini").into_iter().filter(|(_, block)| block.text.contains("[Unit]")) {
        let name =
            block.marks().next().unwrap_or_else(|| panic!("{}:{}: which unit?", page.name, block.line)).to_owned();
        let file = directory.path().join(name);
        // The program is looked for, and need not be installed here.
        let text = block.text.replace("/usr/bin/cosmount", env!("CARGO_BIN_EXE_cosmount"));
        fs::write(&file, text.replace("/usr/local/bin/cosmount", env!("CARGO_BIN_EXE_cosmount"))).unwrap();
        let done = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file).output().unwrap();
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        let told: Vec<&str> = told.lines().filter(|line| line.contains(directory.path().to_str().unwrap())).collect();
        assert!(done.status.success() && told.is_empty(), "{}:{}: {told:?} {done:?}", page.name, block.line);
    }
}
