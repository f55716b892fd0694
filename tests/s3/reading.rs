//! What is read twice.

use crate::{BUCKET, Bed};

/// So many places of a file that the kernel has kept are dropped, as it may do itself at any time.
const DROPPED: usize = 10;
/// The file, in bytes: more than is fetched ahead of a reader.
const BYTES: usize = 48 << 20;

/// One object whose checksum the service tells, and one of a client that has sent none.
const PUT: &str = r#"
import boto3, sys
from botocore.config import Config
def client(when):
    config = Config(request_checksum_calculation=when)
    return boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1', config=config)
body = open(sys.argv[3], 'rb').read()
client('when_supported').put_object(Bucket=sys.argv[2], Key='told', Body=body, ChecksumAlgorithm='CRC64NVME')
client('when_required').put_object(Bucket=sys.argv[2], Key='untold', Body=body)
"#;

/// Lets the kernel drop some of what it has kept of the file.
const DROP: &str = r#"
import os, sys
file = os.open(sys.argv[1], os.O_RDONLY)
for place in range(int(sys.argv[2])):
    os.posix_fadvise(file, (4 * place + 3) * (1 << 20) + 65536, 65536, os.POSIX_FADV_DONTNEED)
"#;

impl Bed {
    /// Bytes that were asked for of objects since `from`, a length of the access log, and how often.
    fn bytes_read_since(&self, from: usize) -> (u64, usize) {
        let log = self.log("access.log");
        let gets = log[from..].lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let gets: Vec<u64> =
            gets.filter(|line| line["op"] == "GetObject").map(|line| line["bytes_out"].as_u64().unwrap()).collect();
        (gets.iter().sum(), gets.len())
    }
}

/// A page that is missing takes a small request, whether the service has told a checksum by which all of the file was verified or
/// not.
#[test]
fn a_second_read_asks_for_little_more_than_the_kernel_has_dropped() {
    let log = tempfile::tempdir().unwrap();
    let bed = Bed::own(&["--access-log", log.path().join("access.log").to_str().unwrap()]);
    std::os::unix::fs::symlink(log.path().join("access.log"), bed.home.path().join("access.log")).unwrap();
    let source = bed.home.path().join("source");
    bed.sh(&format!("head -c {BYTES} /dev/urandom > $W/source"));
    bed.told("python3", &["-c", PUT, &bed.endpoint, BUCKET, source.to_str().unwrap()]);
    bed.mount();
    for name in ["told", "untold"] {
        bed.sh(&format!("cat {name} > /dev/null"));
        bed.told("python3", &["-c", DROP, bed.mount_point().join(name).to_str().unwrap(), &DROPPED.to_string()]);
        let before = bed.log("access.log").len();
        bed.sh(&format!("cmp $W/source {name}"));
        let (bytes, requests) = bed.bytes_read_since(before);
        println!("{name}: {bytes} bytes in {requests} requests");
        // The kernel may have dropped a few more.
        assert!(bytes < 4 << 20, "{name}: {bytes} bytes in {requests} requests");
    }
    bed.unmount();
}
