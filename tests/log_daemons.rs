//! The node's log daemons: rsyslog over its socket, TCP and TLS, and the systemd journal.

use std::{fmt::Write as _, fs, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    deadline::wait_for,
    logging::{Logging, WRITTEN},
    ocsf::{exe, level, text},
    programs::{Dropped, run_deleted},
    receiver::Receiver,
    tls::Certificates,
    tocsin::Tocsin,
};

const TITLE: &str = "Process execution from temporary folder";

#[test]
fn rsyslog_understands_each_message_whichever_way_it_comes() {
    let Some(logging) = Logging::new() else { return };
    let certificates = logging.certificates("ours");
    let Certificates {
        authority,
        server,
        client,
    } = &certificates;
    let (plain, encrypted) = (Receiver::reserve().port(), Receiver::reserve().port());
    let _rsyslog = logging.rsyslog(&format!(
        "global(DefaultNetstreamDriverCAFile=\"{}\" DefaultNetstreamDriverCertFile=\"{}\" \
         DefaultNetstreamDriverKeyFile=\"{}\")\nmodule(load=\"imtcp\")\n\
         input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{plain}\")\n\
         input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{encrypted}\" StreamDriver.Name=\"ossl\" \
         StreamDriver.Mode=\"1\" StreamDriver.AuthMode=\"x509/certvalid\")",
        authority.display(),
        server.0.display(),
        server.1.display(),
    ));
    for port in [plain, encrypted] {
        wait_for("rsyslog's port", WRITTEN, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
    }
    let unix = format!("unix:{}", logging.path("log").display());
    let tcp = format!("tcp://127.0.0.1:{plain}");
    let tls = format!("tls://127.0.0.1:{encrypted}");
    let ours = |with_client: bool| {
        let mut files = vec![("ca", authority)];
        if with_client {
            files.extend([("certificate", &client.0), ("key-file", &client.1)]);
        }
        files
    };
    for (address, files, form) in [(&unix, vec![], ""), (&tcp, vec![], "ocsf"), (&tls, ours(true), "")] {
        let before = logging.messages().len();
        let (report, id) = selftest(&logging, address, &files, form);
        assert_eq!(report, "syslog: delivered");
        let message = wait_for("the message at rsyslog", WRITTEN, || {
            logging.messages().into_iter().nth(before)
        });
        check_message(&message, &id, form);
    }
    for (files, reason) in [
        (ours(false), "failed: "),
        (
            vec![("ca", &logging.certificates("others").authority)],
            "failed: sending to tls://127.0.0.1:",
        ),
    ] {
        let (report, _) = selftest(&logging, &tls, &files, "");
        assert!(report.starts_with("syslog: ") && report.contains(reason), "{report}");
    }
    assert_eq!(
        logging.messages().len(),
        3,
        "what is not trusted gets nothing, and the other way round"
    );
}

fn check_message(message: &Value, id: &str, form: &str) {
    let field = |name: &str| message[name].as_str().unwrap_or_default();
    let header = [
        "app-name",
        "msgid",
        "protocol-version",
        "syslogfacility",
        "syslogseverity",
    ]
    .map(field);
    assert_eq!(header, ["tocsin", "health", "1", "10", "6"], "{message}");
    assert!(
        !field("procid").is_empty() && !field("hostname").is_empty(),
        "{message}"
    );
    let data = &message["$!"]["rfc5424-sd"]["tocsin@32473"];
    assert_eq!(data["alert.id"], id, "{message}");
    assert_eq!(data["rule.title"], "Test alert");
    assert_eq!(data["health.kind"], "selftest");
    if form.is_empty() {
        assert_eq!(
            field("msg").trim_start(),
            "Test alert: asked for by tocsin selftest: nothing has happened"
        )
    } else {
        let alert: Value = serde_json::from_str(field("msg")).unwrap();
        assert_eq!(text(&alert, "/finding_info/uid"), id);
    }
}

#[test]
fn rsyslog_gets_what_happened_while_it_was_away() {
    let Some(logging) = Logging::new() else { return };
    let port = Receiver::reserve().port();
    let input = format!("module(load=\"imtcp\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")");
    let configuration = configuration(&logging, &format!("tcp://127.0.0.1:{port}"), &[], "");
    let rsyslog = logging.rsyslog(&input);
    let agent = Tocsin::start_in(&logging.path("state"), &configuration, &[]);
    let arrived = |program: &str| {
        wait_for(&format!("message about {program} at rsyslog"), WRITTEN, || {
            // rsyslog writes names in small letters.
            let of_it = |message: &Value| message["$!"]["rfc5424-sd"]["tocsin@32473"]["image"] == program;
            logging.messages().iter().any(of_it).then_some(())
        });
    };
    arrived(&run_deleted("/dev/shm"));
    drop(rsyslog);
    let meanwhile = run_deleted("/dev/shm");
    agent.wait_for_alert(TITLE, |alert| exe(alert) == meanwhile);
    let _rsyslog = logging.rsyslog(&input);
    arrived(&meanwhile);
    arrived(&run_deleted("/dev/shm"));
    assert!(agent.stop().0.success());
}

#[test]
fn the_journal_has_a_field_for_each_fact() {
    let Some(logging) = Logging::new() else { return };
    let _journald = logging.journald();
    let path = logging.path("tocsin.toml");
    let socket = logging.path("journal/socket");
    let text = format!("[output.journald]\nenabled = true\nsocket = '{}'\n", socket.display());
    fs::write(&path, text).unwrap();
    let agent = Tocsin::start_in(&logging.path("state"), &path, &[]);
    let dropped = Dropped::new("/dev/shm");
    dropped.run(&["--password", "hunter2"]);
    let alert = agent.wait_for_alert(TITLE, |alert| exe(alert) == dropped.text());
    let id = crate::ocsf::text(&alert, "/finding_info/uid");
    let entry = wait_for("the entry in the journal", WRITTEN, || {
        logging.entries("TOCSIN_ALERT_ID", id).pop()
    });
    assert_eq!(entry["TOCSIN_IMAGE"], dropped.text());
    let redacted = format!("{} --password [redacted]", dropped.text());
    assert_eq!(entry["TOCSIN_COMMANDLINE"], redacted);
    assert_eq!(entry["SYSLOG_IDENTIFIER"], "tocsin");
    // Below cargo, a program in shared memory is a build's.
    let priority = if level(&alert) == "Low" { "5" } else { "3" };
    assert_eq!(entry["PRIORITY"], priority, "{}", level(&alert));
    assert_eq!(entry["_PID"], agent.pid().to_string());
    assert_eq!(entry["MESSAGE_ID"], crate::ocsf::rule_uid(&alert).replace('-', ""));
    assert!(!entry.to_string().contains("hunter2"));
    assert!(agent.stop().0.success());
}

/// What the report says of the output, and the alert's id.
fn selftest(logging: &Logging, address: &str, files: &[(&str, &PathBuf)], form: &str) -> (String, String) {
    let configuration = configuration(logging, address, files, form);
    let output = Tocsin::command()
        .args(["selftest", "--config"])
        .arg(configuration)
        .output()
        .unwrap();
    let alert: Value = serde_json::from_slice(&output.stdout).unwrap_or(json!(null));
    let report = String::from_utf8(output.stderr).unwrap();
    let last = report.lines().last().unwrap_or_default().to_owned();
    (last, text(&alert, "/finding_info/uid").to_owned())
}

fn configuration(logging: &Logging, address: &str, files: &[(&str, &PathBuf)], form: &str) -> PathBuf {
    let mut settings = format!("[output.syslog]\naddress = '{address}'\nfacility = 'authpriv'\n");
    for (name, file) in files {
        writeln!(settings, "{name} = '{}'", file.display()).unwrap();
    }
    if !form.is_empty() {
        writeln!(settings, "format = '{form}'").unwrap();
    }
    let path = logging.path("tocsin.toml");
    fs::write(&path, settings).unwrap();
    path
}
