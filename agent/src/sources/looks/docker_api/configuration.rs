//! What dockerd's own configuration says of a listener: its command line and its `daemon.json`, as they are now.

use std::{fs::File, io::Read as _, path::Path};

use procfs::process::Process;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use serde::Deserialize;

/// The program whose configuration this is.
const DAEMON: &str = "dockerd";
/// Where the file is unless the command line says otherwise.
const FILE: &str = "/etc/docker/daemon.json";
/// A larger file is not read, nor more of a command line.
const LARGEST: u64 = 1 << 20;

/// What the daemon is told of whom it serves, in command line or file: a setting must not stand in both.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Settings {
    hosts: Vec<String>,
    tls: bool,
    tlsverify: bool,
    #[serde(skip)]
    file: Option<String>,
}

/// What it says of whoever connects to that port of the process: `open`, `tls` (encrypted, but anybody may),
/// `mutual-tls`, or `no-api`; nothing of other programs, and of a user's own daemon, whose file may be anywhere.
pub(super) fn of(process: &Process, port: u16) -> Option<&'static str> {
    if process.exe().ok()?.file_name()? != DAEMON || process.uid().ok()? != 0 {
        return None;
    }
    let proc_folder = Path::new("/proc").join(process.pid.to_string());
    let arguments = read(File::open(proc_folder.join("cmdline")).ok()?)?;
    let arguments = String::from_utf8_lossy(&arguments).into_owned();
    let said = Settings::said(arguments.split('\0').skip(1));
    let file = said.file.as_deref().unwrap_or(FILE);
    let written = match open_inside(&proc_folder, file) {
        Ok(file) => serde_json::from_slice(&read(file)?).ok()?,
        Err(rustix::io::Errno::NOENT) => Settings::default(),
        Err(_) => return None,
    };
    Some(said.and(written).verdict(port))
}

impl Settings {
    /// What stands on a command line.
    fn said<'a>(arguments: impl Iterator<Item = &'a str>) -> Self {
        let mut said = Self::default();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let (name, value) = split(argument);
            let mut valued = || value.or_else(|| arguments.next()).map(str::to_owned);
            match name {
                "-H" | "--host" => said.hosts.extend(valued()),
                "--config-file" => said.file = valued(),
                "--tls" => said.tls = is_true(value),
                "--tlsverify" => said.tlsverify = is_true(value),
                _ => {}
            }
        }
        said
    }

    fn and(mut self, other: Self) -> Self {
        self.hosts.extend(other.hosts);
        Self {
            tls: self.tls || other.tls,
            tlsverify: self.tlsverify || other.tlsverify,
            ..self
        }
    }

    fn verdict(&self, port: u16) -> &'static str {
        let encrypted = self.tls || self.tlsverify;
        match encrypted {
            _ if !self.hosts.iter().any(|host| may_be_at(host, port, encrypted)) => "no-api",
            _ if self.tlsverify => "mutual-tls",
            true => "tls",
            false => "open",
        }
    }
}

/// A flag and its value, if it stands in the same word.
fn split(argument: &str) -> (&str, Option<&str>) {
    match (argument.split_once('='), argument.strip_prefix("-H")) {
        (Some((name, value)), _) if name.starts_with('-') && !value.is_empty() => (name, Some(value)),
        (_, Some(value)) if !value.is_empty() => ("-H", Some(value)),
        _ => (argument, None),
    }
}

/// As Go's flags have it: a flag without a value says yes.
fn is_true(value: Option<&str>) -> bool {
    value.is_none_or(|value| ["1", "t", "true"].contains(&&*value.to_ascii_lowercase()))
}

