//! SigmaHQ's rules, unmodified: all load, and what they describe is noticed when it really happens.

mod actions;

use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use self::actions::{ACTIONS, Action, Program};
use crate::{
    corpus_folder::{self, rule_id},
    deadline::wait_for,
    network::{address, in_own_network, resolve, text},
    ocsf::{pid, rule_uid},
    replay::alerts_of,
    tocsin::{PATIENCE, Tocsin},
};

#[test]
fn every_rule_loads_unmodified() {
    let Some(rules) = corpus_folder::require("sigmahq/rules") else {
        return;
    };
    for (family, expected) in [
        ("linux/process_creation", 122),
        ("linux/network_connection", 5),
        ("web/webserver_generic", 13),
    ] {
        let mut check = Tocsin::command();
        let output = check.args(["rules", "check"]).arg(rules.join(family)).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{family}");
        let summary = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(summary.starts_with(&format!("{expected} rules beside ")), "{summary}");
        assert!(summary.ends_with("; 0 errors, 0 warnings\n"), "{summary}");
    }
}

#[test]
fn what_the_process_rules_describe_is_noticed() {
    let Some(rules) = corpus_folder::require("sigmahq/rules/linux/process_creation") else {
        return;
    };
    let scratch = Scratch::new();
    let folder = rules.to_str().unwrap();
    let agent = Tocsin::start(&["--rules-dir", folder, "--min-level", "informational", "--dedup", "0"]);
    let mut missing: Vec<_> = ACTIONS.iter().map(|action| (action, scratch.run(action))).collect();
    let id = |action: &Action| rule_id(&rules.join(format!("proc_creation_lnx_{}.yml", action.rule)));
    let deadline = Instant::now() + PATIENCE;
    while !missing.is_empty() && Instant::now() < deadline {
        let alerts = agent.alerts();
        missing.retain(|(action, process)| {
            let id = id(action);
            !alerts
                .iter()
                .any(|alert| rule_uid(alert) == id && is_by(alert, *process))
        });
        thread::sleep(Duration::from_millis(50));
    }
    let missing: Vec<_> = missing.iter().map(|(action, process)| (action.rule, process)).collect();
    assert!(missing.is_empty(), "not noticed: {missing:?}\n{}", agent.log());
}

/// Whether an alert is about that process or a child of it.
fn is_by(alert: &Value, process: u32) -> bool {
    let parent = alert.pointer("/evidences/0/process/parent_process/pid");
    [pid(alert), parent.and_then(Value::as_u64)].contains(&Some(process.into()))
}

/// Where the actions leave what they leave. Some rules look for `/tmp/` in a path, so it lies there.
struct Scratch {
    folder: TempDir,
    shared_memory: TempDir,
}

