//! A file larger than one part copy, one PUT and 32 bits can hold.

use std::fs::File;
use std::io::{BufWriter, Read, Write};

use crate::bed::{Bed, MIB, random_bytes};

/// Any piece of the file, without the file: pieces differ by their first bytes.
struct Pieces {
    pattern: Vec<u8>,
}

impl Pieces {
    fn new() -> Pieces {
        Pieces { pattern: random_bytes(MIB, 1) }
    }

    fn piece(&mut self, index: u64) -> &[u8] {
        self.pattern[..8].copy_from_slice(&index.to_le_bytes());
        &self.pattern
    }
}

/// Takes the service 5 GiB of memory, and a minute or more.
#[test]
#[ignore = "moves 10 GiB"]
fn large_file_of_5_gib_and_1_byte() {
    const PIECES: u64 = 5 << 10;
    let mut bed = Bed::new();
    let mut pieces = Pieces::new();
    let mut file = BufWriter::with_capacity(MIB, File::create(bed.at("large")).unwrap());
    for index in 0..PIECES {
        file.write_all(pieces.piece(index)).unwrap();
    }
    file.write_all(b"!").unwrap();
    file.into_inner().unwrap().sync_all().unwrap();
    assert_eq!(bed.since_start().count("CompleteMultipartUpload"), 1);
    bed.remount();
    let mut file = File::open(bed.at("large")).unwrap();
    assert_eq!(file.metadata().unwrap().len(), (5 << 30) + 1);
    let mut read = vec![0; MIB];
    for index in 0..PIECES {
        file.read_exact(&mut read).unwrap();
        assert!(read == pieces.piece(index), "piece {index} is another one");
    }
    let mut rest = Vec::new();
    file.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"!");
}
