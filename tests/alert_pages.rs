//! `docs/alerts/`: each alert has its page, which names its rules, and the commands by which it is provoked do provoke it.

use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Duration};

use serde_json::Value;

use crate::{
    dockerd::Dockerd,
    memory::scan_memory,
    neighbour::{Neighbour, SOCKET},
    ocsf::{activity, brief, container_id, image, port, rule, title},
    tocsin::Tocsin,
    web_host::WebHost,
};

const FOLDER: &str = "docs/alerts";

/// Where a reader would type a page's commands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// Wherever Docker's client is.
    Docker,
    /// As root on a node.
    Host,
    /// As root on a node whose `auth.log` is read.
    Log,
    /// As root on a node, in the background; something listens at this port then.
    Listening(u16),
    /// As root on a node, before a look into memory.
    Memory,
    /// The same, where mounts are the page's own.
    Mounts,
}

/// Each page, and where its commands belong.
const PAGES: [(&str, At); 24] = [
    ("attempt-to-run-high-privilege-command-detected", At::Host),
    ("bind-shell-detected", At::Host),
    ("connection-to-a-known-suspicious-ip-address", At::Host),
    ("container-with-a-miner-image-detected", At::Docker),
    ("deleted-script-in-use-detected", At::Memory),
    ("exposed-docker-daemon-detected", At::Listening(23750)),
    ("fileless-execution-detected", At::Host),
    ("hidden-process-detected", At::Mounts),
    ("injected-code-detected", At::Memory),
    ("malware-in-memory-detected", At::Memory),
    ("preloaded-library-detected", At::Memory),
    ("login-after-failed-attempts-from-a-new-address", At::Log),
    ("login-from-a-known-suspicious-ip-address", At::Log),
    ("privileged-command-run-in-container", At::Docker),
    ("privileged-container-detected", At::Docker),
    ("process-execution-from-temporary-folder", At::Host),
    ("program-that-is-not-part-of-its-image-run-in-container", At::Docker),
    ("reverse-shell-detected", At::Host),
    ("scan-of-the-kubernetes-service-network", At::Docker),
    ("ssh-server-is-running-inside-a-container", At::Docker),
    ("suspicious-php-execution-detected", At::Host),
    ("suspicious-request-to-kubernetes-api", At::Docker),
    ("suspicious-request-to-the-kubernetes-dashboard", At::Docker),
    ("web-shell-detected", At::Host),
];

/// The images that the pages name.
const IMAGES: [&str; 3] = ["busybox", "dropbear", "xmrig/xmrig"];

