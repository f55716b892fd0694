//! Keys that end while a mount is at work, whoever issues them, and secrets that nobody gets to see.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::bed::{BUCKET, Done, Home, ID, KEY, Service};
use crate::issuer::{Issuer, SECRET, WORKLOAD_TOKEN};

/// How long a key lives, how long the load lasts, and how long nobody issues a key each time.
struct Times {
    life: Duration,
    load: Duration,
    outage: Duration,
}

/// `SOAK_SECONDS` makes it long, with keys of a minute.
fn times() -> Times {
    let seconds = Duration::from_secs;
    match std::env::var("SOAK_SECONDS").ok().and_then(|text| text.parse().ok()) {
        Some(load) => Times { life: seconds(60), load: seconds(load), outage: seconds(30) },
        None => Times { life: seconds(4), load: seconds(10), outage: seconds(3) },
    }
}

/// Who issues the keys.
#[derive(Clone, Copy)]
enum Kind {
    Metadata,
    AssumedRole,
    Workload,
    Process,
    File,
    AwsInstance,
    AwsContainer,
    AwsWebIdentity,
}

/// The command that mounts with keys of that kind.
fn mount(home: &Home, issuer: &Issuer, kind: Kind) -> Command {
    let mut command = home.program();
    command.args(["mount", BUCKET, "mnt", "--endpoint", &issuer.endpoint, "--log-file", "log"]);
    // Of all libraries, too.
    command.args(["--log-level", "trace,hyper=trace"]);
    match kind {
        Kind::Metadata => {
            command.args(["--cam-role", "auto"]).env("COSMOUNT_METADATA_URL", format!("{}/m", issuer.url));
        }
        Kind::AssumedRole => {
            command.env("TENCENTCLOUD_SECRET_ID", ID).env("TENCENTCLOUD_SECRET_KEY", KEY);
            command.env("TENCENTCLOUD_ROLE_ARN", "qcs::cam::uin/1:roleName/r").env("COSMOUNT_STS_URL", &issuer.url);
        }
        Kind::Workload => {
            let file = home.write("token", WORKLOAD_TOKEN, 0o600);
            command.env("TKE_ROLE_ARN", "arn").env("TKE_PROVIDER_ID", "p").env("COSMOUNT_STS_URL", &issuer.url);
            command.env("TKE_WEB_IDENTITY_TOKEN_FILE", file);
        }
        Kind::Process => {
            let place = home.path().display();
            let program = format!("credential_process = \"cat {place}/up {place}/key.json\"\n");
            home.write(".config/cosmount/config.toml", &program, 0o600);
        }
        Kind::File => {
            command.args(["--credentials-file", "key.passwd"]);
        }
        Kind::AwsInstance => {
            command.arg("--s3").env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &issuer.url);
        }
        Kind::AwsContainer => {
            let file = home.write("token", WORKLOAD_TOKEN, 0o600);
            command.arg("--s3").env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/container", issuer.url));
            command.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file);
        }
        Kind::AwsWebIdentity => {
            let file = home.write("token", WORKLOAD_TOKEN, 0o600);
            command.arg("--s3").env("AWS_WEB_IDENTITY_TOKEN_FILE", file).env("AWS_ROLE_ARN", "arn:aws:iam::1:role/r");
            command.env("AWS_ENDPOINT_URL_STS", &issuer.url);
        }
    }
    command
}

/// Copies files in and reads them back, for as long as the load lasts, while the provider is down now and then.
#[allow(clippy::print_stdout, reason = "scripts/soak shows it")]
fn renewed_under_load(kind: Kind) {
    let home = Home::new();
    let Times { life, load, outage } = times();
    let issuer = Issuer::start(home.path(), life);
    issuer.set_down(false);
    Done::of(mount(&home, &issuer, kind).output().unwrap()).succeeded();
    let bytes: Vec<u8> = (0..300_000_u32).map(|number| number as u8).collect();
    let source = home.path().join("source");
    fs::write(&source, &bytes).unwrap();
    let (began, mut round) = (Instant::now(), 0);
    let outages = std::thread::scope(|scope| {
        let outages = scope.spawn(|| go_down_now_and_then(&issuer, began, load, outage));
        while began.elapsed() < load {
            let path = home.mount_point().join(format!("f{}", round % 10));
            fs::copy(&source, &path).unwrap_or_else(|error| panic!("{:?}: {error}\n{}", began.elapsed(), log(&home)));
            let read = fs::read(&path).unwrap_or_else(|error| panic!("{:?}: {error}\n{}", began.elapsed(), log(&home)));
            assert!(read == bytes, "{path:?} is not what was written");
            round += 1;
            std::thread::sleep(life / 50);
        }
        outages.join().unwrap()
    });
    let line = fs::read_to_string(format!("/proc/{}/cmdline", home.daemon().as_raw_nonzero())).unwrap();
    home.unmount().succeeded();
    let log = log(&home);
    let signers = log.matches("requests are signed with the id AKIDtmp").count();
    println!("{round} files, {} keys issued, {signers} taken over, {outages} outages", issuer.issued());
    assert!(signers >= 1 && outages >= 1, "{signers} keys were taken over\n{log}");
    for secret in [SECRET, KEY, WORKLOAD_TOKEN, "q-signature=", "Signature="] {
        assert!(!log.contains(secret) && !line.contains(secret), "{secret} is shown");
    }
}

