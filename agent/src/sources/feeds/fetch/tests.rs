//! Fetches from a real server on loopback.

use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _, path::PathBuf};

use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;

use self::feed_server::{Asked, FeedServer, Reply};
use super::*;

#[path = "../../../../../tests/feed_server.rs"]
mod feed_server;

/// A server, and a feed that is fetched from it.
struct Stage {
    folder: TempDir,
    server: FeedServer,
    settings: FeedSettings,
}

impl Stage {
    fn new(answer: impl Fn(&Asked) -> Reply + Send + 'static) -> Self {
        let (folder, server) = (tempfile::tempdir().unwrap(), FeedServer::start(answer));
        let settings = FeedSettings {
            url: Some(server.url("/list").parse().unwrap()),
            ca: Some(server.certificate(folder.path())),
            max_mib: 1,
            ..FeedSettings::default()
        };
        Self {
            folder,
            server,
            settings,
        }
    }

    /// The same for a collection.
    fn taxii(answer: impl Fn(&Asked) -> Reply + Send + 'static) -> Self {
        let mut stage = Self::new(answer);
        stage.settings.url = None;
        stage.settings.taxii = Some(stage.server.url("/api/collections/7/").parse().unwrap());
        stage
    }

    fn kept(&self) -> Kept {
        Kept::new(self.folder.path(), "c2")
    }

    /// Fetches, and gives what the server said if that is new.
    fn fetch(&self) -> Result<Option<String>, Failure> {
        match fetch("c2", &self.settings, self.folder.path(), true)? {
            Outcome::Unchanged => Ok(None),
            Outcome::New(mut fetched) => {
                let text = io::read_to_string(fetched.text().unwrap()).unwrap();
                let source = self.settings.url.as_ref().or(self.settings.taxii.as_ref()).unwrap();
                self.kept().keep(fetched, source).unwrap();
                Ok(Some(text))
            }
        }
    }

    /// Fetches in vain, and gives why. Nothing of it is left.
    fn fail(&self) -> Failure {
        let failure = self.fetch().unwrap_err();
        let left = fs::read_dir(self.folder.path().join("fetched-feeds"))
            .into_iter()
            .flatten()
            .flatten();
        let unfinished: Vec<_> = left
            .filter(|file| file.file_name().as_encoded_bytes().starts_with(b"."))
            .collect();
        assert!(unfinished.is_empty(), "{unfinished:?}");
        failure
    }

