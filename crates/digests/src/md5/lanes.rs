//! The thread that digests the bodies of all connections side by side.
//!
//! A body comes in blocks of about a megabyte, and each waits for its turn no longer than others take to be digested
//! in step with it. Whoever is alone gets what one stream can have. The order within one body is its owner's affair:
//! the state goes in with the bytes and comes back with the answer.

use std::sync::mpsc;
use std::thread::JoinHandle;

use bytes::Bytes;
use pulp::{Arch, NullaryFnOnce};
use tokio::sync::oneshot;

use super::compress::{BLOCK_BYTES, Words, compress_lanes, compress_one};
use super::{Input, Md5};

/// Lanes where vectors have 512 bits and rotate: two to eight streams then take the time of one.
const LANES_WIDE: usize = 8;
/// Lanes elsewhere: four streams take the time of two.
const LANES_NARROW: usize = 4;

/// Blocks between two looks at the queue: 64 KiB of each stream, some 100 us.
const BLOCKS_IN_STEP_MAX: usize = 1024;

/// The digesting thread. Dropped, it ends once all that was handed to it is done.
pub struct Md5Lanes {
    /// `None` once dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// Bytes on their way through the thread.
struct Job {
    md5: Md5,
    input: Input,
    answer: oneshot::Sender<Md5>,
}

/// The answer to [`Md5Lanes::update`]: the state that has seen the bytes.
pub type Updated = oneshot::Receiver<Md5>;

impl Md5Lanes {
    /// Starts the thread.
    pub fn start() -> std::io::Result<Md5Lanes> {
        let (jobs, queue) = mpsc::channel();
        let thread = std::thread::Builder::new().name("cosmount-md5".to_owned()).spawn(move || work(&queue))?;
        Ok(Md5Lanes { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Shows `md5` the next bytes. The caller bounds what waits: one call at a time for each body.
    pub fn update(&self, md5: Md5, chunks: Vec<Bytes>) -> Updated {
        let (answer, updated) = oneshot::channel();
        if let Some(jobs) = &self.jobs {
            // Without the thread the sender is gone with the job, which the receiver notices.
            drop(jobs.send(Job { md5, input: Input::new(chunks), answer }));
        }
        updated
    }
}

impl Drop for Md5Lanes {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that digests bodies panicked");
        }
    }
}

fn work(queue: &mpsc::Receiver<Job>) {
    let arch = Arch::new();
    if is_wide(arch) {
        // With vectors that rotate, two streams are worth them already.
        serve::<LANES_WIDE>(queue, arch, 2);
    } else {
        serve::<LANES_NARROW>(queue, arch, 3);
    }
}

#[cfg(target_arch = "x86_64")]
fn is_wide(arch: Arch) -> bool {
    matches!(arch, Arch::V4(_))
}

#[cfg(not(target_arch = "x86_64"))]
fn is_wide(_: Arch) -> bool {
    false
}

/// Digests up to `N` jobs in step, side by side once `together_min` of them are there.
fn serve<const N: usize>(queue: &mpsc::Receiver<Job>, arch: Arch, together_min: usize) {
    let mut running: Vec<Job> = Vec::with_capacity(N);
    loop {
        if running.is_empty() {
            match queue.recv() {
                Ok(job) => running.push(job),
                Err(mpsc::RecvError) => return,
            }
        }
        while running.len() < N
            && let Ok(job) = queue.try_recv()
        {
            running.push(job);
        }
        let count = blocks_in_step(&mut running);
        if count == 0 {
            continue;
        }
        if running.len() >= together_min {
            compress_together::<N>(&mut running, arch, count);
        } else {
            for job in &mut running {
                compress_one(&mut job.md5.words, &job.input.blocks()[..count]);
            }
        }
        for job in &mut running {
            job.md5.bytes += (count * BLOCK_BYTES) as u64;
            job.input.skip_blocks(count);
        }
    }
}

/// How many blocks every running job has in one piece. Jobs that have come to their end are answered and leave; 0 if
/// none is left.
fn blocks_in_step(running: &mut Vec<Job>) -> usize {
    let mut count = BLOCKS_IN_STEP_MAX;
    let mut index = 0;
    while index < running.len() {
        let job = &mut running[index];
        match job.input.skip_to_blocks(&mut job.md5) {
            0 => {
                let Job { md5, answer, .. } = running.swap_remove(index);
                // Whoever waited may have given up.
                drop(answer.send(md5));
            }
            blocks => {
                count = count.min(blocks);
                index += 1;
            }
        }
    }
    if running.is_empty() { 0 } else { count }
}

fn compress_together<const N: usize>(running: &mut [Job], arch: Arch, count: usize) {
    let mut lanes = [[0; N]; 4];
    // Lanes without a job digest the first one's blocks for nothing.
    let blocks: [&[[u8; BLOCK_BYTES]]; N] =
        std::array::from_fn(|lane| &running.get(lane).unwrap_or(&running[0]).input.blocks()[..count]);
    for (lane, job) in running.iter().enumerate() {
        for (words, word) in lanes.iter_mut().zip(job.md5.words) {
            words[lane] = word;
        }
    }
    let lanes = arch.dispatch(Together { lanes, blocks });
    for (lane, job) in running.iter_mut().enumerate() {
        job.md5.words = Words::from(lanes.map(|words| words[lane]));
    }
}

/// The call that is compiled once for each kind of processor.
struct Together<'b, const N: usize> {
    lanes: [[u32; N]; 4],
    blocks: [&'b [[u8; BLOCK_BYTES]]; N],
}

impl<const N: usize> NullaryFnOnce for Together<'_, N> {
    type Output = [[u32; N]; 4];

