//! Tests of the process table.

use super::*;
use crate::event::{Credentials, Namespaces};

const ID: &str = "4e1c2dcb3ec2d0f2a5d8a6f1b0c9e8d7f6a5b4c3d2e1f00112233445566778899";

fn container() -> String {
    ID[..64].to_owned()
}

fn key(pid: u32) -> ProcessKey {
    ProcessKey {
        pid,
        start: u64::from(pid) * 10,
    }
}

fn running(exe: &str, cgroup: &str) -> Arc<Execution> {
    Arc::new(of(exe, cgroup))
}

fn of(exe: &str, cgroup: &str) -> Execution {
    Execution {
        exe: exe.into(),
        cgroup: cgroup.into(),
        ..Execution::default()
    }
}

fn fork(table: &mut Processes, parent: u32, child: u32) {
    table.fork(&Fork {
        child: key(child),
        parent: key(parent),
    });
}

fn line(process: &Process) -> Vec<&str> {
    process.ancestors().map(|ancestor| &*ancestor.execution.exe).collect()
}

#[test]
fn ancestors_outlive_their_exit() {
    let mut table = Processes::default();
    table.exec(key(1), key(0), running("/sbin/init", "/"), None);
    fork(&mut table, 1, 2);
    table.exec(key(2), key(1), running("/bin/sh", "/"), None);
    fork(&mut table, 2, 3);
    let later = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(9);
    table.exit(
        &Exit {
            process: key(2),
            code: 0,
        },
        Timestamp::UNIX_EPOCH,
    );
    table.exit(
        &Exit {
            process: key(9),
            code: 0,
        },
        later,
    );
    assert!(table.get(key(2)).is_none());
    assert!(table.is_live(key(1)) && !table.is_live(key(2)) && !table.is_live(key(9)));
    let grandchild = table.exec(key(3), key(1), running("/bin/true", "/"), None);
    assert_eq!(line(&grandchild), ["/bin/sh", "/sbin/init"]);
}

#[test]
fn what_started_a_container_is_no_ancestor_inside_it() {
    let mut table = Processes::default();
    let cgroup = format!("/docker/{}", container());
    table.exec(key(1), key(0), running("/usr/bin/make", "/"), None);
    fork(&mut table, 1, 2);
    table.exec(key(2), key(1), running("/usr/sbin/runc", "/"), None);
    fork(&mut table, 2, 3);
    table.exec(key(3), key(2), running("/bin/sh", &cgroup), None);
    fork(&mut table, 3, 4);
    let inside = table.exec(key(4), key(3), running("/bin/true", &cgroup), None);
    assert_eq!(line(&inside), ["/bin/sh", "/usr/sbin/runc", "/usr/bin/make"]);
    let seen_by_rules: Vec<_> = inside.ancestors_inside().map(|process| process.key).collect();
    assert_eq!(seen_by_rules, [key(3)]);
    let runtime = table.get(key(2)).expect("it runs");
    assert_eq!(runtime.ancestors_inside().count(), 1, "on the node all count");
}

#[test]
fn a_pid_that_comes_back_is_another_process() {
    let mut table = Processes::default();
    table.exec(key(7), key(1), running("/bin/old", "/"), None);
    let again = ProcessKey { pid: 7, start: 999 };
    assert!(table.get(again).is_none());
    table.exec(again, key(1), running("/bin/new", "/"), None);
    assert_eq!(&*table.get(key(7)).unwrap().execution.exe, "/bin/old");
    assert_eq!(&*table.get(again).unwrap().execution.exe, "/bin/new");
}

