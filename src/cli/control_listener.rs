//! The daemon's end of the control socket.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::control::{Answer, UNMOUNT};
use super::session::Left;

/// How long somebody who connects may take to ask.
const ASKING_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait after a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The longest line that is listened to, in bytes.
const LINE_BYTES_MAX: u64 = 256;

/// People who wait for an unmount at the same time; more of them wait in the socket's queue.
const ASKERS_MAX: usize = 16;

/// Somebody who asked to unmount and waits for answers.
pub(super) struct Asker(UnixStream);

/// The socket, removed when dropped unless the next mount has put its own there.
pub(super) struct ControlListener {
    path: PathBuf,
    /// Device and inode of the socket.
    identity: Option<(u64, u64)>,
    askers: mpsc::Receiver<Asker>,
}

impl ControlListener {
    /// Listens at `path`, where nothing may be. Whoever asks is told `deadline` at once.
    pub(super) fn bind(path: PathBuf, deadline: Duration) -> io::Result<ControlListener> {
        let listener = UnixListener::bind(&path)?;
        let (asked, askers) = mpsc::channel(ASKERS_MAX);
        tokio::spawn(async move {
            while !asked.is_closed() {
                let stream = match listener.accept().await {
                    Ok((stream, _)) => stream,
                    // Out of descriptors, for example: who asks waits in the socket's queue.
                    Err(error) => {
                        log::warn!("nobody can ask to unmount right now: {error}");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                };
                let asked = asked.clone();
                tokio::spawn(async move {
                    if let Ok(Some(asker)) = tokio::time::timeout(ASKING_TIMEOUT, hear(stream, deadline)).await {
                        let _ = asked.send(asker).await;
                    }
                });
            }
        });
        Ok(ControlListener { identity: identity(&path), path, askers })
    }

    /// The next one who asks to unmount.
    pub(super) async fn asked(&mut self) -> Asker {
        match self.askers.recv().await {
            Some(asker) => asker,
            // Nobody listens any more.
            None => std::future::pending().await,
        }
    }

    /// Those who asked meanwhile.
    pub(super) fn others(&mut self) -> Vec<Asker> {
        std::iter::from_fn(|| self.askers.try_recv().ok()).collect()
    }
}

impl Drop for ControlListener {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Asker {
    /// Tells what is waited for.
    pub(super) async fn tell_waiting(&mut self, files: usize, bytes: u64) {
        let line = Answer::Waiting(files as u64, bytes).encode() + "\n";
        let _ = self.0.write_all(line.as_bytes()).await;
    }

    /// Tells what is left. Somebody who has gone away misses it.
    pub(super) async fn tell(&mut self, left: &Left) {
        let unpublished = left.unpublished.iter().cloned().map(Answer::Unpublished);
        let uploads = left.uploads.iter().cloned().map(Answer::Upload);
        let cut_off = left.cut_off.iter().cloned().map(Answer::CutOff);
        let lines = unpublished.chain(uploads).chain(cut_off).chain([Answer::Done]);
        let text: String = lines.map(|answer| answer.encode() + "\n").collect();
        let _ = self.0.write_all(text.as_bytes()).await;
    }

    /// Keeps the connection open until the kernel closes it, which it does when this process has ended: that is what
    /// the one who asked waits for.
    pub(super) fn hold_until_exit(self) {
        std::mem::forget(self);
    }
}

async fn hear(mut stream: UnixStream, deadline: Duration) -> Option<Asker> {
    let mut line = String::new();
    let (reader, _) = stream.split();
    BufReader::new(reader.take(LINE_BYTES_MAX)).read_line(&mut line).await.ok()?;
    if line.trim_end() != UNMOUNT {
        return None;
    }
    let within = Answer::Within(deadline.as_secs() + 1).encode() + "\n";
    stream.write_all(within.as_bytes()).await.ok()?;
    Some(Asker(stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_asks_hears_what_could_not_be_published() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let mut listener = ControlListener::bind(path.clone(), Duration::from_secs(60)).unwrap();

        let mut stranger = UnixStream::connect(&path).await.unwrap();
        stranger.write_all(b"hello\n").await.unwrap();
        let mut client = UnixStream::connect(&path).await.unwrap();
        client.write_all(b"unmount\n").await.unwrap();

        let mut asker = listener.asked().await;
        asker.tell_waiting(2, 10).await;
        let left = Left {
            unpublished: vec!["a.bin: denied".into()],
            uploads: vec!["b (upload 1)".into()],
            cut_off: vec!["c".into()],
        };
        asker.tell(&left).await;
        drop(asker);
        let mut heard = String::new();
        client.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "within 61\nwaiting 2 10\nunpublished a.bin: denied\nupload b (upload 1)\ncut-off c\ndone\n");
        // The next mount on the same place.
        std::fs::remove_file(&path).unwrap();
        let next = ControlListener::bind(path.clone(), Duration::from_secs(60)).unwrap();
        drop(listener);
        assert!(path.exists(), "it is the next one's");
        drop(next);
        assert!(!path.exists());
    }
}
