//! What the table of containers answers after what it was told.

use super::*;
use crate::event::{Execution, Namespaces};

/// When what is told is said to have happened.
const AT: Timestamp = Timestamp::UNIX_EPOCH;

const DOCKER: RuntimeState = RuntimeState {
    name: "docker",
    connected: true,
};

fn change(action: ContainerAction, id: &str, metadata: Metadata) -> ContainerChange {
    let container = Container {
        id: id.into(),
        metadata,
        name: format!("name of {id}").into(),
        ..Container::default()
    };
    ContainerChange {
        action,
        container: Arc::new(container),
    }
}

fn known(action: ContainerAction, id: &str) -> ContainerChange {
    change(action, id, Metadata::Known)
}

/// What `lookup` says, in one word.
fn answer(containers: &mut Containers, id: &str, runtime: &'static str) -> &'static str {
    match containers.lookup(id, runtime) {
        Answer::Ask => "ask",
        Answer::Unavailable { container, first: true } if container.metadata == Metadata::Unavailable => "look",
        Answer::Known(container) | Answer::Unavailable { container, .. } => container.metadata.name(),
    }
}

#[test]
fn only_a_runtime_that_answers_is_waited_for() {
    fn check(connected: &[&'static str], runtime: &'static str, expected: &str) {
        let mut containers = Containers::default();
        for name in connected {
            containers.apply_runtime(RuntimeState { name, connected: true });
        }
        assert_eq!(
            answer(&mut containers, "a", runtime),
            expected,
            "{connected:?} {runtime}"
        );
    }
    check(&[], "docker", "look");
    check(&[], "", "look");
    check(&["docker"], "docker", "ask");
    check(&["docker"], "", "ask");
    check(&["docker"], "containerd", "ask");
    check(&["docker"], "podman", "look");
    check(&["podman"], "containerd", "look");
}

#[test]
fn facts_come_and_the_runtime_goes() {
    let mut containers = Containers::default();
    let now = Instant::now();
    containers.apply_runtime(DOCKER);
    assert_eq!(answer(&mut containers, "a", "docker"), "ask");
    containers.apply(&known(ContainerAction::Create, "a"), AT, now);
    assert_eq!(answer(&mut containers, "a", "docker"), "known");
    containers.apply_runtime(RuntimeState {
        connected: false,
        ..DOCKER
    });
    assert_eq!(answer(&mut containers, "a", "docker"), "known");
    assert_eq!(answer(&mut containers, "b", "docker"), "look");
    assert_eq!(
        answer(&mut containers, "b", "docker"),
        "unavailable",
        "the files are asked once"
    );
}

#[test]
fn late_facts_replace_early_ones_and_poor_facts_never_good_ones() {
    let mut containers = Containers::default();
    let now = Instant::now();
    containers.apply_runtime(DOCKER);
    assert_eq!(containers.give_up("a", "docker").metadata, Metadata::Pending);
    assert_eq!(answer(&mut containers, "a", "docker"), "pending", "nobody waits twice");
    let from_files = change(ContainerAction::Describe, "a", Metadata::Unavailable);
    containers.apply(&from_files, AT, now);
    assert_eq!(&*containers.get("a").unwrap().name, "name of a");
    containers.apply(&known(ContainerAction::Start, "a"), AT, now);
    containers.apply(&from_files, AT, now);
    assert_eq!(answer(&mut containers, "a", "docker"), "known");
    assert_eq!(containers.give_up("a", "docker").metadata, Metadata::Known);
}

/// A process of its own mount namespace that runs something at that second.
fn running(pid: u32, second: i64) -> Process {
    let namespaces = Namespaces {
        mount: 1000 + pid,
        pid: 2000 + pid,
        ..Namespaces::default()
    };
    Process {
        key: ProcessKey { pid, start: 1 },
        replaced: None,
        former_exe: None,
        parent: None,
        execution: Arc::new(Execution {
            time: Timestamp::from_second(second).unwrap(),
            namespaces,
            ..Execution::default()
        }),
        container: Some("a".into()),
        escaped_cgroup: false,
        entered: false,
        depth: 0,
    }
}

#[test]
fn a_restart_counts_as_a_start() {
    let mut containers = Containers::default();
    let (now, later) = (Instant::now(), Timestamp::from_second(5).unwrap());
    let starts = |containers: &mut Containers, pid, second| {
        let process = running(pid, second);
        containers.first_execution("a", &process, false)
    };
    assert!(!starts(&mut containers, 1, 1), "nobody has heard of it");
    containers.apply(&known(ContainerAction::Create, "a"), AT, now);
    assert!(starts(&mut containers, 1, 1));
    containers.apply(&known(ContainerAction::Start, "a"), later, now);
    assert!(!starts(&mut containers, 2, 2));
    let by_namespaces = |containers: &Containers, mount, pid| {
        let namespaces = Namespaces {
            mount,
            pid,
            ..Namespaces::default()
        };
        let found = containers.by_namespaces(&namespaces);
        found.map(|(id, first)| (id.to_string(), first.key.pid))
    };
    assert_eq!(by_namespaces(&containers, 1001, 2001), Some(("a".to_owned(), 1)));
    assert_eq!(
        by_namespaces(&containers, 1001, 5),
        None,
        "a number that was used again"
    );
    containers.apply(&known(ContainerAction::Die, "a"), later, now);
    assert!(containers.first("a").is_none());
    assert_eq!(by_namespaces(&containers, 1001, 2001), None);
    assert!(starts(&mut containers, 3, 6));
    containers.apply(&known(ContainerAction::Die, "a"), later, now);
    assert!(
        !starts(&mut containers, 4, 7),
        "the end that came late was an earlier one"
    );
    // Without a runtime the end of the first process tells.
    containers.ended("a", running(4, 7).key);
    assert!(!starts(&mut containers, 4, 7));
    containers.ended("a", running(3, 6).key);
    assert!(starts(&mut containers, 5, 8));
}

#[test]
fn removed_containers_are_remembered_for_a_while() {
    let mut containers = Containers::default();
    let now = Instant::now();
    for id in ["a", "b"] {
        containers.apply(&known(ContainerAction::Create, id), AT, now);
        containers.note_cgroup(if id == "a" { 70 } else { 71 }, id);
        containers.apply(&known(ContainerAction::Destroy, id), AT, now);
    }
    containers.apply(&known(ContainerAction::Create, "b"), AT, now + Duration::from_secs(30));
    containers.apply(&known(ContainerAction::Create, "c"), AT, now + Duration::from_secs(59));
    assert_eq!(answer(&mut containers, "a", "docker"), "known");
    assert_eq!(containers.by_cgroup(70).map(|id| &**id), Some("a"));
    containers.apply(&known(ContainerAction::Create, "d"), AT, now + Duration::from_mins(1));
    assert_eq!(answer(&mut containers, "a", "docker"), "look");
    assert_eq!(containers.by_cgroup(70), None);
    assert_eq!(answer(&mut containers, "b", "docker"), "known", "it was made again");
    assert_eq!(containers.by_cgroup(71).map(|id| &**id), Some("b"));
}

#[test]
fn the_table_is_bounded_and_forgets_the_least_needed() {
    let mut containers = Containers::default();
    let now = Instant::now();
    containers.apply(&known(ContainerAction::Create, "removed"), AT, now);
    containers.apply(&known(ContainerAction::Destroy, "removed"), AT, now);
    containers.apply(&known(ContainerAction::Create, "quiet"), AT, now);
    containers.note_cgroup(7, "quiet");
    for number in 0..3 * CAPACITY {
        answer(&mut containers, &format!("bare {number}"), "");
    }
    assert!(containers.entries.len() <= CAPACITY);
    assert!(containers.get("quiet").is_some(), "facts are worth more than none");
    assert!(containers.get("removed").is_none());
    assert!(containers.get(&format!("bare {}", 3 * CAPACITY - 1)).is_some());
    assert!(containers.get("bare 0").is_none());
    assert_eq!(containers.by_cgroup.len(), 1);
}

#[test]
fn cgroups_lead_to_containers_but_the_root_to_none() {
    let mut containers = Containers::default();
    containers.apply(&known(ContainerAction::Create, "a"), AT, Instant::now());
    for cgroup in 0..100 {
        containers.note_cgroup(cgroup, "a");
        containers.note_cgroup(cgroup + 100, "nobody");
    }
    assert_eq!(containers.by_cgroup(0), None);
    assert_eq!(containers.by_cgroup(1), None);
    assert_eq!(containers.by_cgroup(2).map(|id| &**id), Some("a"));
    assert_eq!(containers.by_cgroup.len(), CGROUPS);
}

#[test]
fn what_a_runtime_was_told_to_run_is_found_once() {
    let mut containers = Containers::default();
    let told = |command_line: &str, privileged| ToldExec {
        container: "a".into(),
        command_line: command_line.into(),
        privileged,
    };
    // Of a container that nobody knows, nothing is kept.
    containers.told_exec(&told("sh", true));
    containers.apply(&known(ContainerAction::Start, "a"), AT, Instant::now());
    assert_eq!(containers.exec_that_was_told("a", "sh"), None);
    containers.told_exec(&told("sh", true));
    containers.told_exec(&told("sh", false));
    let mut find = |line: &str| containers.exec_that_was_told("a", line);
    let found = ["ls", "sh", "sh", "sh"].map(&mut find);
    assert_eq!(found, [None, Some(true), Some(false), None]);
    for number in 0..=TOLD_EXECS {
        containers.told_exec(&told(&number.to_string(), true));
    }
    assert_eq!(containers.exec_that_was_told("a", "0"), None);
    assert_eq!(containers.exec_that_was_told("a", "1"), Some(true));
}