#[test]
fn membership_of_a_container_sticks() {
    let mut table = Processes::default();
    let inside = format!("/docker/{}", container());
    table.exec(key(1), key(0), running("/sbin/init", "/"), None);
    fork(&mut table, 1, 2);
    let first = table.exec(key(2), key(1), running("/bin/sh", &inside), None);
    assert_eq!(first.container.as_deref(), Some(container().as_str()));
    assert!(!first.escaped_cgroup);
    fork(&mut table, 2, 3);
    let moved = table.exec(key(3), key(2), running("/bin/id", "/"), None);
    assert_eq!(moved.container.as_deref(), Some(container().as_str()));
    assert!(moved.escaped_cgroup);
    fork(&mut table, 3, 4);
    assert!(table.get(key(4)).unwrap().escaped_cgroup);
}

#[test]
fn who_is_sent_in_by_nsenter_belongs_to_the_container() {
    let mut table = Processes::default();
    let id: Arc<str> = container().into();
    table.exec(key(1), key(0), running("/bin/bash", "/user.slice"), None);
    fork(&mut table, 1, 2);
    let sent = table.exec(key(2), key(1), running("/bin/sh", "/user.slice"), Some(&id));
    assert!(sent.container.as_ref() == Some(&id) && sent.escaped_cgroup);
    fork(&mut table, 2, 3);
    let made = table.exec(key(3), key(2), running("/bin/id", "/user.slice"), None);
    assert!(made.container.as_ref() == Some(&id) && made.escaped_cgroup);
    let other = format!("/docker/{}", "ab".repeat(32));
    let elsewhere = table.exec(key(4), key(0), running("/bin/sh", &other), Some(&id));
    assert_eq!(
        elsewhere.container.as_deref(),
        Some(&*"ab".repeat(32)),
        "its cgroup says more"
    );
}

#[test]
fn a_line_without_end_is_bounded() {
    let mut table = Processes::default();
    table.exec(key(1), key(0), running("/sbin/init", "/"), None);
    let mut now = Timestamp::UNIX_EPOCH;
    for pid in 1..2000 {
        fork(&mut table, pid, pid + 1);
        if pid > 1 {
            table.exit(
                &Exit {
                    process: key(pid),
                    code: 0,
                },
                now,
            );
        }
        now += SignedDuration::from_secs(1);
    }
    let last = table.get(key(2000)).unwrap();
    assert!(last.depth <= MAX_DEPTH + 1);
    assert_eq!(last.ancestors().last().map(|first| first.key), Some(key(1)));
    assert!(table.len() < 10);
}

#[test]
fn what_is_not_known_is_not_invented() {
    let mut table = Processes::default();
    fork(&mut table, 50, 51);
    let orphan = table.get(key(51)).unwrap();
    assert!(orphan.parent.is_none());
    assert_eq!(&*orphan.execution.exe, "");
}

#[test]
fn full_capabilities_are_measured_against_the_runtime() {
    let node = Namespaces {
        user: Namespaces::INITIAL_USER,
        ..Namespaces::default()
    };
    let own = Namespaces {
        user: 4_026_532_000,
        ..Namespaces::default()
    };
    let docker = 0xA80_425FB_u64;
    let no_resource = 0x1FF_FEFF_FFFF_u64;
    for (giver, effective, namespaces, expected) in [
        (no_resource, no_resource & 0x3F_FFFF_FFFF, node, true),
        (no_resource, docker, node, false),
        (u64::MAX, 0x3F_FFFF_FFFF, node, true),
        (u64::MAX, no_resource, node, false),
        (u64::MAX, u64::MAX, own, false),
    ] {
        let credentials = |effective, bounding| Credentials {
            effective: Capabilities(effective),
            bounding: Capabilities(bounding),
            ..Credentials::default()
        };
        let mut table = Processes::default();
        let runtime = Execution {
            credentials: credentials(giver, giver),
            ..of("/usr/bin/runc", "/")
        };
        table.exec(key(1), key(0), Arc::new(runtime), None);
        let cgroup = format!("/docker/{}", container());
        let init = Execution {
            credentials: credentials(effective, effective),
            namespaces,
            ..of("/bin/sh", &cgroup)
        };
        fork(&mut table, 1, 2);
        let process = table.exec(key(2), key(1), Arc::new(init), None);
        assert_eq!(has_full_capabilities(&process), expected, "{giver:x} {effective:x}");
        // A user without capabilities in the same container could still gain them.
        let mut user = Execution::clone(&process.execution);
        user.credentials.effective = Capabilities::default();
        fork(&mut table, 2, 3);
        let process = table.exec(key(3), key(2), Arc::new(user), None);
        let found = (has_full_capabilities(&process), has_full_bounding_set(&process));
        assert_eq!(found, (false, expected), "{giver:x} {effective:x}");
    }
}

