//! The files of a process as it sees them. Whoever made them may want to mislead or to hold up whoever reads them: links
//! are followed within the process's root alone, nothing but a regular file is opened, and no file system is asked that
//! answers when it likes.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::OpenOptionsExt as _,
    },
    path::{Path, PathBuf},
};

use procfs::process::Process;
use rustc_hash::FxHashMap;
use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags, fstat, openat, openat2, statx},
    io::Errno,
};

use super::the_same::the_same;
use crate::event::ProcessKey;

/// Kinds of file systems that a server or a process answers for: it may take its time for ever.
const UNHURRIED: [&str; 10] = [
    "9p", "afs", "autofs", "ceph", "cifs", "fuse", "fuseblk", "nfs", "nfs4", "smb3",
];

/// How often a path is looked for while others rename and mount.
const ATTEMPTS: usize = 8;

/// A process's root.
pub(in crate::sources) struct Inside {
    root: OwnedFd,
    ways: ResolveFlags,
}

impl Inside {
    /// The root of that process.
    pub(in crate::sources) fn of(process: ProcessKey) -> io::Result<Self> {
        let root = Path::new("/proc").join(process.pid.to_string()).join("root");
        let inside = Self::at(&root)?;
        let mounts = the_same(process)?.mountinfo().map_err(io::Error::other)?;
        let mut unhurried = mounts.0.iter().filter(|mount| is_unhurried(&mount.fs_type)).peekable();
        if unhurried.peek().is_none() {
            return Ok(inside);
        }
        if unhurried.any(|mount| mount.mount_point == Path::new("/")) {
            return Err(io::Error::other("its root is on a file system that may not answer"));
        }
        let ways = inside.ways | ResolveFlags::NO_XDEV;
        Ok(Self { ways, ..inside })
    }

    /// The folder of that path, as a root.
    pub(in crate::sources) fn at(root: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            root: openat(CWD, root, flags, Mode::empty())?,
            ways: ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        })
    }

    /// Whether something has that path.
    pub(in crate::sources) fn holds(&self, path: &Path) -> bool {
        self.find(path, OFlags::empty()).is_ok()
    }

    /// What file has that path: the path without links, its device and its inode.
    pub(in crate::sources) fn identity(&self, path: &Path) -> io::Result<(PathBuf, (u32, u32), u64)> {
        let file = self.find(path, OFlags::empty())?;
        let known = known(&file)?;
        let device = (known.stx_dev_major, known.stx_dev_minor);
        Ok((fs::read_link(by_descriptor(&file))?, device, known.stx_ino))
    }

    /// The path of what has that path, without links, below this root.
    pub(in crate::sources) fn without_links(&self, path: &Path) -> io::Result<PathBuf> {
        let found = fs::read_link(by_descriptor(&self.find(path, OFlags::empty())?))?;
        let root = fs::read_link(by_descriptor(&self.root))?;
        let below = found.strip_prefix(root).map_err(io::Error::other)?;
        Ok(Path::new("/").join(below))
    }

    /// Whether a regular file that begins so has that path, and belongs to whom the root belongs to: the root user, also of a
    /// container whose users are others on the node.
    pub(in crate::sources) fn is_of_root_and_begins_with(&self, path: &Path, beginning: [u8; 4]) -> bool {
        let file = self.find(path, OFlags::empty());
        let begins = |file: &OwnedFd| -> io::Result<bool> {
            let (found, root) = (known(file)?, known(&self.root)?);
            let is_regular = FileType::from_raw_mode(found.stx_mode.into()) == FileType::RegularFile;
            if !is_regular || found.stx_uid != root.stx_uid {
                return Ok(false);
            }
            let mut bytes = [0; 4];
            reopen(file)?.read_exact(&mut bytes)?;
            Ok(bytes == beginning)
        };
        file.is_ok_and(|file| begins(&file).unwrap_or_default())
    }

    /// The text of a regular file of so many bytes at most.
    pub(in crate::sources) fn read(&self, path: &Path, most: u64) -> io::Result<String> {
        let file = self.find(path, OFlags::empty())?;
        if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("not a regular file"));
        }
        let mut bytes = Vec::new();
        reopen(&file)?.take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(io::Error::other(format!("longer than {most} bytes")));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The names in a folder that holds so many at most.
    pub(in crate::sources) fn names(&self, folder: &Path, most: usize) -> io::Result<Vec<OsString>> {
        let folder = self.find(folder, OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in fs::read_dir(by_descriptor(&folder))? {
            if names.len() == most {
                return Err(io::Error::other(format!("more than {most} names")));
            }
            names.push(entry?.file_name());
        }
        Ok(names)
    }

    /// Finds what has that path, without opening it: to open may already do something.
    fn find(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
        let mut found = Err(Errno::AGAIN);
        // Where something was renamed or mounted meanwhile, `..` may have led out: the kernel asks to try again.
        for _ in 0..ATTEMPTS {
            found = openat2(&self.root, path, flags, Mode::empty(), self.ways);
            if !matches!(found, Err(Errno::AGAIN)) {
                break;
            }
        }
        Ok(found?)
    }
}

