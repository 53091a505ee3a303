//! `tocsin scan` on a node that was broken into before anybody looked.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    dockerd::Dockerd,
    ocsf::{activity, brief, command_line, container_id, exe, fact, pid, title},
    tocsin::Tocsin,
    web_host::WebHost,
};

/// A debug build on a busy machine; what a scan may take is measured by the bench.
const LIMIT: Duration = Duration::from_secs(20);
/// Whether an alert is the one that is looked for.
type Test<'a> = &'a dyn Fn(&Value) -> bool;
/// What a page was told to run, and still does.
const WEB_SHELL: &str = "sleep 1000; id; : left behind";

#[test]
fn a_scan_finds_all_that_was_left_behind() {
    let Some(host) = WebHost::start() else { return };
    let Some(dockerd) = Dockerd::start_with(&["-H", "tcp://127.0.0.1:23750"]) else {
        return;
    };
    let privileged = dockerd.run(
        "privileged",
        &["--privileged"],
        &[dockerd.import_busybox(), "sleep", "1000"],
    );
    let sshd = [dockerd.import_debian(), "/usr/sbin/sshd", "-D"];
    let sshd = dockerd.run("sshd", &["--network", "none"], &sshd);
    dockerd.wait_for_listener(&sshd, 22);
    host.run("cp /usr/bin/sleep /opt/helper; /opt/helper 1000 & sleep 0.1; rm /opt/helper");
    host.write("/srv/www/page.php", "<?php system($_GET['c']);");
    host.start_php_fpm("/opt/site/worker", "127.0.0.1:9000");
    host.start_nginx("127.0.0.1:9000");
    let _asked = host.leave_running("http://127.0.0.1/page.php", WEB_SHELL);
    host.run("for n in $(seq 500); do sleep 1000 & done");

    let began = Instant::now();
    let socket = dockerd.socket();
    let scan = [
        "scan",
        "--config",
        "/dev/null",
        "--format",
        "ocsf",
        "--fail-on",
        "medium",
    ];
    let output = Tocsin::command().args(scan).args(["--docker-socket", &socket]).output();
    let output = output.unwrap();
    let (took, log) = (began.elapsed(), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(3), "{log}");
    assert!(took < LIMIT, "a scan took {took:?}");

    let alerts: Vec<Value> = String::from_utf8(output.stdout).unwrap().lines().map(parse).collect();
    let expected: [(&str, Test); 5] = [
        ("Privileged Container Detected", &|alert| {
            container_id(alert) == privileged
        }),
        ("Exposed Docker daemon detected", &|alert| {
            pid(alert) == Some(dockerd.pid().into())
        }),
        ("SSH server is running inside a container", &|alert| {
            container_id(alert) == sshd
        }),
        ("Web shell detected", &|alert| command_line(alert).ends_with(WEB_SHELL)),
        ("Fileless execution detected", &|alert| {
            exe(alert).starts_with("/opt/helper")
        }),
    ];
    for (wanted, is_it) in expected {
        let found: Vec<_> = alerts
            .iter()
            .filter(|alert| title(alert) == wanted && activity(alert) == "Create" && is_it(alert))
            .collect();
        let all: Vec<_> = alerts.iter().map(brief).collect();
        assert_eq!(found.len(), 1, "{wanted}: {found:#?} of {all:#?}\n{log}");
        assert_eq!(fact(found[0], "event.startup"), true, "{}", brief(found[0]));
    }
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}
