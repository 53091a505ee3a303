//! Harmless programs in suspicious places.

use std::{
    cell::RefCell,
    ffi::CString,
    fs::{self, File},
    io::Write as _,
    os::{fd::AsRawFd as _, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    time::Duration,
};

use rustix::fs::{MemfdFlags, memfd_create};
use tempfile::TempDir;

use crate::deadline::wait_for;

/// A folder with a copy of `true`, gone when dropped.
pub(crate) struct Dropped {
    folder: TempDir,
}

impl Dropped {
    /// A copy in a new folder of this one, such as `/tmp`.
    pub(crate) fn new(parent: &str) -> Self {
        let folder = tempfile::tempdir_in(parent).unwrap();
        // By another process: a child that another thread starts at this moment would inherit the descriptor that writes,
        // and nothing can be run while it is open.
        run(Path::new("/bin/cp"), &["/bin/true", folder.path().to_str().unwrap()]);
        Self { folder }
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("true")
    }

    /// The same as events write it.
    pub(crate) fn text(&self) -> String {
        self.path().to_str().unwrap().to_owned()
    }

    /// Runs it.
    pub(crate) fn run(&self, arguments: &[&str]) {
        run(&self.path(), arguments);
    }
}

/// A shell that is nobody's child: what it runs is not below cargo, whose children may run programs from anywhere. It
/// must be older than the agent, which knows who made whom.
pub(crate) struct Outside {
    /// One line a command; the shell ends with it.
    commands: RefCell<ChildStdin>,
    folder: TempDir,
}

impl Outside {
    /// Starts it.
    pub(crate) fn start() -> Self {
        // The outer shell ends at once and leaves the inner one to the machine's first process.
        let leave = "exec 3<&0; sh <&3 & ";
        let mut outer = Command::new("sh")
            .args(["-c", leave])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = outer.stdin.take().unwrap();
        outer.wait().unwrap();
        Self {
            commands: RefCell::new(commands),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Has it run this; not waited for.
    pub(crate) fn run(&self, program: &Dropped) {
        self.command(&program.text());
    }

    /// Has it run a script with mounts of its own, and gives the id of the process that did; a script that fails ends
    /// the test.
    pub(crate) fn run_script(&self, script: &str, limit: Duration) -> u64 {
        let file = |name: &str| self.folder.path().join(name);
        fs::write(file("script"), script).unwrap();
        let folder = self.folder.path().display();
        // Not as a file, which lies in a temporary folder.
        self.command(&format!("script=$(cat {folder}/script)"));
        let run = r#"unshare --mount --propagation private sh -euc "$script""#;
        self.command(&format!("{run} >{folder}/log 2>&1 </dev/null & echo $! >{folder}/pid"));
        self.command(&format!(
            "wait $!; echo $? >{folder}/end; mv {folder}/end {folder}/done"
        ));
        let status = wait_for("end of the script", limit, || fs::read_to_string(file("done")).ok());
        assert_eq!(status.trim(), "0", "{}", fs::read_to_string(file("log")).unwrap());
        fs::read_to_string(file("pid")).unwrap().trim().parse().unwrap()
    }

    fn command(&self, line: &str) {
        writeln!(self.commands.borrow_mut(), "{line}").unwrap();
    }
}

/// Runs a copy of `true` that is in memory alone, under that name.
pub(crate) fn run_from_memory(name: &str) {
    let mut memory = File::from(memfd_create(CString::new(name).unwrap(), MemfdFlags::empty()).unwrap());
    memory.write_all(&fs::read("/bin/true").unwrap()).unwrap();
    run_by_descriptor(&memory, name);
}

/// Runs a copy of `true` whose file is gone by then, and gives the path that it had.
pub(crate) fn run_deleted(parent: &str) -> String {
    let dropped = Dropped::new(parent);
    let (path, file) = (dropped.text(), File::open(dropped.path()).unwrap());
    drop(dropped);
    run_by_descriptor(&file, &path);
    path
}

fn run_by_descriptor(file: &File, name: &str) {
    // As the child has it: the descriptor need not survive the execution, whose start is all that it is for.
    let status = Command::new(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .arg0(name)
        .status();
    assert!(status.unwrap().success());
}

fn run(path: &Path, arguments: &[&str]) {
    let status = Command::new(path).args(arguments).stdout(Stdio::null()).status();
    assert!(status.unwrap().success(), "{}", path.display());
}