    fn secret(&self, name: &str, text: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        file
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(text).unwrap();
    packed.finish().unwrap()
}

#[test]
fn what_a_server_said_is_not_sent_once_more() {
    let stage = Stage::new(|asked| {
        if asked.header("if-none-match") == "\"1\"" || asked.header("if-modified-since") == "yesterday" {
            return Reply::new(304, "");
        }
        let reply = Reply::new(200, asked.target.clone()).after(Duration::from_millis(20));
        match asked.target.as_str() {
            "/list" => reply.header("etag", "\"1\""),
            _ => reply.header("last-modified", "yesterday"),
        }
    });
    assert_eq!(stage.fetch(), Ok(Some("/list".to_owned())));
    assert_eq!(stage.fetch(), Ok(None));
    let mut stage = stage;
    stage.settings.url = Some(stage.server.url("/other?key=1#x").parse().unwrap());
    assert_eq!(stage.fetch(), Ok(Some("/other?key=1".to_owned())), "another source");
    assert_eq!(stage.fetch(), Ok(None));
    assert_eq!(stage.server.asked()[0].header("user-agent"), crate::http::AGENT);
}

#[test]
fn what_is_no_whole_answer_is_said_and_not_taken() {
    let stage = Stage::new(|_| Reply::new(500, "oops"));
    assert_eq!(
        stage.fail(),
        Failure::Later("the answer is 500 Internal Server Error".into())
    );
    for (status, header, expected) in [(429, "120", Some(120)), (503, "soon", None)] {
        stage
            .server
            .answers(move |_| Reply::new(status, "").header("Retry-After", header));
        let after = expected.map(Duration::from_secs);
        assert!(
            matches!(stage.fail(), Failure::Busy(_, found) if found == after),
            "{status}"
        );
    }
    for status in [204, 304, 403, 404] {
        stage.server.answers(move |_| Reply::new(status, ""));
        assert!(matches!(stage.fail(), Failure::Refused(reason) if reason.contains(&status.to_string())));
    }
    for reply in [
        Reply::new(200, "192.0.2.1\n").cut(),
        Reply::new(200, "192.0.2.1\n").chunked().cut(),
    ] {
        stage.server.answers(move |_| reply.clone());
        let failure = stage.fail();
        assert!(
            matches!(&failure, Failure::Later(reason) if reason.starts_with("the answer breaks off")),
            "{failure:?}"
        );
    }
    let packed = gzip(b"192.0.2.1\n");
    let (half, other) = (packed[..packed.len() - 4].to_vec(), b"192.0.2.1\n".to_vec());
    for body in [half, other] {
        stage
            .server
            .answers(move |_| Reply::new(200, body.clone()).header("content-encoding", "gzip"));
        let failure = stage.fail();
        assert!(
            matches!(&failure, Failure::Later(reason) if reason.starts_with("it cannot be unpacked")),
            "{failure:?}"
        );
    }
    stage
        .server
        .answers(|_| Reply::new(200, "x").header("content-encoding", "br"));
    assert_eq!(
        stage.fail(),
        Failure::Refused("it is packed, though not by gzip".into())
    );
}

#[test]
fn a_body_may_have_so_much_and_no_more() {
    const MIB: usize = 1 << 20;
    let stage = Stage::new(|_| Reply::new(200, vec![b'1'; MIB]));
    assert_eq!(stage.fetch().unwrap().unwrap().len(), MIB);
    stage.server.answers(|_| Reply::new(200, vec![b'1'; MIB]).chunked());
    assert_eq!(stage.fetch().unwrap().unwrap().len(), MIB);
    let packed = gzip(&vec![b'1'; MIB]);
    stage
        .server
        .answers(move |_| Reply::new(200, packed.clone()).header("content-encoding", "gzip"));
    assert_eq!(stage.fetch().unwrap().unwrap().len(), MIB);
    let bomb = gzip(&vec![b'1'; MIB + 1]);
    let large = vec![b'1'; MIB];
    let before = stage.server.written();
    for reply in [
        Reply::new(200, bomb).header("content-encoding", "gzip"),
        Reply::new(200, large.clone()).times(200),
        Reply::new(200, large.clone()).times(200).chunked(),
        // What unpacks to nothing for ever.
        Reply::new(200, gzip(b"").repeat(64 << 10))
            .header("content-encoding", "gzip")
            .times(200)
            .chunked(),
    ] {
        stage.server.answers(move |_| reply.clone());
        let failure = stage.fail();
        assert_eq!(failure, Failure::Refused("it has more than 1 MiB (max-mib)".into()));
    }
    let read = stage.server.written() - before;
    assert!(read < 40 * MIB as u64, "{read}: the rest was hung up on");
}

#[test]
fn who_is_not_trusted_is_not_believed() {
    let mut stage = Stage::new(|_| Reply::new(200, "192.0.2.1\n"));
    let other = FeedServer::start(|_| Reply::new(200, ""));
    stage.settings.ca = Some(other.certificate(stage.folder.path()));
    let failure = stage.fail();
    assert!(
        matches!(&failure, Failure::Later(reason) if reason.contains("invalid peer certificate")),
        "{failure:?}"
    );
    assert!(stage.server.asked().is_empty());
    stage.settings.ca = Some("/nonexistent".into());
    let failure = stage.fail();
    assert!(
        matches!(&failure, Failure::Refused(reason) if reason.starts_with("feed.c2.ca: cannot read /nonexistent")),
        "{failure:?}"
    );
    assert!(check("c2", &stage.settings).is_err());
}

#[test]
fn what_authorises_is_told_its_server_alone() {
    let other = FeedServer::start(|_| Reply::new(200, "from the other"));
    let to_other = other.url("/elsewhere");
    let mut stage = Stage::new(move |asked| match asked.target.as_str() {
        "/list" => Reply::new(302, "").header("location", "/next"),
        "/next" => Reply::new(302, "").header("location", to_other.clone()),
        _ => Reply::new(302, "").header("location", "/again"),
    });
    // Both are trusted.
    let certificates = [&other, &stage.server].map(|server| server.certificate(stage.folder.path()));
    let texts = certificates.map(|file| fs::read_to_string(file).unwrap());
    fs::write(stage.folder.path().join("ca.pem"), texts.concat()).unwrap();
    stage.settings.ca = Some(stage.folder.path().join("ca.pem"));
    stage.settings.headers_file = Some(stage.secret("headers", "Auth-Key: hunter2\n\nX-More: 7\n"));
    stage.settings.token_file = Some(stage.secret("token", "t0ken\n"));
    assert_eq!(stage.fetch().unwrap().as_deref(), Some("from the other"));
    for asked in stage.server.asked() {
        let headers = ["auth-key", "x-more", "authorization"].map(|name| asked.header(name).to_owned());
        assert_eq!(headers, ["hunter2", "7", "Bearer t0ken"]);
    }
    let [asked] = &other.asked()[..] else {
        panic!("asked once")
    };
    assert_eq!((asked.header("auth-key"), asked.header("authorization")), ("", ""));

    stage.settings.token_file = None;
    stage.settings.password_file = Some(stage.secret("password", "me:hunter2"));
    stage.settings.url = Some(stage.server.url("/again").parse().unwrap());
    assert_eq!(stage.fail(), Failure::Refused("it redirects more than 5 times".into()));
    let last = stage.server.asked().pop().unwrap();
    assert_eq!(last.header("authorization"), "Basic bWU6aHVudGVyMg==");
    stage.settings.password_file = Some(stage.secret("password", "hunter2"));
    let failure = stage.fail().into_reason();
    assert!(
        failure.starts_with("feed.c2.password-file") && !failure.contains("hunter2"),
        "{failure}"
    );
}

#[test]
fn a_collection_is_fetched_page_by_page_and_only_when_something_was_added() {
    let page = |objects: &str, more: &str, added: &str| {
        Reply::new(200, format!("{{\"objects\": [{objects}]{more}}}")).header("x-taxii-date-added-last", added)
    };
    let stage = Stage::taxii(move |asked| match asked.target.as_str() {
        "/api/collections/7/objects/" => page("1, 2", ", \"more\": true, \"next\": \"a&b\"", "t1"),
        "/api/collections/7/objects/?next=a%26b" => page("3", ", \"more\": true", "t2"),
        "/api/collections/7/objects/?added_after=t2" => page("4", "", "t3"),
        "/api/collections/7/objects/?added_after=t3&limit=1" => Reply::new(200, "{}"),
        _ => Reply::new(404, ""),
    });
    let bundle = stage.fetch().unwrap().unwrap();
    let bundle: serde_json::Value = serde_json::from_str(&bundle).unwrap();
    assert_eq!(bundle["objects"], serde_json::json!([1, 2, 3, 4]));
    let asked = stage.server.asked();
    assert_eq!(asked[0].header("accept"), "application/taxii+json;version=2.1");
    assert_eq!(stage.fetch(), Ok(None));
    assert_eq!(stage.server.asked().len(), 4);
    assert_eq!(reach("c2", &stage.settings), Err("the answer is 404 Not Found".into()));
}

#[test]
fn a_collection_without_end_is_refused() {
    for (body, reason) in [
        ("{\"more\": true, \"next\": \"1\"}", "a page is followed by itself"),
        ("{\"more\": true}", "does not say how to ask for the next"),
        ("<html>", "it is no page of TAXII 2.1"),
    ] {
        let stage = Stage::taxii(move |_| Reply::new(200, body));
        let failure = stage.fail();
        assert!(
            matches!(&failure, Failure::Refused(told) if told.contains(reason)),
            "{failure:?}"
        );
    }
    // Half of what may come, over and over.
    let text = format!("{:?}", "x".repeat(1 << 19));
    let number = std::sync::atomic::AtomicU64::new(0);
    let stage = Stage::taxii(move |_| {
        let next = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Reply::new(
            200,
            format!("{{\"more\": true, \"next\": \"{next}\", \"objects\": [{text}]}}"),
        )
    });
    assert_eq!(
        stage.fail(),
        Failure::Refused("it has more than 1 MiB (max-mib)".into())
    );
    assert_eq!(stage.server.asked().len(), 2);
}
