//! Misconfigurations, each with the one cause that `cosmount doctor` names for it; and `cosmount mount` names the same.
//!
//! A case is right when exactly one check is not well, that one, with these words. What follows from it is not told again.

use std::net::TcpListener;
use std::process::Command;

use cosmount::store::{ListRequest, ObjectStore};
use serde_json::Value;

use crate::bed::{AS_NOBODY, BUCKET, Done, Home, ID, KEY, Service};
use crate::doctor::faulty;
use crate::encryption::{make_certificates, terminated};
use crate::refusals::{KEYS, answering};

/// What is wrong, and what is to be said of it.
struct Case<'a> {
    what: &'a str,
    source: &'a str,
    arguments: Vec<&'a str>,
    variables: &'a [(&'a str, &'a str)],
    check: &'a str,
    status: &'a str,
    /// A part of the sentence.
    told: &'a str,
    /// A part of what to do.
    fix: &'a str,
    /// Whether a mount fails of it, and so says the same.
    fails_mounts: bool,
}

impl Case<'_> {
    const PLAIN: Case<'static> = Case {
        what: "",
        source: BUCKET,
        arguments: Vec::new(),
        variables: &KEYS,
        check: "",
        status: "failure",
        told: "",
        fix: "",
        fails_mounts: true,
    };
}

/// A case in which nothing is mounted either.
fn failing<'a>(what: &'a str, arguments: &[&'a str], check: &'a str, told: &'a str, fix: &'a str) -> Case<'a> {
    Case { what, arguments: arguments.to_vec(), check, told, fix, ..Case::PLAIN }
}

/// Runs the check, and the mount where it fails too.
#[track_caller]
fn judge(home: &Home, cases: &[Case<'_>]) {
    for case in cases {
        let mut command = home.program();
        command.args(["doctor", case.source, "--json"]).args(&case.arguments).envs(case.variables.iter().copied());
        let detail = found(case, &Done::of(command.output().unwrap()));
        if case.fails_mounts {
            let mut command = home.program();
            command.args(["mount", case.source, "mnt"]).args(&case.arguments).envs(case.variables.iter().copied());
            let mount = Done::of(command.output().unwrap());
            assert_ne!(mount.code, Some(0), "{}: {mount:?}", case.what);
            // What was said by others stands behind the cause here, and at the end there.
            let cause = detail.split(" (").next().unwrap();
            assert!(mount.stderr.contains(cause), "{}: doctor says {detail:?}, {mount:?}", case.what);
        }
    }
}

/// Checks that this case and nothing else was found, and gives the sentence.
#[track_caller]
fn found(case: &Case<'_>, done: &Done) -> String {
    let what = case.what;
    let told: Value = serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{what}: {error}: {done:?}"));
    let checks = told["checks"].as_array().unwrap();
    let wrong: Vec<&Value> =
        checks.iter().filter(|check| check["status"] == "failure" || check["status"] == "warning").collect();
    assert_eq!(wrong.len(), 1, "{what}: one cause, and not {wrong:#?}");
    let (name, status) = (wrong[0]["name"].as_str().unwrap(), wrong[0]["status"].as_str().unwrap());
    assert_eq!((name, status), (case.check, case.status), "{what}: {:#?}", wrong[0]);
    let (detail, fix) = (wrong[0]["detail"].as_str().unwrap(), wrong[0]["fix"].as_str().unwrap_or_default());
    assert!(detail.contains(case.told) && fix.contains(case.fix), "{what}: {:#?}", wrong[0]);
    assert!(!fix.is_empty() || is_told_of_a_variable(detail), "{what}: what is to be done? {:#?}", wrong[0]);
    assert!(!done.stdout.contains("hunter2"), "{what}: a secret is shown");
    let is_failure = case.status == "failure";
    assert_eq!(done.code != Some(0), is_failure, "{what}: {:?}", done.code);
    detail.to_owned()
}

/// What nobody reads can stay where it is.
fn is_told_of_a_variable(detail: &str) -> bool {
    detail.contains("of the environment is not read")
}

/// A port that was free a moment ago; nobody listens there.
fn dead_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Takes connections and says nothing. Gives the port.
fn silent() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().flatten().collect::<Vec<_>>());
    port
}