/// For as long as the load lasts; returns how often.
fn go_down_now_and_then(issuer: &Issuer, began: Instant, load: Duration, outage: Duration) -> u32 {
    let mut count = 0;
    while began.elapsed() < load {
        for is_down in [false, true] {
            issuer.set_down(is_down);
            std::thread::sleep(outage.min(load.saturating_sub(began.elapsed())));
        }
        count += 1;
    }
    issuer.set_down(false);
    count
}

fn log(home: &Home) -> String {
    fs::read_to_string(home.path().join("log")).unwrap_or_default()
}

/// One that nothing renews.
#[test]
fn a_key_that_is_over_is_told_by_the_command_that_mounts() {
    let home = Home::new();
    let issuer = Issuer::start(home.path(), Duration::from_secs(1));
    let key: serde_json::Value = serde_json::from_slice(&fs::read(home.path().join("key.json")).unwrap()).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let mut command = home.program();
    command.args(["mount", BUCKET, "mnt", "--endpoint", &issuer.endpoint]);
    for (name, member) in
        [("COS_SECRETID", "AccessKeyId"), ("COS_SECRETKEY", "SecretAccessKey"), ("COS_SECURITYTOKEN", "SessionToken")]
    {
        command.env(name, key[member].as_str().unwrap());
    }
    Done::of(command.output().unwrap()).failed(3, "have expired: get new ones");
}

#[test]
fn keys_of_a_machines_role_are_renewed_under_load() {
    renewed_under_load(Kind::Metadata);
}

#[test]
fn keys_of_a_role_that_is_assumed_are_renewed_under_load() {
    renewed_under_load(Kind::AssumedRole);
}

#[test]
fn keys_of_a_workload_are_renewed_under_load() {
    renewed_under_load(Kind::Workload);
}

#[test]
fn keys_that_a_program_tells_are_renewed_under_load() {
    renewed_under_load(Kind::Process);
}

#[test]
fn keys_of_a_machine_of_aws_are_renewed_under_load() {
    renewed_under_load(Kind::AwsInstance);
}

#[test]
fn keys_of_a_container_of_aws_are_renewed_under_load() {
    renewed_under_load(Kind::AwsContainer);
}

#[test]
fn keys_of_a_workload_of_aws_are_renewed_under_load() {
    renewed_under_load(Kind::AwsWebIdentity);
}

/// Nobody has keys, and the metadata do not answer.
#[test]
fn a_mount_of_s3_without_keys_says_where_it_has_looked() {
    let home = Home::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let without = |variable: &str, value: &str| {
        let mut command = home.program();
        command.args(["mount", BUCKET, "mnt", "--s3", "--endpoint", "http://127.0.0.1:9"]).env(variable, value);
        Done::of(command.output().unwrap())
    };
    let told = "no keys are in the environment or in a file, and this machine has no metadata of AWS";
    without("AWS_EC2_METADATA_SERVICE_ENDPOINT", &format!("http://127.0.0.1:{port}")).failed(3, told);
    without("AWS_EC2_METADATA_DISABLED", "true").failed(2, "no credentials found");
}

#[test]
fn keys_in_a_file_are_renewed_under_load() {
    renewed_under_load(Kind::File);
}

/// A mount gives its key to nobody. Who asks for something in it needs one, and is told which it was.
#[test]
fn commands_below_a_mount_say_which_key_it_has_where_they_have_another_or_none() {
    let home = Home::new();
    let service = Service::start(&home);
    home.mounted(&service, &[]);
    std::fs::write(home.mount_point().join("file"), "x").unwrap();
    let told = "; the mount has the id AKIDtest from environment (COS_SECRETID), and gives its key to nobody";
    for command in ["restore", "versions"] {
        home.run(&[command, "mnt/file"]).failed(2, &format!("(mode 0600), or give --credentials-file FILE, or --cam-role auto on a virtual machine that has a role{told}"));
        let with = |id: &str| {
            let mut program = home.program();
            program.args([command, "mnt/file"]).env("COS_SECRETID", id).env("COS_SECRETKEY", KEY);
            Done::of(program.output().unwrap())
        };
        let other = with("AKIDother");
        assert!(other.code == Some(3) && other.stderr.contains("does not know the secret id AKIDother"), "{other:?}");
        assert!(other.stderr.contains(told), "{other:?}");
        let same = with(ID);
        assert!(!same.stderr.contains("the mount has the id"), "{command}: {same:?}");
    }
    home.unmount().succeeded();
}

/// One that brings its own service was told of none, and says itself where that is.
#[test]
fn commands_below_a_local_mount_reach_its_service() {
    let home = Home::new();
    Done::of(home.program().args(["mount", "--local", "data", "mnt"]).output().unwrap()).succeeded();
    std::fs::write(home.mount_point().join("file"), "x").unwrap();
    let told = home.run(&["versions", "mnt/file"]);
    assert!(told.code == Some(2) && told.stderr.contains("the mount has the id "), "{told:?}");
    let kept = std::fs::read_to_string(home.path().join("data/credentials")).unwrap();
    let file = home.write("key", kept.trim(), 0o600);
    let done = home.run(&["versions", "mnt/file", "--credentials-file", file.to_str().unwrap()]);
    assert_eq!((done.code, done.stdout.lines().count()), (Some(0), 1), "{done:?} {kept}");
    home.unmount().succeeded();
}
