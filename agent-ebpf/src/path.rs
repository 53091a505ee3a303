//! Paths, as the kernel holds them: chains of names that are walked from the leaf up.
//!
//! A path is written as its names, leaf first, each ended by NUL: turning it round is work for the agent.

use crate::{
    fields,
    kernel::{Address, pointer, read_text, within},
};

/// Room for all the texts of one record, in bytes.
pub(crate) const TEXT_ROOM: usize = TEXT_LIMIT + 4096;

/// No text starts beyond this many bytes. A power of two, so that a mask bounds a position for the verifier.
const TEXT_LIMIT: usize = 16 << 10;

/// A file's name has at most 255 bytes (`NAME_MAX`), and a NUL.
const NAME_ROOM: usize = 256;

/// Names and mounts that are walked. A longer path is marked as cut, since its beginning is missing.
const STEPS: usize = 64;

/// Levels of cgroups that are walked.
const CGROUP_LEVELS: usize = 12;

/// The texts of a record, one after the other.
#[repr(C)]
pub(crate) struct Texts {
    bytes: [u8; TEXT_ROOM],
    /// Where the next text starts. It lives in the map and not in a register: to the verifier a value from there is
    /// just unknown, whereas a register's bounds would differ after every branch of a walk, and each would have to be
    /// verified apart.
    position: u32,
}

/// How a walk ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// At the root: the path is whole.
    Root,
    /// At a file that no directory holds, such as a memfd: its one name was written.
    Nameless,
    /// Too early: the path's beginning is missing.
    Cut,
}

/// A place in the mount tree: `struct path`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    mount: Address,
    dentry: Address,
}

impl Place {
    /// The `struct path` at this address.
    #[inline(always)]
    pub(crate) fn at(path: Address) -> Self {
        Self {
            mount: pointer(path, fields::path_mnt()),
            dentry: pointer(path, fields::path_dentry()),
        }
    }
}

impl Texts {
    /// Forgets every text.
    #[inline(always)]
    pub(crate) fn clear(&mut self) {
        self.move_to(0);
    }

    /// How many bytes the texts have.
    #[inline(always)]
    pub(crate) fn position(&self) -> u32 {
        // SAFETY: a field of this structure.
        unsafe { core::ptr::read_volatile(&raw const self.position) }
    }

    /// Where the next text goes: 4096 bytes have room there, as the mask shows the verifier.
    #[inline(always)]
    pub(crate) fn end(&mut self) -> *mut u8 {
        let offset = core::hint::black_box(self.position() as usize) & (TEXT_LIMIT - 1);
        // SAFETY: the mask keeps the offset in bounds.
        unsafe { self.bytes.as_mut_ptr().add(offset) }
    }

    /// Counts `length` bytes that were written at the end.
    #[inline(always)]
    pub(crate) fn advance(&mut self, length: u32) {
        self.move_to(self.position() + length);
    }

    #[inline(always)]
    fn move_to(&mut self, position: u32) {
        // SAFETY: a field of this structure.
        unsafe { core::ptr::write_volatile(&raw mut self.position, position) }
    }

    /// Whether another name may not fit: after it, the end must still be a position that the mask leaves alone.
    #[inline(always)]
    fn full(&self) -> bool {
        self.position() as usize >= TEXT_LIMIT - 2 * NAME_ROOM
    }

    /// Writes the name at `source`.
    #[inline(always)]
    fn push(&mut self, source: Address) {
        // SAFETY: the end has room for more than a name.
        let length = unsafe { read_text(self.end(), NAME_ROOM as u32, source) };
        self.advance(length as u32);
    }

    /// Writes the path from `place` up to `root`.
    #[inline(always)]
    pub(crate) fn push_path(&mut self, mut place: Place, root: Place) -> End {
        for _ in 0..STEPS {
            if place == root {
                return End::Root;
            }
            if self.full() {
                return End::Cut;
            }
            let parent = pointer(place.dentry, fields::dentry_parent());
            let mount_root = pointer(place.mount, fields::vfsmount_root());
            if place.dentry == mount_root || place.dentry == parent {
                let mount = place.mount - u64::from(fields::mount_vfsmount());
                let below = pointer(mount, fields::mount_parent());
                if below == mount || below == 0 {
                    if place.dentry == mount_root {
                        return End::Root;
                    }
                    self.push(name(place.dentry));
                    return End::Nameless;
                }
                place = Place {
                    mount: below + u64::from(fields::mount_vfsmount()),
                    dentry: pointer(mount, fields::mount_mountpoint()),
                };
            } else {
                self.push(name(place.dentry));
                place.dentry = parent;
            }
        }
        End::Cut
    }

    /// Writes the path of a cgroup up to the root of its hierarchy, which has no name.
    #[inline(always)]
    pub(crate) fn push_cgroup(&mut self, cgroup: Address) {
        let mut node = pointer(cgroup, fields::cgroup_kn());
        for _ in 0..CGROUP_LEVELS {
            let parent = pointer(node, fields::kernfs_parent());
            if parent == 0 || self.full() {
                break;
            }
            self.push(pointer(node, fields::kernfs_name()));
            node = parent;
        }
    }
}

/// Where the name of this dentry stands.
#[inline(always)]
fn name(dentry: Address) -> Address {
    pointer(dentry, within(fields::dentry_name(), fields::qstr_name()))
}
