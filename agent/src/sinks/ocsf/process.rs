//! The process of an evidence, and its ancestors.

use serde::{Serialize, Serializer};

use super::evidence::ContainerObject;
use crate::{
    event::{Container, Process, ProcessKey},
    sinks::summary::file_name,
};

/// So many bytes of an ancestor's arguments are told.
const MAX_ANCESTOR_ARGUMENTS: usize = 512;

/// So many ancestors are told.
const MAX_ANCESTORS: u8 = 16;

#[derive(Serialize)]
pub(super) struct ProcessObject<'a> {
    pid: u32,
    /// The pid alone comes back; with the start it does not.
    #[serde(serialize_with = "process_uid")]
    uid: ProcessKey,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    cmd_line: &'a str,
    #[serde(skip_serializing_if = "is_unknown")]
    created_time: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    working_directory: &'a str,
    file: File<'a>,
    user: User<'a>,
    session: Session<'a>,
    namespace_pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<ContainerObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_process: Option<Ancestor<'a>>,
}

/// One process above another, and how many more may follow.
struct Ancestor<'a>(&'a Process, u8);

impl<'a> ProcessObject<'a> {
    pub(super) fn new(process: &'a Process, user: Option<&'a str>, container: Option<&'a Container>) -> Self {
        let run = &*process.execution;
        Self {
            pid: process.key.pid,
            uid: process.key,
            name: file_name(&run.exe),
            cmd_line: &run.command_line,
            created_time: run.time.as_millisecond(),
            working_directory: &run.directory,
            file: File::new(&run.exe, run.modified, run.file.deleted),
            user: User {
                uid: run.credentials.uid,
                name: user,
            },
            session: Session {
                uid: run.session,
                terminal: &run.tty,
            },
            namespace_pid: run.pid_in_namespace,
            container: container.map(ContainerObject::new),
            parent_process: process
                .parent
                .as_deref()
                .map(|parent| Ancestor(parent, MAX_ANCESTORS - 1)),
        }
    }
}

impl Serialize for Ancestor<'_> {
    /// An ancestor is told in less: who it was and what it ran. Some start from lines of many kilobytes, which would
    /// stand in every alert of everything below them.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(process, more) = *self;
        let run = &*process.execution;
        let object = AncestorObject {
            pid: process.key.pid,
            uid: process.key,
            name: file_name(&run.exe),
            cmd_line: beginning(&run.command_line),
            created_time: run.time.as_millisecond(),
            file: File::new(&run.exe, 0, run.file.deleted),
            user: User {
                uid: run.credentials.uid,
                name: None,
            },
            parent_process: process
                .parent
                .as_deref()
                .filter(|_| more > 0)
                .map(|parent| Ancestor(parent, more - 1)),
        };
        object.serialize(serializer)
    }
}

#[derive(Serialize)]
struct AncestorObject<'a> {
    pid: u32,
    #[serde(serialize_with = "process_uid")]
    uid: ProcessKey,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    cmd_line: &'a str,
    #[serde(skip_serializing_if = "is_unknown")]
    created_time: i64,
    file: File<'a>,
    user: User<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_process: Option<Ancestor<'a>>,
}

/// What is told of an ancestor's arguments.
fn beginning(command_line: &str) -> &str {
    &command_line[..command_line.floor_char_boundary(MAX_ANCESTOR_ARGUMENTS)]
}

#[derive(Serialize)]
struct File<'a> {
    name: &'a str,
    path: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    type_id: u32,
    #[serde(skip_serializing_if = "is_unknown")]
    modified_time: i64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_deleted: bool,
}

impl<'a> File<'a> {
    fn new(path: &'a str, modified_seconds: i64, is_deleted: bool) -> Self {
        Self {
            name: file_name(path),
            path,
            kind: "Regular File",
            type_id: 1,
            modified_time: modified_seconds.saturating_mul(1000),
            is_deleted,
        }
    }
}

#[derive(Serialize)]
struct User<'a> {
    #[serde(serialize_with = "number_as_text")]
    uid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

#[derive(Serialize)]
struct Session<'a> {
    #[serde(serialize_with = "number_as_text")]
    uid: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    terminal: &'a str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_unknown(time: &i64) -> bool {
    *time == 0
}

/// `pid-start`, written for every ancestor: without the formatting machinery, which costs more than the rest of it.
fn process_uid<S: Serializer>(key: &ProcessKey, serializer: S) -> Result<S::Ok, S::Error> {
    let mut digits = itoa::Buffer::new();
    let mut text = String::with_capacity(32);
    text.push_str(digits.format(key.pid));
    text.push('-');
    text.push_str(digits.format(key.start));
    serializer.serialize_str(&text)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn number_as_text<S: Serializer>(number: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(itoa::Buffer::new().format(*number))
}
