//! Exceptions from life: what `rules except` writes silences what it was made from and nothing else, and what `rules
//! import` takes over raises alerts in its author's name.

use std::{fs, process::Command};

use serde_json::json;

use crate::{
    corpus_folder,
    dockerd::Dockerd,
    ocsf::{container_id, fact, image, rule_uid, title},
    replay::alerts_of,
    tocsin::Tocsin,
};

const PRIVILEGED: &str = "Privileged Container Detected";

#[test]
fn an_excepted_image_is_silent_and_another_of_its_name_is_not() {
    let Some(dockerd) = Dockerd::start() else { return };
    let busybox = dockerd.import_busybox();
    let folder = tempfile::tempdir().unwrap();
    let (rules, alert_file) = (folder.path().join("rules"), folder.path().join("alert.json"));
    fs::create_dir(&rules).unwrap();
    let name = "registry.example/agent:1";
    dockerd.docker_ok(&["tag", busybox, name]);
    let start = || {
        let socket = dockerd.socket();
        Tocsin::start(&["--docker-socket", &socket, "--rules-dir", rules.to_str().unwrap()])
    };
    let run = |container: &str| dockerd.run(container, &["--privileged"], &[name, "sleep", "1000"]);

    let agent = start();
    let first = run("first");
    let alert = agent.wait_for_alert(PRIVILEGED, |alert| container_id(alert) == first);
    drop(agent);
    fs::write(&alert_file, alert.to_string()).unwrap();
    let written = except(&[alert_file.to_str().unwrap(), "--rules-dir", rules.to_str().unwrap()]);
    assert!(written.contains("container.image_digest = \"sha256:"), "{written}");
    assert!(
        Tocsin::command()
            .args(["rules", "check"])
            .arg(&rules)
            .status()
            .unwrap()
            .success()
    );

    let agent = start();
    let same = run("same");
    let change = dockerd.create("change", &[], &[busybox, "true"]);
    dockerd.docker_ok(&["commit", "--change", "LABEL changed=1", &change, name]);
    let other = run("other");
    let alert = agent.wait_for_alert(PRIVILEGED, |alert| container_id(alert) == other);
    assert_eq!(image(&alert), name);
    let alerts = agent.alerts_after_quiet();
    let about = |id: &str| {
        alerts
            .iter()
            .any(|alert| title(alert) == PRIVILEGED && container_id(alert) == id)
    };
    assert!(
        !about(&same) && !about(&first),
        "{:#?}",
        alerts.iter().map(title).collect::<Vec<_>>()
    );
}

/// What `rules except` with these arguments says.
fn except(arguments: &[&str]) -> String {
    said(Tocsin::command().args(["rules", "except"]).args(arguments))
}

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn imported_rules_raise_alerts_in_their_authors_name() {
    let Some(sigma) = corpus_folder::require("sigmahq/rules") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("imported");
    let report = said(
        Tocsin::command()
            .args(["rules", "import"])
            .arg(&sigma)
            .arg("--into")
            .arg(&into),
    );
    assert!(
        report.contains("no source of this agent carries windows/process_creation"),
        "{report}"
    );
    assert!(into.join("LICENSE").is_file());
    let rule = "linux/process_creation/proc_creation_lnx_base64_decode.yml";
    let text = fs::read_to_string(into.join(rule)).unwrap();
    let (head, body) = text.split_once('\n').unwrap();
    assert!(head.starts_with("# imported from "), "{head}");
    assert_eq!(body, fs::read_to_string(sigma.join(rule)).unwrap());
    let again = said(
        Tocsin::command()
            .args(["rules", "import"])
            .arg(&sigma)
            .arg("--into")
            .arg(&into),
    );
    assert!(again.contains("imported: 0 new, 0 updated, "), "{again}");

    let event = json!({
        "time": 0, "category": "process_creation", "Image": "/usr/bin/base64", "CommandLine": "base64 -d secret",
    });
    let arguments = ["--min-level", "informational", "--rules-dir", into.to_str().unwrap()];
    let alerts = alerts_of(&[event], &arguments);
    let id = corpus_folder::rule_id(&sigma.join(rule));
    let alert = alerts.iter().find(|alert| rule_uid(alert) == id).unwrap();
    assert!(
        body.contains(&format!("author: {}", fact(alert, "rule.author").as_str().unwrap())),
        "{alert:#}"
    );
}
