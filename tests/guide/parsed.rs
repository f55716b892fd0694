//! What the guide shows and nobody runs is read by whoever would read it: configuration by the program's own parser, units by
//! systemd, JSON as JSON; and policies allow what a mount does, and nothing that it does not.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use cosmount::config::{Environment, MountConfig, MountRequest};
use serde_json::Value;

use crate::document::{Block, Page, pages, root};

/// The blocks that have a reader, and those that need none.
const LANGUAGES: [&str; 8] = ["sh", "text", "toml", "json", "ini", "yaml", "dockerfile", "fstab"];

#[test]
fn every_block_says_what_it_is() {
    for page in pages() {
        for block in page.blocks() {
            assert!(LANGUAGES.contains(&block.language()), "{}:{}: {:?}", page.name, block.line, block.info);
        }
    }
}

/// The blocks of a language on all pages.
fn blocks_of(language: &str) -> Vec<(Page, Block)> {
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

/// The policies of the guide, with what they are for, as the fence says.
fn policies() -> Vec<(String, Value)> {
    let blocks = blocks_of("json").into_iter();
    blocks
        .map(|(page, block)| {
            let value = serde_json::from_str(&block.text);
            let value = value.unwrap_or_else(|error| panic!("{}:{}: {error}", page.name, block.line));
            (block.marks().next().unwrap_or("").to_owned(), value)
        })
        .filter(|(_, value): &(String, Value)| value.get("statement").is_some())
        .collect()
}

/// The actions that a policy allows, without what stands before their names.
fn actions(policy: &Value) -> BTreeSet<String> {
    let statements = policy["statement"].as_array().unwrap().iter();
    statements
        .flat_map(|statement| statement["action"].as_array().unwrap())
        .map(|action| action.as_str().unwrap().strip_prefix("name/cos:").expect("an action of COS").to_owned())
        .collect()
}

/// What a mount may ask for, as the program itself names it in a refusal, and what it asks without being told so.
fn known_actions() -> BTreeSet<String> {
    let source = fs::read_to_string(root().join("src/cli/diagnosis.rs")).unwrap();
    let table = source.split("fn actions(").nth(1).unwrap().split("\n}\n").next().unwrap();
    let mut known: BTreeSet<String> = table.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    known.extend(["HeadBucket", "DeleteMultipleObjects"].map(str::to_owned));
    known
}

/// Reads are none of these.
const WRITES: [&str; 6] = ["Put", "Delete", "Initiate", "Upload", "Complete", "Abort"];

#[test]
fn policies_allow_what_a_mount_asks_for_and_nothing_else() {
    let known = known_actions();
    let policies = policies();
    let kinds: Vec<&str> = policies.iter().map(|(kind, _)| kind.as_str()).collect();
    for kind in ["read-only", "read-write", "prefix"] {
        assert!(kinds.contains(&kind), "there is no policy for {kind}: {kinds:?}");
    }
    for (kind, policy) in &policies {
        assert_eq!(policy["version"], "2.0", "{kind}");
        let actions = actions(policy);
        let strange: Vec<_> = actions.difference(&known).collect();
        assert!(strange.is_empty(), "the policy for {kind} allows what no mount asks for: {strange:?}");
        let writes = actions.iter().any(|action| WRITES.iter().any(|beginning| action.starts_with(beginning)));
        assert_eq!(writes, kind != "read-only", "{kind}: {actions:?}");
        for statement in policy["statement"].as_array().unwrap() {
            assert_eq!(statement["effect"], "allow", "{kind}");
            let resources = statement["resource"].as_array().unwrap();
            let is_ours = |resource: &Value| {
                resource.as_str().unwrap().starts_with("qcs::cos:ap-guangzhou:uid/1250000000:photos-1250000000/")
            };
            assert!(resources.iter().all(is_ours), "{kind}: {resources:?}");
        }
    }
}

/// What a policy must allow for an operation of the access log.
fn action_of(operation: &str) -> &str {
    match operation {
        "ListObjects" => "GetBucket",
        "CopyObject" => "PutObject",
        other => other,
    }
}

/// Whether the policy of this kind allows all operations.
pub(crate) fn assert_allowed(kind: &str, operations: &[String]) {
    let policies = policies();
    let (_, policy) = policies.iter().find(|(known, _)| known == kind).expect("the policy is there");
    let allowed = actions(policy);
    let refused: BTreeSet<&str> =
        operations.iter().map(|operation| action_of(operation)).filter(|action| !allowed.contains(*action)).collect();
    assert!(refused.is_empty(), "the policy for {kind} does not allow {refused:?}");
}
