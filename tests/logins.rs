//! Logins: a real sshd, whose lines a real rsyslog or journald keeps, and real clients that know the password or do not.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    mem::MaybeUninit,
    os::{fd::AsFd as _, unix::net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
};

use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
    process::Signal,
};
use serde_json::Value;

use crate::{
    deadline::wait_for,
    logging::{Daemon, Logging, WRITTEN},
    ocsf::{brief, fact, level, text, title},
    tocsin::{PATIENCE, Tocsin},
    web_host::WebHost,
};

const GUESSED: &str = "Login after failed attempts from a new address";
const LISTED: &str = "Login from a known suspicious IP address";

const PORT: &str = "2222";

/// `admin` has the password `tocsin`, and the key that root has here.
const PREPARE: &str = r#"
    mkdir -p /run/sshd && ssh-keygen -A >/dev/null
    (umask 077; echo 'admin:$5$saltsalt$q47tfWi2ViU8xxqP04744JGDFfVr3bg74qJKTfxC.99:19000:0:99999:7:::' >/etc/shadow)
    printf '%s\n' 'UsePAM no' 'MaxAuthTries 20' >/etc/ssh/sshd_config
    ssh-keygen -q -t ed25519 -N '' -f /root/key
    mkdir -p /home/admin/.ssh && cp /root/key.pub /home/admin/.ssh/authorized_keys
    chown -R 1000:1000 /home/admin && chmod 700 /home/admin/.ssh
    printf '#!/bin/sh\necho "$PASSWORD"\n' >/root/ask && chmod 755 /root/ask
"#;

/// A host with an SSH server, and who keeps its log.
struct Door {
    host: WebHost,
    logging: Logging,
}

impl Door {
    fn new() -> Option<Self> {
        let (host, logging) = (WebHost::start()?, Logging::new()?);
        host.run(PREPARE);
        Some(Self { host, logging })
    }

    /// Starts an agent that reads logins as these settings say, and knows of bad addresses.
    fn agent(&self, settings: &str) -> Tocsin {
        let (config, feed) = (self.logging.path("tocsin.toml"), self.logging.path("feed"));
        fs::write(&feed, "127.5.0.66\n127.5.0.67\n127.5.0.68\n").unwrap();
        let feed = format!("[feed.known]\npath = '{}'\nconfidence = 90\n", feed.display());
        fs::write(&config, format!("[logins]\n{settings}\n{feed}")).unwrap();
        Tocsin::start_in(&self.logging.path("state"), &config, &[])
    }

    /// Comes from that address and tries these words.
    fn try_from(&self, address: &str, user: &str, options: &[&str], password: &str) -> bool {
        let mut ssh = self.host.command("setsid");
        ssh.args([
            "-w",
            "ssh",
            "-F",
            "/dev/null",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ]);
        ssh.args(["-b", address, "-p", PORT]).args(options);
        ssh.arg(format!("{user}@127.0.0.1")).arg("true");
        ssh.env("SSH_ASKPASS", "/root/ask").env("SSH_ASKPASS_REQUIRE", "force");
        ssh.env("PASSWORD", password).env_remove("SSH_AUTH_SOCK");
        ssh.stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    }

    fn fails(&self, address: &str, user: &str, times: usize) {
        let prompts = format!("NumberOfPasswordPrompts={times}");
        let options = ["-o", "PubkeyAuthentication=no", "-o", &prompts];
        assert!(!self.try_from(address, user, &options, "wrong"), "{address}");
    }

    fn comes_in(&self, address: &str) {
        let options = ["-o", "PubkeyAuthentication=no"];
        assert!(self.try_from(address, "admin", &options, "tocsin"), "{address}");
    }

    fn comes_in_by_key(&self, address: &str) {
        let options = ["-i", "/root/key", "-o", "PasswordAuthentication=no"];
        assert!(self.try_from(address, "admin", &options, ""), "{address}");
    }
}

/// The sshd of a host that writes to this test, which hands its lines to the journal as sshd would.
struct Relayed(Child);

