//! What runs in a container: `Process execution from temporary folder`, `Fileless execution detected` and `Suspicious PHP
//! execution detected`.

use serde_json::Value;

use crate::{
    dockerd::Dockerd,
    ocsf::{activity, container_id, exe, level, title, user},
    watch::{Subject, Watch},
};

const FOLDER: &str = "Process execution from temporary folder";
const FILELESS: &str = "Fileless execution detected";
const PHP: &str = "Suspicious PHP execution detected";

/// Runs copies of `true`: one from each folder, one from memory, one whose file is gone by then, and one from a folder
/// that keeps its files.
const COPIES: &str = r#"
import os, subprocess
true = open("/bin/true", "rb").read()

def write(path):
    with open(path, "wb") as file:
        file.write(true)
    os.chmod(path, 0o755)

for path in ("/tmp/copy", "/dev/shm/copy", "/root/copy"):
    write(path)
    subprocess.run([path], check=True)

memory = os.memfd_create("copy")
os.write(memory, true)
subprocess.run([f"/proc/self/fd/{memory}"], pass_fds=[memory], check=True)

write("/root/gone")
gone = os.open("/root/gone", os.O_RDONLY)
os.unlink("/root/gone")
subprocess.run([f"/proc/self/fd/{gone}"], pass_fds=[gone], check=True)
"#;

#[test]
fn programs_from_temporary_folders_and_from_nowhere() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_debian();
    let watch = Watch::start(&dockerd);
    // Docker forbids execution in a container's shared memory unless told otherwise.
    let options = ["--network", "none", "--tmpfs", "/dev/shm:exec"];
    let id = &*dockerd.run_to_end("copies", &options, &[image, "python3", "-c", COPIES]);
    let code = ["inspect", "--format", "{{.State.ExitCode}}", id];
    assert_eq!(dockerd.docker_ok(&code), "0", "every copy ran");
    let wanted = [
        ("/dev/shm/copy", FOLDER),
        ("/root/gone", FILELESS),
        ("/tmp/copy", FOLDER),
        ("memfd:copy", FILELESS),
    ];
    let subject = Subject {
        id,
        name: "copies",
        image,
    };
    for (program, title) in wanted {
        watch.check(title, &subject, |alert| {
            exe(alert).contains(program) && level(alert) == "High"
        });
    }
    for agent in [&watch.told, &watch.untold] {
        let alerts = agent.alerts_after_quiet();
        let mut found: Vec<_> = about(&alerts, id).map(|alert| (exe(alert), title(alert))).collect();
        found.sort_unstable();
        let fits = |(found, wanted): (&(&str, &str), &(&str, &str))| found.0.contains(wanted.0) && found.1 == wanted.1;
        let each_once = found.len() == wanted.len() && found.iter().zip(&wanted).all(fits);
        assert!(each_once, "{found:?}");
    }
}

#[test]
fn php_that_runs_code_for_the_web_server() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_debian();
    let watch = Watch::start(&dockerd);
    let run = |name, user, command: &[&str]| {
        let options = ["--network", "none", "--user", user];
        dockerd.run_to_end(name, &options, &[&[image, "php"], command].concat())
    };
    let code = ["-r", "system(\"id\");"];
    let id = &*run("shell", "www-data", &code);
    let subject = Subject {
        id,
        name: "shell",
        image,
    };
    watch.check(PHP, &subject, |alert| {
        user(alert) == "www-data" && exe(alert).contains("/php")
    });
    let twins = [
        run("by-root", "root", &code),
        run("version", "www-data", &["--version"]),
        run("script", "www-data", &["/etc/hostname", "-r"]),
    ];
    let mut expected: Vec<(&str, &[&str])> = vec![(id, &[PHP])];
    expected.extend(twins.iter().map(|id| (&**id, &[] as &[&str])));
    watch.check_all(&expected);
}

/// The first alerts about that container, whatever their title.
fn about<'a>(alerts: &'a [Value], id: &str) -> impl Iterator<Item = &'a Value> {
    let ours = move |alert: &&Value| container_id(alert) == id && activity(alert) == "Create";
    alerts.iter().filter(ours)
}
