//! The webhook: down, slow, refusing, with a certificate that nobody signed.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    deadline::wait_for,
    logging::Logging,
    ocsf::{exe, fact, text, title},
    programs::run_deleted,
    receiver::{Answer, Posted, Receiver},
    tls::Certificates,
    tocsin::{PATIENCE, Tocsin},
};

const TITLE: &str = "Process execution from temporary folder";
pub(crate) const SECRET: &str = "whsec_dGhpcyBpcyBhIHNlY3JldCBvZiB0ZXN0cw==";

#[test]
fn a_webhook_that_is_down_gets_all_later_and_is_one_alert() {
    let folder = tempfile::tempdir().unwrap();
    let address = Receiver::reserve();
    let secret = folder.path().join("secret");
    write_secret(&secret, SECRET);
    let agent = start(
        &folder,
        &format!("url = 'http://{address}/in'\nsecret-file = '{}'\n", secret.display()),
    );
    let provoked: Vec<_> = (0..3).map(|_| run_deleted("/dev/shm")).collect();
    let down = agent.wait_for_alert("An output is down", |_| true);
    let expected = format!("webhook: posting to http://{address}: Connection refused (os error 111)");
    assert_eq!(fact(&down, "health.detail"), &expected);

    let receiver = Receiver::start(address, |_, _| Answer::Status(200));
    agent.wait_for_alert("An output works again", |_| true);
    wait_for("the end of the outage at the webhook", PATIENCE, || {
        posted(&receiver, "An output works again").pop()
    });
    let (status, alerts) = agent.stop();
    assert!(status.success());
    let bodies: Vec<Value> = receiver.posted().iter().map(Posted::json).collect();
    assert_eq!(uids(&bodies), uids(&alerts), "each once and in order");
    let of_ours: Vec<_> = bodies
        .iter()
        .map(exe)
        .filter(|exe| provoked.iter().any(|program| program == exe))
        .collect();
    assert_eq!(of_ours, provoked);
    assert_eq!(
        posted(&receiver, "An output is down").len(),
        1,
        "the outage is no alert about itself"
    );
    assert!(receiver.posted().iter().all(|posted| is_signed(posted, SECRET)));
}

#[test]
fn what_a_webhook_answers_decides_what_becomes_of_an_alert() {
    let folder = tempfile::tempdir().unwrap();
    let [broken, refused, slow] = ["broken", "refused", "slow"].map(|_| run_name());
    let told = [broken.clone(), refused.clone(), slow.clone()];
    let receiver = Receiver::start("127.0.0.1:0".parse().unwrap(), move |posted, before| {
        let alert = posted.json();
        let which = told
            .iter()
            .position(|name| text(&alert, "/evidences/0/process/cmd_line").ends_with(name));
        match (which, before) {
            (Some(0), 0 | 1) => Answer::Status(500),
            (Some(1), _) => Answer::Status(400),
            (Some(2), 0) => Answer::Silence,
            _ => Answer::Status(204),
        }
    });
    let agent = start(
        &folder,
        &format!("url = 'http://{}/in'\ntimeout = '1s'\n", receiver.address),
    );
    let dropped = crate::programs::Dropped::new("/dev/shm");
    let tries = |name: &str, count: usize| {
        dropped.run(&[name]);
        wait_for("the tries", PATIENCE, || {
            let all = receiver.posted();
            let tries: Vec<_> = all.iter().filter(|posted| of(posted, name)).collect();
            (tries.len() == count).then(|| {
                assert!(
                    tries
                        .iter()
                        .all(|posted| posted.header("webhook-id") == tries[0].header("webhook-id"))
                );
            })
        });
    };
    tries(&broken, 3);
    tries(&refused, 1);
    let lost = agent.wait_for_alert("Alerts were lost", |_| true);
    let expected = format!(
        "webhook: 1 alerts lost, 1 since the start: posting to http://{}: the answer is 400 Bad Request: reason",
        receiver.address
    );
    assert_eq!(fact(&lost, "health.detail"), &expected);
    tries(&slow, 2);
    wait_for("the loss at the webhook", PATIENCE, || {
        posted(&receiver, "Alerts were lost").pop()
    });
    let (status, alerts) = agent.stop();
    assert!(status.success());
    assert!(
        alerts.iter().all(|alert| title(alert) != "An output is down"),
        "two failures are no outage"
    );
    let count = receiver.posted().iter().filter(|posted| of(posted, &refused)).count();
    assert_eq!(count, 1, "what is refused is not tried again");
}

