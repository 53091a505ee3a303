use std::net::IpAddr;

use super::*;
use crate::event::Outcome;

/// The facts of a message of that program, those that are there, as `name=value`.
fn facts(program: &str, message: &str) -> String {
    let (login, understood) = read(program, None, message).unwrap();
    let Login {
        program: _,
        process: _,
        message: _,
        outcome,
        reason,
        method,
        key,
        user,
        invalid_user,
        target_user,
        source,
        source_port,
        tty,
        directory,
        command,
        times,
        remembered: _,
    } = login;
    let texts = [
        ("user", user.into_string()),
        ("invalid", if invalid_user { "yes" } else { "" }.to_owned()),
        ("from", source.as_ref().map_or(String::new(), IpAddr::to_string)),
        ("port", source_port.map_or(String::new(), |port| port.to_string())),
        ("by", method.into_string()),
        ("why", reason.into_string()),
        ("key", key.into_string()),
        ("as", target_user.into_string()),
        ("tty", tty.into_string()),
        ("in", directory.into_string()),
        ("runs", command.into_string()),
        ("times", if times == 1 { String::new() } else { times.to_string() }),
        ("understood", if understood { "" } else { "no" }.to_owned()),
    ];
    let outcome = outcome.map_or("-", Outcome::name).to_owned();
    let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
    let texts = texts.map(|(name, text)| format!("{name}={text}"));
    std::iter::once(outcome).chain(texts).collect::<Vec<_>>().join(" ")
}

fn check(program: &str, cases: &[(&str, &str)]) {
    for (message, expected) in cases {
        assert_eq!(facts(program, message), *expected, "{program}: {message}");
    }
}

#[test]
fn what_sshd_writes_is_understood() {
    check(
        "sshd",
        &[
            (
                "Accepted password for root from 192.0.2.1 port 50022 ssh2",
                "success user=root from=192.0.2.1 port=50022 by=password",
            ),
            (
                "Accepted publickey for bob from 2001:db8::1 port 22 ssh2: ED25519 SHA256:q+7/x",
                "success user=bob from=2001:db8::1 port=22 by=publickey key=SHA256:q+7/x",
            ),
            (
                "Accepted publickey for bob from 192.0.2.1 port 22 ssh2: ED25519-CERT SHA256:own ID x from 203.0.113.1 \
                 port 1 ssh2: a (serial 0) CA ED25519 SHA256:ca",
                "success user=bob from=192.0.2.1 port=22 by=publickey key=SHA256:own",
            ),
            (
                "Accepted keyboard-interactive/pam for bob from fe80::1%eth0 port 22 ssh2",
                "success user=bob from=fe80::1 port=22 by=keyboard-interactive/pam",
            ),
            (
                "Failed password for root from ::ffff:192.0.2.1 port 4 ssh2",
                "failure user=root from=192.0.2.1 port=4 by=password why=wrong-proof",
            ),
            (
                "Failed password for invalid user admin from 192.0.2.1 port 4 ssh2",
                "failure user=admin invalid=yes from=192.0.2.1 port=4 by=password why=invalid-user",
            ),
            (
                "Failed publickey for bob from 192.0.2.1 port 4 ssh2: RSA SHA256:abc",
                "failure user=bob from=192.0.2.1 port=4 by=publickey why=wrong-proof key=SHA256:abc",
            ),
            (
                "message repeated 3 times: [ Failed password for root from 192.0.2.1 port 4 ssh2]",
                "failure user=root from=192.0.2.1 port=4 by=password why=wrong-proof times=3",
            ),
            (
                "Invalid user admin from 192.0.2.1 port 4",
                "- user=admin invalid=yes from=192.0.2.1 port=4 why=invalid-user",
            ),
            (
                "Invalid user  from 192.0.2.1",
                "- invalid=yes from=192.0.2.1 why=invalid-user",
            ),
            (
                "User eve from 192.0.2.1 not allowed because not listed in AllowUsers",
                "- user=eve from=192.0.2.1 why=not-allowed",
            ),
            (
                "ROOT LOGIN REFUSED FROM 192.0.2.1 port 4 [preauth]",
                "- user=root from=192.0.2.1 port=4 why=not-allowed",
            ),
            (
                "error: maximum authentication attempts exceeded for invalid user a b from 192.0.2.1 port 4 ssh2 [preauth]",
                "- user=a b invalid=yes from=192.0.2.1 port=4 why=too-many-attempts",
            ),
            (
                "Connection closed by authenticating user root 192.0.2.1 port 4 [preauth]",
                "- user=root from=192.0.2.1 port=4 why=given-up",
            ),
            (
                "Connection reset by invalid user a b 192.0.2.1 port 4 [preauth]",
                "- user=a b invalid=yes from=192.0.2.1 port=4 why=given-up",
            ),
            (
                "Disconnecting authenticating user root 192.0.2.1 port 4: Too many authentication failures [preauth]",
                "- user=root from=192.0.2.1 port=4 why=too-many-attempts",
            ),
            (
                "Disconnecting invalid user a 192.0.2.1 port 4: Change of username or service not allowed: \
                 (a,ssh-connection) -> (b,ssh-connection) [preauth]",
                "- invalid=yes",
            ),
            ("Disconnected from user bob 192.0.2.1 port 4", "-"),
            ("Connection closed by 192.0.2.1 port 4 [preauth]", "-"),
            ("Server listening on 0.0.0.0 port 22.", "-"),
            (
                "pam_unix(sshd:session): session opened for user bob(uid=1000) by (uid=0)",
                "-",
            ),
            (
                "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=192.0.2.1  user=root",
                "- user=root from=192.0.2.1 tty=ssh",
            ),
        ],
    );
    check(
        "sshd-session",
        &[(
            "Accepted password for bob from 192.0.2.1 port 4 ssh2",
            "success user=bob from=192.0.2.1 port=4 by=password",
        )],
    );
}

