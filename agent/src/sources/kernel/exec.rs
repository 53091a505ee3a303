//! A process runs a program.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use agent_ebpf::exec::{
    ARGUMENTS_TAG, ARGUMENTS_UNREADABLE, ChunkRecord, DescriptorRecord, ENVIRONMENT_TAG, EXE_COPIED, EXE_CUT,
    EXE_NAMELESS, EXE_OVERLAY, EXE_UPPER, ExecRecord, INLINE_ARGUMENTS, SCRIPT, STDIN_CUT, STDIN_DELETED,
    STDIN_NAMELESS, TAG,
};
use agent_ebpf::socket::{AF_INET, AF_INET6, EndsRecord};
use rustc_hash::FxHashMap;

use super::{
    Decoder, Hook, Sensor,
    decode::{address, key},
};
use crate::enrich::container::telling;
use crate::event::{
    Capabilities, Credentials, Descriptor, Ends, Event, ExeFlags, Exec, Execution, Kind, Namespaces, ProcessKey, Roles,
    Seccomp,
};

/// The sensor's row.
pub(super) const SENSOR: Sensor = Sensor {
    name: "exec",
    tags: &[TAG, ARGUMENTS_TAG, ENVIRONMENT_TAG],
    programs: &[("exec", Hook::Tracepoint("sched_process_exec"))],
    loses: "programs that processes run: nearly every alert",
    decode,
};

/// Processes of which parts may wait for their exec record. A part waits some microseconds, unless the record was lost.
const MAX_WAITING: usize = 1024;

/// The mark of a path whose beginning is missing.
const CUT: &str = "…";

/// Arguments and environments that came before their exec record.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    waiting: FxHashMap<([u8; 4], ProcessKey), Vec<u8>>,
}

impl Chunks {
    /// Keeps a part. One that does not follow what is there begins anew: parts between were lost.
    fn keep(&mut self, tag: [u8; 4], process: ProcessKey, offset: usize, bytes: &[u8]) {
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.clear();
        }
        let kept = self.waiting.entry((tag, process)).or_default();
        if kept.len() != offset {
            kept.clear();
        }
        kept.extend_from_slice(bytes);
    }

    fn take(&mut self, tag: [u8; 4], process: ProcessKey) -> Option<Vec<u8>> {
        if self.waiting.is_empty() {
            None
        } else {
            self.waiting.remove(&(tag, process))
        }
    }
}

fn decode(decoder: &mut Decoder, bytes: &[u8]) -> Option<Event> {
    match bytes.first_chunk()? {
        &TAG => decode_exec(decoder, bytes),
        tag => {
            keep_chunk(decoder, *tag, bytes);
            None
        }
    }
}

fn keep_chunk(decoder: &mut Decoder, tag: [u8; 4], bytes: &[u8]) {
    let Some(chunk) = decoder.read::<ChunkRecord>(bytes) else {
        return;
    };
    let before = if tag == ARGUMENTS_TAG { INLINE_ARGUMENTS } else { 0 };
    let data = bytes[size_of::<ChunkRecord>()..].get(..chunk.length as usize);
    match data {
        Some(data) => {
            let offset = chunk.offset.saturating_sub(before) as usize;
            decoder.chunks.keep(tag, key(chunk.process), offset, data);
        }
        None => decoder.broken += 1,
    }
}

fn decode_exec(decoder: &mut Decoder, bytes: &[u8]) -> Option<Event> {
    let record: ExecRecord = decoder.read(bytes)?;
    let mut texts = Texts {
        rest: &bytes[size_of::<ExecRecord>()..],
    };
    let cgroup = texts.take(record.cgroup_length)?;
    let cgroup_v1 = texts.take(record.cgroup_v1_length)?;
    let invoked = texts.take(record.invoked_length)?;
    let exe = texts.take(record.exe_length)?;
    let stdin = texts.take(record.stdin_length)?;
    let directory = texts.take(record.directory_length)?;
    let arguments = texts.take(record.arguments_length)?;
    let process = key(record.process);

    // Parts that an earlier execution of this process left, whose record was lost, are not this one's.
    let more = decoder
        .chunks
        .take(ARGUMENTS_TAG, process)
        .filter(|_| record.arguments_total > INLINE_ARGUMENTS);
    let read = arguments.len() + more.as_ref().map_or(0, Vec::len);
    let invoked: Box<str> = lossy(until_nul(invoked));
    let execution = Execution {
        time: decoder.time(&record.header),
        exe: exe_path(exe, record.flags, &invoked),
        command_line: command_line(arguments, more.as_deref()),
        command_line_cut: record.flags & ARGUMENTS_UNREADABLE != 0 || read < record.arguments_total as usize,
        directory: path(directory),
        script: record.flags & SCRIPT != 0,
        invoked,
        file: exe_flags(&record, exe),
        inode: record.inode,
        device: record.device,
        modified: record.modified,
        changed: record.changed,
        credentials: credentials(&record),
        tty: lossy(until_nul(&record.tty)),
        session: record.session,
        pid_in_namespace: record.pid_in_namespace,
        namespaces: namespaces(record.namespaces),
        seccomp: seccomp(record.seccomp),
        stdio: record.stdio.map(descriptor),
        stdin_path: stdin_path(stdin, record.flags),
        stdio_ends: ends(&record.stdio_ends),
        cgroup_id: record.cgroup_id,
        entering: false,
        cgroup: telling_cgroup(cgroup, cgroup_v1),
        roles: Roles::default(),
        kubernetes_api: decoder
            .chunks
            .take(ENVIRONMENT_TAG, process)
            .and_then(|bytes| kubernetes_api(&bytes)),
    };
    let exec = Exec {
        process,
        parent: key(record.parent),
        execution: Arc::new(execution),
    };
    Some(decoder.event(&record.header, Kind::Exec(Box::new(exec))))
}