    #[inline(always)]
    fn call(mut self) -> Self::Output {
        compress_lanes(&mut self.lanes, self.blocks);
        self.lanes
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::oracle;
    use super::*;

    fn chopped(bytes: &[u8], rng: &mut fastrand::Rng) -> Vec<Bytes> {
        let mut left = Bytes::copy_from_slice(bytes);
        let mut chunks = Vec::new();
        while !left.is_empty() {
            chunks.push(left.split_to(rng.usize(0..=left.len().min(9_000))));
        }
        chunks
    }

    /// Streams of all lengths come and go, in pieces of all lengths, in lanes that are full and empty.
    #[test]
    fn streams_in_step_agree_with_another_implementation() {
        let lanes = Md5Lanes::start().unwrap();
        let mut rng = fastrand::Rng::with_seed(2);
        for streams in [1, 2, 3, 8, 30] {
            let bodies: Vec<Vec<u8>> = (0..streams)
                .map(|_| {
                    let length = rng.usize(..300_000);
                    std::iter::repeat_with(|| rng.u8(..)).take(length).collect()
                })
                .collect();
            let halves: Vec<Updated> = bodies
                .iter()
                .map(|body| lanes.update(Md5::new(), chopped(&body[..body.len() / 3], &mut rng)))
                .collect();
            let wholes: Vec<Updated> = bodies
                .iter()
                .zip(halves)
                .map(|(body, half)| {
                    lanes.update(half.blocking_recv().unwrap(), chopped(&body[body.len() / 3..], &mut rng))
                })
                .collect();
            for (body, whole) in bodies.iter().zip(wholes) {
                assert_eq!(whole.blocking_recv().unwrap().finish(), oracle(body), "{streams} streams");
            }
        }
    }

    /// Every width agrees, whatever this machine would choose.
    #[test]
    fn narrow_and_wide_lanes_agree() {
        fn digest<const N: usize>() -> [[u32; N]; 4] {
            let body: Vec<u8> = (0..64 * 20 * N).map(|n| (n * 31) as u8).collect();
            let blocks: Vec<&[[u8; BLOCK_BYTES]]> = body.as_chunks().0.chunks(20).collect();
            let blocks: [&[[u8; BLOCK_BYTES]]; N] = std::array::from_fn(|lane| blocks[lane]);
            let lanes = super::super::compress::INITIAL.map(|word| [word; N]);
            let together = Arch::new().dispatch(Together { lanes, blocks });
            for lane in 0..N {
                let mut words = super::super::compress::INITIAL;
                compress_one(&mut words, blocks[lane]);
                assert_eq!(together.map(|words| words[lane]), words, "lane {lane} of {N}");
            }
            together
        }
        digest::<LANES_NARROW>();
        digest::<LANES_WIDE>();
    }

    #[test]
    fn a_stream_that_nobody_waits_for_holds_nobody_up() {
        let lanes = Md5Lanes::start().unwrap();
        drop(lanes.update(Md5::new(), vec![Bytes::from(vec![7; 1_000_000])]));
        let md5 = lanes.update(Md5::new(), Vec::new()).blocking_recv().unwrap();
        assert_eq!(md5.finish(), oracle(b""));
    }
}
