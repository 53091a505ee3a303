use std::{fs, path::Path};

use jiff::SignedDuration;
use tempfile::TempDir;
use toml::Value;

use super::*;
use crate::{alert::Level, config::tests::layers};

#[test]
fn what_comes_later_wins_setting_by_setting() {
    let folder = TempDir::new().unwrap();
    let mut layers = layers(
        &folder,
        "min-level = 'high'\nrules = ['/a', '/b']\n[docker]\nsocket = '/file'\nprobe = false\n",
    );
    fs::create_dir(layers.folder()).unwrap();
    let drop_in = |name: &str, text: &str| fs::write(layers.folder().join(name), text).unwrap();
    drop_in("20-late.toml", "[docker]\nsocket = '/late'\n");
    drop_in("10-early.toml", "rules = ['/c']\ndocker.socket = '/early'\n");
    drop_in(".hidden.toml", "min-level = 'low'\n");
    drop_in("notes.txt", "min-level = 'low'\n");
    let effective = layers.read().unwrap();
    assert_eq!(effective.config.min_level, Level::High);
    assert_eq!(
        effective.config.rules,
        [Path::new("/c")],
        "a list takes the place of a list"
    );
    assert_eq!(effective.config.docker.socket.as_deref(), Some(Path::new("/late")));
    assert!(!effective.config.docker.probe);
    assert_eq!(
        effective.origin("docker.socket").to_string(),
        format!("{}:2", layers.folder().join("20-late.toml").display())
    );
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    layers.environment = vec![
        variable("TOCSIN_DOCKER_SOCKET", "/environment"),
        variable("TOCSIN_DOCKER_PROBE", "true"),
        variable("TOCSIN_RULES", "['/d', '/e']"),
        variable("TOCSIN_DEDUP", "90s"),
    ];
    layers.set("--docker-socket", "docker.socket", Value::String("/flag".into()));
    let effective = layers.read().unwrap();
    assert_eq!(effective.config.docker.socket.as_deref(), Some(Path::new("/flag")));
    assert!(effective.config.docker.probe);
    assert_eq!(effective.config.rules, [Path::new("/d"), Path::new("/e")]);
    assert_eq!(effective.config.dedup, SignedDuration::from_secs(90));
    for (path, expected) in [
        ("docker.socket", "--docker-socket"),
        ("docker.probe", "environment TOCSIN_DOCKER_PROBE"),
        ("redact", "default"),
    ] {
        assert_eq!(effective.origin(path).to_string(), expected);
    }
}

#[test]
fn variables_are_checked_and_a_slip_is_a_warning() {
    let with = |name: &str, value: &str| Layers {
        file: Some("/dev/null".into()),
        environment: vec![(name.to_owned(), value.to_owned())],
        flags: Vec::new(),
    };
    let Problems(problems) = with("TOCSIN_REDACT", "perhaps").read().unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "environment TOCSIN_REDACT: redact: expected true or false, such as true, but it is of the type string"
    );
    let warnings = |name: &str| with(name, "x").read().unwrap().warnings;
    assert_eq!(
        warnings("TOCSIN_MIN_LEVELS")[0].to_string(),
        "environment TOCSIN_MIN_LEVELS: sets nothing; did you mean TOCSIN_MIN_LEVEL?"
    );
    for other in ["TOCSIN_LOG", "TOCSIN_FIXTURES", "TOCSIN_SKIPPED", "TOCSIN_SERVICE_PORT"] {
        assert_eq!(warnings(other), [], "{other}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = TempDir::new().unwrap();
    let check = |file: &Path, expected: &str| {
        let layers = Layers {
            file: Some(file.to_owned()),
            ..Layers::default()
        };
        let Problems(problems) = layers.read().unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(
            problems[0].to_string(),
            format!("{}: cannot be read: {expected}", file.display())
        );
    };
    check(
        &folder.path().join("none.toml"),
        "No such file or directory (os error 2)",
    );
    check(folder.path(), "Is a directory (os error 21)");
    let binary = folder.path().join("binary.toml");
    fs::write(&binary, [0xff, 0xfe]).unwrap();
    check(&binary, "stream did not contain valid UTF-8");
    check(Path::new("/dev/zero"), "it has more than 1048576 bytes");
}
