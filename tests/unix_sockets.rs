//! Unix sockets that listen: those that stood before the agent, and those of whoever runs another program.

use std::{
    env, fs,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::{Command, id as own_pid},
};

use serde_json::{Value, json};

use crate::{
    ocsf::{fact, pid},
    tocsin::Tocsin,
};

/// An alert for each listening socket whose path begins so, and for what the listener runs.
fn rules(folder: &Path, socket: &Path) -> PathBuf {
    let rules = folder.join("rules");
    fs::create_dir(&rules).unwrap();
    let rule = |title: &str, id: u32, category: &str, selection: &str| {
        let text = format!(
            "title: {title}\nid: 00000000-0000-4000-8000-00000000000{id}\n\
             logsource: {{product: linux, category: {category}}}\n\
             detection:\n    selection: {{{selection}}}\n    condition: selection\nlevel: high\n"
        );
        fs::write(rules.join(format!("{id}.yml")), text).unwrap();
    };
    rule(
        "Unix socket",
        1,
        "network_listen",
        &format!("listener.path: {}", socket.display()),
    );
    let known = format!("ProcessId: {}, process.parent_sockets|exists: false", own_pid());
    rule(
        "Known child",
        2,
        "process_creation",
        &known.replace("ProcessId", "ParentProcessId"),
    );
    rules
}

fn is_ours(alert: &Value) -> bool {
    pid(alert) == Some(own_pid().into())
}

#[test]
fn a_socket_that_stood_before_the_agent_is_found_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("before.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let agent = Tocsin::record(&[]);
    let event = agent.wait_for_event("listener", |event| event["listener.path"] == json!(socket));
    assert_eq!(
        (&event["Protocol"], &event["ProcessId"], &event["event.startup"]),
        (&json!("unix"), &json!(own_pid()), &json!(true)),
        "{event:#}"
    );
    assert_eq!(event["Image"], json!(env::current_exe().unwrap()));
}

#[test]
fn a_socket_is_found_when_its_owner_runs_a_program_which_is_judged_again() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("later.sock");
    let rules = rules(folder.path(), &socket);
    let agent = Tocsin::start(&["--rules-dir", rules.to_str().unwrap()]);
    let _listener = UnixListener::bind(&socket).unwrap();
    assert!(Command::new("/bin/true").status().unwrap().success());
    let alert = agent.wait_for_alert("Unix socket", is_ours);
    assert_eq!(fact(&alert, "listener.path"), &json!(socket), "{alert:#}");
    // The same execution: no other came after it.
    agent.wait_for_alert("Known child", |_| true);
}
