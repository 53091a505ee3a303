//! `Privileged Container Detected`: told by Docker or shown by the kernel, and what merely resembles it.

use serde_json::json;

use crate::{
    dockerd::Dockerd,
    ocsf::fact,
    watch::{Subject, Watch},
};

const TITLE: &str = "Privileged Container Detected";

#[test]
fn a_privileged_container_is_told_from_its_twins() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_busybox();
    let sleep = [image, "sleep", "1000"];
    let before = dockerd.run("before", &["--privileged"], &sleep);
    let watch = Watch::start(&dockerd);
    let after = dockerd.run("after", &["--privileged"], &sleep);
    for (id, name, startup) in [(&before, "before", true), (&after, "after", false)] {
        let subject = Subject { id, name, image };
        watch.check(TITLE, &subject, |alert| {
            (fact(alert, "event.startup") == &json!(true)) == startup
        });
    }

    let never_started = dockerd.create("never-started", &["--privileged"], &sleep);
    let near: [(&str, &[&str]); 3] = [
        ("net-admin", &["--cap-add", "NET_ADMIN"]),
        ("sys-admin", &["--cap-add", "SYS_ADMIN"]),
        ("plain", &[]),
    ];
    let silent = near.map(|(name, options)| dockerd.run(name, options, &sleep));
    dockerd.docker_ok(&["restart", "--time", "0", &after]);

    let mut expected: Vec<(&str, &[&str])> = vec![(&before, &[TITLE]), (&after, &[TITLE]), (&never_started, &[])];
    expected.extend(silent.iter().map(|id| (&**id, &[] as &[&str])));
    watch.check_all(&expected);
}