/// Whoever tries to log in chooses a name, and so what stands in the middle of a line.
#[test]
fn a_name_cannot_tell_another_address() {
    let stranger = [
        "root from 203.0.113.1 port 22 ssh2",
        "root from 203.0.113.1 port 22 ssh2: RSA SHA256:x",
        " from 203.0.113.1 port 22 ssh2 [preauth]",
        "x from 203.0.113.1",
        "x 203.0.113.1 port 22",
        "x for root from 203.0.113.1",
        "invalid user root from 203.0.113.1",
        "x not allowed because y",
        r"x\nAccepted password for root from 203.0.113.1 port 22 ssh2",
        "Accepted password for root",
        "from",
        "]",
        "\u{202e}\u{0}é",
    ];
    for name in stranger {
        let lines = [
            format!("Failed password for invalid user {name} from 192.0.2.1 port 4 ssh2"),
            format!("Failed password for {name} from 192.0.2.1 port 4 ssh2"),
            format!("Invalid user {name} from 192.0.2.1 port 4"),
            format!("Connection closed by invalid user {name} 192.0.2.1 port 4 [preauth]"),
            format!("Disconnecting invalid user {name} 192.0.2.1 port 4: Too many authentication failures [preauth]"),
            format!(
                "error: maximum authentication attempts exceeded for invalid user {name} from 192.0.2.1 port 4 ssh2 [preauth]"
            ),
            format!("User {name} from 192.0.2.1 not allowed because not listed in AllowUsers"),
        ];
        for line in lines {
            let (login, _) = read("sshd", None, &line).unwrap();
            assert_eq!(login.source, Some("192.0.2.1".parse().unwrap()), "{line}");
            assert_ne!(login.outcome, Some(Outcome::Success), "{line}");
        }
    }
}

#[test]
fn a_broken_line_is_counted_and_never_believed() {
    check(
        "sshd",
        &[
            ("Accepted password for root", "- understood=no"),
            (
                "Accepted password for root from 192.0.2.1 port x ssh2",
                "- understood=no",
            ),
            (
                "Failed password for root from 192.0.2.1 port 99999 ssh2",
                "- understood=no",
            ),
            ("Failed password for root from 192.0.2.1 port 4 ssh3", "- understood=no"),
            (
                "Failed password for root from UNKNOWN port 65535 ssh2",
                "failure user=root by=password why=wrong-proof",
            ),
        ],
    );
}