impl Relayed {
    fn start(door: &Door) -> Self {
        let mut sshd = door.host.command("/usr/sbin/sshd");
        let mut child = sshd
            .args(["-D", "-e", "-p", PORT])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (journal, pid) = (UnixDatagram::unbound().unwrap(), child.id());
        journal.connect(door.logging.path("journal/dev-log")).unwrap();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // What is for the facility auth, and of interest.
                let message = format!("<38>sshd[{pid}]: {}", line.trim_end());
                journal.send(message.as_bytes()).unwrap();
            }
        });
        Self(child)
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn source(alert: &Value) -> &str {
    text(alert, "/evidences/0/src_endpoint/ip")
}

/// What was said of logins: title, address and level.
fn said(agent: &Tocsin) -> Vec<(String, String, String)> {
    let alerts = agent.alerts();
    let of_logins = alerts.iter().filter(|alert| [GUESSED, LISTED].contains(&title(alert)));
    let mut said: Vec<_> = of_logins
        .map(|alert| [title(alert), source(alert), level(alert)].map(str::to_owned).into())
        .collect();
    said.sort();
    said
}

fn expected(alerts: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    let texts =
        |(title, source, level): &(&str, &str, &str)| ((*title).to_owned(), (*source).to_owned(), (*level).to_owned());
    alerts.iter().map(texts).collect()
}

fn wait_for_login(agent: &Tocsin, title: &str, address: &str) -> Value {
    agent.wait_for_alert(title, |alert| source(alert) == address)
}

/// What all agents have to tell apart, whoever keeps the log.
fn check_first_agent(door: &Door, agent: &Tocsin, between: impl FnOnce()) {
    // The usual address, where somebody mistypes now and then.
    door.comes_in("127.1.0.1");
    door.fails("127.1.0.1", "admin", 6);
    door.comes_in("127.1.0.1");
    door.fails("127.2.0.1", "admin", 6);
    door.fails("127.3.0.1", "admin", 3);
    between();
    door.fails("127.3.0.1", "admin", 3);
    door.comes_in("127.3.0.1");
    let guessed = wait_for_login(agent, GUESSED, "127.3.0.1");
    assert_eq!(text(&guessed, "/evidences/0/actor/user/name"), "admin");
    assert_eq!(fact(&guessed, "login.failures"), 6, "{}", brief(&guessed));
    assert_eq!(fact(&guessed, "login.method"), "password");
    // A name that says another address, and others beside it.
    for name in ["x from 127.1.0.1 port 22 ssh2", "root", "oracle"] {
        door.fails("127.4.0.1", name, 2);
    }
    door.comes_in("127.4.0.1");
    wait_for_login(agent, GUESSED, "127.4.0.1");
    door.fails("127.7.0.1", "admin", 6);
    door.comes_in_by_key("127.7.0.1");
    door.fails("127.5.0.66", "admin", 1);
    door.comes_in_by_key("127.5.0.66");
    let listed = wait_for_login(agent, LISTED, "127.5.0.66");
    assert_eq!(fact(&listed, "threat.feed"), "known");
    assert_eq!(
        said(agent),
        expected(&[
            (GUESSED, "127.3.0.1", "Medium"),
            (GUESSED, "127.4.0.1", "High"),
            (GUESSED, "127.7.0.1", "Low"),
            (LISTED, "127.5.0.66", "High"),
        ])
    );
}

/// Another agent knows what the first has learned, judges what came meanwhile, and repeats nothing.
fn check_second_agent(door: &Door, first: Tocsin, settings: &str) {
    door.fails("127.6.0.1", "admin", 3);
    // The last that the first is to see.
    door.comes_in("127.5.0.67");
    wait_for_login(&first, LISTED, "127.5.0.67");
    assert!(first.stop().0.success());
    door.fails("127.6.0.1", "admin", 3);
    let second = door.agent(settings);
    door.comes_in("127.6.0.1");
    wait_for_login(&second, GUESSED, "127.6.0.1");
    door.fails("127.3.0.1", "admin", 6);
    door.comes_in("127.3.0.1");
    door.comes_in("127.5.0.68");
    wait_for_login(&second, LISTED, "127.5.0.68");
    let expected = expected(&[(GUESSED, "127.6.0.1", "Medium"), (LISTED, "127.5.0.68", "High")]);
    assert_eq!(said(&second), expected);
    let status = Tocsin::command()
        .args(["status", "--socket"])
        .arg(door.logging.path("state/control.sock"))
        .output()
        .unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains(", 0 not understood"), "{status}");
    assert!(second.stop().0.success());
}

