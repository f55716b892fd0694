//! Keys that a program of the user tells on its standard output.
//!
//! The program is run by a shell, in a process group of its own that does not outlive its time. What it writes to standard error
//! is shown when it fails; what it writes to standard output is a secret, and is not.

use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use crate::store::{CredentialProvider, ProviderError};
use crate::wire::issued::Issued;

/// How long the program may take: one that asks a service with retries of its own, but no human being.
const PROCESS_DEADLINE: Duration = Duration::from_secs(15);
/// The most that is read of what it says, in bytes.
const OUTPUT_BYTES_MAX: u64 = 64 << 10;
/// The most that is shown of its errors, in characters.
const SHOWN_MAX: usize = 300;

/// A program that tells keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyProcess {
    /// What a shell runs.
    pub(super) command: String,
    /// The file that names it.
    pub(super) origin: String,
}

/// Ends the whole group if it is dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl KeyProcess {
    async fn run(&self) -> Result<Vec<u8>, ProviderError> {
        let failed = |error: std::io::Error| ProviderError::passing(format!("it cannot be run: {error}"));
        let mut child = Command::new("/bin/sh")
            .args(["-c", &self.command])
            // A daemon has no other directory.
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
        let told = tokio::time::timeout(PROCESS_DEADLINE, listen(&mut child)).await;
        let (output, errors, status) = told
            .map_err(|_| ProviderError::lasting(format!("it did not end within {} s", PROCESS_DEADLINE.as_secs())))?
            .map_err(failed)?;
        // It has ended, and its number may be another one's soon.
        group.0 = None;
        if status.success() {
            return Ok(output);
        }
        let errors = String::from_utf8_lossy(&errors);
        let words: Vec<&str> = errors.split_whitespace().collect();
        let shown: String = words.join(" ").chars().filter(|letter| !letter.is_control()).take(SHOWN_MAX).collect();
        let colon = if shown.is_empty() { "" } else { ": " };
        Err(ProviderError::passing(format!("it ended with {status}{colon}{shown}")))
    }
}

async fn listen(child: &mut Child) -> std::io::Result<(Vec<u8>, Vec<u8>, std::process::ExitStatus)> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (output, errors) = futures_util::future::try_join(all_of(stdout), all_of(stderr)).await?;
    Ok((output, errors, child.wait().await?))
}

/// All that comes, of which the first part is kept.
async fn all_of(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    if let Some(mut pipe) = pipe {
        (&mut pipe).take(OUTPUT_BYTES_MAX).read_to_end(&mut kept).await?;
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    }
    Ok(kept)
}

#[async_trait]
impl CredentialProvider for KeyProcess {
    fn origin(&self) -> String {
        format!("the credential_process of {}", self.origin)
    }

    async fn provide(&self) -> Result<Issued, ProviderError> {
        let output = self.run().await?;
        Issued::decode(&output).map_err(|error| ProviderError::passing(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(command: &str) -> Result<Issued, ProviderError> {
        KeyProcess { command: command.into(), origin: "config.toml".into() }.provide().await
    }

    #[tokio::test]
    async fn a_program_tells_a_key_on_its_standard_output() {
        let issued = ask(r#"echo '{"Version":1,"AccessKeyId":"a","SecretAccessKey":"b"}'; pwd >&2"#).await.unwrap();
        assert_eq!((issued.credentials.secret_id.as_str(), issued.expires), ("a", None));
    }

    #[tokio::test]
    async fn what_it_says_of_its_failure_is_told_and_what_it_tells_is_not() {
        let table = [
            ("echo hunter2; echo 'no  luck' >&2; exit 3", "it ended with exit status: 3: no luck"),
            ("echo hunter2; exit 1", "it ended with exit status: 1"),
            ("echo hunter2", "what was told is no JSON object"),
            (r#"echo '{"TmpSecretKey": "hunter2"}'"#, "there is no TmpSecretId or AccessKeyId in what was told"),
            ("yes hunter2 | head -c 300000", "what was told is no JSON object"),
        ];
        for (command, expected) in table {
            assert_eq!(ask(command).await.unwrap_err().message, expected, "{command}");
        }
    }

    /// Neither the program nor what it has started is there when its time is over.
    #[tokio::test(start_paused = true)]
    async fn a_program_that_hangs_is_ended() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("pid");
        let command = format!("sleep 1000 & echo $! > {}; wait", file.display());
        // Time stands still but for those who wait, who get it all at once: the program must be there before.
        let asking = tokio::spawn(async move { ask(&command).await });
        while !std::fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n')) {
            tokio::task::yield_now().await;
        }
        let error = asking.await.unwrap().unwrap_err();
        assert_eq!(error, ProviderError::lasting("it did not end within 15 s"));
        let child: u32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        let is_gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('Z'))
        };
        for _ in 0..1000 {
            if is_gone() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("what the program has started goes on");
    }
}
