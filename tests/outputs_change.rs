//! Outputs that change while the agent runs: no alert is lost by that, and none comes twice.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    deadline::wait_for,
    ocsf::{fact, title},
    outputs::{alerts_of, uids},
    programs::run_deleted,
    receiver::{Answer, Posted, Receiver},
    status::{sinks, trouble},
    tocsin::{PATIENCE, Tocsin},
    webhook::{SECRET, is_signed, write_secret},
};

const SECOND_SECRET: &str = "whsec_YW5vdGhlciBzZWNyZXQgb2YgdGhlIHRlc3Rz";

#[test]
fn a_webhook_moves_and_a_file_comes_and_goes_under_a_stream_of_alerts() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (config, secret, file) = (at("tocsin.toml"), at("secret"), at("alerts"));
    write_secret(&secret, SECRET);
    let taken = AtomicUsize::new(0);
    let former = Receiver::start("127.0.0.1:0".parse().unwrap(), move |_, _| {
        Answer::Status(if taken.fetch_add(1, Ordering::Relaxed) < 20 {
            200
        } else {
            503
        })
    });
    let next = Receiver::start("127.0.0.1:0".parse().unwrap(), |_, _| Answer::Status(204));
    let webhook = |receiver: &Receiver| {
        format!(
            "[output.webhook]\nurl = 'http://{}/in'\nsecret-file = '{}'\n",
            receiver.address,
            secret.display()
        )
    };
    fs::write(&config, webhook(&former)).unwrap();
    let agent = Tocsin::start_in(&at("state"), &config, &["--dedup", "0"]);
    let logged = |text: &str| wait_for(text, PATIENCE, || agent.log().contains(text).then_some(()));
    let socket = at("state/control.sock");

    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                run_deleted("/dev/shm");
            }
        });
        let changes = catch_unwind(AssertUnwindSafe(|| {
            wait_for("a former receiver that takes no more", PATIENCE, || {
                (former.posted().len() > 21).then_some(())
            });
            let trouble = trouble(&socket, "webhook");
            assert!(
                trouble.ends_with("the answer is 503 Service Unavailable: reason"),
                "{trouble}"
            );
            let file_too = format!("{}[output.file]\npath = '{}'\n", webhook(&next), file.display());
            fs::write(&config, file_too).unwrap();
            wait_for("alerts at both", PATIENCE, || {
                (next.posted().len() > 20 && alerts_of(&file).len() > 5).then_some(())
            });
            assert_eq!(sinks(&socket), ["stdout", "webhook", "file"]);

            fs::write(&config, "[output.webhook]\nurl = 'logs'\n").unwrap();
            let refused = agent.wait_for_alert("The configuration was refused", |_| true);
            let expected = format!(
                "{}:2: output.webhook.url: not http:// or https:// with a host",
                config.display()
            );
            assert_eq!(fact(&refused, "health.detail"), &expected);
            wait_for("that alert at the webhook that stays", PATIENCE, || {
                let posted = next.posted();
                posted
                    .iter()
                    .any(|posted| title(&posted.json()) == title(&refused))
                    .then_some(())
            });

            write_secret(&secret, SECOND_SECRET);
            fs::write(&config, webhook(&next)).unwrap();
            logged("output removed sink=\"file\"");
            assert_eq!(sinks(&socket), ["stdout", "webhook"]);
            signed_by(&next, SECOND_SECRET);

            // A file that a setting names is read anew when somebody says so.
            write_secret(&secret, SECRET);
            hang_up(&agent);
            signed_by(&next, SECRET);
        }));
        done.store(true, Ordering::Relaxed);
        changes.unwrap_or_else(|reason| resume_unwind(reason));
    });

    let log = agent.log();
    let (status, alerts) = agent.stop();
    assert!(status.success());
    let all = uids(&alerts);
    let posted = |receiver: &Receiver, count: usize| -> Vec<Value> {
        receiver.posted().iter().take(count).map(Posted::json).collect()
    };
    let arrived = [posted(&former, 20), posted(&next, usize::MAX)].concat();
    assert_eq!(uids(&arrived), all, "each once and in order, in spite of all\n{log}");
    let written = uids(&alerts_of(&file));
    assert!(all.windows(written.len()).any(|part| part == written), "{log}");
}

/// Waits for a request that is signed with that secret.
fn signed_by(receiver: &Receiver, secret: &str) {
    let before = receiver.posted().len();
    wait_for("a request that is signed anew", PATIENCE, || {
        let posted = receiver.posted();
        posted[before..]
            .iter()
            .any(|posted| is_signed(posted, secret))
            .then_some(())
    });
}

fn hang_up(agent: &Tocsin) {
    let pid = Pid::from_raw(agent.pid().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
}