/// Whether one of the daemon's hosts can be that port: `tcp://0.0.0.0:2375`, `:2375`, or `fd://`, which takes whatever
/// was inherited.
fn may_be_at(host: &str, port: u16, encrypted: bool) -> bool {
    let address = match host.split_once("://") {
        Some(("fd", _)) => return true,
        Some(("tcp", address)) => address,
        Some(_) => return false,
        None => host,
    };
    let address = address.split('/').next().unwrap_or_default();
    let written = address.rsplit_once(':').map(|(_, port)| port);
    let written = written.filter(|port| !port.is_empty() && !port.contains(']'));
    match written {
        Some(written) => written.parse() == Ok(port),
        None => port == if encrypted { 2376 } else { 2375 },
    }
}

/// Opens a file as the process sees it. Its root may be a container's, who could have a link there lead elsewhere or a
/// pipe keep us waiting.
fn open_inside(proc_folder: &Path, path: &str) -> rustix::io::Result<File> {
    let folder = |name: &str| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, proc_folder.join(name), flags, Mode::empty())
    };
    let start = if path.starts_with('/') {
        folder("root")?
    } else {
        folder("cwd")?
    };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat2(start, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
    Ok(file.into())
}

/// A file's contents, if it is one, of a bearable size.
fn read(file: File) -> Option<Vec<u8>> {
    let mut contents = Vec::new();
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    if !is_file || file.take(LARGEST + 1).read_to_end(&mut contents).is_err() {
        return None;
    }
    (contents.len() as u64 <= LARGEST).then_some(contents)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn check(command_line: &str, file: &str, port: u16, expected: &str) {
        let said = Settings::said(command_line.split(' '));
        let written: Settings = serde_json::from_str(file).unwrap();
        assert_eq!(
            said.and(written).verdict(port),
            expected,
            "{command_line} {file} {port}"
        );
    }

    #[test]
    fn command_line_and_file_tell_whom_a_port_serves() {
        let nothing = "{}";
        check("-H tcp://0.0.0.0:2375", nothing, 2375, "open");
        check("-Htcp://0.0.0.0:4243 --tlsverify=false", nothing, 4243, "open");
        check("-H=:4243", nothing, 4243, "open");
        check("--host tcp://[::1]:4243 --debug", nothing, 4243, "open");
        check("--host=tcp://[::1]", nothing, 2375, "open");
        check("--host=tcp://127.0.0.1 --tls", nothing, 2376, "tls");
        check("--tls -H tcp://0.0.0.0:2376", nothing, 2376, "tls");
        check("--tlsverify -H tcp://0.0.0.0:2376", nothing, 2376, "mutual-tls");
        check("-H fd://", r#"{"tlsverify": true}"#, 9999, "mutual-tls");
        check("-H fd:// --tlsverify", nothing, 9999, "mutual-tls");
        let file = r#"{"hosts": ["unix:///run/x.sock", "tcp://10.0.0.1:4243/path"], "tls": true, "debug": true}"#;
        check("--config-file=/x", file, 4243, "tls");
        // Metrics, swarm's ports, and what merely bears the name.
        check(
            "-H tcp://0.0.0.0:2375 --metrics-addr 0.0.0.0:9323",
            nothing,
            9323,
            "no-api",
        );
        check("-H unix:///var/run/docker.sock", nothing, 2377, "no-api");
        check("-g daemon off", nothing, 2375, "no-api");
        assert!(serde_json::from_str::<Settings>(r#"{"hosts": 7}"#).is_err());
    }

    #[test]
    fn a_files_links_lead_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["root", "cwd"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        std::fs::write(at("root/target"), "inside").unwrap();
        std::fs::write(at("target"), "outside").unwrap();
        symlink("/target", at("root/absolute")).unwrap();
        symlink("../target", at("root/upwards")).unwrap();
        let contents = |path: &str| open_inside(folder.path(), path).ok().and_then(read);
        for path in ["/target", "/absolute", "/upwards"] {
            assert_eq!(contents(path).as_deref(), Some(&b"inside"[..]), "{path}");
        }
        assert_eq!(contents("/"), None, "a folder");
        assert_eq!(contents("target"), None, "not in the working directory");
    }

    #[test]
    fn other_programs_have_no_such_configuration() {
        assert_eq!(of(&Process::myself().unwrap(), 2375), None);
    }
}
