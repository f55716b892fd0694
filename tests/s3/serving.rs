//! The local service as clients of S3 use it that were not written here: boto3, the `aws` command and
//! rclone.

use std::process::{Command, Output};

use crate::{BUCKET, Bed, ID, KEY, installed};

impl Bed {
    fn client(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(installed(program));
        command.args(arguments).current_dir(self.home.path());
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_DEFAULT_REGION", "us-east-1").env("AWS_PAGER", "");
        self.with_keys(&mut command).output().unwrap()
    }

    /// What a client prints that has to succeed.
    pub(crate) fn told(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.client(program, arguments);
        let (told, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{program} {arguments:?}\n{told}\n{error}");
        told.into_owned()
    }

    pub(crate) fn aws(&self, arguments: &[&str]) -> String {
        self.told("aws", &[&["--endpoint-url", &self.endpoint], arguments].concat())
    }

    pub(crate) fn rclone(&self, arguments: &[&str]) -> String {
        // The remote is told on the command line, so that no configuration of anybody counts.
        let remote = format!(
            ":s3,provider=Other,env_auth=true,region=us-east-1,force_path_style=true,endpoint='{}':{BUCKET}",
            self.endpoint
        );
        let arguments: Vec<String> = arguments.iter().map(|argument| argument.replace("REMOTE", &remote)).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.told("rclone", &[&["--config", "", "--retries", "1", "--low-level-retries", "1"], &arguments[..]].concat())
    }

    /// A tree with what clients trip over.
    fn make_tree(&self) {
        let script = "mkdir -p tree/d/e && cd tree && head -c 20000000 /dev/urandom > big && head -c 5242880 /dev/urandom > 'd/5 MiB'
            for n in $(seq 30); do echo $n > d/e/f$n; done; : > empty; echo ü > 'd/ü +&?%25.txt'
            find . -exec touch -d 2024-05-06 {} +";
        let made = Command::new("bash").args(["-euc", script]).current_dir(self.home.path()).status().unwrap();
        assert!(made.success());
    }

    fn same_trees(&self, one: &str, other: &str) {
        let compared = Command::new("diff").args(["-r", one, other]).current_dir(self.home.path()).output().unwrap();
        assert!(compared.status.success(), "{}", String::from_utf8_lossy(&compared.stdout));
    }
}

#[test]
fn boto3_is_served() {
    let bed = Bed::own(&[]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/s3/boto.py");
    let told = bed.told("python3", &[script, &bed.endpoint]);
    assert!(told.ends_with("all well\n"), "{told}");
}

#[test]
fn the_aws_command_is_served() {
    let bed = Bed::own(&[]);
    bed.make_tree();
    let at = |path: &str| format!("s3://{BUCKET}/{path}");
    bed.aws(&["s3", "sync", "tree", &at("t")]);
    assert_eq!(bed.aws(&["s3", "sync", "tree", &at("t")]), "");
    let listed = bed.aws(&["s3", "ls", "--recursive", &at("t")]);
    assert_eq!(listed.lines().count(), 34, "{listed}");
    bed.aws(&["s3", "sync", &at("t"), "back"]);
    bed.same_trees("tree", "back");
    bed.aws(&["s3", "mv", &at("t/big"), &at("moved")]);
    bed.aws(&["s3", "cp", &at("moved"), "moved"]);
    bed.same_trees("tree/big", "moved");
    for algorithm in ["CRC64NVME", "CRC32C"] {
        let put = bed.aws(&[
            "s3api",
            "put-object",
            "--bucket",
            BUCKET,
            "--key",
            "sum",
            "--body",
            "tree/d/5 MiB",
            "--checksum-algorithm",
            algorithm,
        ]);
        assert!(put.contains(&format!("\"Checksum{algorithm}\"")), "{put}");
        let asked = ["s3api", "get-object-attributes", "--bucket", BUCKET, "--key", "sum", "--object-attributes"];
        let told = bed.aws(&[&asked[..], &["ObjectSize", "Checksum"]].concat());
        assert!(told.contains("5242880") && told.contains(&format!("Checksum{algorithm}")), "{told}");
    }
    let presigned = bed.aws(&["s3", "presign", &at("t/d/e/f7")]);
    let got = Command::new("curl").args(["-sf", presigned.trim()]).output().unwrap();
    assert_eq!(got.stdout, b"7\n");
    bed.aws(&["s3", "rm", "--recursive", &at("")]);
    let strange = bed.client("aws", &["--endpoint-url", &bed.endpoint, "--no-sign-request", "s3", "ls", &at("")]);
    assert!(!strange.status.success(), "nobody may list");
    assert!(!bed.log("service.log").contains(KEY) && !bed.log("service.log").contains("fault of this program"));
}

#[test]
fn rclone_is_served() {
    let bed = Bed::own(&[]);
    bed.make_tree();
    let chunks = ["--s3-chunk-size", "5Mi", "--s3-upload-cutoff", "6Mi"];
    bed.rclone(&[&["copy", "tree", "REMOTE/t"], &chunks[..]].concat());
    bed.rclone(&["check", "--download", "tree", "REMOTE/t"]);
    // By sizes, times and sums, as they are kept.
    bed.rclone(&["check", "tree", "REMOTE/t"]);
    let listed = bed.rclone(&["lsf", "-R", "--files-only", "REMOTE/t"]);
    assert_eq!(listed.lines().count(), 34, "{listed}");
    bed.rclone(&["moveto", "REMOTE/t/d", "REMOTE/elsewhere"]);
    bed.rclone(&["copy", "REMOTE/elsewhere", "back"]);
    bed.same_trees("tree/d", "back");
    assert_eq!(bed.rclone(&["cat", "--offset", "1", "--count", "1", "REMOTE/elsewhere/e/f17"]), "7");
    bed.rclone(&["purge", "REMOTE/elsewhere"]);
    assert!(!bed.rclone(&["lsf", "REMOTE"]).contains("elsewhere"));
}

#[test]
fn a_client_that_does_not_know_the_key_is_refused() {
    let bed = Bed::own(&[]);
    let mut command = Command::new(installed("aws"));
    command
        .args(["--endpoint-url", &bed.endpoint, "s3", "ls"])
        .env("AWS_ACCESS_KEY_ID", ID)
        .env("HOME", bed.home.path());
    let refused = command.env("AWS_SECRET_ACCESS_KEY", "another").env("AWS_DEFAULT_REGION", "x").output().unwrap();
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && error.contains("SignatureDoesNotMatch"), "{error}");
}
