//! Calls by their names and inodes: looking for what they need, claiming it, and arriving at what the kernel has looked up.

use std::sync::{Arc, Weak};

use tokio::time::Instant;

use super::{Cleanups, LEASE, Lease, Leases};
use crate::fs::context::{Context, FsError, caller};
use crate::fs::names::{Attr, Claim, Claimed, FileName, Ino, Names, Tree};
use crate::object::ObjectKey;

/// All calls that are being answered.
pub(crate) struct Traffic {
    context: Arc<Context>,
    names: Arc<Names>,
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

    /// Looks at what is known, once each of `names` has been looked for, and claims what `look` asks for. Where somebody
    /// else has that, waits, and looks again. What is returned was seen when the claims were granted.
    pub(crate) async fn claim<T>(
        &self,
        names: &[(Ino, &FileName)],
        look: impl Fn(&Tree) -> Result<(T, Vec<Claim>), FsError>,
    ) -> Result<(T, Claimed), FsError> {
        let claimed = self.claim_in_turn(names, look).await;
        names.iter().fold(claimed, |claimed, (parent, _)| self.note_arrival(*parent, claimed))
    }

    async fn claim_in_turn<T>(
        &self,
        names: &[(Ino, &FileName)],
        look: impl Fn(&Tree) -> Result<(T, Vec<Claim>), FsError>,
    ) -> Result<(T, Claimed), FsError> {
        let mut waiting = None;
        loop {
            for (parent, name) in names {
                self.names.find(*parent, name).await?;
            }
            let woken = {
                let tree = self.names.tree();
                let (seen, claims) = look(&tree)?;
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
        match self.claim(&[], |_| Ok(((), vec![Claim::Work(ino)]))).await {
            Ok(((), claimed)) => claimed,
            Err(_) => unreachable!("nothing is looked for"),
        }
    }

    /// What `stat` shows of an inode.
    pub(crate) async fn getattr(&self, ino: Ino) -> Result<Attr, FsError> {
        let attr = self.names.attr_of(ino).await;
        self.note_arrival(ino, attr)
    }

    /// Looks a name up. The kernel is told of the inode by this, and must be made to [`FileSystem::forget`](crate::fs::FileSystem::forget) it.
    pub(crate) async fn lookup(&self, parent: Ino, name: &FileName) -> Result<Attr, FsError> {
        let found = match self.leases.is_missed(parent, name) || self.leases.is_kept(parent) {
            true => self.lookup_and_keep(parent, name).await,
            false => match self.names.find(parent, name).await {
                Ok(true) => self.names.tell(parent, name).await,
                found => found.and(Err(FsError::NotFound)),
            },
        };
        self.note_arrival(parent, found)
    }

    /// The same for somebody who came too late for it, or for its directory, the last time.
    async fn lookup_and_keep(&self, parent: Ino, name: &FileName) -> Result<Attr, FsError> {
        let look = |tree: &Tree| {
            let entry = tree.entry(parent, name).ok_or(FsError::NotFound)?;
            Ok((entry.ino, vec![Claim::Work(entry.ino)]))
        };
        let (ino, claimed) = self.claim(&[(parent, name)], look).await?;
        let attr = self.names.tell(parent, name).await?;
        if attr.ino != ino {
            return Ok(attr);
        }
        let of = (caller(), ino);
        let (number, replaced) = {
            let mut state = self.leases.lock();
            state.last += 1;
            let lease = Lease { number: state.last, place: (of.0, parent, name.clone()), claimed };
            (state.last, state.held.insert(of, lease))
        };
        drop(replaced);
        let fs = self.me.clone();
        self.context.runtime.spawn(async move {
            tokio::time::sleep(LEASE).await;
            if let Some(fs) = fs.upgrade() {
                drop(fs.leases.end(of, Some(number)));
            }
        });
        Ok(attr)
    }

    /// Claims to work on an inode that the kernel has looked up: by what was kept for that, which goes before all who wait for
    /// the name, or in turn. While something is kept for others, everybody goes first who would come too late otherwise.
    pub(crate) async fn arrive(&self, ino: Ino) -> Claimed {
        if let Some(lease) = self.leases.end((caller(), ino), None) {
            self.leases.lock().missed.remove(&lease.place);
            return lease.claimed;
        }
        let joined = {
            let state = self.leases.lock();
            state.held.keys().any(|(_, kept)| *kept == ino).then(|| self.names.claims.join(ino))
        };
        match joined {
            Some(claimed) => claimed,
            None => self.work_on(ino).await,
        }
    }

    /// Takes note of what became of a call on an inode that the kernel had looked up: if it came too late, the next look keeps
    /// what it finds.
    pub(crate) fn note_arrival<T>(&self, ino: Ino, result: Result<T, FsError>) -> Result<T, FsError> {
        if matches!(result, Err(FsError::Stale)) {
            let tree = self.names.tree();
            let lost = tree.place(ino).filter(|_| tree.entry_of(ino).is_none());
            if let Some((parent, name)) = lost {
                self.leases.lock().missed.insert((caller(), parent, name), Instant::now());
            }
        }
        result
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
