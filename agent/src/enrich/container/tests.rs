//! What the table of containers answers after what it was told.

use super::*;

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
    containers.apply(&known(ContainerAction::Create, "a"), now);
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
    containers.apply(&from_files, now);
    assert_eq!(&*containers.get("a").unwrap().name, "name of a");
    containers.apply(&known(ContainerAction::Start, "a"), now);
    containers.apply(&from_files, now);
    assert_eq!(answer(&mut containers, "a", "docker"), "known");
    assert_eq!(containers.give_up("a", "docker").metadata, Metadata::Known);
}

#[test]
fn a_restart_counts_as_a_start() {
    let mut containers = Containers::default();
    let now = Instant::now();
    assert!(!containers.first_execution("a"), "nobody has heard of it");
    containers.apply(&known(ContainerAction::Create, "a"), now);
    assert!(containers.first_execution("a"));
    containers.apply(&known(ContainerAction::Start, "a"), now);
    assert!(!containers.first_execution("a"));
    containers.apply(&known(ContainerAction::Die, "a"), now);
    assert!(containers.first_execution("a"));
    containers.apply(&known(ContainerAction::Start, "a"), now);
    assert!(!containers.first_execution("a"));
}

#[test]
fn removed_containers_are_remembered_for_a_while() {
    let mut containers = Containers::default();
    let now = Instant::now();
    for id in ["a", "b"] {
        containers.apply(&known(ContainerAction::Create, id), now);
        containers.note_cgroup(if id == "a" { 70 } else { 71 }, id);
        containers.apply(&known(ContainerAction::Destroy, id), now);
    }
    containers.apply(&known(ContainerAction::Create, "b"), now + Duration::from_secs(30));
    containers.apply(&known(ContainerAction::Create, "c"), now + Duration::from_secs(59));
    assert_eq!(answer(&mut containers, "a", "docker"), "known");
    assert_eq!(containers.by_cgroup(70).map(|id| &**id), Some("a"));
    containers.apply(&known(ContainerAction::Create, "d"), now + Duration::from_mins(1));
    assert_eq!(answer(&mut containers, "a", "docker"), "look");
    assert_eq!(containers.by_cgroup(70), None);
    assert_eq!(answer(&mut containers, "b", "docker"), "known", "it was made again");
    assert_eq!(containers.by_cgroup(71).map(|id| &**id), Some("b"));
}

#[test]
fn the_table_is_bounded_and_forgets_the_least_needed() {
    let mut containers = Containers::default();
    let now = Instant::now();
    containers.apply(&known(ContainerAction::Create, "removed"), now);
    containers.apply(&known(ContainerAction::Destroy, "removed"), now);
    containers.apply(&known(ContainerAction::Create, "quiet"), now);
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
    containers.apply(&known(ContainerAction::Create, "a"), Instant::now());
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
fn api_servers_are_learned() {
    let mut containers = Containers::default();
    for number in 0..100 {
        let container = Container {
            id: "a".into(),
            kubernetes_api: Some((IpAddr::from([10, 96, 0, number]), 443)),
            ..Container::default()
        };
        let change = ContainerChange {
            action: ContainerAction::Describe,
            container: Arc::new(container),
        };
        containers.apply(&change, Instant::now());
        containers.apply(&change, Instant::now());
    }
    let apis = containers.kubernetes_apis();
    assert_eq!(apis.len(), KUBERNETES_APIS);
    assert!(apis.contains(&(IpAddr::from([10, 96, 0, 99]), 443)));
}
