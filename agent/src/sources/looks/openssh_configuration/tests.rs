//! Whole configurations, as files in a folder that stands for the server's root.

use std::fs;

use super::*;

/// What is told of root and of passwords.
fn verdict(arguments: &str, files: &[(&str, &str)]) -> Option<(bool, bool)> {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let inside = Inside::at(root.path()).unwrap();
    let found = configuration(&Arguments::of(arguments), Path::new("/srv"), &inside)?;
    Some((found.permits_root_login.unwrap(), found.permits_passwords.unwrap()))
}

fn check(text: &str, expected: (bool, bool)) {
    assert_eq!(verdict("sshd -D", &[(PLACES[0], text)]), Some(expected), "{text}");
}

#[test]
fn what_is_not_said_is_as_the_server_has_it() {
    check("", (false, true));
    check("# PermitRootLogin yes\n", (false, true));
    check("PasswordAuthentication no\n", (false, false));
    check("PasswordAuthentication no\nUsePAM yes\n", (false, true));
    check(
        "PasswordAuthentication no\nUsePAM yes\nKbdInteractiveAuthentication no\n",
        (false, false),
    );
    check(
        "PasswordAuthentication no\nUsePAM yes\nChallengeResponseAuthentication no\n",
        (false, false),
    );
}

#[test]
fn every_form_of_a_line_is_read_and_the_first_counts() {
    check("  permitrootlogin = \"yes\" # why\nPermitRootLogin no\n", (true, true));
    check("PermitRootLogin=yes\nPasswordAuthentication\tNO\n", (true, false));
    for word in ["no", "prohibit-password", "without-password", "forced-commands-only"] {
        check(
            &format!("PermitRootLogin {word}\nPasswordAuthentication no"),
            (false, false),
        );
    }
}

#[test]
fn methods_that_ask_for_a_key_make_a_password_no_use() {
    check("AuthenticationMethods publickey\n", (false, false));
    check(
        "AuthenticationMethods publickey,password publickey,keyboard-interactive:pam\n",
        (false, false),
    );
    check("AuthenticationMethods publickey password\n", (false, true));
    check("AuthenticationMethods any\n", (false, true));
}

#[test]
fn what_is_permitted_to_some_is_permitted() {
    let keys = "PasswordAuthentication no\n";
    check(
        &format!("{keys}Match User git\n PasswordAuthentication yes\n"),
        (false, true),
    );
    check(
        &format!("{keys}Match Address 10.0.0.0/8\n PermitRootLogin yes\n"),
        (true, false),
    );
    check(
        "PermitRootLogin yes\nMatch User git\n PermitRootLogin no\n",
        (true, true),
    );
    check(
        "PermitRootLogin yes\nMatch all\n PermitRootLogin no\n PasswordAuthentication no\n",
        (false, false),
    );
    check(
        "Match all\n PasswordAuthentication no\nMatch User git\n PasswordAuthentication yes\n",
        (false, false),
    );
    check(
        "Match User git\n PasswordAuthentication yes\nMatch all\n PasswordAuthentication no\n",
        (false, true),
    );
}

#[test]
fn included_files_count_where_they_are_included() {
    let first = |text: &'static str| (PLACES[0], text);
    let include = "Include /etc/ssh/sshd_config.d/*.conf\nPasswordAuthentication yes\n";
    let cloud = ("/etc/ssh/sshd_config.d/50-cloud.conf", "PasswordAuthentication no\n");
    let later = (
        "/etc/ssh/sshd_config.d/60-own.conf",
        "PasswordAuthentication yes\nPermitRootLogin yes\n",
    );
    assert_eq!(verdict("sshd", &[first(include), later, cloud]), Some((true, false)));
    assert_eq!(verdict("sshd", &[first(include)]), Some((false, true)));
    let within = "PasswordAuthentication no\nMatch User git\n Include more\n";
    let more = (
        "/etc/ssh/more",
        "PermitRootLogin yes\nMatch all\n PasswordAuthentication yes\n",
    );
    assert_eq!(verdict("sshd", &[first(within), more]), Some((true, true)));
    let ended = "Include more\nPermitRootLogin yes\nPasswordAuthentication no\n";
    let block = ("/etc/ssh/more", "Match User git\nPermitRootLogin no\n");
    assert_eq!(
        verdict("sshd", &[first(ended), block]),
        Some((true, false)),
        "a block ends with its file"
    );
}

#[test]
fn arguments_come_before_files() {
    let file = [(PLACES[0], "PermitRootLogin no\nPasswordAuthentication yes\n")];
    let line = "sshd -o PermitRootLogin=yes -o PasswordAuthentication=no";
    assert_eq!(verdict(line, &file), Some((true, false)));
    let other = [("/srv/own", "PasswordAuthentication no\n")];
    assert_eq!(
        verdict("sshd -f own", &other),
        Some((false, false)),
        "below its working directory"
    );
    assert_eq!(verdict("sshd -f none -o UsePAM=no", &[]), Some((false, true)));
    assert_eq!(
        verdict("sshd", &[(PLACES[1], "PermitRootLogin yes\n")]),
        Some((true, true))
    );
    assert_eq!(verdict("sshd -f /dev/null", &file), Some((false, true)));
}

#[test]
fn what_cannot_be_read_says_nothing() {
    let endless = "Include sshd_config\n";
    for files in [
        &[][..],
        &[(PLACES[0], endless)],
        &[(PLACES[0], "Include a[bc]\n")],
        &[(PLACES[0], "Include */x\n")],
        &[(PLACES[0], &*"#".repeat(600 << 10))],
    ] {
        assert_eq!(verdict("sshd", files), None);
    }
    let many = "Match User a\n PasswordAuthentication no\n".repeat(5_000);
    assert_eq!(verdict("sshd", &[(PLACES[0], &many)]), Some((false, true)));
}
