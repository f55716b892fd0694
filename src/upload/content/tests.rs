//! What is sealed when, and what becomes of parts that change.

use super::part::Part;
use super::*;
use crate::memory::Memory;
use crate::object::{ETag, Limits, UploadedPart};
use crate::upload::Ladder;
use crate::upload::plan::TooManyParts;

const LIMITS: Limits = Limits {
    part_bytes_min: 4,
    part_bytes_max: 16,
    part_count_max: 12,
    put_bytes_max: 16,
    object_bytes_max: 192,
    ..Limits::COS
};

fn rules() -> PartRules {
    PartRules { limits: LIMITS, ladder: Ladder::new(8, 8, LIMITS), mixed_bytes: 8, hole_bytes_min: None }
}

fn uploaded(size: u64) -> UploadedPart {
    UploadedPart { etag: ETag::new("part"), size, crc64: None }
}

fn base(size: u64) -> Version {
    Version { etag: ETag::new("base"), size, checksum: None }
}

struct Bed {
    memory: Memory,
    content: Content,
}

impl Bed {
    fn new(base_size: Option<u64>) -> Bed {
        Bed { memory: Memory::new(1 << 20), content: Content::of(base_size.map(base)) }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), NotHeld> {
        let mut done = 0;
        self.content.extend(offset);
        while done < data.len() {
            let mut take = |bytes| Some(Piece::new(self.memory.try_take(bytes)?, LIMITS.checksum));
            done += self.content.write(offset + done as u64, &data[done..], &mut take)?;
            self.content.check_invariants();
        }
        self.content.seal_stream(&rules());
        self.content.check_invariants();
        Ok(())
    }

    /// The lengths of the parts, those that are copied negative.
    fn parts(&self) -> Vec<i64> {
        let len = |part: &Part| match part.body {
            PartBody::Copy { .. } => -(part.len as i64),
            PartBody::Upload(_) | PartBody::Gone => part.len as i64,
        };
        self.content.parts.iter().map(len).collect()
    }

    fn acknowledge_all(&mut self) {
        while let Some(outgoing) = self.content.parts.next_outgoing(|_| false) {
            let size = self.content.parts.iter().nth(outgoing.index).unwrap().len;
            self.content.parts.acknowledge(outgoing.index, outgoing.version, uploaded(size), &[]);
        }
    }
}

#[test]
fn a_full_part_is_sealed_while_the_next_one_fills() {
    let mut bed = Bed::new(None);
    bed.write(0, b"01234567").unwrap();
    assert_eq!(bed.parts(), [0; 0], "it may still be one PUT");
    bed.write(8, b"89").unwrap();
    assert_eq!((bed.parts(), bed.content.size(), bed.content.parts.outstanding()), (vec![8], 10, 1));
}

#[test]
fn an_append_seals_copies_of_what_was_there() {
    let mut bed = Bed::new(Some(20));
    bed.write(20, b"0123456").unwrap();
    assert_eq!(bed.parts(), [0; 0]);
    bed.write(27, b"7").unwrap();
    assert_eq!(bed.parts(), [-10, -10, 8]);
}

/// Only a program that goes on in order shows that what lies behind it will not change.
#[test]
fn scattered_writes_wait() {
    let mut bed = Bed::new(Some(100));
    for offset in (0..96).step_by(12) {
        bed.write(offset, b"0123456").unwrap();
    }
    assert_eq!(bed.parts(), [0; 0]);
    let mut bed = Bed::new(Some(100));
    bed.write(2, b"x").unwrap();
    bed.write(50, b"0123456789").unwrap();
    assert_eq!(bed.parts(), [0; 0], "the first change would have to be sent with bytes that are not here");
}

#[test]
fn a_hole_is_sealed_only_when_somebody_has_written_behind_it() {
    let mut bed = Bed::new(None);
    bed.content.extend(80);
    bed.write(0, b"01234567").unwrap();
    assert_eq!(bed.parts(), [8]);
    bed.write(40, b"0123").unwrap();
    assert_eq!(bed.parts(), [8], "who jumps may come back");
    bed.write(44, b"4567").unwrap();
    assert_eq!(bed.parts(), [8, 8, 8, 8, 8, 8]);
}