#[test]
fn a_guessed_password_stands_in_auth_log() {
    let Some(door) = Door::new() else { return };
    let (log, socket) = (
        door.logging.path("auth.log"),
        format!("/proc/{}/root/dev/log", door.host.pid()),
    );
    fs::write(&log, "").unwrap();
    let rsyslog = format!(
        "input(type=\"imuxsock\" Socket=\"{socket}\" ruleset=\"auth\")\nruleset(name=\"auth\") {{\n\
         action(type=\"omfile\" file=\"{}\" template=\"RSYSLOG_TraditionalFileFormat\")\n}}",
        log.display()
    );
    let _rsyslog = door.logging.rsyslog(&rsyslog);
    wait_for("rsyslog's other socket", PATIENCE, || {
        Path::new(&socket).exists().then_some(())
    });
    door.host.run(&format!("/usr/sbin/sshd -p {PORT}"));
    let settings = format!("source = 'file'\nfile = '{}'", log.display());
    let agent = door.agent(&settings);
    check_first_agent(&door, &agent, || rotate(&door.logging, &log));
    check_second_agent(&door, agent, &settings);
}

fn rotate(logging: &Logging, log: &Path) {
    let notify = format!("kill -HUP $(cat {})", logging.path("rsyslog.pid").display());
    logging.logrotate(
        log,
        &format!("rotate 3\nnocompress\ncreate\npostrotate\n{notify}\nendscript"),
    );
    let rotated = PathBuf::from(format!("{}.1", log.display()));
    assert!(rotated.exists() && log.exists());
}

#[test]
fn a_guessed_password_stands_in_the_journal() {
    let Some(door) = Door::new() else { return };
    let journald = door.logging.journald();
    wait_for("the journal's socket", WRITTEN, || {
        door.logging.path("journal/dev-log").exists().then_some(())
    });
    let _sshd = Relayed::start(&door);
    let settings = format!(
        "source = 'journal'\njournal = '{}'",
        door.logging.path("logs").display()
    );
    wait_for("the journal", WRITTEN, || {
        let mut lines = door.logging.entries("SYSLOG_IDENTIFIER", "sshd").into_iter();
        lines.find(|entry| entry.to_string().contains("Server listening"))
    });
    let agent = door.agent(&settings);
    check_first_agent(&door, &agent, || {
        anybody_writes_what_is_too_large(&door.logging);
        journald_rotates(&journald, &door.logging);
    });
    let lost = agent.wait_for_alert("Events were lost", |_| true);
    assert!(
        brief(&lost).contains("1 entries of the journal cannot be read"),
        "{}",
        brief(&lost)
    );
    check_second_agent(&door, agent, &settings);
}

/// Two entries for those who read logins: of many fields, and of one that nobody unpacks. It takes no rights.
fn anybody_writes_what_is_too_large(logging: &Logging) {
    let fields: String = (0..300).map(|number| format!("F{number}=x\n")).collect();
    let entry = |message: &str, more: &str| format!("SYSLOG_FACILITY=10\nMESSAGE={message}\n{more}");
    let journal = UnixDatagram::unbound().unwrap();
    journal.connect(logging.path("journal/socket")).unwrap();
    journal.send(entry("of many fields", &fields).as_bytes()).unwrap();

    let large = memfd_create("entry", MemfdFlags::ALLOW_SEALING).unwrap();
    let text = entry("too large", &format!("F={}\n", "x".repeat(2 << 20)));
    rustix::io::write(&large, text.as_bytes()).unwrap();
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&large, seals).unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files = [large.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&files)));
    sendmsg(&journal, &[], &mut control, SendFlags::empty()).unwrap();
    for message in ["of many fields", "too large"] {
        wait_for("the entry", WRITTEN, || logging.entries("MESSAGE", message).pop());
    }
}

fn journald_rotates(journald: &Daemon, logging: &Logging) {
    journald.signal(Signal::USR2);
    let machine = logging.path("logs/0123456789abcdef0123456789abcdef");
    wait_for("the archived journal", WRITTEN, || {
        let mut files = fs::read_dir(&machine).unwrap().flatten();
        files.find(|file| file.file_name().as_encoded_bytes().contains(&b'@'))
    });
}
