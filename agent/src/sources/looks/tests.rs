//! Questions and their answers, as the stream puts and gets them.

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::*;
use crate::event::{Findings, Kind, ListenAddress, Listener, Owner};

#[tokio::test]
async fn every_question_about_a_docker_api_is_answered() {
    for probe in [true, false] {
        question_without_process(probe).await;
    }
}

async fn question_without_process(probe: bool) {
    let (events, mut answers) = mpsc::channel(8);
    let asker = Asker::start(probe, &events);
    let listener = Listener {
        owner: Owner::default(),
        address: ListenAddress::Tcp("127.0.0.1:2375".parse().unwrap()),
        looked_up: true,
        findings: Findings::default(),
    };
    let event = Event {
        time: Timestamp::UNIX_EPOCH,
        startup: true,
        kind: Kind::Listen(Box::new(listener)),
        given: None,
    };
    let question = Question {
        about: Arc::new(event.into()),
        matched: Vec::new(),
        texts: Vec::new(),
    };
    assert!(concerns(Ask::DockerApiProbe, &question.about));
    assert!(asker.ask(Ask::DockerApiProbe, question));
    let event = answers.recv().await.unwrap().remove(0);
    let Kind::Again(again) = event.kind else {
        panic!("unexpected answer {event:?}");
    };
    let answer = again.observed;
    let Kind::Listen(listener) = &answer.event.kind else {
        panic!("unexpected answer {answer:?}");
    };
    let finding = listener.findings.docker_api.as_deref();
    assert_eq!((finding, answer.event.startup), (Some("docker-api-unknown"), true));
    assert!(!listener.looked_up, "the node would take it for known");
    assert!(!concerns(Ask::DockerApiProbe, &answer), "an answer is no question");
}