#[test]
fn a_part_that_was_overwritten_is_sent_again_under_its_number() {
    let mut bed = Bed::new(None);
    bed.write(0, b"01234567 tail").unwrap();
    let before = bed.content.parts.next_outgoing(|_| false).unwrap();
    bed.write(2, b"XY").unwrap();
    bed.content.parts.acknowledge(before.index, before.version, uploaded(8), &[]);
    let after = bed.content.parts.next_outgoing(|_| false).unwrap();
    assert_eq!((after.index, after.version > before.version), (0, true));
    bed.content.parts.acknowledge(after.index, after.version, uploaded(8), &[]);
    assert!(bed.content.parts.next_outgoing(|_| false).is_none());
}

#[test]
fn what_left_the_memory_cannot_be_changed_or_read() {
    let mut bed = Bed::new(None);
    bed.write(0, b"0123456789abcdef tail").unwrap();
    bed.acknowledge_all();
    bed.content.parts.release_acknowledged(8);
    bed.write(3, b"x").expect("the first part is kept longest");
    assert_eq!(bed.write(9, b"x"), Err(NotHeld));
    assert_eq!(bed.content.segments(ByteRange::new(8, 9).unwrap()), [Segment::Unreadable]);
    assert_eq!(bed.content.truncate(12), Err(NotHeld));
    assert_eq!(bed.content.truncate(8), Ok(()));
    assert_eq!(bed.content.segments(ByteRange::new(2, 5).unwrap()), [Segment::Held(b"2x4".to_vec())]);
    bed.content.check_invariants();
}

#[test]
fn a_cut_takes_parts_back() {
    for cut in 0..=21 {
        let mut bed = Bed::new(None);
        bed.write(0, b"0123456789abcdefghijk").unwrap();
        bed.content.truncate(cut).unwrap();
        bed.content.check_invariants();
        assert_eq!((bed.content.size(), bed.parts().len() as u64), (cut, (cut / 8).min(2)));
    }
}

#[test]
fn memory_that_is_short_gets_what_can_leave() {
    let mut bed = Bed::new(Some(40));
    bed.write(20, b"0123").unwrap();
    bed.write(30, b"x").unwrap();
    bed.content.seal_available(&rules());
    assert_eq!(bed.parts(), [-10, -10, 4], "the one byte would need others around it");
    bed.content.check_invariants();
}

#[test]
fn a_published_file_rests_on_its_object() {
    let mut bed = Bed::new(None);
    bed.write(0, b"012").unwrap();
    bed.content.rest_on(base(3), true);
    assert_eq!(bed.content.segments(ByteRange::new(0, 3).unwrap()), [Segment::Held(b"012".to_vec())]);
    assert_eq!((bed.content.held_bytes(), bed.content.tail().needs_base()), (0, false));
    bed.content.release_clean();
    assert_eq!(bed.content.segments(ByteRange::new(1, 3).unwrap()), [Segment::Base(ByteRange::new(1, 3).unwrap())]);
    bed.content.check_invariants();
}

/// With 12 numbers a file of 8 changes cannot be published at once.
#[test]
fn changes_that_are_too_many_come_in_steps() {
    let mut bed = Bed::new(Some(160));
    for change in 0..8 {
        bed.write(change * 20, b"0123").unwrap();
    }
    assert_eq!(bed.content.plan(&rules()), Err(TooManyParts));
    let mut steps = 0;
    loop {
        let actions = match bed.content.plan(&rules()) {
            Ok(actions) => actions,
            Err(TooManyParts) => bed.content.plan_step(&rules()).unwrap(),
        };
        bed.content.seal(&actions);
        assert!(actions.len() <= 12 && bed.content.size() == 160);
        let changed = |content: &Content, at| content.segments(ByteRange::new(at, at + 1).unwrap());
        assert!((0..8).all(|change| matches!(changed(&bed.content, change * 20)[0], Segment::Held(_)) || steps > 0));
        bed.acknowledge_all();
        let is_step = bed.content.is_step();
        bed.content.rest_on(base(160), false);
        bed.content.check_invariants();
        steps += 1;
        if !is_step {
            break;
        }
    }
    assert!((2..=4).contains(&steps), "{steps}");
}
