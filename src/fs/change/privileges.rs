//! The bits that run a file with its owner's or its group's rights, and who takes them away: whoever changes the content
//! without being root, and whoever gives the file to somebody. The kernel leaves that to the file system.

use super::Attributes;
use crate::fs::context::{FsError, HandleId};
use crate::fs::names::{
    Attr, Ino, Kind, MODE_SET_GROUP, MODE_SET_USER, permissions_and_owner, privileges_of, shows_privileges,
    without_privileges,
};
use crate::object::ObjectAttributes;

/// Somebody who asks for a change.
pub struct Asker {
    /// The user.
    pub uid: u32,
    /// Whether this one is in a group. Asked only where it matters, because the answer may cost a look at the process.
    pub is_in_group: Box<dyn Fn(u32) -> bool + Send + Sync>,
}

impl Asker {
    /// Whether nothing is taken away from what this one changes.
    fn is_root(&self) -> bool {
        self.uid == 0
    }
}

impl Attributes {
    /// Somebody is about to change a file's content, or its owner: unless that is root, the file no longer runs with the rights
    /// of others. Makes no request where it does not anyway.
    pub async fn drop_privileges(&self, ino: Ino, asker: &Asker) -> Result<(), FsError> {
        if asker.is_root() || !self.has_privileges(ino) {
            return Ok(());
        }
        self.context.refuse_if_read_only()?;
        let _working = self.traffic.arrive(ino).await;
        self.change_attributes(ino, |_, before| Ok(self.unprivileged(before.clone(), asker))).await
    }

    /// The same for somebody who is about to write by `handle`. Never waits.
    pub fn drop_privileges_of(&self, handle: HandleId, asker: &Asker) -> Result<(), FsError> {
        let handle = self.publisher.handles.get(handle)?;
        let writing = handle.writing.as_ref().ok_or(FsError::BadHandle)?;
        match writing.file.user_attribute("mode").is_some_and(|mode| shows_privileges(&mode)) {
            true => writing.file.change_attributes(|before| Ok(self.unprivileged(before, asker))),
            false => Ok(()),
        }
    }

    /// Somebody sets attributes without saying any. `chown` for nobody in particular is one such call, which takes privileges
    /// away like any other, and which only root and the owner may make then. The kernel itself is the other, before
    /// somebody who has the file open changes its content.
    pub async fn set_nothing(&self, ino: Ino, asker: &Asker) -> Result<Attr, FsError> {
        let attr = self.traffic.getattr(ino).await?;
        let taken = self.taken(attr.permissions, attr.owner.gid, asker);
        if attr.kind != Kind::File || taken == 0 {
            self.names.note_change_of(ino);
            return Ok(attr);
        }
        let is_written = self.files.is_open_for_writing(ino);
        if !asker.is_root() && asker.uid != attr.owner.uid && !is_written {
            return Err(FsError::NotPermitted);
        }
        let _working = self.traffic.arrive(ino).await;
        self.change_attributes(ino, |_, before| Ok(self.unprivileged(before.clone(), asker))).await?;
        self.traffic.getattr(ino).await
    }

    fn has_privileges(&self, ino: Ino) -> bool {
        let attr = self.names.tree().attr(ino, &self.context.options, self.context.clock.now());
        // Of what is not known yet it is found out on the way.
        attr.is_none_or(|attr| attr.kind == Kind::File && attr.permissions & (MODE_SET_USER | MODE_SET_GROUP) != 0)
    }

    fn unprivileged(&self, attributes: ObjectAttributes, asker: &Asker) -> ObjectAttributes {
        let (permissions, owner) = permissions_and_owner(Kind::File, Some(&attributes), &self.context.options);
        without_privileges(attributes, self.taken(permissions, owner.gid, asker))
    }

    /// The bits that a change by `asker` takes from these permissions.
    fn taken(&self, permissions: u32, gid: u32, asker: &Asker) -> u32 {
        let by_anybody = privileges_of(permissions);
        let is_left = permissions & MODE_SET_GROUP != 0 && by_anybody & MODE_SET_GROUP == 0;
        // Without the right to execute it this bit is no privilege, but still nothing that others than the group may keep.
        if is_left && !asker.is_root() && !(asker.is_in_group)(gid) { by_anybody | MODE_SET_GROUP } else { by_anybody }
    }
}