/// The texts behind a record, one after the other.
struct Texts<'a> {
    rest: &'a [u8],
}

impl<'a> Texts<'a> {
    fn take(&mut self, length: u32) -> Option<&'a [u8]> {
        let (text, rest) = self.rest.split_at_checked(length as usize)?;
        self.rest = rest;
        Some(text)
    }
}

/// The path of the executable. Where the kernel shows none (runc runs itself from a detached mount), the path that was
/// given to `execve` says most.
fn exe_path(names: &[u8], flags: u32, invoked: &str) -> Box<str> {
    if flags & EXE_NAMELESS != 0 {
        lossy(until_nul(names))
    } else if names.is_empty() {
        invoked.into()
    } else if flags & EXE_CUT != 0 {
        format!("{CUT}{}", path(names)).into()
    } else {
        path(names)
    }
}

/// The path of what standard input is; empty where that is no regular file. It is marked as the kernel marks it in
/// `/proc/PID/fd`.
fn stdin_path(names: &[u8], flags: u32) -> Box<str> {
    if names.is_empty() {
        // Other texts left no room for a single name.
        if flags & STDIN_CUT != 0 { CUT } else { "" }.into()
    } else if flags & STDIN_NAMELESS != 0 {
        lossy(until_nul(names))
    } else {
        let cut = if flags & STDIN_CUT != 0 { CUT } else { "" };
        let deleted = if flags & STDIN_DELETED != 0 { " (deleted)" } else { "" };
        format!("{cut}{}{deleted}", path(names)).into()
    }
}

fn exe_flags(record: &ExecRecord, names: &[u8]) -> ExeFlags {
    ExeFlags {
        deleted: record.links == 0 && record.inode != 0 && record.flags & EXE_NAMELESS == 0,
        replaced: false,
        memfd: record.flags & EXE_NAMELESS != 0 && names.starts_with(b"memfd:"),
        path_cut: record.flags & EXE_CUT != 0,
        overlay: record.flags & EXE_OVERLAY != 0,
        upper_layer: record.flags & EXE_UPPER != 0,
        copied_up: record.flags & EXE_COPIED != 0,
    }
}

/// Turns names, leaf first and each ended by NUL, into a path.
fn path(names: &[u8]) -> Box<str> {
    if names.is_empty() {
        return "/".into();
    }
    let mut path = String::with_capacity(names.len());
    for name in names.strip_suffix(&[0]).unwrap_or(names).rsplit(|byte| *byte == 0) {
        path.push('/');
        path.push_str(&String::from_utf8_lossy(name));
    }
    path.into()
}

/// The arguments, joined by spaces.
fn command_line(inline: &[u8], more: Option<&[u8]>) -> Box<str> {
    let mut bytes = Vec::with_capacity(inline.len() + more.map_or(0, <[u8]>::len));
    bytes.extend_from_slice(inline);
    bytes.extend_from_slice(more.unwrap_or_default());
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
        .iter_mut()
        .filter(|byte| **byte == 0)
        .for_each(|byte| *byte = b' ');
    match String::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(error) => lossy(error.as_bytes()),
    }
}

/// Of the two hierarchies' paths the one that tells most, the unified one if both do.
fn telling_cgroup(unified: &[u8], legacy: &[u8]) -> Box<str> {
    telling(path(unified), path(legacy))
}

fn credentials(record: &ExecRecord) -> Credentials {
    Credentials {
        uid: record.uid,
        gid: record.gid,
        euid: record.euid,
        egid: record.egid,
        login_uid: (record.login_uid != u32::MAX).then_some(record.login_uid),
        effective: Capabilities(record.effective),
        bounding: Capabilities(record.bounding),
    }
}

fn namespaces([mount, pid, network, uts, ipc, cgroup, user]: [u32; 7]) -> Namespaces {
    Namespaces {
        mount,
        pid,
        network,
        uts,
        ipc,
        cgroup,
        user,
    }
}

/// The modes of `include/uapi/linux/seccomp.h`.
fn seccomp(mode: u32) -> Seccomp {
    match mode {
        0 => Seccomp::Disabled,
        1 => Seccomp::Strict,
        2 => Seccomp::Filter,
        _ => Seccomp::Unknown,
    }
}

