//! The bodies of the fuzz targets over their corpora and over bytes made of them at random, for as long as a test may take.
//!
//! `scripts/fuzz` runs the same bodies with a fuzzer, which looks for ways that were not taken yet. What it finds is added to
//! the corpora (`fuzz/corpus`), and so is tried here each time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use cosmount::fuzzing::{BODIES, Body};

/// Inputs made for each body.
const INPUTS: usize = 3000;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// One of the inputs, or parts of two, with some bytes changed, cut out or doubled.
fn varied(inputs: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let [one, other] = [0, 1].map(|_| &inputs[random.usize(..inputs.len())]);
    let mut bytes = match random.u8(..3) {
        0 => one.clone(),
        1 => [&one[..random.usize(..=one.len())], &other[random.usize(..=other.len())..]].concat(),
        _ => (0..random.usize(..200)).map(|_| random.u8(..)).collect(),
    };
    for _ in 0..random.usize(..6) {
        if bytes.is_empty() {
            break;
        }
        let at = random.usize(..bytes.len());
        let end = (at + random.usize(..20)).min(bytes.len());
        match random.u8(..4) {
            0 => bytes[at] = random.u8(..),
            1 => bytes[at] ^= 1 << random.u8(..8),
            2 => drop(bytes.drain(at..end)),
            _ => bytes.splice(at..at, bytes[at..end].to_vec()).for_each(drop),
        }
    }
    bytes
}

fn run(name: &str, body: Body, input: &[u8]) {
    let outcome = catch_unwind(|| body(input));
    assert!(outcome.is_ok(), "{name}: {:?}", String::from_utf8_lossy(input));
}

#[test]
fn no_bytes_of_others_break_a_promise() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for (name, body) in BODIES {
        let inputs = corpus(name);
        assert!(!inputs.is_empty(), "{name} has a corpus");
        inputs.iter().for_each(|input| run(name, body, input));
        for _ in 0..INPUTS {
            run(name, body, &varied(&inputs, &mut random));
        }
    }
}

/// Each body is a target of the fuzzer, too.
#[test]
fn every_body_has_a_target() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/targets");
    for (name, _) in BODIES {
        let text = fs::read_to_string(targets.join(format!("{name}.rs"))).unwrap();
        assert!(text.contains(&format!("cosmount::fuzzing::{name}(")), "{name}");
    }
}
