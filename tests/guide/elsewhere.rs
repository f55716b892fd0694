//! The blocks that cannot run where tests do: each with the reason and, where there is one, the test that runs the like of it.

use std::fs;

use crate::document::{pages, root};
use crate::running::ELSEWHERE;

/// A block by its page and its first line.
struct Elsewhere {
    page: &'static str,
    first_line: &'static str,
    why: &'static str,
    /// `file::function` of the test that runs what it shows, or the like of it.
    test: Option<&'static str>,
}

const NO_SYSTEMD: &str = "systemd is not the first process where tests run";
const NO_DOCKER: &str = "needs a daemon of Docker and an image";
const THE_UNIT: &str = "cli/service_manager::the_unit_is_told_when_the_mount_answers_reads_again_and_ends";
const THE_ENTRYPOINT: &str = "cli/given::a_container_serves_its_mount_without_privileges_and_takes_it_away_at_its_end";

const BLOCKS: &[Elsewhere] = &[
    Elsewhere {
        page: "everyday.md",
        first_line: "scripts/package",
        why: "installs packages, which tests/packaging/debian does in a fresh Debian",
        test: None,
    },
    Elsewhere {
        page: "mount-at-boot.md",
        first_line: "systemctl enable --now cosmount@photos",
        why: NO_SYSTEMD,
        test: Some(THE_UNIT),
    },
    Elsewhere { page: "mount-at-boot.md", first_line: "systemctl daemon-reload", why: NO_SYSTEMD, test: None },
    Elsewhere {
        page: "mount-at-boot.md",
        first_line: "systemctl --user enable --now photos",
        why: NO_SYSTEMD,
        test: Some("cli/mounting::an_ordinary_user_mounts_and_unmounts"),
    },
    Elsewhere {
        page: "containers.md",
        first_line: "docker run --rm --mount type=bind,source=/mnt/photos,target=/data,bind-propagation=rslave alpine ls /data",
        why: NO_DOCKER,
        test: None,
    },
    Elsewhere {
        page: "containers.md",
        first_line: "docker run --rm --device /dev/fuse --cap-add SYS_ADMIN --security-opt apparmor=unconfined --stop-timeout 70 \\",
        why: NO_DOCKER,
        test: Some(THE_ENTRYPOINT),
    },
    Elsewhere {
        page: "containers.md",
        first_line: "kubectl create secret generic photos-key --from-env-file=key.env",
        why: "needs a cluster",
        test: Some(THE_ENTRYPOINT),
    },
];

#[test]
fn what_does_not_run_is_listed_with_its_reason() {
    let pages = pages();
    let mut unlisted = Vec::new();
    let mut seen = Vec::new();
    for page in &pages {
        for block in page.blocks_of("sh").iter().filter(|block| block.is_marked(ELSEWHERE)) {
            let row =
                BLOCKS.iter().position(|row| row.page == page.file_name() && row.first_line == block.first_line());
            match row {
                Some(row) => seen.push(row),
                None => unlisted.push(format!("{}:{}: {}", page.name, block.line, block.first_line())),
            }
        }
    }
    assert!(unlisted.is_empty(), "blocks that do not run and are not in elsewhere.rs:\n{}", unlisted.join("\n"));
    for (at, row) in BLOCKS.iter().enumerate() {
        assert!(seen.contains(&at), "{} has no block that begins with {:?} any more", row.page, row.first_line);
        assert!(!row.why.is_empty(), "{:?} has no reason", row.first_line);
    }
}

#[test]
fn tests_that_run_it_otherwise_are_there() {
    for row in BLOCKS {
        let Some((file, function)) = row.test.map(|test| test.split_once("::").expect("file::function")) else {
            continue;
        };
        let text = fs::read_to_string(root().join(format!("tests/{file}.rs"))).unwrap_or_default();
        assert!(
            text.contains(&format!("fn {function}(")),
            "{:?} names {file}::{function}, which is not there",
            row.first_line
        );
    }
}
