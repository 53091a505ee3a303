//! The head of an HTTP/1 request, whole or cut: whom it asks, for what, and what asks.

use http::{Uri, uri::Authority};
use httparse::{EMPTY_HEADER, Header, Request, Status};
use memchr::{memchr, memmem, memrchr};
use percent_encoding::percent_decode_str;

use super::bounded;
use crate::event::Said;

/// Headers that are looked at; browsers send some twenty.
const HEADERS: usize = 64;

/// Bytes of a host, a path and a user agent that are kept.
const LONGEST_HOST: usize = 255;
const LONGEST_PATH: usize = 1024;
const LONGEST_USER_AGENT: usize = 256;

/// What a request says, as far as it goes; `None` of what is none.
pub(super) fn parse(bytes: &[u8]) -> Option<Said> {
    let closed = |end: &[u8], close: &[u8]| [end, close].concat();
    // A head that was cut is read to its last whole line, one that cannot be read for its first line alone.
    whole(bytes)
        .or_else(|| whole(&closed(&bytes[..=memrchr(b'\n', bytes)?], b"\r\n")))
        .or_else(|| whole(&closed(&bytes[..=memchr(b'\n', bytes)?], b"\r\n")))
        .or_else(|| {
            let in_first_line = memchr(b'\n', bytes).is_none();
            in_first_line.then(|| whole(&closed(bytes, b" HTTP/1.1\r\n\r\n")))?
        })
}

fn whole(bytes: &[u8]) -> Option<Said> {
    let mut headers = [EMPTY_HEADER; HEADERS];
    let mut request = Request::new(&mut headers);
    let Ok(Status::Complete(_)) = request.parse(bytes) else {
        return None;
    };
    let (host, path) = target(request.path?);
    Some(Said {
        server_name: None,
        host: host.or_else(|| Some(host_of(header(request.headers, "host")?))),
        path,
        user_agent: header(request.headers, "user-agent").map(|name| bounded(name, LONGEST_USER_AGENT)),
    })
}

fn header<'a>(headers: &[Header<'a>], name: &str) -> Option<&'a [u8]> {
    let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    (!header.value.is_empty()).then_some(header.value)
}

/// The host and the path of a request's target in any of its forms (RFC 9112, 3.2). What follows the path often holds
/// secrets, and so may what precedes the host.
fn target(target: &str) -> (Option<Box<str>>, Option<Box<str>>) {
    let path = |path: &str| bounded(normal(path).as_bytes(), LONGEST_PATH);
    if target.starts_with(['/', '*']) {
        let end = target.find(['?', '#']).unwrap_or(target.len());
        return (None, Some(path(&target[..end])));
    }
    let Ok(uri) = target.parse::<Uri>() else {
        return (None, None);
    };
    let host = uri.host().map(|host| bounded(host.as_bytes(), LONGEST_HOST));
    (host, uri.scheme().map(|_| path(uri.path())))
}