#[test]
fn the_runtime_on_its_way_has_not_entered_the_container() {
    for (senders, own, entering, expected) in [
        (1, 1, false, false),
        (1, 2, false, true),
        (0, 0, false, true),
        (1, 2, true, false),
    ] {
        let seeing = |mount, exe: &str, cgroup: &str| {
            let namespaces = Namespaces {
                mount,
                ..Namespaces::default()
            };
            Arc::new(Execution {
                namespaces,
                ..of(exe, cgroup)
            })
        };
        let mut table = Processes::default();
        table.exec(key(1), key(0), seeing(senders, "/usr/bin/runc", "/"), None);
        fork(&mut table, 1, 2);
        let cgroup = format!("/docker/{}", container());
        let mut init = seeing(own, "memfd:runc_cloned:/proc/self/exe", &cgroup);
        Arc::make_mut(&mut init).entering = entering;
        let process = table.exec(key(2), key(1), init, None);
        assert_eq!(process.entered, expected, "{senders} {own} {entering}");
    }
}

#[test]
fn who_was_inside_and_sees_the_nodes_files_has_left() {
    let seeing = |mount, cgroup: &str| {
        let namespaces = Namespaces {
            mount,
            ..Namespaces::default()
        };
        Arc::new(Execution {
            namespaces,
            ..of("/bin/sh", cgroup)
        })
    };
    let mut table = Processes::default();
    let cgroup = format!("/docker/{}", container());
    table.exec(key(1), key(0), seeing(1, "/"), None);
    fork(&mut table, 1, 2);
    for (mount, left) in [(1, false), (2, false), (3, false), (1, true)] {
        let process = table.exec(key(2), key(1), seeing(mount, &cgroup), None);
        assert_eq!(has_left_mounts(&process), left, "{mount}");
    }
    fork(&mut table, 2, 3);
    let child = table.exec(key(3), key(2), seeing(1, &cgroup), None);
    assert!(has_left_mounts(&child));
    let on_node = table.exec(key(4), key(1), seeing(1, "/"), None);
    assert!(!has_left_mounts(&on_node));
}

fn by(exe: &str, uid: u32, euid: u32) -> Arc<Execution> {
    Arc::new(Execution {
        credentials: Credentials {
            uid,
            euid,
            ..Credentials::default()
        },
        ..of(exe, "/")
    })
}

/// PID 10 is a web server's master that runs as root, PID 11 the worker that it forked.
fn with_web_worker() -> Processes {
    let mut table = Processes::default();
    table.exec(key(1), key(0), by("/sbin/init", 0, 0), None);
    fork(&mut table, 1, 10);
    let master = table.exec(key(10), key(1), by("/opt/renamed", 0, 0), None);
    fork(&mut table, 10, 11);
    // It listens later than its worker was made.
    give(&master, "web-worker");
    table
}

fn give(process: &Process, role: &str) {
    process.execution.roles.add(&role.into());
}

/// Forks `pid` off its parent and has it run a program.
fn run(table: &mut Processes, parent: u32, pid: u32, execution: Arc<Execution>) -> Arc<Process> {
    fork(table, parent, pid);
    table.exec(key(pid), key(parent), execution, None)
}

fn check_worker(process: &Process, pid: u32, uid: u32, gained_root: bool) {
    let worker = process.web_worker().expect("it is below a web worker");
    let found = (worker.process.key, worker.uid(), process.gained_root());
    assert_eq!(found, (key(pid), uid, gained_root), "{}", process.execution.exe);
}