#[test]
fn the_way_to_the_service() {
    let home = Home::new();
    let service = faulty(&home, "", &[]);
    let tls = service.endpoint.replace("http://", "https://");
    let closed = format!("http://127.0.0.1:{}", dead_port());
    let hung = format!("http://127.0.0.1:{}", silent());
    // A TLS alert, as it comes in answer to plain text.
    let encrypted = format!("http://127.0.0.1:{}", answering(b"\x15\x03\x01\x00\x02\x02\x46"));
    let s3 = format!(
        "http://127.0.0.1:{}",
        answering(b"HTTP/1.1 403 Forbidden\r\nx-amz-request-id: 1\r\ncontent-length: 0\r\n\r\n")
    );
    let web = format!("http://127.0.0.1:{}", answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    let mute = format!("http://127.0.0.1:{}", answering(b""));
    let case = failing;
    let unknown = ["--endpoint", "https://no-such-host.invalid"];
    let cases = [
        case("a host that is not there", &unknown, "dns", "the name no-such-host.invalid does not resolve", "check"),
        case(
            "a region that is misspelt",
            &["--region", "ap-guangzou"],
            "dns",
            "there is no host",
            "--region ap-guangzhou?",
        ),
        case("a closed port", &["--endpoint", &closed], "tcp", "cannot be reached", "nothing listens there"),
        case("a service that hangs", &["--endpoint", &hung], "service", "does not answer in time", "check the region"),
        case("TLS against plain HTTP", &["--endpoint", &tls], "tls", "does not speak TLS", "write http://"),
        case(
            "plain HTTP against TLS",
            &["--endpoint", &encrypted],
            "tls",
            "does not speak plain HTTP",
            "write https://",
        ),
        case("an end without a word", &["--endpoint", &mute], "tls", "closes the connection", "write https://"),
        case("an S3 service", &["--endpoint", &s3], "service", "is an S3 service and not COS", "an endpoint of COS"),
        case("a web server", &["--endpoint", &web], "service", "does not answer as COS does", "check the endpoint"),
        case(
            "no encryption to another machine",
            &["--endpoint", "http://192.0.2.7"],
            "tls",
            "not encrypted",
            "--allow-http",
        ),
        case("no region", &[], "region", "which region is the bucket in?", "Give --region"),
        case("no URL", &["--endpoint", "ftp://x"], "configuration", "is not an endpoint", ""),
    ];
    judge(&home, &cases);
}

#[test]
fn certificates() {
    let home = Home::new();
    let service = faulty(&home, "", &[]);
    make_certificates(&home);
    home.write("garbled.pem", "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n", 0o644);
    home.write("none.pem", "nothing\n", 0o644);
    let (_good, good) = terminated(&home, &service, "IP:127.0.0.1");
    let (_other, other) = terminated(&home, &service, "DNS:other.example");
    let (_expired, expired) = terminated(&home, &service, "expired");
    let (_early, early) = terminated(&home, &service, "early");
    let case = failing;
    let bundle = "--ca-bundle";
    let cases = [
        case(
            "an unknown authority",
            &["--endpoint", &good],
            "tls",
            "signed by no authority that this machine",
            "--ca-bundle",
        ),
        case("another name", &["--endpoint", &other, bundle, "ca.pem"], "tls", "is for another name", "--endpoint"),
        case("an old one", &["--endpoint", &expired, bundle, "ca.pem"], "tls", "has expired", "renew it there"),
        case("one of tomorrow", &["--endpoint", &early, bundle, "ca.pem"], "tls", "is not valid yet", "timedatectl"),
        case(
            "a garbled bundle",
            &["--endpoint", &good, bundle, "garbled.pem"],
            "tls",
            "in --ca-bundle cannot be read",
            "",
        ),
        case(
            "no bundle at all",
            &["--endpoint", &good, bundle, "none.pem"],
            "configuration",
            "holds no certificate",
            "",
        ),
    ];
    judge(&home, &cases);
    let fine = home.program().args(["doctor", BUCKET, "--endpoint", &good, bundle, "ca.pem"]).envs(KEYS).output();
    let fine = Done::of(fine.unwrap());
    assert!(fine.code == Some(0) && fine.stdout.contains("OK      tls           encrypted"), "{fine:?}");
}

#[test]
fn proxies() {
    let home = Home::new();
    let dead = format!("http://me:hunter2@127.0.0.1:{}", dead_port());
    let hung = format!("http://127.0.0.1:{}", silent());
    let closed = format!(
        "http://127.0.0.1:{}",
        answering(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
    );
    let broken = format!("http://127.0.0.1:{}", answering(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"));
    let plain = ["--endpoint", "http://localhost:9444", "--proxy"];
    let arguments = [&dead, &hung, &closed, &broken].map(|proxy| [&plain[..], &[proxy.as_str()]].concat());
    let [dead, hung, closed, broken] = &arguments;
    let cases = [
        failing("a proxy that is not there", dead, "proxy", "cannot be reached or refuses", "check --proxy"),
        failing("a proxy that hangs", hung, "proxy", "through the proxy 127.0.0.1", "check --proxy"),
        failing(
            "a proxy that wants a password",
            closed,
            "proxy",
            "answers 407 in the place of",
            "--proxy a URL with the name",
        ),
        failing("a proxy that cannot go on", broken, "proxy", "answers 502 in the place of", "check --proxy"),
    ];
    judge(&home, &cases);
}

fn of_key<'a>(
    what: &'a str,
    arguments: &[&'a str],
    variables: &'a [(&'a str, &'a str)],
    told: &'a str,
    fix: &'a str,
) -> Case<'a> {
    Case { variables, ..failing(what, arguments, "credentials", told, fix) }
}

#[test]
fn keys() {
    let home = Home::new();
    let service = faulty(&home, "", &[]);
    let over = "[[rule]]\nop = ['HeadBucket', 'ListObjects']\nkind = 'status'\ncode = 'ExpiredToken'\n";
    let elsewhere = Home::new();
    let refusing = faulty(&elsewhere, over, &[]);
    let endpoint = ["--endpoint", service.endpoint.as_str()];
    let refused = ["--endpoint", refusing.endpoint.as_str()];
    let with = |more: &[&'static str]| [&endpoint[..], more].concat();
    home.write("open", &format!("{ID}:hunter2\n"), 0o644);
    home.write(
        "ended",
        "COSAccessKeyId=AKIDold\nCOSSecretKey=hunter2\nCOSAccessToken=t\nCOSAccessTokenExpire=2020-01-01T00:00:00Z\n",
        0o600,
    );
    home.write("fails.toml", "credential_process = 'echo hunter2; echo no luck >&2; exit 1'\n", 0o600);
    home.write("babbles.toml", "credential_process = 'echo hunter2'\n", 0o600);
    home.write("missing.toml", "credential_process = '/no/such/program'\n", 0o600);
    home.write("public.toml", "credential_process = 'true'\n", 0o666);
    let (open, ended, gone) = (
        with(&["--credentials-file", "open"]),
        with(&["--credentials-file", "ended"]),
        with(&["--credentials-file", "none"]),
    );
    let config = |file: &'static str| with(&["--config", file]);
    let (fails, babbles, missing, public) =
        (config("fails.toml"), config("babbles.toml"), config("missing.toml"), config("public.toml"));
    let role = with(&["--cam-role", "auto"]);
    let cases = [
        of_key("no key anywhere", &endpoint, &[], "no credentials found", "set COS_SECRETID and COS_SECRETKEY"),
        of_key("half a key", &endpoint, &KEYS[..1], "a secret id is given but its key is not", ""),
        of_key(
            "another cloud's key",
            &endpoint,
            &[("AWS_ACCESS_KEY_ID", "x")],
            "AWS_ACCESS_KEY_ID of the environment is not read",
            "",
        ),
        of_key(
            "a wrong id",
            &endpoint,
            &[("COS_SECRETID", "AKIDother"), KEYS[1]],
            "does not know the secret id AKIDother",
            "(COS_SECRETID)",
        ),
        of_key(
            "a wrong key",
            &endpoint,
            &[KEYS[0], ("COS_SECRETKEY", "hunter2")],
            "the secret key is not the one of the id",
            "check the credentials",
        ),
        of_key(
            "a blank behind the key",
            &endpoint,
            &[KEYS[0], ("COS_SECRETKEY", "the-key-of-the-tests ")],
            "is not the one of the id",
            "a blank or a quote",
        ),
        of_key(
            "swapped",
            &endpoint,
            &[("COS_SECRETID", KEY), ("COS_SECRETKEY", ID)],
            "does not know the secret id",
            "are swapped",
        ),
        of_key("a key that has ended", &ended, &[], "have expired, at 2020-01-01T00:00:00Z", "get new ones"),
        of_key("a token that has ended", &refused, &KEYS, "have expired", "get new ones"),
        of_key("a file that others can read", &open, &[], "others can read it (mode 0644)", "chmod 600 "),
        of_key("a program that fails", &fails, &[], "it ended with exit status: 1: no luck", "by hand"),
        of_key("a program that babbles", &babbles, &[], "what was told is no JSON object", "by hand"),
        of_key("a program that is not there", &missing, &[], "exit status: 127", "by hand"),
        of_key(
            "a machine without a role",
            &role,
            &[("COSMOUNT_METADATA_URL", "http://127.0.0.1:1/")],
            "there is no key from the role",
            "",
        ),
    ];
    judge(&home, &cases);
    let of_files = [
        Case {
            what: "a file that is not there",
            arguments: gone.clone(),
            told: "is missing: it was named",
            ..Case::PLAIN
        },
        Case {
            what: "a command of others",
            arguments: public.clone(),
            told: "others can change it",
            fix: "chmod go-w",
            ..Case::PLAIN
        },
    ];
    judge(&home, &of_files.map(|case| Case { check: "configuration", ..case }));
}

#[test]
fn clocks() {
    for (seconds, told) in
        [(-7200, "2 h ahead of the service's"), (90_000, "25 h behind the service's"), (300, "5 min behind")]
    {
        let home = Home::new();
        let service = faulty(&home, &format!("{TIDY_CLOCK}seconds = {seconds}\n"), &[]);
        let arguments = ["--endpoint", service.endpoint.as_str()];
        let case = Case {
            what: told,
            arguments: arguments.to_vec(),
            check: "clock",
            status: "warning",
            told,
            fix: "timedatectl",
            fails_mounts: false,
            ..Case::PLAIN
        };
        judge(&home, &[case]);
    }
    // A service that refuses whatever time is told to it.
    let home = Home::new();
    let refusing = "[[rule]]\nop = ['HeadBucket', 'ListObjects']\nkind = 'status'\ncode = 'RequestTimeTooSkewed'\n";
    let service = faulty(&home, refusing, &[]);
    let arguments = ["--endpoint", service.endpoint.as_str()];
    judge(
        &home,
        &[Case {
            what: "refused",
            arguments: arguments.to_vec(),
            check: "clock",
            told: "this machine's clock is wrong",
            fix: "timedatectl",
            ..Case::PLAIN
        }],
    );
}

/// What the lifecycle is must be answered by a clock that is off, too, so that rule comes behind this one.
const TIDY_CLOCK: &str = "[[rule]]\nop = ['HeadBucket', 'ListObjects', 'PutObject', 'GetObject', 'HeadObject', 'CopyObject', \
    'InitiateMultipartUpload', 'UploadPart', 'UploadPartCopy', 'CompleteMultipartUpload', 'AbortMultipartUpload', 'ListParts', \
    'DeleteObject', 'DeleteMultipleObjects', 'ListMultipartUploads', 'GetBucketVersioning']\nkind = 'clock'\n";

#[test]
fn buckets() {
    let home = Home::new();
    let service = faulty(&home, "", &[]);
    home.mounted(&service, &[]);
    std::fs::write(home.mount_point().join("file"), "x").unwrap();
    home.unmount().succeeded();
    let endpoint = ["--endpoint", service.endpoint.as_str()];
    let case = |what, source, check, told, fix| Case {
        what,
        source,
        arguments: endpoint.to_vec(),
        check,
        told,
        fix,
        ..Case::PLAIN
    };
    let cases = [
        case(
            "a slip of the finger",
            "locl-1250000000",
            "bucket",
            "there is no bucket locl-1250000000",
            "did you mean local-1250000000?",
        ),
        case(
            "another bucket",
            "photographs-1300000000",
            "bucket",
            "there is no bucket photographs",
            "which ends in -APPID",
        ),
        case("no APPID", "local", "bucket", "\"local\" is not a bucket's full name: it is NAME-APPID", ""),
        case("large letters", "Local-1250000000", "bucket", "is not a bucket's full name", ""),
        case("dots in the prefix", "local-1250000000:/a/../b", "bucket", "a prefix cannot hold the segments", ""),
        case(
            "a prefix that is a file",
            "local-1250000000:/file",
            "prefix",
            "file is a file of local-1250000000",
            "mount what it is in, local-1250000000",
        ),
        Case {
            status: "warning",
            fails_mounts: false,
            ..case("an empty prefix", "local-1250000000:/none", "prefix", "there is nothing below none/", "spelling")
        },
    ];
    judge(&home, &cases);
}

#[test]
fn regions() {
    let moved = "[[rule]]\nop = 'HeadBucket'\nkind = 'answer'\nstatus = 301\n\
                 headers = { location = 'https://local-1250000000.cos.ap-beijing.myqcloud.com/' }\n";
    let listed = "[[rule]]\nop = ['HeadBucket', 'ListObjects']\nkind = 'status'\ncode = 'NoSuchBucket'\n\
                  [[rule]]\nop = 'GetService'\nkind = 'answer'\nbody = '<ListAllMyBucketsResult><Buckets><Bucket><Name>local-1250000000</Name>\
                  <Location>ap-beijing</Location><CreationDate>2024-01-01T00:00:00Z</CreationDate></Bucket></Buckets></ListAllMyBucketsResult>'\n";
    let headed = "[[rule]]\nop = 'HeadBucket'\nkind = 'answer'\nstatus = 404\n\
                  headers = { x-cos-bucket-region = 'ap-beijing' }\n";
    for (what, rules) in [("a redirect", moved), ("the list of buckets", listed), ("a header", headed)] {
        let home = Home::new();
        let service = faulty(&home, rules, &[]);
        let arguments = ["--endpoint", service.endpoint.as_str(), "--region", "ap-guangzhou"];
        let told = "the bucket local-1250000000 is in the region ap-beijing, and not in ap-guangzhou";
        judge(
            &home,
            &[Case {
                what,
                arguments: arguments.to_vec(),
                check: "region",
                told,
                fix: "--region ap-beijing",
                ..Case::PLAIN
            }],
        );
    }
}

/// One kind of request that is refused, and the check that is to name it.
#[test]
fn permissions() {
    let table = [
        ("'ListObjects'", "list", "name/cos:GetBucket"),
        ("'PutObject'", "put", "name/cos:PutObject"),
        ("'GetObject'", "get", "name/cos:GetObject"),
        ("'HeadObject'", "get", "name/cos:HeadObject"),
        ("'CopyObject'", "copy", "name/cos:PutObject and name/cos:GetObject"),
        ("'InitiateMultipartUpload'", "multipart", "name/cos:InitiateMultipartUpload"),
        ("'UploadPart'", "multipart", "name/cos:UploadPart"),
        ("'UploadPartCopy'", "multipart", "name/cos:UploadPartCopy"),
        ("'CompleteMultipartUpload'", "multipart", "name/cos:CompleteMultipartUpload"),
        ("'AbortMultipartUpload'", "multipart", "name/cos:AbortMultipartUpload"),
        ("'ListParts'", "multipart", "name/cos:ListParts"),
        ("'DeleteObject'", "delete", "name/cos:DeleteObject"),
        ("'DeleteMultipleObjects'", "delete", "name/cos:DeleteObject"),
        ("'ListMultipartUploads'", "leftovers", "name/cos:ListMultipartUploads"),
    ];
    for (op, check, fix) in table {
        let home = Home::new();
        let service = faulty(&home, &format!("[[rule]]\nop = {op}\nkind = 'status'\ncode = 'AccessDenied'\n"), &[]);
        let arguments = ["--endpoint", service.endpoint.as_str()];
        let told = format!("access to {BUCKET} is denied to the id {ID} for {}", op.trim_matches('\''));
        judge(
            &home,
            &[Case {
                what: op,
                arguments: arguments.to_vec(),
                check,
                told: &told,
                fix,
                fails_mounts: false,
                ..Case::PLAIN
            }],
        );
    }
    // A key that may not do anything at all is one cause, too.
    let home = Home::new();
    let service =
        faulty(&home, "[[rule]]\nop = ['HeadBucket', 'ListObjects']\nkind = 'status'\ncode = 'AccessDenied'\n", &[]);
    let arguments = ["--endpoint", service.endpoint.as_str()];
    judge(
        &home,
        &[Case {
            what: "all",
            arguments: arguments.to_vec(),
            check: "list",
            told: "is denied to the id",
            fix: "GetBucket",
            ..Case::PLAIN
        }],
    );
}

#[test]
fn what_a_bucket_does() {
    let answer = |op: &str, body: &str| format!("[[rule]]\nop = '{op}'\nkind = 'answer'\nbody = '{body}'\n");
    let rule = |more: &str| {
        let abort = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>";
        answer(
            "GetBucketLifecycle",
            &format!(
                "<LifecycleConfiguration><Rule><Status>Enabled</Status>{abort}{more}</Rule></LifecycleConfiguration>"
            ),
        )
    };
    let none =
        "[[rule]]\nop = 'GetBucketLifecycle'\nkind = 'status'\ncode = 'NoSuchLifecycleConfiguration'\n".to_owned();
    let versions =
        answer("GetBucketVersioning", "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>");
    let left = answer(
        "ListMultipartUploads",
        "<ListMultipartUploadsResult><Bucket>local-1250000000</Bucket><Prefix></Prefix><IsTruncated>false</IsTruncated><Upload><Key>k</Key>\
         <UploadId>u</UploadId><Initiated>2024-01-01T00:00:00Z</Initiated></Upload></ListMultipartUploadsResult>",
    );
    let table = [
        (
            "no rule for uploads",
            none,
            "lifecycle",
            "no rule of the bucket ends unfinished uploads",
            "cosmount uploads abort",
        ),
        (
            "objects that go",
            rule("<Expiration><Days>1</Days></Expiration>"),
            "lifecycle",
            "deletes objects here",
            "take the rule",
        ),
        (
            "objects that sleep",
            rule("<Transition><Days>1</Days><StorageClass>DEEP_ARCHIVE</StorageClass></Transition>"),
            "lifecycle",
            "moves objects to DEEP_ARCHIVE",
            "take the transition",
        ),
        ("versions", versions, "versioning", "each change of a file keeps the older version", "suspend it"),
        ("leftovers", left, "leftovers", "1 unfinished upload that no mount on this machine is about", "uploads abort"),
    ];
    for (what, rules, check, told, fix) in &table {
        let home = Home::new();
        let service = faulty(&home, rules, &[]);
        let arguments = ["--endpoint", service.endpoint.as_str()];
        judge(
            &home,
            &[Case {
                what,
                arguments: arguments.to_vec(),
                check,
                status: "warning",
                told,
                fix,
                fails_mounts: false,
                ..Case::PLAIN
            }],
        );
    }
}

/// The check makes its objects with what the mount would make them with.
#[test]
fn what_a_bucket_takes_and_what_not() {
    let open = "[[rule]]\nop = ['PutObject', 'InitiateMultipartUpload', 'CopyObject']\n\
                without = 'x-cos-server-side-encryption'\nkind = 'status'\ncode = 'AccessDenied'\n";
    let home = Home::new();
    let service = faulty(&home, open, &[]);
    let endpoint = ["--endpoint", service.endpoint.as_str()];
    let unencrypted = Case {
        fails_mounts: false,
        ..failing(
            "a bucket that takes nothing open",
            &endpoint,
            "put",
            "takes nothing that is not encrypted",
            "--sse cos",
        )
    };
    judge(&home, &[unencrypted]);
    // Whoever says it has a bucket that is well.
    home.write("sse.toml", "sse = 'cos'\n", 0o644);
    for more in [&["--sse", "cos"][..], &["-o", "sse=kms"], &["--config", "sse.toml"]] {
        let mut command = home.program();
        command.args(["doctor", BUCKET]).args(endpoint).args(more).envs(KEYS);
        let done = Done::of(command.output().unwrap());
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{more:?}: {done:?}");
        assert!(done.stdout.contains("an object of 1 KiB with --sse, in "), "{done:?}");
    }

    let refuse = |key: &str, code: &str| format!("[[rule]]\nop = 'PutObject'\n{key}kind = 'status'\ncode = '{code}'\n");
    let table = [
        (
            "a class that there is not",
            refuse("", "InvalidArgument"),
            "--storage-class=maz_standard",
            "--storage-class that is",
        ),
        (
            "an archive that is closed",
            refuse("key = '*-archived'\n", "AccessDenied"),
            "--storage-class=archive",
            "--storage-class that is",
        ),
        ("tags that may not be", refuse("", "AccessDenied"), "--tag=team=a", "name/cos:PutObject"),
        (
            "an access list that may not be",
            refuse("", "AccessDenied"),
            "--acl=public-read",
            "it is --acl that is refused",
        ),
    ];
    for (what, rules, flag, fix) in &table {
        let home = Home::new();
        let service = faulty(&home, rules, &[]);
        let arguments = ["--endpoint", service.endpoint.as_str(), flag];
        let case = Case { fix, fails_mounts: false, ..failing(what, &arguments, "put", "", "") };
        judge(&home, &[case]);
        let left = service.ask(async |store| store.list(ListRequest::default()).await.unwrap().objects);
        assert!(left.is_empty(), "{what}: {left:?}");
    }
    // What nobody could read back is written and removed, and the rest is tried with what can be read.
    let home = Home::new();
    let service = faulty(&home, "", &[]);
    let mut command = home.program();
    command.args(["doctor", BUCKET, "--endpoint", &service.endpoint, "--storage-class", "deep_archive"]).envs(KEYS);
    let done = Done::of(command.output().unwrap());
    assert!(done.code == Some(0) && done.stdout.contains("all 4 objects of this check are removed"), "{done:?}");
}

#[test]
fn what_a_service_suffers_from() {
    let refuse = |op: &str, code: &str| format!("[[rule]]\nop = [{op}]\nkind = 'status'\ncode = '{code}'\n");
    let all = "'HeadBucket', 'ListObjects'";
    let damage = "[[rule]]\nop = 'GetObject'\nkind = 'flip'\nof = 'answer'\n".to_owned();
    let narrow = "[[rule]]\nop = 'PutObject'\nkey = '*-bulk'\nkind = 'status'\nstatus = 413\n".to_owned();
    let table = [
        (
            "a service without room",
            refuse("'PutObject'", "InsufficientStorage"),
            "put",
            "has no room left",
            "make room",
            false,
        ),
        ("arrears", refuse(all, "PaymentRequired"), "service", "in arrears", "billing", true),
        (
            "acceleration that is off",
            refuse(all, "BucketAccelerateNotEnabled"),
            "service",
            "not switched on",
            "--accelerate",
            true,
        ),
        ("a service under load", refuse(all, "SlowDown"), "service", "tells to slow down", "who else", true),
        ("damaged bytes", damage, "get", "bytes are damaged on their way", "find what changes them", false),
        (
            "no copies",
            refuse("'CopyObject'", "NotImplemented"),
            "copy",
            "does not do CopyObject",
            "use a bucket",
            false,
        ),
    ];
    for (what, rules, check, told, fix, fails_mounts) in &table {
        let home = Home::new();
        let service = faulty(&home, rules, &[]);
        let arguments = ["--endpoint", service.endpoint.as_str()];
        judge(
            &home,
            &[Case {
                what,
                arguments: arguments.to_vec(),
                check,
                told,
                fix,
                fails_mounts: *fails_mounts,
                ..Case::PLAIN
            }],
        );
    }
    let home = Home::new();
    let service = faulty(&home, &narrow, &[]);
    let arguments = ["--endpoint", service.endpoint.as_str()];
    let case = Case {
        what: "a limit of bodies",
        arguments: arguments.to_vec(),
        check: "throughput",
        fails_mounts: false,
        ..Case::PLAIN
    };
    judge(&home, &[Case { told: "refuses", fix: "client_max_body_size", ..case }]);
    let home = Home::new();
    let slow = faulty(&home, "", &["--latency-ms", "300"]);
    let arguments = ["--endpoint", slow.endpoint.as_str()];
    let case = Case {
        what: "a slow service",
        arguments: arguments.to_vec(),
        status: "warning",
        fails_mounts: false,
        ..Case::PLAIN
    };
    judge(&home, &[Case { check: "latency", told: "slow: 3", fix: "near", ..case }]);
}

#[test]
fn configurations() {
    let home = Home::new();
    let service = faulty(&home, "", &[]);
    home.write("typo.toml", "regoin = 'ap-guangzhou'\n", 0o600);
    home.write("broken.toml", "region = \n", 0o600);
    home.write("file", "", 0o644);
    let endpoint = ["--endpoint", service.endpoint.as_str()];
    let with = |more: &[&'static str]| [&endpoint[..], more].concat();
    let (typo, broken) = (with(&["--config", "typo.toml"]), with(&["--config", "broken.toml"]));
    let (option, large, state) =
        (with(&["-o", "alow_other"]), with(&["--memory", "9000GiB"]), with(&["--state-dir", "file/x"]));
    let variable = [KEYS[0], KEYS[1], ("COSMOUNT_MEMRY", "1G")];
    let unread = [KEYS[0], KEYS[1], ("AWS_SECRET_ACCESS_KEY", "hunter2")];
    let case = failing;
    let warning = |case| Case { status: "warning", fails_mounts: false, ..case };
    let cases = [
        case("a name that is misspelt", &typo[..], "configuration", "there is no option \"regoin\"", ""),
        case("a file that cannot be read", &broken, "configuration", "broken.toml line 1", ""),
        case("an option that is misspelt", &option, "configuration", "there is no option \"alow_other\"", ""),
        Case {
            variables: &variable,
            ..case("a variable that is misspelt", &endpoint, "configuration", "COSMOUNT_MEMRY", "")
        },
        warning(Case {
            variables: &unread,
            ..case("a key of others", &endpoint, "configuration", "AWS_SECRET_ACCESS_KEY of the", "")
        }),
        warning(case("more memory than there is", &large, "memory", "memory 9000GiB is more than the", "--memory")),
        warning(case("no place for the journal", &state, "state", "file is no directory", "--state-dir")),
    ];
    judge(&home, &cases);
}

/// Runs the check in a namespace of mounts of its own, after `script`, as root or as another user.
fn in_namespace(home: &Home, service: &Service, script: &str, more: &str) -> Done {
    let program = env!("CARGO_BIN_EXE_cosmount");
    let script = format!(
        "set -e\n{script}\nexec ${{AS:-}} {program} doctor {BUCKET} --json --endpoint {} {more}",
        service.endpoint
    );
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        // Root within, where the kernel lets ordinary users be that.
        command.arg("--map-root-user");
    }
    command.args(["--mount", "sh", "-c", &script]);
    home.settle(&mut command);
    command.envs(KEYS);
    Done::of(command.output().unwrap())
}

#[test]
fn machines() {
    let home = Home::new();
    let service = faulty(&home, "", &[]);
    let path = |directories: &str| format!("PATH={directories}");
    // All that the shell needs, and no fusermount3.
    let poor = "rm -rf poor; mkdir poor; for tool in sh setpriv env; do ln -sf $(command -v $tool) poor/$tool; done";
    let is_root = rustix::process::geteuid().is_root();
    let check = |what: &str, script: &str, more: &str, check: &str, status: &str, told: &str, fix: &str| {
        let done = in_namespace(&home, &service, script, more);
        found(&Case { what, check, status, told, fix, fails_mounts: false, ..Case::PLAIN }, &done);
    };
    check(
        "no device",
        "mkdir -p d; mount --bind d /dev",
        "",
        "fuse",
        "failure",
        "/dev/fuse is missing",
        "modprobe fuse",
    );
    check("another device", "mount --bind /dev/null /dev/fuse", "", "fuse", "failure", "something else than", "mknod");
    check("few files", "ulimit -n 64", "", "open files", "failure", "a process may have 64 files open", "LimitNOFILE");
    check("not many files", "ulimit -Sn 256", "", "open files", "warning", "256 files open", "ulimit -n");
    let without = format!("{poor}\n{}", path("$PWD/poor"));
    check("no helper, for root", &without, "", "fusermount3", "warning", "which is not installed", "apt install fuse3");
    if !is_root {
        // Without root nobody makes a device or becomes somebody else.
        return;
    }
    let closed = AS_NOBODY
        .replace("666", "600")
        .replace("chown -R 65534:65534 .;", "chown 65534:65534 . state mnt 2>/dev/null || true;");
    check("a closed device", &closed, "", "fuse", "failure", "cannot be opened by this user", "chmod 666 /dev/fuse");
    let without = format!(
        "{AS_NOBODY}\n{poor}\nAS=\"$(command -v setpriv) --reuid=65534 --regid=65534 --clear-groups\"\n{}",
        path("$PWD/poor")
    );
    check("no helper", &without, "", "fusermount3", "failure", "which is not installed", "apt install fuse3");
    let plain =
        format!("{AS_NOBODY}\nmkdir -p e; cp /usr/bin/fusermount3 e/; chmod 755 e/fusermount3\nPATH=$PWD/e:$PATH");
    check("a helper without rights", &plain, "", "fusermount3", "failure", "mode 4755", "chmod 4755");
    let forbidden = format!("{AS_NOBODY}\n: > fuse.conf; mount --bind fuse.conf /etc/fuse.conf");
    check("others", &forbidden, "--allow-other", "allow_other", "failure", "is for root alone", "user_allow_other");
    let bounded = "AS='setpriv --bounding-set -sys_admin --inh-caps -sys_admin'";
    check("a container", bounded, "", "trial mount", "failure", "the kernel refuses a mount", "SYS_ADMIN");
}