/// A path in one form, whichever of those was written that servers take for the same (RFC 3986, 6.2.2; they also fold
/// slashes): what is encoded is decoded once, and segments are gone that lead nowhere or back.
fn normal(path: &str) -> String {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    let Some(rest) = decoded.strip_prefix('/') else {
        return decoded.into();
    };
    let mut segments: Vec<&str> = Vec::new();
    let mut is_folder = false;
    for segment in rest.split('/') {
        is_folder = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let end = if is_folder && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

/// Whether the head of a request is all there.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    memmem::find(bytes, b"\n\r\n").is_some() || memmem::find(bytes, b"\n\n").is_some()
}

/// The host without its port.
fn host_of(header: &[u8]) -> Box<str> {
    match Authority::try_from(header) {
        Ok(authority) => bounded(authority.host().as_bytes(), LONGEST_HOST),
        Err(_) => bounded(header, LONGEST_HOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: Option<(Option<&str>, Option<&str>, Option<&str>)>) {
        let said = parse(bytes);
        let found = said
            .as_ref()
            .map(|said| (said.host.as_deref(), said.path.as_deref(), said.user_agent.as_deref()));
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(bytes));
    }

    const CURL: &[u8] =
        b"GET /api/v1/pods?limit=500 HTTP/1.1\r\nHost: kubernetes.default.svc:8001\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n";

    #[test]
    fn a_request_says_host_path_and_user_agent() {
        let all = (
            Some("kubernetes.default.svc"),
            Some("/api/v1/pods"),
            Some("curl/7.88.1"),
        );
        check(CURL, Some(all));
        let posted = [CURL, b"token=secret\r\n\r\nGET /other HTTP/1.1\r\n\r\n"].concat();
        check(&posted, Some(all));
        check(b"POST / HTTP/1.0\r\n\r\n", Some((None, Some("/"), None)));
        check(b"get / HTTP/1.1\nhost: a\n\n", Some((Some("a"), Some("/"), None)));
    }

    #[test]
    fn a_cut_request_says_what_is_there() {
        let at = |text: &str| {
            CURL.windows(text.len())
                .position(|window| window == text.as_bytes())
                .unwrap()
        };
        let (host, path) = (Some("kubernetes.default.svc"), Some("/api/v1/pods"));
        check(&CURL[..CURL.len() - 2], Some((host, path, Some("curl/7.88.1"))));
        check(&CURL[..at("7.88")], Some((host, path, None)));
        check(&CURL[..at("default")], Some((None, path, None)));
        check(&CURL[..at("?limit")], Some((None, path, None)));
        check(b"GET /", Some((None, Some("/"), None)));
        check(b"GET ", None);
    }

    #[test]
    fn a_path_is_the_same_however_it_is_written() {
        for (written, expected) in [
            ("/api/v1/%73ecrets", "/api/v1/secrets"),
            ("/latest//meta-data/./iam/", "/latest/meta-data/iam/"),
            ("/api/x/..%2Fv1/%2e%2E/v1/secrets", "/api/v1/secrets"),
            ("/../..", "/"),
            ("/a/b/..", "/a/"),
            ("//", "/"),
            ("/%", "/%"),
            ("/%2573", "/%73"),
            ("/%FF", "/\u{FFFD}"),
            ("http://a/b//c", "/b/c"),
        ] {
            let request = format!("GET {written} HTTP/1.1\r\n\r\n");
            let path = parse(request.as_bytes()).and_then(|said| said.path);
            assert_eq!(path.as_deref(), Some(expected), "{written}");
        }
    }

    #[test]
    fn every_form_of_a_target_is_known() {
        for (target, host, path) in [
            ("*", None, Some("*")),
            ("/a|b<c>", None, Some("/a|b<c>")),
            ("http://me:secret@example.org:8080/x?y", Some("example.org"), Some("/x")),
            ("http://example.org", Some("example.org"), Some("/")),
            ("example.org:443", Some("example.org"), None),
            ("[::1]:443", Some("[::1]"), None),
        ] {
            check(
                format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes(),
                Some((host, path, None)),
            );
        }
    }

    #[test]
    fn what_is_odd_leaves_the_rest() {
        let many = "A: b\r\n".repeat(100);
        check(
            format!("GET /x HTTP/1.1\r\nHost: a\r\n{many}\r\n").as_bytes(),
            Some((None, Some("/x"), None)),
        );
        check(
            b"GET /x HTTP/1.1\r\nno header\r\nHost: a\r\n\r\n",
            Some((None, Some("/x"), None)),
        );
        check(
            b"GET /x HTTP/1.1\r\nHost: \xFF\r\nUser-Agent: \r\n\r\n",
            Some((Some("\u{FFFD}"), Some("/x"), None)),
        );
        let long = format!(
            "GET /{} HTTP/1.1\r\nUser-Agent: {}\r\n\r\n",
            "x".repeat(2000),
            "é".repeat(500)
        );
        let said = parse(long.as_bytes()).unwrap();
        assert_eq!(said.path.unwrap().len(), LONGEST_PATH);
        assert_eq!(said.user_agent.unwrap().len(), LONGEST_USER_AGENT);
    }

    #[test]
    fn what_is_no_request_says_nothing() {
        for bytes in [
            &b""[..],
            b"SSH-2.0-x\r\n",
            b"POSTGRES",
            b"GETX\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            &[0xFF; 64],
        ] {
            check(bytes, None);
        }
        for end in 0..CURL.len() {
            parse(&CURL[end..]);
        }
    }
}