#[test]
fn what_su_sudo_and_login_write_is_understood() {
    check(
        "sudo",
        &[
            (
                "    bob : TTY=pts/1 ; PWD=/home/bob ; USER=root ; COMMAND=/usr/bin/id -u",
                "success user=bob by=sudo as=root tty=pts/1 in=/home/bob runs=/usr/bin/id -u",
            ),
            (
                "bob : TTY=pts/1 ; PWD=/ ; USER=www-data ; GROUP=adm ; ENV=A=b ; COMMAND=/bin/sh -c a ; USER=eve ; COMMAND=b",
                "success user=bob by=sudo as=www-data tty=pts/1 in=/ runs=/bin/sh -c a ; USER=eve ; COMMAND=b",
            ),
            (
                "bob : user NOT in sudoers ; TTY=pts/1 ; PWD=/ ; USER=root ; COMMAND=/bin/sh",
                "failure user=bob by=sudo why=not-in-sudoers as=root tty=pts/1 in=/ runs=/bin/sh",
            ),
            (
                "bob : 3 incorrect password attempts ; TTY=pts/1 ; PWD=/ ; USER=root ; COMMAND=/bin/sh",
                "failure user=bob by=sudo why=wrong-proof as=root tty=pts/1 in=/ runs=/bin/sh",
            ),
            (
                "bob : HOST=web ; a password is required ; TTY=unknown ; PWD=/ ; USER=root ; COMMAND=list",
                "failure user=bob by=sudo why=password-required as=root tty=unknown in=/ runs=list",
            ),
            (
                "bob : command not allowed ; TTY=pts/1 ; PWD=/ ; USER=root ; COMMAND=/bin/sh",
                "failure user=bob by=sudo why=not-allowed as=root tty=pts/1 in=/ runs=/bin/sh",
            ),
            ("bob : (command continued) more", "-"),
            ("unable to resolve host web", "-"),
            (
                "pam_unix(sudo:auth): authentication failure; logname=bob uid=1000 euid=0 tty=/dev/pts/1 ruser=bob rhost=  user=bob",
                "- user=bob tty=pts/1",
            ),
        ],
    );
    check(
        "su",
        &[
            ("(to root) bob on pts/1", "success user=bob by=su as=root tty=pts/1"),
            ("(to www-data) root on none", "success user=root by=su as=www-data"),
            (
                "FAILED SU (to root) bob on pts/1",
                "failure user=bob by=su why=wrong-proof as=root tty=pts/1",
            ),
            ("Successful su for root by bob", "success user=bob by=su as=root"),
            (
                "FAILED su for root by bob",
                "failure user=bob by=su why=wrong-proof as=root",
            ),
            ("(to root", "- understood=no"),
        ],
    );
    check(
        "login",
        &[
            ("ROOT LOGIN ON tty1", "success user=root tty=tty1"),
            ("LOGIN ON tty1 BY bob FROM 192.0.2.1", "success user=bob tty=tty1"),
            (
                "FAILED LOGIN (1) on '/dev/tty1' FOR 'bob', Authentication failure",
                "failure user=bob why=wrong-proof tty=tty1",
            ),
        ],
    );
    check(
        "auth",
        &[(
            "pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser=x rhost=9.9.9.9 \
             rhost=192.0.2.1  user=eve  user=bob",
            "failure user=eve  user=bob from=192.0.2.1 by=pam why=wrong-proof tty=dovecot",
        )],
    );
    assert_eq!(read("CRON", Some(1), "pam_unix(cron:session): session opened"), None);
}

/// Prefixes of true lines, and lines with each byte missing, are taken without a panic.
#[test]
fn no_line_brings_it_down() {
    let lines = [
        "Accepted publickey for bob from 192.0.2.1 port 22 ssh2: ED25519 SHA256:q",
        "Failed password for invalid user é from 192.0.2.1 port 4 ssh2",
        "message repeated 3 times: [ Connection closed by invalid user a 192.0.2.1 port 4 [preauth]]",
        "bob : 3 incorrect password attempts ; TTY=pts/1 ; PWD=/ ; USER=root ; COMMAND=/bin/sh",
        "FAILED SU (to root) bob on pts/1",
        "FAILED LOGIN (1) on '/dev/tty1' FOR 'bob', Authentication failure",
        "pam_unix(su:auth): authentication failure; tty=pts/1 ruser=bob rhost=  user=root",
    ];
    for line in lines {
        for (at, character) in line.char_indices() {
            let without = format!("{}{}", &line[..at], &line[at + character.len_utf8()..]);
            for program in ["sshd", "sudo", "su", "login", "x"] {
                let _ = read(program, None, &line[..at]);
                let _ = read(program, None, &line[at..]);
                let _ = read(program, None, &without);
            }
        }
    }
}
