use std::{
    io::Read,
    net::{TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    thread,
};

use super::*;
use crate::alert::samples;

const NO_FILES: TlsFiles<'static> = TlsFiles {
    section: "output.syslog",
    ca: None,
    certificate: None,
    key: None,
};

fn syslog(address: &str) -> Syslog {
    Syslog {
        address: super::address(address, &NO_FILES).unwrap(),
        messages: Messages::new(Facility::default(), None, &Arc::default()),
        connection: None,
        pending: VecDeque::new(),
    }
}

fn alert() -> (Arc<Alert>, String) {
    let alert = samples::exec();
    let id = alert.id.to_string();
    (Arc::new(alert), id)
}

/// The messages of a stream, taken apart by their lengths.
fn messages(stream: &mut TcpStream) -> Vec<String> {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let mut rest = &*text;
    let mut messages = Vec::new();
    while let Some((length, after)) = rest.split_once(' ') {
        let (message, after) = after.split_at(length.parse().unwrap());
        messages.push(message.to_owned());
        rest = after;
    }
    messages
}

#[test]
fn a_receiver_that_was_started_anew_misses_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut syslog = syslog(&format!("tcp://{address}"));
    let (first, first_id) = alert();
    syslog.deliver(&[first]).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let (second, second_id) = alert();
    syslog.deliver(&[second]).unwrap();
    let got = messages(&mut stream);
    assert!(got.len() == 1 && got[0].contains(&first_id), "{got:?}");
    let (mut stream, _) = listener.accept().unwrap();
    drop(syslog);
    let got = messages(&mut stream);
    assert!(got.len() == 1 && got[0].contains(&second_id), "{got:?}");
}

#[test]
fn a_receiver_that_is_away_gets_all_in_order_later() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut syslog = syslog(&format!("tcp://{address}"));
    let (first, second) = (alert(), alert());
    for (alert, _) in [&first, &second] {
        let Err(Failure::Later(error)) = syslog.deliver(&[Arc::clone(alert)]) else {
            panic!("nobody listens");
        };
        let error = format!("{error:#}");
        assert!(
            error.starts_with(&format!("sending to tcp://{address}: Connection refused")),
            "{error}"
        );
    }
    let listener = TcpListener::bind(address).unwrap();
    let reader = thread::spawn(move || messages(&mut listener.accept().unwrap().0));
    syslog.deliver(&[]).unwrap();
    drop(syslog);
    let got = reader.join().unwrap();
    assert!(
        got.len() == 2 && got[0].contains(&first.1) && got[1].contains(&second.1),
        "{got:?}"
    );
}

#[test]
fn a_datagram_that_is_too_long_is_refused_and_the_next_goes_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let receiver = UnixDatagram::bind(&path).unwrap();
    let mut syslog = syslog(&format!("unix:{}", path.display()));
    syslog.pending.push_back(vec![b'x'; 4 << 20]);
    let (alert, id) = alert();
    assert!(matches!(syslog.deliver(&[alert]), Err(Failure::Refused(_))));
    syslog.deliver(&[]).unwrap();
    let mut buffer = vec![0; 1 << 16];
    let length = receiver.recv(&mut buffer).unwrap();
    assert!(String::from_utf8_lossy(&buffer[..length]).contains(&id));
}

#[test]
fn a_receiver_that_hangs_up_at_once_is_noticed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut syslog = syslog(&format!("tcp://{}", listener.local_addr().unwrap()));
    syslog.deliver(&[alert().0]).unwrap();
    let (stream, _) = listener.accept().unwrap();
    syslog.confirm().unwrap();
    drop(stream);
    assert!(matches!(syslog.confirm(), Err(Failure::Later(_))));
}
