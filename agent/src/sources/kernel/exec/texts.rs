//! The texts that come with an execution: paths, arguments, and what the environment says of a cluster.

use std::net::IpAddr;

use agent_ebpf::exec::{EXE_CUT, EXE_NAMELESS, STDIN_CUT, STDIN_DELETED, STDIN_NAMELESS};

use crate::sources::lossy;

/// The mark of a path whose beginning is missing.
const CUT: &str = "…";

/// The texts behind a record, one after the other.
pub(super) struct Texts<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Texts<'a> {
    pub(super) fn take(&mut self, length: u32) -> Option<&'a [u8]> {
        let (text, rest) = self.rest.split_at_checked(length as usize)?;
        self.rest = rest;
        Some(text)
    }
}

/// The path of the executable. Where the kernel shows none (runc runs itself from a detached mount), the path that was
/// given to `execve` says most.
pub(super) fn exe_path(names: &[u8], flags: u32, invoked: &str) -> Box<str> {
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
pub(super) fn stdin_path(names: &[u8], flags: u32) -> Box<str> {
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

/// Turns names, leaf first and each ended by NUL, into a path.
pub(super) fn path(names: &[u8]) -> Box<str> {
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
pub(super) fn command_line(inline: &[u8], more: Option<&[u8]>) -> Box<str> {
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

pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
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
}