impl Scratch {
    fn new() -> Self {
        let scratch = Self {
            folder: tempfile::tempdir_in("/tmp").unwrap(),
            shared_memory: tempfile::tempdir_in("/dev/shm").unwrap(),
        };
        for name in ["bin", "parents"] {
            fs::create_dir(scratch.at(name)).unwrap();
        }
        for name in ["file", "passwd", ".zsh_history"] {
            fs::write(scratch.at(name), "").unwrap();
        }
        fs::copy("/bin/true", scratch.at("bin/TeamViewer_Desktop")).unwrap();
        scratch
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Does it, and gives the process id of who did.
    fn run(&self, action: &Action) -> u32 {
        let program = match action.program {
            Program::Real(name) => name.into(),
            Program::StandIn(name) => copy("/bin/true", self.at("bin").join(name)),
            Program::Parent(name) => copy("/bin/sh", self.at("parents").join(name)),
            Program::SharedMemory => copy("/bin/true", self.shared_memory.path().join("true")),
        };
        let here = self.folder.path().to_str().unwrap();
        let arguments = action
            .arguments
            .iter()
            .map(|argument| match argument.strip_prefix('@') {
                Some(rest) => format!("{here}{rest}"),
                None => argument.replace(" @/", &format!(" {here}/")),
            });
        let mut command = Command::new(&program);
        command.args(arguments).current_dir(here).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }
}

/// A copy, made once.
fn copy(from: &str, to: PathBuf) -> PathBuf {
    if !to.exists() {
        fs::copy(from, &to).unwrap();
    }
    to
}

/// A request for each rule about web servers.
#[rustfmt::skip] // one row a rule, to be read as a table
const REQUESTS: &[(&str, &str, &str, &str)] = &[
    ("web_f5_tm_utility_bash_api_request", "POST", "/mgmt/tm/util/bash", "curl"),
    ("web_iis_tilt_shortname_scan", "GET", "/x*~1*/a.aspx", "x"),
    ("web_java_payload_in_access_logs", "GET", "/?q=${@java.lang.Runtime}", "x"),
    ("web_jndi_exploit", "GET", "/?q=${jndi:ldap://127.0.0.1/Basic/Command/Base64/aWQ=}", "x"),
    ("web_path_traversal_exploitation_attempt", "GET", "f=../../../etc/passwd", "x"),
    ("web_source_code_enumeration", "GET", "/.git/config", "x"),
    ("web_sql_injection_in_access_logs", "GET", "/?id=1 UNION SELECT 1", "x"),
    ("web_ssti_in_access_logs", "GET", "/?name={{7*7}}", "x"),
    ("web_susp_useragents", "GET", "/", "sqlmap/1.7"),
    ("web_susp_windows_path_uri", "GET", "f=C:/Windows/win.ini", "x"),
    ("web_win_webshells_in_access_logs", "GET", "/shell.aspx?c=whoami", "x"),
    ("web_xss_in_access_logs", "GET", "/?q=<script>x", "x"),
];

#[test]
fn what_the_web_rules_describe_is_noticed_in_recorded_requests() {
    let Some(rules) = corpus_folder::require("sigmahq/rules/web/webserver_generic") else {
        return;
    };
    let request = |method: &str, query: &str, agent: Option<&str>| {
        let mut event =
            json!({"time": 1, "category": "webserver", "cs-method": method, "cs-uri-query": query, "sc-status": 200});
        if let Some(agent) = agent {
            event["cs-user-agent"] = agent.into();
        }
        event
    };
    for (file, method, query, agent) in REQUESTS {
        check_request(&rules, file, &request(method, query, Some(agent)));
    }
    // This one looks for what is absent.
    check_request(
        &rules,
        "web_webshell_regeorg",
        &request("POST", "cmd=connect&target=x", None),
    );
    let ordinary = request("GET", "/index.html?page=2", Some("Mozilla/5.0"));
    assert_eq!(replay(&rules, &ordinary), Vec::<String>::new());
}

fn check_request(rules: &Path, file: &str, event: &Value) {
    let id = rule_id(&rules.join(format!("{file}.yml")));
    let raised = replay(rules, event);
    assert!(raised.contains(&id), "{file} is not among {raised:?}");
}

/// The ids of the rules that an event raises.
fn replay(rules: &Path, event: &Value) -> Vec<String> {
    let arguments = ["--min-level", "informational", "--rules-dir", rules.to_str().unwrap()];
    let alerts = alerts_of(std::slice::from_ref(event), &arguments);
    alerts.iter().map(|alert| rule_uid(alert).to_owned()).collect()
}

#[test]
fn what_the_network_rules_describe_is_noticed() {
    let Some(rules) = corpus_folder::require("sigmahq/rules/linux/network_connection") else {
        return;
    };
    let agent = Tocsin::start(&["--rules-dir", rules.to_str().unwrap(), "--dedup", "0"]);
    let noticed = |file: &str, to: Ipv4Addr| {
        let id = rule_id(&rules.join(format!("net_connection_lnx_{file}.yml")));
        wait_for(file, PATIENCE, || {
            let alerts = agent.alerts();
            let found = alerts.iter().any(|alert| {
                let ip = alert.pointer("/evidences/0/dst_endpoint/ip");
                rule_uid(alert) == id && ip.and_then(Value::as_str) == Some(&text(to))
            });
            found.then_some(())
        });
    };
    // Nobody listens there: an attempt is enough.
    let connect = |to: Ipv4Addr, port: u16| assert!(TcpStream::connect((to, port)).is_err());
    in_own_network(|| {
        for (file, name, last) in [
            ("crypto_mining_indicators", "pool.minexmr.com", 10),
            ("domain_localtonet_tunnel", "x.localto.net", 11),
            ("ngrok_tunnel", "tunnel.eu.ngrok.com", 12),
        ] {
            resolve(name, address(last));
            connect(address(last), 443);
            noticed(file, address(last));
        }
        connect(address(13), 4444);
        noticed("susp_malware_callback_port", address(13));
        let shell = format!("exec 3<>/dev/tcp/{}/443", address(14));
        let status = Command::new("bash").args(["-c", &shell]).stderr(Stdio::null()).status();
        assert!(!status.unwrap().success());
        noticed("back_connect_shell_dev", address(14));
    });
}