/// The executable of that process.
pub(super) fn executable(process: ProcessKey) -> io::Result<File> {
    let link = Path::new("/proc").join(process.pid.to_string()).join("exe");
    let file = openat(CWD, &link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let mounts = the_same(process)?.mountinfo().map_err(io::Error::other)?;
    let known = known(&file)?;
    let device = format!("{}:{}", known.stx_dev_major, known.stx_dev_minor);
    let mut mounts = mounts.0.iter();
    if mounts.any(|mount| mount.majmin == device && is_unhurried(&mount.fs_type)) {
        return Err(io::Error::other("it is on a file system that may not answer"));
    }
    reopen(&file)
}

/// What the kernel knows of the executable of a process.
pub(in crate::sources) fn known_of_executable(entry: &Process) -> io::Result<Statx> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    known(
        &entry
            .open_relative_flags("exe", flags)
            .map_err(io::Error::other)?
            .into(),
    )
}

/// What the kernel knows of a file: no file system is asked.
fn known(file: &OwnedFd) -> io::Result<Statx> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    Ok(statx(file, "", flags, StatxFlags::BASIC_STATS)?)
}

/// Whether the file systems answer that a process may have files of, by their devices.
pub(in crate::sources) struct Mounted(FxHashMap<String, bool>);

impl Mounted {
    /// Those that are mounted for that process or for us.
    pub(in crate::sources) fn of(entry: &Process) -> Self {
        let both = [Process::myself().and_then(|own| own.mountinfo()), entry.mountinfo()];
        let mounts = both.into_iter().flatten().flat_map(|mounts| mounts.0);
        Self(
            mounts
                .map(|mount| (mount.majmin, !is_unhurried(&mount.fs_type)))
                .collect(),
        )
    }

    /// Whether the one of that device does. One that is mounted for neither, any more, answers if it is on a disk.
    pub(in crate::sources) fn answers(&self, (major, minor): (u32, u32)) -> bool {
        let known = self.0.get(&format!("{major}:{minor}"));
        known.copied().unwrap_or(major != 0)
    }
}

fn is_unhurried(kind: &str) -> bool {
    // What is behind FUSE is told behind a dot.
    UNHURRIED.contains(&kind.split('.').next().unwrap_or_default())
}

/// Opens for reading what was found.
fn reopen(found: &OwnedFd) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags.bits().cast_signed());
    options.open(by_descriptor(found))
}