#[test]
fn a_web_worker_is_known_at_any_depth_and_with_it_who_gained_root() {
    let mut table = with_web_worker();
    assert!(
        table.get(key(11)).unwrap().is_web_worker(),
        "a fork is what its maker is"
    );
    for depth in 0..6 {
        let child = run(&mut table, 11 + depth, 12 + depth, by("/bin/sh", 33, 33));
        check_worker(&child, 11, 33, false);
    }
    let sudo = run(&mut table, 17, 18, by("/usr/bin/sudo", 33, 0));
    check_worker(&sudo, 11, 33, true);
    let below = run(&mut table, 18, 19, by("/usr/bin/id", 0, 0));
    check_worker(&below, 11, 33, true);
    let at_once = run(&mut table, 11, 20, by("/usr/bin/sudo", 33, 0));
    check_worker(&at_once, 11, 33, true);
    let of_roots_own = run(&mut table, 10, 21, by("/usr/bin/rotatelogs", 0, 0));
    check_worker(&of_roots_own, 10, 0, false);
    let beside = run(&mut table, 1, 22, by("/usr/bin/sudo", 1000, 0));
    assert!(beside.web_worker().is_none() && !beside.gained_root());
}

#[test]
fn a_shell_in_a_web_workers_place_is_below_it() {
    let mut table = with_web_worker();
    table.exec(key(10), key(1), by("/bin/sh", 0, 0), None);
    let again = table.exec(key(10), key(1), by("/bin/bash", 33, 33), None);
    check_worker(&again, 10, 33, false);
    check_worker(&run(&mut table, 10, 12, by("/usr/bin/id", 33, 33)), 10, 33, false);
    let worker = table.exec(key(11), key(10), by("/bin/sh", 33, 33), None);
    assert_eq!(worker.web_worker().map(|worker| worker.process.key), Some(key(10)));
}

#[test]
fn roles_reach_no_further_than_a_session_or_a_container() {
    let mut table = with_web_worker();
    let sshd = run(&mut table, 11, 12, by("/usr/sbin/sshd", 0, 0));
    assert!(sshd.web_worker().is_some());
    give(&sshd, "session");
    let login = run(&mut table, 12, 13, by("/bin/bash", 0, 0));
    assert!(login.web_worker().is_none());
    let found: Vec<_> = login.line().flat_map(|above| above.execution.roles.iter()).collect();
    assert_eq!(found, ["session"]);
    let inside = format!("/docker/{}", container());
    let init = run(&mut table, 11, 14, running("/bin/app", &inside));
    assert!(init.web_worker().is_none(), "what started the container");
    give(&init, "web-worker");
    let child = run(&mut table, 14, 15, running("/bin/sh", &inside));
    assert_eq!(child.web_worker().map(|worker| worker.process.key), Some(key(14)));
}

#[test]
fn a_role_is_shared_by_forks_and_seen_from_below() {
    for arguments in [1, 2 * KEPT_ARGUMENTS] {
        let mut table = Processes::default();
        let execution = Execution {
            command_line: "x".repeat(arguments).into(),
            ..of("/srv/renamed", "/")
        };
        let server = table.exec(key(2), key(1), Arc::new(execution), None);
        fork(&mut table, 2, 3);
        fork(&mut table, 3, 4);
        let child = table.exec(key(4), key(3), running("/bin/sh", "/"), None);
        // The event's own node learns it, after the table has made its own of it and others have come of that.
        server.execution.roles.add(&"web-worker".into());
        let roles = |process: &Process| process.execution.roles.iter().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(roles(table.get(key(3)).unwrap()), ["web-worker"]);
        assert!(roles(&child).is_empty());
        assert!(
            child
                .ancestors_inside()
                .all(|ancestor| roles(ancestor) == ["web-worker"])
        );
    }
}