fn read(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(FOLDER).join(page);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The title that a page is about.
fn title_of(page: &str) -> &str {
    page.lines().next().unwrap().strip_prefix("# ").unwrap()
}

/// The commands of the section that says how to provoke the alert.
fn commands(page: &str) -> &str {
    let section = page.split_once("\n## Provoke it\n").unwrap().1;
    let block = section.split_once("```sh\n").unwrap().1;
    block.split_once("```").unwrap().0
}

#[test]
fn each_alert_has_a_page_that_names_its_rules() {
    let listed = Tocsin::command().args(["rules", "list"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let pages = PAGES.map(|(name, _)| read(&format!("{name}.md")));
    let health = read("health.md");
    let (mut missing, mut named) = (Vec::new(), BTreeSet::new());
    for line in listed.lines() {
        let columns: Vec<_> = line
            .split("  ")
            .map(str::trim)
            .filter(|column| !column.is_empty())
            .collect();
        let [level, source, name, title] = columns[..] else {
            panic!("{line}");
        };
        if source == "health" {
            let row = format!("| {title} | `{name}` | {level} |");
            missing.extend((!health.contains(&row)).then_some(row));
        } else if !["informational", "score"].contains(&level) {
            let row = format!("| `{name}` | {level} |");
            let is_there = pages.iter().any(|page| title_of(page) == title && page.contains(&row));
            missing.extend((!is_there).then_some(format!("{title}: {row}")));
            named.insert(name);
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    let rows = pages.iter().flat_map(|page| page.lines());
    let gone = rows
        .filter_map(|row| row.strip_prefix("| `")?.split_once('`'))
        .filter(|(name, _)| !named.contains(name));
    let gone: Vec<_> = gone.map(|(name, _)| name).collect();
    assert!(gone.is_empty(), "no such rules: {gone:?}");
    let index = read("README.md");
    for (name, page) in PAGES.iter().map(|(name, _)| name).zip(&pages) {
        let link = format!("[{}]({name}.md)", title_of(page));
        assert!(index.contains(&link), "{link}");
    }
}

#[test]
fn each_page_leads_to_an_exception_of_its_rules() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rules.md");
    let rules = fs::read_to_string(rules).unwrap();
    for (name, _) in PAGES {
        let page = read(&format!("{name}.md"));
        let (_, wrong) = page.split_once("\n## When it is wrong\n").unwrap();
        assert!(wrong.contains("`tocsin rules except`"), "{name}");
        let (_, link) = wrong.split_once("[the worked example](../rules.md#").unwrap();
        let (anchor, _) = link.split_once(')').unwrap();
        let sections = rules.split("\n#### ").skip(1);
        let mut sections = sections.map(|section| section.split("\n### ").next().unwrap());
        let section = sections.find(|section| anchor_of(section.lines().next().unwrap()) == anchor);
        let section = section.unwrap_or_else(|| panic!("{name}: docs/rules.md has no #{anchor}"));
        let of_page = page.lines().filter_map(|row| row.strip_prefix("| `")?.split_once('`'));
        let mut of_page = of_page.map(|(rule, _)| rule);
        let is_excepted = |rule: &str| {
            section
                .split(|letter: char| !is_of_name(letter))
                .any(|word| word == rule)
        };
        assert!(of_page.any(is_excepted), "{name}: #{anchor} excepts none of its rules");
    }
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '-'
}

/// What a link to a heading names.
fn anchor_of(heading: &str) -> String {
    let kept = heading.chars().filter(|letter| is_of_name(*letter) || *letter == ' ');
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn each_page_provokes_its_alert() {
    let (Some(dockerd), Some(host)) = (Dockerd::start(), WebHost::start()) else {
        return;
    };
    for (image, name) in [
        (dockerd.import_busybox(), "busybox"),
        (dockerd.import_debian(), "dropbear"),
    ] {
        dockerd.docker_ok(&["tag", image, name]);
    }
    // Pages tell how to configure a feed, which must be there before; the log is that of the host.
    let state = tempfile::tempdir().unwrap();
    let (config, list) = (state.path().join("tocsin.toml"), state.path().join("list"));
    fs::write(&list, "203.0.113.66\n").unwrap();
    let settings = format!(
        "[feed.known]\npath = '{}'\nconfidence = 90\n[logins]\nsource = 'file'\nfile = '/proc/{}/root/var/log/auth.log'\n",
        list.display(),
        host.pid()
    );
    fs::write(&config, settings).unwrap();
    let agent = Tocsin::start_in(state.path(), &config, &["--docker-socket", &dockerd.socket()]);
    let watched = |(_, at): &&(&str, At)| !matches!(at, At::Memory | At::Mounts);
    for (name, at) in PAGES.iter().filter(watched) {
        let page = read(&format!("{name}.md"));
        let before = agent.alerts().len();
        let _listening = provoke(*at, commands(&page), &dockerd, &host);
        agent.wait_for_alert(title_of(&page), |alert| {
            let is_new = agent.alerts().iter().skip(before).any(|new| new == alert);
            let is_named = page.contains(&format!("| `{}` |", rule(alert)));
            activity(alert) == "Create" && is_new && is_named && is_from(*at, alert)
        });
    }
}

#[test]
fn each_page_about_memory_provokes_its_alert() {
    let Some(host) = WebHost::start() else { return };
    for (name, _) in PAGES.iter().filter(|(_, at)| *at == At::Memory) {
        host.run(commands(&read(&format!("{name}.md"))));
    }
    let mut found = scan_memory(&mut Tocsin::command(), &[]);
    for (name, _) in PAGES.iter().filter(|(_, at)| *at == At::Mounts) {
        let page = read(&format!("{name}.md"));
        let script = format!("{}\npid=$!\n\"$@\"\nkill $pid", commands(&page));
        let mut within = Command::new("unshare");
        within.args(["--mount", "sh", "-euc", &script, "sh", env!("CARGO_BIN_EXE_tocsin")]);
        found.extend(scan_memory(&mut within, &[]));
    }
    for (name, _) in PAGES.iter().filter(|(_, at)| matches!(at, At::Memory | At::Mounts)) {
        let page = read(&format!("{name}.md"));
        let is_named =
            |alert: &&Value| title(alert) == title_of(&page) && page.contains(&format!("| `{}` |", rule(alert)));
        let all: Vec<_> = found.iter().map(brief).collect();
        assert!(found.iter().any(|alert| is_named(&alert)), "{name}: {all:#?}");
    }
}

/// Whether an alert is about what was done there, and not about something else of this machine.
fn is_from(at: At, alert: &Value) -> bool {
    let process = alert.pointer("/evidences/0/process");
    match at {
        At::Docker => IMAGES.contains(&image(alert)),
        At::Host => {
            container_id(alert).is_empty() && process.is_some_and(|process| process["pid"] != process["namespace_pid"])
        }
        At::Log => process.is_none(),
        At::Listening(wanted) => port(alert) == Some(wanted.into()),
        At::Memory | At::Mounts => unreachable!("nobody watches memory"),
    }
}

/// Does what a page says; what is to listen ends when the result is dropped.
fn provoke(at: At, commands: &str, dockerd: &Dockerd, host: &WebHost) -> Option<Neighbour> {
    match at {
        At::Docker => {
            let output = dockerd.command("sh").args(["-euc", commands]).output().unwrap();
            assert!(output.status.success(), "{commands}: {output:?}");
            None
        }
        At::Host | At::Log | At::Memory | At::Mounts => {
            host.run_within(commands, Duration::from_mins(1));
            None
        }
        At::Listening(port) => {
            let script = format!("ln -s {SOCKET} /run/docker.sock\ntrap 'kill $!' TERM\n{commands}\nwait");
            Some(Neighbour::start(dockerd, &script, "", port))
        }
    }
}

#[test]
fn the_readme_names_each_alert() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    for (name, _) in PAGES {
        let page = read(&format!("{name}.md"));
        assert!(
            readme.contains(&format!("[`{}`]({FOLDER}/{name}.md)", title_of(&page))),
            "{name}"
        );
    }
}
