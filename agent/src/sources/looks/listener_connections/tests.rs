//! A listener's connections, of its own process and of a child that has it.

use std::{
    net::TcpListener,
    os::unix::net::{UnixListener, UnixStream},
};

use std::sync::Arc;

use super::*;
use crate::event::{ListenAddress, Owner};

fn own_key() -> ProcessKey {
    let process = Process::myself().unwrap();
    ProcessKey {
        pid: process.pid.unsigned_abs(),
        start: process.stat().unwrap().starttime,
    }
}

fn question(listener: &TcpListener) -> Question {
    let listener = Listener {
        owner: Owner {
            process: Some(own_key()),
            ..Owner::default()
        },
        address: ListenAddress::Tcp(listener.local_addr().unwrap()),
        looked_up: false,
        findings: Findings::default(),
    };
    let event = Event {
        time: jiff::Timestamp::UNIX_EPOCH,
        startup: false,
        kind: Kind::Listen(Box::new(listener)),
        given: None,
    };
    Question {
        about: Arc::new(event.into()),
        matched: Vec::new(),
        texts: Vec::new(),
    }
}

#[test]
fn a_listener_comes_again_with_what_its_process_is_connected_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let api = UnixListener::bind(&path).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let question = question(&listener);
    assert!((LOOK.concerns)(&question.about));

    let _client = UnixStream::connect(&path).unwrap();
    // The kernel shows no connection that waits to be accepted.
    let _accepted = api.accept().unwrap();
    let mut answer = answer(&question);
    let Some(Kind::Again(again)) = answer.pop().map(|event| event.kind) else {
        panic!("no answer");
    };
    let Kind::Listen(found) = &again.observed.event.kind else {
        panic!("unexpected answer {again:?}");
    };
    let connected_to = &found.findings.connected_to;
    assert!(
        connected_to.iter().any(|found| Some(&**found) == path.to_str()),
        "{connected_to:?}"
    );
    assert!(!(LOOK.concerns)(&again.observed), "an answer is no question");
}

#[test]
fn another_process_by_that_number_is_not_looked_at() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let asked = question(&listener);
    let Kind::Listen(asked) = &asked.about.event.kind else {
        panic!("no listener");
    };
    let other = ProcessKey { start: 1, ..own_key() };
    assert!(connections(other, asked).is_err());
}
