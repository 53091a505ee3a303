use std::{fs, os::unix::fs::MetadataExt as _};

use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};

use super::*;

/// Sockets in a folder, whose requests are answered by a status with that version.
fn start_in(folder: &TempDir, metrics: Metrics) -> Sockets {
    let control = Control {
        socket: Some(folder.path().join("run/control.sock")),
    };
    let metrics = Metrics {
        socket: Some(folder.path().join("run/metrics.sock")),
        ..metrics
    };
    let (sockets, mut requests) = start(&control, &metrics);
    tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            let status = Status {
                version: "1.2.3".into(),
                ..Status::default()
            };
            request.send(status).unwrap();
        }
    });
    sockets
}

/// Asks for a page, and gives all that comes back.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, page: &str, header: &str) -> String {
    let request = format!("GET {page} HTTP/1.0\r\n{header}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn each_socket_has_its_page_and_is_gone_with_the_agent() {
    let folder = TempDir::new().unwrap();
    let sockets = start_in(&folder, Metrics::default());
    let at = |name: &str| folder.path().join("run").join(name);
    let connect = async |name: &str| UnixStream::connect(at(name)).await.unwrap();
    let told = ask(connect("control.sock").await, "/status", "").await;
    let (head, body) = told.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200 OK"), "{head}");
    assert_eq!(serde_json::from_str::<Status>(body).unwrap().version, "1.2.3");
    let told = ask(connect("metrics.sock").await, "/metrics", "").await;
    assert!(told.contains("\ntocsin_info{version=\"1.2.3\"} 1\n"), "{told}");
    let told = ask(connect("metrics.sock").await, "/status", "").await;
    assert!(told.starts_with("HTTP/1.0 404 Not Found"), "{told}");
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(
        (mode(&at("control.sock")), mode(&folder.path().join("run"))),
        (0o600, 0o700)
    );
    drop(sockets);
    assert!(!at("control.sock").exists() && !at("metrics.sock").exists());
}

#[tokio::test]
async fn a_socket_in_use_is_left_alone_and_one_left_behind_is_replaced() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("control.sock");
    let used = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let error = bind(&path).unwrap_err();
    assert_eq!(format!("{error:#}"), "another agent answers there");
    drop(used);
    assert!(bind(&path).is_ok());
}

#[tokio::test]
async fn whoever_is_slow_or_talks_nonsense_is_hung_up_on() {
    let folder = TempDir::new().unwrap();
    let _sockets = start_in(&folder, Metrics::default());
    let path = folder.path().join("run/control.sock");
    let mut slow = Vec::new();
    for said in [&b"GET /sta"[..], b"\0\xff\r\n\r\nnonsense", b""]
        .into_iter()
        .cycle()
        .take(CONNECTIONS)
    {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(said).await.unwrap();
        slow.push(stream);
    }
    // Its turn comes when one of them has lost his.
    let told = ask(UnixStream::connect(&path).await.unwrap(), "/status", "").await;
    assert!(told.starts_with("HTTP/1.0 200 OK"), "{told}");
    for mut stream in slow {
        let _answer_or_reset = stream.read_to_end(&mut Vec::new()).await;
    }
}

#[tokio::test]
async fn over_tcp_a_token_is_needed() {
    let folder = TempDir::new().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "s3cret\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let metrics = Metrics {
        socket: None,
        listen: Some(address),
        token_file: Some(token),
    };
    let _sockets = start_in(&folder, metrics);
    for (header, expected) in [
        ("Authorization: Bearer s3cret\r\n", "200 OK"),
        ("Authorization: Bearer s3creT\r\n", "401 Unauthorized"),
        ("Authorization: Bearer s3cret2\r\n", "401 Unauthorized"),
        ("Authorization: Bearer \r\n", "401 Unauthorized"),
        ("", "401 Unauthorized"),
    ] {
        let stream = loop {
            if let Ok(stream) = TcpStream::connect(address).await {
                break stream;
            }
            tokio::task::yield_now().await;
        };
        let told = ask(stream, "/metrics", header).await;
        assert!(told.starts_with(&format!("HTTP/1.0 {expected}")), "{header}: {told}");
    }
}
