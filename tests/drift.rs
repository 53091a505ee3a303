//! Programs that are not part of a container's image: `Program that is not part of its image run in container`.

use std::fs;

use serde_json::Value;

use crate::{
    dockerd::Dockerd,
    ocsf::{activity, brief, container_id, exe, fact, level, title},
    tocsin::Tocsin,
};

const DRIFT: &str = "Program that is not part of its image run in container";

#[test]
fn who_brings_a_program_in_decides_whether_it_is_told() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_debian();
    let agent = Tocsin::start(&["--docker-socket", &dockerd.socket(), "--dedup", "0"]);
    // What an image does by itself while it is young is learned; what fetches before it runs is told.
    let own = "cp /bin/true /usr/bin/plugin; /usr/bin/plugin; chown 33 /usr/bin/id; id; exec sleep 1000";
    let id = dockerd.run("own", &["--network", "none"], &[image, "sh", "-c", own]);
    let fetch = "curl -s http://127.0.0.1:9/fetched; cp /bin/true /usr/bin/fetched; /usr/bin/fetched";
    let fetches = dockerd.run_to_end("fetches", &["--network", "none"], &[image, "sh", "-c", fetch]);
    // A script tells of none of that by its command line; nor does a date that the file had elsewhere, or an archive.
    let scripts = tempfile::tempdir().unwrap();
    let serve = "{ printf 'HTTP/1.0 200 OK\\r\\nLast-Modified: Wed, 01 Jan 2020 00:00:00 GMT\\r\\n\\r\\n'; cat /srv/x; } >/srv/answer
        socat TCP-LISTEN:8000,fork,reuseaddr SYSTEM:'cat /srv/answer' &\n";
    let ask = "curl -s --retry 9 --retry-connrefused --retry-delay 1 http://127.0.0.1:8000/x";
    for (name, script) in [
        (
            "scripted",
            "curl -so /srv/x http://127.0.0.1:9/; cp /bin/true /usr/bin/scripted; /usr/bin/scripted",
        ),
        (
            "dated",
            &format!(
                "mkdir -p /srv /opt; cp /bin/true /srv/x; {serve} {ask} -Ro /opt/dated; chmod +x /opt/dated; /opt/dated"
            ),
        ),
        (
            "unpacked",
            &format!(
                "mkdir -p /srv /opt; tar cf /srv/x -C /bin --mtime 2020-01-01 --transform s/true/unpacked/ true
                {serve} {ask} | tar x -C /opt; /opt/unpacked"
            ),
        ),
    ] {
        let path = scripts.path().join(name);
        fs::write(&path, script).unwrap();
        let mount = format!("{}:/script:ro", path.display());
        dockerd.run_to_end(name, &["--network", "none", "-v", &mount], &[image, "sh", "/script"]);
    }
    // What comes later than an entry point unpacks, or by hand.
    // Its start is known a moment after it.
    let late = "sleep 2; cp /bin/true /usr/bin/late; touch -d '5 minutes' /usr/bin/late; /usr/bin/late";
    dockerd.run_to_end("late", &["--network", "none"], &[image, "sh", "-c", late]);
    let typed = "cp /bin/true /usr/bin/typed; /usr/bin/typed";
    dockerd.run_to_end("typed", &["--network", "none", "-t"], &[image, "sh", "-c", typed]);
    // Somebody is let in.
    let bring = "cp /bin/true /usr/bin/brought; /usr/bin/brought; cp /bin/true /tmp/brought; /tmp/brought; id";
    dockerd.docker_ok(&["exec", &id, "sh", "-c", bring]);
    // An image is built.
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("Dockerfile"),
        format!("FROM {image}\nRUN {}\n", fetch.replace("fetched", "built")),
    )
    .unwrap();
    let built = dockerd
        .command("docker")
        .env("DOCKER_BUILDKIT", "0")
        .args(["build", "--network", "none", "--force-rm"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");

    let alert = agent.wait_for_alert(DRIFT, |alert| {
        exe(alert) == "/usr/bin/brought" && container_id(alert) == id
    });
    assert_eq!(
        fact(&alert, "process.exe_kind"),
        &serde_json::json!(["upper-layer"]),
        "{}",
        brief(&alert)
    );
    let alerts = agent.alerts_after_quiet();
    let of = |program: &str| {
        let ours = |alert: &&Value| exe(alert) == program && activity(alert) == "Create";
        let found = alerts.iter().filter(ours).map(|alert| (title(alert), level(alert)));
        found.collect::<Vec<_>>()
    };
    assert_eq!(of("/usr/bin/brought"), [(DRIFT, "High")]);
    assert_eq!(
        of("/tmp/brought"),
        [("Process execution from temporary folder", "High")],
        "one title speaks"
    );
    assert_eq!(of("/usr/bin/fetched"), [(DRIFT, "Medium")]);
    assert_eq!(of("/usr/bin/scripted"), [(DRIFT, "Medium")]);
    for program in ["/opt/dated", "/opt/unpacked"] {
        assert_eq!(of(program), [(DRIFT, "Medium")], "{program}");
    }
    assert_eq!(of("/usr/bin/late"), [(DRIFT, "Low")]);
    assert_eq!(of("/usr/bin/typed"), [(DRIFT, "Medium")]);
    for program in ["/usr/bin/plugin", "/usr/bin/built"] {
        assert_eq!(of(program), [], "{program}");
    }
    // Its owner was changed, and nothing else: somebody let in runs it, which is told, while the image's own run is not.
    let owner_changed = alerts
        .iter()
        .filter(|alert| exe(alert) == "/usr/bin/id" && [&id, &fetches].contains(&&container_id(alert).to_owned()));
    let owner_changed = owner_changed.map(|alert| (level(alert), fact(alert, "process.exe_kind").clone()));
    let copied_up = serde_json::json!(["upper-layer", "copied-up"]);
    assert_eq!(owner_changed.collect::<Vec<_>>(), [("Medium", copied_up)]);
}