/// The kind of a descriptor by its inode's mode (`include/uapi/linux/stat.h`) and device number
/// (`Documentation/admin-guide/devices.txt`).
fn descriptor(record: DescriptorRecord) -> Descriptor {
    let (major, minor) = (record.device >> 20, record.device & 0xF_FFFF);
    match record.mode & 0o170_000 {
        0o140_000 if [AF_INET, AF_INET6].contains(&record.family) => Descriptor::InternetSocket,
        0o140_000 => Descriptor::Socket,
        0o100_000 | 0o040_000 => Descriptor::File,
        0o010_000 => Descriptor::Pipe,
        0o020_000 => match (major, minor) {
            (1, 3) => Descriptor::Null,
            // Consoles and serial lines, /dev/tty and /dev/console, pseudo terminals.
            (4 | 5 | 136..=143, _) => Descriptor::Terminal,
            _ => Descriptor::Device,
        },
        0o060_000 => Descriptor::Device,
        0 if record.mode == 0 => Descriptor::Closed,
        _ => Descriptor::Anonymous,
    }
}

fn ends(record: &EndsRecord) -> Option<Box<Ends>> {
    let end = |bytes, port| SocketAddr::new(address(record.family, bytes), port);
    (record.family != 0).then(|| {
        Box::new(Ends {
            local: end(record.local, record.local_port),
            remote: end(record.remote, record.remote_port),
        })
    })
}

/// Where the environment of a container says that the Kubernetes API is. Nothing else of an environment is kept.
pub fn kubernetes_api(environment: &[u8]) -> Option<(IpAddr, u16)> {
    let value = |name: &str| {
        let mut variables = environment.split(|byte| *byte == 0);
        variables.find_map(|variable| {
            std::str::from_utf8(variable)
                .ok()?
                .strip_prefix(name)?
                .strip_prefix('=')
        })
    };
    let host = value("KUBERNETES_SERVICE_HOST")?.parse().ok()?;
    Some((
        host,
        value("KUBERNETES_SERVICE_PORT")
            .and_then(|port| port.parse().ok())
            .unwrap_or(443),
    ))
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn lossy(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_turned_round() {
        for (names, expected) in [
            (&b"true\0bin\0usr\0"[..], "/usr/bin/true"),
            (b"", "/"),
            (b"a\0", "/a"),
            (b"\xFF\0tmp\0", "/tmp/\u{FFFD}"),
            (b"no-end", "/no-end"),
        ] {
            assert_eq!(&*path(names), expected);
        }
    }

    #[test]
    fn an_executable_without_a_path_keeps_what_is_known() {
        assert_eq!(&*exe_path(b"memfd:x\0", EXE_NAMELESS, "/proc/self/fd/3"), "memfd:x");
        assert_eq!(&*exe_path(b"", 0, "/dev/fd/6"), "/dev/fd/6");
        assert_eq!(&*exe_path(b"x\0deep\0", EXE_CUT, "x"), "…/deep/x");
    }

    #[test]
    fn a_file_on_standard_input_is_named_as_in_proc() {
        for (names, flags, expected) in [
            (&b"x\0tmp\0"[..], 0, "/tmp/x"),
            (b"x\0tmp\0", STDIN_DELETED, "/tmp/x (deleted)"),
            (b"x\0deep\0", STDIN_CUT | STDIN_DELETED, "…/deep/x (deleted)"),
            (b"memfd:x\0", STDIN_NAMELESS | STDIN_DELETED, "memfd:x"),
            (b"", STDIN_CUT, "…"),
            (b"", 0, ""),
        ] {
            assert_eq!(&*stdin_path(names, flags), expected);
        }
    }

    #[test]
    fn arguments_are_joined() {
        for (inline, more, expected) in [
            (&b"sh\0-c\0id\0"[..], None, "sh -c id"),
            (b"sh\0-c", Some(&b"\0id\0"[..]), "sh -c id"),
            (b"", None, ""),
            (b"a\0\0b\0", None, "a  b"),
            (b"\xC3(\0", None, "\u{FFFD}("),
        ] {
            assert_eq!(&*command_line(inline, more), expected);
        }
    }

    #[test]
    fn the_api_is_found_in_an_environment() {
        let found = kubernetes_api(b"A=b\0KUBERNETES_SERVICE_HOST=10.96.0.1\0KUBERNETES_SERVICE_PORT=6443\0");
        assert_eq!(found, Some(([10, 96, 0, 1].into(), 6443)));
        assert_eq!(kubernetes_api(b"XKUBERNETES_SERVICE_HOST=10.96.0.1\0"), None);
        assert_eq!(kubernetes_api(b"KUBERNETES_SERVICE_HOST=nonsense\0"), None);
    }

    #[test]
    fn a_lost_chunk_is_not_papered_over() {
        let mut chunks = Chunks::default();
        let process = ProcessKey { pid: 7, start: 1 };
        chunks.keep(ARGUMENTS_TAG, process, 0, b"ab");
        chunks.keep(ARGUMENTS_TAG, process, 4, b"ef");
        assert_eq!(chunks.take(ARGUMENTS_TAG, process).as_deref(), Some(&b"ef"[..]));
        assert_eq!(chunks.take(ARGUMENTS_TAG, process), None);
    }
}
