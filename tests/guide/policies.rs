//! The policies of the guide allow what a mount asks for, and nothing else.
//!
//! What a mount asks for is what the service counts while usual programs use it, and what the program itself names when it is
//! denied something.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::document::root;
use crate::parsed::blocks_of;
use crate::stage::{BUCKET, Request, Stage, is_possible};

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
    let source = fs::read_to_string(root().join("src/wire/dialect/policy.rs")).unwrap();
    let table = source.split("fn actions_of_cos(").nth(1).unwrap().split("\n}\n").next().unwrap();
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

/// Whether the policy of this kind allows all requests.
pub(crate) fn assert_allowed(kind: &str, requests: &[Request]) {
    let policies = policies();
    let (_, policy) = policies.iter().find(|(known, _)| known == kind).expect("the policy is there");
    let allowed = actions(policy);
    let asked = requests.iter().map(|request| action_of(&request.operation));
    let refused: BTreeSet<&str> = asked.filter(|action| !allowed.contains(*action)).collect();
    assert!(refused.is_empty(), "the policy for {kind} does not allow {refused:?}");
}

/// What programs do with a mount: they write, read, change, rename, and remove what is open.
const USE: &str = "
    mkdir d; echo text > d/a; head -c 20M /dev/zero > large; echo more >> large; cp d/a d/b; mv d/b d/c; mv d e
    ls -lR > /dev/null; cat e/a > /dev/null; chmod 600 e/a; ln -s e/a link; exec 3< e/a; rm e/a; cat <&3; exec 3<&-; rm -r e";

#[test]
fn a_mount_of_a_prefix_asks_for_nothing_beside_it() {
    if !is_possible() {
        return;
    }
    let stage = Stage::new();
    let script = format!(
        "set -e
         mkdir -p /mnt/2024; cosmount mount {BUCKET} /mnt/2024; mkdir /mnt/2024/2024; echo x > /mnt/2024/2024/x
         cosmount unmount /mnt/2024
         wc -l < \"$ACCESS_LOG\"
         cosmount mount {BUCKET}:/2024 /mnt/2024; cd /mnt/2024
         {USE}
         cd /; cosmount unmount /mnt/2024"
    );
    let requests = requests_after_mark(&stage, &script);
    let beside: Vec<&Request> =
        requests.iter().filter(|request| !request.key.is_empty() && !request.key.starts_with("2024/")).collect();
    assert!(beside.is_empty(), "{beside:?}");
    let about_the_prefix: Vec<Request> =
        requests.into_iter().filter(|request| request.operation != "HeadBucket").collect();
    assert_allowed("prefix", &about_the_prefix);
}

#[test]
fn a_mount_that_only_reads_asks_for_what_its_policy_allows() {
    if !is_possible() {
        return;
    }
    let stage = Stage::new();
    let script = format!(
        "set -e
         mkdir -p /mnt/photos; cosmount mount {BUCKET} /mnt/photos; mkdir /mnt/photos/d; echo x > /mnt/photos/d/x
         cosmount unmount /mnt/photos
         wc -l < \"$ACCESS_LOG\"
         cosmount mount {BUCKET} /mnt/photos --read-only; cd /mnt/photos
         ls -lR > /dev/null; cat d/x > /dev/null; ! rm d/x 2> /dev/null; ! touch y 2> /dev/null; ! chmod 600 d/x 2> /dev/null
         cd /; cosmount unmount /mnt/photos"
    );
    let requests = requests_after_mark(&stage, &script);
    assert!(requests.len() > 3, "{requests:?}");
    assert_allowed("read-only", &requests);
}

/// Runs a script that prints how many requests do not count, and gives those after them.
fn requests_after_mark(stage: &Stage, script: &str) -> Vec<Request> {
    let done = stage.run(script);
    let output = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{output}{}\n{}", String::from_utf8_lossy(&done.stderr), stage.log());
    let before = output.lines().next().unwrap().trim().parse().unwrap();
    stage.requests().split_off(before)
}
