//! Calls by their names and inodes: looking for what they need, claiming it, and arriving at what the kernel has looked up.

use std::future::Future;
use std::sync::{Arc, Weak};

use super::{Cleanups, LEASE, Leases};
use crate::fs::context::{Context, FsError, called_by, caller};
use crate::fs::names::{Attr, Claim, Claimed, FileName, Ino, Names, Tree};
use crate::object::ObjectKey;

/// All calls that are being answered.
pub(crate) struct Traffic {
    pub(super) context: Arc<Context>,
    pub(super) names: Arc<Names>,
    leases: Leases,
    pub(crate) cleanups: Cleanups,
    /// For tasks that end leases.
    me: Weak<Traffic>,
}

impl Traffic {
    pub(crate) fn new(context: Arc<Context>, names: Arc<Names>) -> Arc<Traffic> {
        let (leases, cleanups) = (Leases::default(), Cleanups::default());
        Arc::new_cyclic(|me| Traffic { context, names, leases, cleanups, me: me.clone() })
    }

    /// Answers a call of this caller, and takes note if it came too late: then the kernel walks the path once more, and what it
    /// finds is kept.
    pub(crate) async fn answer<T>(
        &self,
        caller: u32,
        call: impl Future<Output = Result<T, FsError>>,
    ) -> Result<T, FsError> {
        let result = called_by(caller, call).await;
        if matches!(result, Err(FsError::Stale)) {
            self.leases.keep(caller, Vec::new());
        }
        result
    }

    /// Looks at what is known, once each of `names` has been looked for, and claims what `look` asks for. Where somebody
    /// else has that, waits, and looks again. What is returned was seen when the claims were granted.
    ///
    /// Who came too late the last time goes before all who wait.
    pub(crate) async fn claim<T>(
        &self,
        names: &[(Ino, &FileName)],
        look: impl Fn(&Tree) -> Result<(T, Vec<Claim>), FsError>,
    ) -> Result<(T, Claimed), FsError> {
        let mut kept = self.leases.take();
        let mut waiting = None;
        loop {
            for (parent, name) in names {
                self.names.find(*parent, name).await?;
            }
            let woken = {
                let tree = self.names.tree();
                let (seen, claims) = look(&tree)?;
                // What was kept is given back under the same lock: nobody comes in between, and who waits has nothing.
                if kept.take().map(drop).is_some()
                    && let Some(claimed) = self.names.claims.enter_first(&tree, &claims)
                {
                    return Ok((seen, claimed));
                }
                match self.names.claims.enter(&tree, claims, &mut waiting) {
                    Ok(claimed) => return Ok((seen, claimed)),
                    Err(woken) => woken,
                }
            };
            woken.notified().await;
        }
    }

    /// Claims to work on the inode.
    pub(crate) async fn work_on(&self, ino: Ino) -> Claimed {
        let mut waiting = None;
        loop {
            let entered = self.names.claims.enter(&self.names.tree(), vec![Claim::Work(ino)], &mut waiting);
            match entered {
                Ok(claimed) => return claimed,
                Err(woken) => woken.notified().await,
            }
        }
    }

    /// What `stat` shows of an inode.
    pub(crate) async fn getattr(&self, ino: Ino) -> Result<Attr, FsError> {
        self.names.attr_of(ino).await
    }

    /// Looks a name up. The kernel is told of the inode by this, and must be made to [`FileSystem::forget`](crate::fs::FileSystem::forget) it.
    pub(crate) async fn lookup(&self, parent: Ino, name: &FileName) -> Result<Attr, FsError> {
        let Some(mut kept) = self.leases.take() else {
            return match self.names.find(parent, name).await {
                Ok(true) => self.names.tell(parent, name).await,
                found => found.and(Err(FsError::NotFound)),
            };
        };
        let found = self.lookup_again(parent, name, &mut kept).await;
        self.keep(kept);
        found
    }

    /// The same for somebody who came too late the last time: what is found is kept, too. Nobody who waits has it before.
    async fn lookup_again(&self, parent: Ino, name: &FileName, kept: &mut Vec<Claimed>) -> Result<Attr, FsError> {
        let mut waiting = Some(self.names.claims.queue_first());
        let (ino, claimed) = loop {
            self.names.find(parent, name).await?;
            let (ino, entered) = {
                let tree = self.names.tree();
                let ino = tree.entry(parent, name).ok_or(FsError::NotFound)?.ino;
                (ino, self.names.claims.enter(&tree, Claim::work_in(parent, ino), &mut waiting))
            };
            match entered {
                Ok(claimed) => break (ino, claimed),
                Err(woken) => {
                    // A directory's rename that has this name may wait for what is kept.
                    if tokio::time::timeout(LEASE, woken.notified()).await.is_err() {
                        kept.clear();
                        woken.notified().await;
                    }
                }
            }
        };
        let attr = self.names.tell(parent, name).await?;
        if attr.ino == ino {
            kept.push(claimed);
        }
        Ok(attr)
    }

    /// Keeps what a walk has found for as long as the kernel may need to come back.
    fn keep(&self, found: Vec<Claimed>) {
        let (traffic, caller) = (self.me.clone(), caller());
        let number = self.leases.keep(caller, found);
        self.context.runtime.spawn(async move {
            tokio::time::sleep(LEASE).await;
            if let Some(traffic) = traffic.upgrade() {
                traffic.leases.expire(caller, number);
            }
        });
    }

    /// Claims to work on an inode that the kernel has looked up. Who came too late the last time goes before all who wait; and
    /// while something is kept for others, everybody does who would come too late otherwise.
    pub(crate) async fn arrive(&self, ino: Ino) -> Claimed {
        let kept = self.leases.take();
        self.work_first(ino, kept.is_some()).await
    }

    /// The same in the middle of a walk.
    pub(crate) async fn pass_by(&self, ino: Ino) -> Claimed {
        let kept = self.leases.take();
        let claimed = self.work_first(ino, kept.is_some()).await;
        if let Some(kept) = kept {
            self.keep(kept);
        }
        claimed
    }

    async fn work_first(&self, ino: Ino, is_late: bool) -> Claimed {
        let first = match is_late || self.leases.are_of(ino) {
            true => self.names.claims.enter_first(&self.names.tree(), &[Claim::Work(ino)]),
            false => None,
        };
        match first {
            Some(claimed) => claimed,
            None => self.work_on(ino).await,
        }
    }

    /// The key of a name that is about to be made, with `end` behind it. Whatever goes on in the background at that key has
    /// ended.
    pub(crate) async fn key_of_new(&self, parent: Ino, name: &FileName, end: &str) -> Result<ObjectKey, FsError> {
        let key = self
            .context
            .key(&format!("{}{name}{end}", self.names.tree().directory_path(parent).ok_or(FsError::Stale)?))?;
        self.cleanups.stop(key.as_str()).await;
        Ok(key)
    }
}
