//! How a call is run and answered.
//!
//! Every call is polled once on the thread that received the request. What is ready by then, and almost everything is,
//! is answered right there: handing a request to another thread costs up to 100 microseconds. What has to wait goes to
//! a task together with its reply, so that the thread is free for the next request. A call that has begun runs to its
//! end even if its caller has been told to stop waiting.

use std::future::{Future, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use fuser::{OpenFlags, ReplyEntry, ReplyWrite};

use super::super::call::Call;
use super::super::errno::errno;
use super::{Adapter, replies};
use crate::fs::{Attr, FailedCall, FsError, HandleId, Ino, with_cause};
use crate::store::StoreErrorKind;

impl Adapter {
    /// Answers with what `call` returns: here if it is ready at once, otherwise from a task. A caller that is told to
    /// end while it waits gets `EINTR`, one that waits for a service that gives nothing gets `ETIMEDOUT`, and the call goes
    /// on without it.
    pub(super) fn answer<T, C, F>(&self, asked: Call, call: C, reply: F)
    where
        T: Send + 'static,
        C: Future<Output = Result<T, FsError>> + Send + 'static,
        F: FnOnce(Result<T, FsError>) + Send + 'static,
    {
        self.answer_or_undo(asked, call, reply, |_| ready(()));
    }

    /// The same for a call that publishes the file `ino`: of holes that its caller does not wait for nothing more is sent.
    pub(super) fn answer_or_stop<T, C, F>(&self, asked: Call, ino: Ino, call: C, reply: F)
    where
        T: Send + 'static,
        C: Future<Output = Result<T, FsError>> + Send + 'static,
        F: FnOnce(Result<T, FsError>) + Send + 'static,
    {
        let fs = self.fs.clone();
        let reply = move |result| {
            // Only of a caller who was told to end.
            if matches!(result, Err(FsError::Interrupted)) {
                fs.stop_filling(ino);
            }
            reply(result);
        };
        self.answer(asked, call, reply);
    }

    /// The same for a call that tells of an inode, which the kernel does not know of if its caller has gone.
    pub(super) fn answer_entry(
        &self,
        asked: Call,
        call: impl Future<Output = Result<Attr, FsError>> + Send + 'static,
        reply: ReplyEntry,
    ) {
        let shown = self.fs.clone();
        self.answer_or_undo(asked, call, move |result| replies::entry(&shown, reply, result), self.forgetting());
    }

    /// Takes back that the kernel was told of an inode.
    pub(super) fn forgetting(&self) -> impl FnOnce(Attr) -> std::future::Ready<()> + Send + use<> {
        let fs = self.fs.clone();
        move |attr: Attr| {
            fs.forget(attr.ino, 1);
            ready(())
        }
    }

    /// The same for a call that leaves something behind which the kernel gives back, but not if its caller has gone: then
    /// `undo` does.
    pub(super) fn answer_or_undo<T, C, F, U, D>(&self, asked: Call, call: C, reply: F, undo: U)
    where
        T: Send + 'static,
        C: Future<Output = Result<T, FsError>> + Send + 'static,
        F: FnOnce(Result<T, FsError>) + Send + 'static,
        U: FnOnce(T) -> D + Send + 'static,
        D: Future<Output = ()> + Send,
    {
        let (ending, watchdog, fs) = (self.ending.clone(), self.watchdog.clone(), self.fs.clone());
        self.run(async move {
            let mut call = pin!(with_cause(fs.called_by(asked.tid, call)));
            let first = futures_util::poll!(&mut call);
            if let Poll::Ready(result) = first {
                return reply(asked.ended(&fs, asked.told(&fs, result)));
            }
            let left = tokio::select! {
                biased;
                result = &mut call => return reply(asked.ended(&fs, asked.told(&fs, result))),
                () = ending.reached_by(asked.tid) => FsError::Interrupted,
                () = watchdog.starves() => asked.out_of_time(&fs, &watchdog),
            };
            reply(asked.ended(&fs, Err(left)));
            // Its failure is told to nobody else.
            if let Ok(unwanted) = asked.told(&fs, call.await) {
                undo(unwanted).await;
            }
        });
    }

    /// Takes the rest of a write of which `taken` bytes are in the file, and answers. A caller that is told to end while it
    /// waits is told what is in the file, and the rest never comes: others may write there as soon as it has its answer. One
    /// that waits for a service that gives nothing gets `ETIMEDOUT`.
    ///
    /// The kernel does not send an fsync after a direct write by a handle with O_SYNC or O_DSYNC (which O_SYNC includes):
    /// the write itself has to be durable.
    pub(super) fn write_rest(
        &self,
        asked: Call,
        (handle, offset): (HandleId, u64),
        rest: Vec<u8>,
        taken: usize,
        flags: OpenFlags,
        reply: ReplyWrite,
    ) {
        let fs = self.fs.clone();
        let (runtime, ending, watchdog) = (self.runtime.clone(), self.ending.clone(), self.watchdog.clone());
        let is_synchronous = flags.0 & libc::O_DSYNC != 0;
        self.run(async move {
            let done = AtomicUsize::new(0);
            let write = async {
                with_cause(fs.write_rest(handle, offset, &rest, &done)).await?;
                if is_synchronous {
                    // In a task of its own: publishing must run to its end, whoever stops waiting for it.
                    let fs = fs.clone();
                    let synced = runtime.spawn(async move { with_cause(fs.fsync(handle)).await });
                    let lost = FailedCall { error: FsError::Remote(StoreErrorKind::Internal), cause: None };
                    return synced.await.unwrap_or(Err(lost));
                }
                Ok(())
            };
            let result = tokio::select! {
                biased;
                result = write => asked.told(&fs, result),
                () = ending.reached_by(asked.tid) => Err(FsError::Interrupted),
                () = watchdog.starves() => Err(asked.out_of_time(&fs, &watchdog)),
            };
            let written = told_of_write(result, taken + done.load(Ordering::Relaxed), is_synchronous);
            match asked.ended(&fs, written) {
                Ok(written) => reply.written(written),
                Err(error) => reply.error(errno(&error)),
            }
        });
    }

    /// Runs a future as far as it goes without waiting, and the rest of it as a task. A panic answers `EIO`, by dropping
    /// the reply, and takes nobody along.
    pub(super) fn run(&self, future: impl Future<Output = ()> + Send + 'static) {
        let mut future = Box::pin(future);
        let _runtime = self.runtime.enter();
        let poll = || future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        match catch_unwind(AssertUnwindSafe(poll)) {
            // The task polls again at once and leaves a waker that wakes.
            Ok(Poll::Pending) => drop(self.runtime.spawn(future)),
            Ok(Poll::Ready(())) => {}
            Err(_) => log::error!("a request's handler panicked; its caller got EIO"),
        }
    }
}

/// What the caller of a write is told of which `written` bytes are in the file: all of them, or those that were taken when
/// it stopped waiting. Of a synchronous write nothing is, unless it came to its end: nobody knows what is durable.
fn told_of_write(result: Result<(), FsError>, written: usize, is_synchronous: bool) -> Result<u32, FsError> {
    match result {
        Ok(()) => Ok(written as u32),
        Err(FsError::Interrupted) if written > 0 && !is_synchronous => Ok(written as u32),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::runtime::Handle;

    use super::super::{Device, Notices};
    use super::*;
    use crate::clock::Clock;
    use crate::fs::{FileSystem, FileSystemParts, FsOptions, Inheritance};
    use crate::memory::Memory;
    use crate::read::ReadOptions;
    use crate::store::Watchdog;
    use crate::store::testing::MemoryStore;
    use crate::upload::UploadOptions;

    /// Whoever waits behind others, each of whom waits for answers of his own, would wait for the sum of it.
    #[tokio::test(start_paused = true)]
    async fn a_call_that_waits_for_a_service_that_gives_nothing_is_told_and_goes_on() {
        let fs = FileSystem::new(FileSystemParts {
            store: Arc::new(MemoryStore::default()),
            options: FsOptions::default(),
            upload: UploadOptions::default(),
            read: ReadOptions::default(),
            memory: Memory::new(1 << 20),
            clock: Clock::System,
            stats: Arc::default(),
            runtime: Handle::current(),
            others: None,
            inheritance: Inheritance::none(),
            copies: None,
        });
        let (deadline, began) = (Duration::from_secs(5), tokio::time::Instant::now());
        let watchdog = Arc::new(Watchdog::new(deadline));
        let adapter =
            Adapter::new(fs, Handle::current(), 1 << 20, Device::default(), Notices::default(), watchdog.clone());
        let call = async move {
            tokio::time::sleep(100 * deadline).await;
            Ok(7)
        };
        let (answer, answered) = tokio::sync::oneshot::channel();
        let (undo, undone) = tokio::sync::oneshot::channel();
        let reply = move |result: Result<i32, FsError>| answer.send((result, began.elapsed())).unwrap();
        adapter.answer_or_undo(Call::of_nobody("lookup"), call, reply, |made| {
            undo.send(made).unwrap();
            ready(())
        });
        let told = Err(FsError::Remote(StoreErrorKind::TimedOut));
        assert_eq!(answered.await.unwrap(), (told, watchdog.patience()));
        assert_eq!((undone.await.unwrap(), began.elapsed()), (7, 100 * deadline), "what nobody has is given back");
    }

    #[test]
    fn an_interrupted_write_tells_what_is_in_the_file_and_a_synchronous_one_does_not() {
        let interrupted = || Err(FsError::Interrupted);
        let denied = || Err(FsError::Remote(StoreErrorKind::Denied));
        let table = [
            (Ok(()), 7, false, Ok(7)),
            (Ok(()), 7, true, Ok(7)),
            (interrupted(), 7, false, Ok(7)),
            (interrupted(), 0, false, Err(FsError::Interrupted)),
            (interrupted(), 7, true, Err(FsError::Interrupted)),
            (denied(), 7, false, Err(FsError::Remote(StoreErrorKind::Denied))),
        ];
        for (result, written, is_synchronous, expected) in table {
            assert_eq!(told_of_write(result.clone(), written, is_synchronous), expected, "{result:?} {written}");
        }
    }
}