fn by_descriptor(descriptor: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, process::id};

    use rustix::fs::mkfifoat;
    use tempfile::TempDir;

    use super::*;

    fn check(inside: &Inside, path: &str, expected: Result<&str, &str>) {
        let found = inside.read(Path::new(path), 16).map_err(|error| error.to_string());
        match (&found, expected) {
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{path}: {found}"),
            (found, expected) => assert_eq!(
                found.as_deref(),
                expected.map_err(str::to_owned).as_ref().copied(),
                "{path}"
            ),
        }
    }

    #[test]
    fn links_lead_nowhere_but_inside_and_nothing_is_waited_for() {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("etc/more")).unwrap();
        fs::write(folder.path().join("outside"), "outside").unwrap();
        fs::write(root.join("etc/plain"), "plain").unwrap();
        fs::write(root.join("etc/long"), "0123456789abcdef!").unwrap();
        for (target, link) in [
            ("/etc/plain", "absolute"),
            ("../../../../etc/plain", "above"),
            ("../../outside", "beside"),
            ("loop", "loop"),
            ("/proc/self/root/etc/plain", "magic"),
        ] {
            symlink(target, root.join("etc").join(link)).unwrap();
        }
        mkfifoat(CWD, root.join("etc/pipe"), Mode::RUSR | Mode::WUSR).unwrap();
        let inside = Inside::at(&root).unwrap();
        check(&inside, "/etc/plain", Ok("plain"));
        check(&inside, "/etc/absolute", Ok("plain"));
        check(&inside, "/etc/above", Ok("plain"));
        check(&inside, "/etc/beside", Err("No such file"));
        check(&inside, "/etc/loop", Err("symbolic links"));
        check(&inside, "/etc/magic", Err("No such file"));
        check(&inside, "/etc/pipe", Err("not a regular file"));
        check(&inside, "/etc/more", Err("not a regular file"));
        check(&inside, "/etc/long", Err("longer than 16 bytes"));
        assert_eq!(inside.names(Path::new("/etc"), 9).unwrap().len(), 9);
        assert!(inside.names(Path::new("/etc"), 8).is_err());
    }

    #[test]
    fn a_file_that_was_touched_is_no_library() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("library"), b"\x7FELF and more").unwrap();
        fs::write(folder.path().join("touched"), "").unwrap();
        symlink("library", folder.path().join("link")).unwrap();
        let inside = Inside::at(folder.path()).unwrap();
        for (path, expected) in [
            ("/library", true),
            ("/link", true),
            ("/touched", false),
            ("/", false),
            ("/no", false),
        ] {
            let found = inside.is_of_root_and_begins_with(Path::new(path), *b"\x7FELF");
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn the_own_executable_is_found_and_that_of_another_time_is_not() {
        let stat = Process::myself().unwrap().stat().unwrap();
        let own = ProcessKey {
            pid: id(),
            start: stat.starttime,
        };
        assert!(executable(own).is_ok() && Inside::of(own).is_ok());
        let former = ProcessKey {
            start: own.start - 1,
            ..own
        };
        assert!(executable(former).is_err() && Inside::of(former).is_err());
    }

    #[test]
    fn a_file_system_is_known_by_its_device() {
        let mounted = Mounted(FxHashMap::from_iter([("0:40".into(), false), ("0:41".into(), true)]));
        for (device, expected) in [((0, 40), false), ((0, 41), true), ((0, 42), false), ((254, 1), true)] {
            assert_eq!(mounted.answers(device), expected, "{device:?}");
        }
        let root = fs::metadata("/proc").unwrap();
        let device = std::os::linux::fs::MetadataExt::st_dev(&root);
        let own = Mounted::of(&Process::myself().unwrap());
        assert!(own.answers((rustix::fs::major(device), rustix::fs::minor(device))));
    }

    #[test]
    fn what_may_not_answer_is_known_by_its_kind() {
        for (kind, expected) in [
            ("fuse.sshfs", true),
            ("nfs4", true),
            ("fusectl", false),
            ("overlay", false),
        ] {
            assert_eq!(is_unhurried(kind), expected, "{kind}");
        }
    }
}
