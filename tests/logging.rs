//! What else a node keeps logs with, run for one test: rsyslog, the systemd journal, logrotate.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{deadline::wait_for, fixtures, tls::Certificates, tocsin::PATIENCE};

/// The programs, and a folder for what they write.
pub(crate) struct Logging {
    fixture: PathBuf,
    folder: TempDir,
}

/// A daemon; ended when dropped.
pub(crate) struct Daemon(Child);

impl Daemon {
    /// Sends it that signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

impl Logging {
    /// Nothing, after saying why the test is skipped, if its packages are missing.
    pub(crate) fn new() -> Option<Self> {
        Some(Self {
            fixture: fixtures::require("logging")?,
            folder: tempfile::tempdir().unwrap(),
        })
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// One of its programs.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.fixture.join(program));
        command.env("LD_LIBRARY_PATH", self.libraries()).stdin(Stdio::null());
        command
    }

    /// Certificates in the folder.
    pub(crate) fn certificates(&self, name: &str) -> Certificates {
        fs::create_dir(self.path(name)).unwrap();
        Certificates::make(|| self.command("usr/bin/openssl"), &self.path(name))
    }

    /// Starts rsyslog: it listens on the socket `log` in the folder and with these further inputs, and writes what it
    /// makes of each message to the file `messages`.
    pub(crate) fn rsyslog(&self, inputs: &str) -> Daemon {
        let folder = self.folder.path().display();
        let configuration = format!(
            "module(load=\"imuxsock\" SysSock.Use=\"off\")\nmodule(load=\"mmpstrucdata\")\n\
             input(type=\"imuxsock\" Socket=\"{folder}/log\" UseSpecialParser=\"off\")\n{inputs}\n\
             action(type=\"mmpstrucdata\")\n\
             template(name=\"all\" type=\"string\" string=\"%jsonmesg%\\n\")\n\
             action(type=\"omfile\" file=\"{folder}/messages\" template=\"all\")\n"
        );
        fs::write(self.path("rsyslog.conf"), configuration).unwrap();
        let mut command = self.command("usr/sbin/rsyslogd");
        command.args(["-n", "-C", "-f"]).arg(self.path("rsyslog.conf"));
        command.arg("-i").arg(self.path("rsyslog.pid"));
        command.arg("-M").arg(self.libraries().join("rsyslog"));
        // Left behind by one that was killed.
        let _ = fs::remove_file(self.path("log"));
        let errors = fs::File::create(self.path("rsyslog.errors")).unwrap();
        let daemon = Daemon(command.stderr(errors).spawn().unwrap());
        wait_for("rsyslog's socket", PATIENCE, || self.path("log").exists().then_some(()));
        daemon
    }

    /// What rsyslog has understood so far.
    pub(crate) fn messages(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("messages")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines.collect()
    }

    /// Starts a journal of its own, whose sockets are in the folder `journal`.
    pub(crate) fn journald(&self) -> Daemon {
        for name in ["journal", "logs"] {
            fs::create_dir_all(self.path(name)).unwrap();
        }
        fs::write(self.path("machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
        let script = r#"
            folder=$1; shift
            [ -e /etc/machine-id ] || : >/etc/machine-id
            mount --bind "$folder/machine-id" /etc/machine-id
            mount -t tmpfs none /run
            mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /run/log/journal
            mount --bind "$folder/journal" /run/systemd/journal
            mount --bind "$folder/logs" /run/log/journal
            printf '[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\n' >/run/systemd/journald.conf.d/test.conf
            exec "$@"
        "#;
        let libraries = self.libraries();
        let libraries = [libraries.display(), libraries.join("systemd").display()].map(|path| path.to_string());
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-euc", script, "sh"]);
        command.arg(self.folder.path());
        command.args(["env", &format!("LD_LIBRARY_PATH={}", libraries.join(":"))]);
        command.arg(self.fixture.join("usr/lib/systemd/systemd-journald"));
        let _ = fs::remove_file(self.path("journal/socket"));
        let daemon = Daemon(command.stdin(Stdio::null()).spawn().unwrap());
        wait_for("the journal's socket", PATIENCE, || {
            self.path("journal/socket").exists().then_some(())
        });
        daemon
    }

    /// The journal's entries of which that field has that value.
    pub(crate) fn entries(&self, field: &str, value: &str) -> Vec<Value> {
        let libraries = self.libraries();
        let libraries = format!("{}:{}", libraries.display(), libraries.join("systemd").display());
        let mut command = self.command("usr/bin/journalctl");
        command.env("LD_LIBRARY_PATH", libraries);
        command.args(["--output=json", "--all", "--no-pager", "--directory"]);
        command.arg(self.path("logs")).arg(format!("{field}={value}"));
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Rotates that file now, as these lines of configuration say.
    pub(crate) fn logrotate(&self, file: &Path, how: &str) {
        let configuration = self.path("logrotate.conf");
        fs::write(&configuration, format!("\"{}\" {{\n{how}\n}}\n", file.display())).unwrap();
        fs::set_permissions(&configuration, fs::Permissions::from_mode(0o644)).unwrap();
        let mut command = self.command("usr/sbin/logrotate");
        command.args(["--force", "--state"]).arg(self.path("logrotate.state"));
        let output = command.arg(&configuration).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn libraries(&self) -> PathBuf {
        self.fixture.join("usr/lib/x86_64-linux-gnu")
    }
}

/// How long a daemon may take to write what it was sent.
pub(crate) const WRITTEN: Duration = Duration::from_secs(10);
