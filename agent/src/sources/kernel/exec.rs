//! A process runs a program.

mod texts;

use std::{net::SocketAddr, sync::Arc};

use agent_ebpf::exec::{
    ARGUMENTS_TAG, ARGUMENTS_UNREADABLE, ChunkRecord, DescriptorRecord, ENVIRONMENT_TAG, EXE_COPIED, EXE_CUT,
    EXE_NAMELESS, EXE_OVERLAY, EXE_UPPER, ExecRecord, INLINE_ARGUMENTS, SCRIPT, TAG,
};
use agent_ebpf::socket::{AF_INET, AF_INET6, EndsRecord};
use rustc_hash::FxHashMap;

pub use self::texts::kubernetes_api;
use self::texts::{Texts, command_line, exe_path, path, stdin_path, until_nul};
use super::{
    Decoder, Hook, Sensor,
    decode::{address, key},
};
use crate::enrich::container::telling;
use crate::event::{
    Capabilities, Credentials, Descriptor, Ends, Event, ExeFlags, Exec, Execution, Kind, Namespaces, ProcessKey, Roles,
    Seccomp,
};
use crate::sources::lossy;

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

#[cfg(test)]
mod tests {
    use super::*;

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