#[test]
fn a_queue_that_is_full_is_an_alert_while_the_webhook_is_down() {
    let folder = tempfile::tempdir().unwrap();
    let address = Receiver::reserve();
    let agent = start(
        &folder,
        &format!("url = 'http://{address}/in'\nqueue = 4\nmin-level = 'high'\n"),
    );
    let programs: Vec<_> = (0..8).map(|_| run_deleted("/dev/shm")).collect();
    let lost = agent.wait_for_alert("Alerts were lost", |_| true);
    let detail = fact(&lost, "health.detail").as_str().unwrap();
    assert!(
        detail.starts_with("webhook: ") && detail.ends_with(": more came than its queue holds"),
        "{detail}"
    );
    let receiver = Receiver::start(address, |_, _| Answer::Status(200));
    let last = programs.last().unwrap();
    wait_for("the last alert at the webhook", PATIENCE, || {
        receiver
            .posted()
            .iter()
            .any(|posted| exe(&posted.json()) == last)
            .then_some(())
    });
    let arrived = posted(&receiver, TITLE).len();
    assert!(
        (4..=5).contains(&arrived),
        "{arrived}: the queue, and the one that was in hand"
    );
    assert!(agent.stop().0.success());
}

#[test]
fn a_webhook_is_believed_by_its_certificate() {
    let Some(logging) = Logging::new() else { return };
    let (certificates, others) = (logging.certificates("ours"), logging.certificates("others"));
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    write_secret(&token, "t0ken");
    let check = |receiver: &Receiver, files: &[(&str, &PathBuf)]| {
        let mut settings = format!("url = 'https://{}/in'\nformat = 'falco'\n", receiver.address);
        for (name, file) in files {
            writeln!(settings, "{name} = '{}'", file.display()).unwrap();
        }
        let output = Tocsin::command()
            .args(["selftest", "--config"])
            .arg(configuration(&folder, &settings))
            .output()
            .unwrap();
        let report = String::from_utf8(output.stderr).unwrap();
        let last = report.lines().last().unwrap_or_default().to_owned();
        let prefix = format!("webhook: failed: posting to https://{}: ", receiver.address);
        last.replace(&prefix, "failed: ")
    };
    let Certificates { authority, client, .. } = &certificates;
    let receiver = Receiver::start_tls(&certificates, false);
    let others_authority = &others.authority;
    let unknown = "failed: invalid peer certificate: UnknownIssuer";
    let bad = check(&receiver, &[("ca", others_authority)]);
    assert!(bad == unknown || bad.contains("BadSignature"), "{bad}");
    assert_eq!(
        check(&receiver, &[("ca", authority), ("token-file", &token)]),
        "webhook: delivered"
    );
    let [posted] = &receiver.posted()[..] else {
        panic!("one has arrived")
    };
    assert_eq!(posted.header("authorization"), "Bearer t0ken");
    assert_eq!(posted.header("content-type"), "application/json");
    assert_eq!(posted.json()["output_fields"]["tocsin.matched.health.kind"], "selftest");

    let receiver = Receiver::start_tls(&certificates, true);
    let error = check(&receiver, &[("ca", authority)]);
    assert!(
        error.starts_with("failed: ") && error.contains("CertificateRequired"),
        "{error}"
    );
    let ours = [("ca", authority), ("certificate", &client.0), ("key-file", &client.1)];
    assert_eq!(check(&receiver, &ours), "webhook: delivered");
    assert_eq!(receiver.posted().len(), 1);
}

fn start(folder: &TempDir, settings: &str) -> Tocsin {
    let configuration = configuration(folder, settings);
    Tocsin::start_in(&folder.path().join("state"), &configuration, &["--dedup", "0"])
}

fn configuration(folder: &TempDir, settings: &str) -> PathBuf {
    let path = folder.path().join("tocsin.toml");
    fs::write(&path, format!("[output.webhook]\n{settings}")).unwrap();
    path
}

pub(crate) fn write_secret(file: &Path, secret: &str) {
    fs::write(file, format!("{secret}\n")).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A word that no other command line has.
fn run_name() -> String {
    let folder = tempfile::tempdir().unwrap();
    folder.path().file_name().unwrap().to_string_lossy().into_owned()
}

fn of(posted: &Posted, name: &str) -> bool {
    text(&posted.json(), "/evidences/0/process/cmd_line").ends_with(name)
}

/// The alerts of that title that have arrived.
fn posted(receiver: &Receiver, wanted: &str) -> Vec<Value> {
    let alerts = receiver.posted().iter().map(Posted::json).collect::<Vec<_>>();
    alerts.into_iter().filter(|alert| title(alert) == wanted).collect()
}

fn uids(alerts: &[Value]) -> Vec<&str> {
    alerts.iter().map(|alert| text(alert, "/finding_info/uid")).collect()
}

/// As a receiver checks it, by the specification of Standard Webhooks.
pub(crate) fn is_signed(posted: &Posted, secret: &str) -> bool {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let secret = BASE64_STANDARD.decode(secret.trim_start_matches("whsec_")).unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
    let head = format!(
        "{}.{}.",
        posted.header("webhook-id"),
        posted.header("webhook-timestamp")
    );
    let signed = [head.as_bytes(), &posted.body].concat();
    let signature = posted.header("webhook-signature").strip_prefix("v1,").unwrap();
    let signature = BASE64_STANDARD.decode(signature).unwrap();
    ring::hmac::verify(&key, &signed, &signature).is_ok()
}
