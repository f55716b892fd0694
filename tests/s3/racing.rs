//! Two mounts of one bucket that write the same file at the same moment, over a service that holds to what a write may replace.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Barrier;

use crate::{BUCKET, Bed};

const LARGE: usize = 6 << 20;

/// Two mounts that do not know of each other.
struct Racers<'b> {
    bed: &'b Bed,
    names: [&'static str; 2],
}

impl<'b> Racers<'b> {
    fn new(bed: &'b Bed, on_conflict: &str) -> Racers<'b> {
        let racers = Racers { bed, names: ["one", "two"] };
        for name in racers.names {
            std::fs::create_dir(bed.home.path().join(name)).unwrap();
            // What one changes is not told to the other, as on another machine.
            let state = bed.home.path().join(format!("state-{name}"));
            let mut command = Command::new(env!("CARGO_BIN_EXE_cosmount"));
            command.args(["mount", BUCKET, name, "--s3", "--endpoint", &bed.endpoint, "--part-size", "5MiB"]);
            command.args(["--on-conflict", on_conflict, "--log-file", &format!("log-{name}"), "--metadata-ttl", "0s"]);
            command.env("XDG_RUNTIME_DIR", &state).env("XDG_STATE_HOME", &state).env("TMPDIR", &state);
            std::fs::create_dir(&state).unwrap();
            let output = bed.with_keys(command.current_dir(bed.home.path())).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        racers
    }

    fn path(&self, racer: usize, name: &str) -> PathBuf {
        self.bed.home.path().join(self.names[racer]).join(name)
    }

    /// Both write `name`, and make sure of it at the same moment. Who was refused?
    fn race(&self, name: &str, round: usize, len: usize) -> [Option<i32>; 2] {
        let (barrier, open) = (Barrier::new(2), |racer: usize| {
            OpenOptions::new().write(true).create(true).truncate(true).open(self.path(racer, name)).unwrap()
        });
        let files = [open(0), open(1)];
        let run = |racer: usize, mut file: &File| {
            file.write_all(&content(racer, round, len)).unwrap();
            barrier.wait();
            file.sync_all().err().map(|error| error.raw_os_error().unwrap())
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| run(1, &files[1]));
            [run(0, &files[0]), other.join().unwrap()]
        })
    }

    /// What the bucket holds, as a mount that knows nothing sees it.
    fn bucket(&self) -> BTreeMap<String, Vec<u8>> {
        self.bed.mount();
        let listed = std::fs::read_dir(self.bed.mount_point()).unwrap().map(|entry| entry.unwrap().path());
        let read = |path: PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            Some((name, std::fs::read(&path).ok()?))
        };
        let found = listed.filter_map(read).collect();
        self.bed.unmount();
        found
    }
}

impl Drop for Racers<'_> {
    fn drop(&mut self) {
        for name in self.names {
            let _ = Command::new("umount").arg("-l").arg(self.bed.home.path().join(name)).status();
        }
    }
}

fn content(racer: usize, round: usize, len: usize) -> Vec<u8> {
    let mut content = format!("{racer} {round}\n").into_bytes();
    content.resize(len.max(content.len()), b'.');
    content
}

/// The version that a racer opens may be one of a moment ago, so that it is refused although it was alone. Both are refused never.
#[test]
fn of_two_who_write_at_once_one_wins_and_the_other_is_told() {
    const ESTALE: i32 = 116;
    let bed = Bed::own(&[]);
    let racers = Racers::new(&bed, "fail");
    for (len, rounds) in [(16, 150), (LARGE, 12)] {
        for round in 0..rounds {
            // A name that neither has seen is made by both; one that was there is replaced by both.
            let name = if round % 2 == 0 { format!("new-{len}-{round}") } else { format!("old-{len}") };
            let refused = racers.race(&name, round, len);
            let winner = match refused {
                [None, Some(ESTALE)] => 0,
                [Some(ESTALE), None] => 1,
                other => panic!("round {round} of {len} bytes: {other:?}\n{}", bed.log("log-one")),
            };
            let won = std::fs::read(racers.path(winner, &name)).unwrap();
            assert!(won == content(winner, round, len), "round {round}: what was told to have won is not there");
        }
    }
    let log = bed.log("log-one");
    assert!(log.contains("holds to conditions of PutObject"), "{log}");
}

#[test]
fn of_two_who_write_at_once_both_are_kept() {
    let bed = Bed::own(&[]);
    let racers = Racers::new(&bed, "keep-both");
    for (len, rounds) in [(16, 20), (LARGE, 4)] {
        for round in 0..rounds {
            let name = format!("{len}-{round}");
            assert_eq!(racers.race(&name, round, len), [None, None], "{}", bed.log("log-one"));
        }
    }
    let bucket = racers.bucket();
    for (len, rounds) in [(16, 20), (LARGE, 4)] {
        for round in 0..rounds {
            let name = format!("{len}-{round}");
            let versions = bucket.iter().filter(|(key, _)| **key == name || key.starts_with(&format!("{name}.")));
            let mut found: Vec<(&String, &Vec<u8>)> = versions.collect();
            assert_eq!(found.len(), 2, "{name}: {:?}", found.iter().map(|(key, _)| key).collect::<Vec<_>>());
            found.sort_by_key(|(_, bytes)| *bytes);
            assert!(*found[0].1 == content(0, round, len) && *found[1].1 == content(1, round, len), "{name}");
        }
    }
    let gone = std::fs::metadata(racers.path(0, "none")).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}
