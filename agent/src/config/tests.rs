use std::{fs, path::Path};

use jiff::SignedDuration;
use tempfile::TempDir;

use super::{
    definition::{NAME, Setting, default_file, page, settings, settings_of},
    layers::{Layers, Origin, Problems},
    *,
};
use crate::enrich::baseline::Learning;

/// Layers with that file in a folder of its own.
pub(super) fn layers(folder: &TempDir, text: &str) -> Layers {
    let file = folder.path().join("tocsin.toml");
    fs::write(&file, text).unwrap();
    Layers {
        file: Some(file),
        ..Layers::default()
    }
}

fn read(text: &str) -> Config {
    let folder = TempDir::new().unwrap();
    layers(&folder, text).read().unwrap().config
}

/// Every problem of a file, without its folder.
fn problems(text: &str) -> Vec<String> {
    let folder = TempDir::new().unwrap();
    let Problems(problems) = layers(&folder, text).read().unwrap_err();
    let prefix = format!("{}/", folder.path().display());
    problems
        .iter()
        .map(|problem| problem.to_string().replace(&prefix, ""))
        .collect()
}

#[test]
fn an_empty_file_means_the_defaults() {
    assert_eq!(read(""), Config::default());
}

#[test]
fn every_setting_has_a_meaning_and_a_variable_of_its_own() {
    let mut variables: Vec<_> = settings().iter().map(Setting::variable).collect();
    for setting in settings() {
        assert!(setting.meaning.ends_with(['.', '…']), "{setting:?}");
    }
    variables.sort();
    variables.dedup();
    assert_eq!(variables.len(), settings().len());
    assert!(variables.contains(&"TOCSIN_DOCKER_SOCKET".to_owned()), "{variables:?}");
}

#[test]
fn the_default_file_says_the_defaults() {
    let file = default_file();
    assert_eq!(read(&file), Config::default(), "as it stands");
    let set: String = file
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let folder = TempDir::new().unwrap();
    let mut effective = layers(&folder, &set).read().unwrap();
    let feed = effective.config.feed.remove(NAME);
    assert_eq!(feed, Some(FeedSettings::default()), "an example of a feed");
    assert_eq!(effective.config, Config::default(), "with each line in force");
    for setting in settings() {
        assert!(
            matches!(effective.origin(&setting.path), Origin::File(..)),
            "{}",
            setting.path
        );
    }
}

#[test]
fn the_page_is_made_from_the_definition() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let written = fs::read_to_string(&file).unwrap_or_default();
    if written != page() {
        fs::write(&file, page()).unwrap();
        panic!("docs/configuration.md was out of date and is written anew: commit it");
    }
}

#[test]
fn settings_are_meant() {
    let text = "min-level = 'high'\ndedup = 0\nring-size = '16MiB'\n[docker]\nsocket = '/x.sock'\nprobe = false\n";
    let config = read(text);
    assert_eq!(config.min_level, Level::High);
    assert!(config.dedup.is_zero() && !config.docker.probe);
    assert_eq!(config.ring_size, 16 << 20);
    assert_eq!(
        config.runtimes().collect::<Vec<_>>(),
        [("docker", Path::new("/x.sock"))]
    );
    let text = "state = '/srv/tocsin'\ndocker.socket = ''\npodman.socket = '/p.sock'\n[baseline]\nlearning = '7d'\n\
                minutes = 1\nkeep-every = '5s'\n";
    let config = read(text);
    assert_eq!(config.state, Path::new("/srv/tocsin"));
    assert_eq!(
        config.runtimes().collect::<Vec<_>>(),
        [("podman", Path::new("/p.sock"))]
    );
    let expected = Learning {
        duration: SignedDuration::from_hours(7 * 24),
        minutes: 1,
        containers: 2,
    };
    assert_eq!(config.baseline.measure(), expected);
    assert_eq!(config.baseline.keep_every, SignedDuration::from_secs(5));
}

#[test]
fn each_fault_is_a_line_with_its_place_and_what_was_expected() {
    for (text, expected) in [
        (
            "\nmin-lvl = 'high'",
            "2: min-lvl: there is no such setting; did you mean min-level?",
        ),
        (
            "[dock]\nsocket = ''",
            "1: dock: there is no such setting; did you mean docker?",
        ),
        (
            "[docker]\nsokcet = ''",
            "2: docker.sokcet: there is no such setting; did you mean docker.socket?",
        ),
        (
            "probe = true",
            "1: probe: there is no such setting; did you mean docker.probe?",
        ),
        ("xylophone = 1", "1: xylophone: there is no such setting"),
        ("docker = 1", "1: docker: this is a section, not a setting"),
        (
            "min-level = 'loud'",
            "1: min-level: loud is no level: informational, low, medium, high or critical",
        ),
        (
            "ring-size = 3",
            "1: ring-size: 3 is no power of two from 4KiB to 256MiB",
        ),
        (
            "ring-size = '3MiB'",
            "1: ring-size: 3MiB is no power of two from 4KiB to 256MiB",
        ),
        ("dedup = -1", "1: dedup: -1 is no length of time such as 90s, 36h or 7d"),
        (
            "baseline.learning = 'a week'",
            "1: baseline.learning: a week is no length of time such as 90s, 36h or 7d",
        ),
        (
            "baseline.learning = '1 month'",
            "1: baseline.learning: 1 month is no length of time such as 90s, 36h or 7d",
        ),
        (
            "baseline.containers = 0",
            "1: baseline.containers: 0 is not from 1 to 16",
        ),
        (
            "baseline.minutes = 'many'",
            "1: baseline.minutes: expected a number, such as 3, but it is of the type string",
        ),
        (
            "rules = 7",
            "1: rules: expected a list of texts, such as [\"/etc/tocsin/rules.d\"], but it is of the type integer",
        ),
        (
            "redact = 'no'",
            "1: redact: expected true or false, such as true, but it is of the type string",
        ),
        (
            "secrets = ['a', '(hunter2']",
            "1: secrets: number 2 is no regular expression",
        ),
        ("[docker", "1: unclosed table, expected `]`"),
        ("redact = true\nredact = false", "2: duplicate key"),
    ] {
        assert_eq!(problems(text), [format!("tocsin.toml:{expected}")], "{text}");
    }
}

#[test]
fn all_that_is_wrong_is_said() {
    let found = problems("min-lvl = 'high'\nredact = 1\nstate = '/x'\n[baseline]\nminutes = 0\n");
    assert_eq!(found.len(), 3, "{found:?}");
}

#[test]
fn secrets_are_not_shown() {
    let config = read("secrets = ['hunter2']\n");
    let shown = settings_of(&config);
    let secrets = shown.iter().find(|setting| setting.path == "secrets").unwrap();
    assert_eq!(secrets.value, "[\"(not shown)\"]");
    assert_eq!(config.secrets, ["hunter2"]);
}

#[test]
fn lengths_of_time_and_sizes_are_written_as_they_are_read() {
    for text in ["0s", "90s", "10m", "36h", "7d"] {
        let config = read(&format!("dedup = '{text}'"));
        let shown = settings_of(&config);
        let dedup = shown.iter().find(|setting| setting.path == "dedup").unwrap();
        assert_eq!(dedup.value, format!("\"{text}\""));
    }
    for (text, bytes) in [
        ("4KiB", 4096),
        ("8 MiB", 8 << 20),
        ("256MiB", 1 << 28),
        ("16384", 16384),
    ] {
        assert_eq!(values::parse_ring(text), Ok(bytes), "{text}");
    }
    for text in ["", "MiB", "8MB", "512MiB", "5000000000", "-4096", "2KiB"] {
        assert!(values::parse_ring(text).is_err(), "{text}");
    }
}

#[test]
fn the_examples_of_the_page_of_feeds_are_configurations() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/threat-feeds.md");
    let page = fs::read_to_string(page).unwrap();
    let examples = page.split("```toml\n").skip(1);
    let examples = examples.filter_map(|rest| rest.split("```").next());
    let feeds: Vec<_> = examples.flat_map(|example| read(example).feed).collect();
    let of = |name: &str| feeds.iter().find(|(known, _)| known == name).unwrap().1.source();
    assert_eq!(of("feodo").unwrap().to_string(), "https://feodotracker.abuse.ch");
    assert!(matches!(of("sector"), Some(settings::Source::Taxii(_))));
    assert!(matches!(of("scanners"), Some(settings::Source::File(_))));
    assert!(matches!(of("misp"), Some(settings::Source::Url(_))));
}

#[test]
fn feeds_have_names_of_their_own() {
    let config = read("[feed.c2]\npath = '/c2'\nconfidence = 90\n[feed.dns_v4]\nformat = 'warninglist'\n");
    assert_eq!((config.feed.len(), config.feed["c2"].confidence), (2, 90));
    let other = read("[feed.c2]\npath = '/c2'\nconfidence = 80\n");
    assert!(config.changes(&other).contains(&"feed.c2.confidence".to_owned()));
    assert!(
        config.changes(&other).contains(&"feed.dns_v4.format".to_owned()),
        "it is gone"
    );
    let fetched = |word: &str| read(&format!("[feed.c2]\nurl = 'https://feeds.example/{word}'\n"));
    assert_eq!(fetched("hunter2").changes(&fetched("hunter3")), ["feed"]);
    let shown = settings_of(&fetched("hunter2"));
    assert!(
        !format!("{shown:?}").contains("hunter2"),
        "an address may hold a secret"
    );
    let shown = settings_of(&config);
    let shown = shown
        .iter()
        .find(|setting| setting.path == "feed.c2.confidence")
        .unwrap();
    assert!(shown.meaning.contains("from 0 to 100"), "{shown:?}");
    for (text, problem) in [
        ("[feed.c2]\npaht = '/c2'\n", "did you mean feed.c2.path?"),
        (
            "[feed.c2]\nconfidence = 101\n",
            "feed.c2.confidence: 101 is not from 0 to 100",
        ),
        (
            "[feed.c2]\nformat = 'xml'\n",
            "feed.c2.format: unknown variant `xml`, expected one of `auto`, `plain`, `csv`,",
        ),
        (
            "[feed.c2]\ndirection = 'up'\n",
            "feed.c2.direction: unknown variant `up`, expected one of `outbound`, `inbound`, `both`",
        ),
        (
            "[feed.c2]\nurl = 'http://feeds.example/'\n",
            "tocsin.toml:2: feed.c2.url: not https://",
        ),
        (
            "[feed.c2]\npath = '/c2'\n\nurl = 'https://feeds.example/'\n",
            "tocsin.toml:4: feed.c2.url: path is set, too: a feed has one source",
        ),
        (
            "[feed.c2]\ntaxii = 'https://x.example/'\nurl = 'https://feeds.example/'\n",
            "tocsin.toml:2: feed.c2.taxii: url is set, too",
        ),
        (
            "[feed.c2]\npath = '/c2'\nca = '/ca'\n",
            "tocsin.toml:3: feed.c2.ca: for url and taxii only",
        ),
        (
            "[feed.c2]\nurl = 'http://127.0.0.1/'\nca = '/ca'\n",
            "tocsin.toml:3: feed.c2.ca: for https:// only",
        ),
        (
            "[feed.c2]\nurl = 'https://x.example/'\ntoken-file = '/t'\npassword-file = '/p'\n",
            "tocsin.toml:4: feed.c2.password-file: token-file is set, too",
        ),
        (
            "[feed.c2]\ntaxii = 'https://x.example/'\nformat = 'csv'\n",
            "tocsin.toml:3: feed.c2.format: a collection is of STIX",
        ),
        (
            "[feed.c2]\nevery = '1m'\n",
            "tocsin.toml:2: feed.c2.every: that is too often: 5m at least",
        ),
        (
            "[feed.c2]\nmax-mib = 0\n",
            "tocsin.toml:2: feed.c2.max-mib: 0 is not from 1 to 512",
        ),
        ("[feed.'c 2']\npath = '/c2'\n", "c 2 is no name of a feed"),
        ("feed = 3\n", "this is a section"),
    ] {
        let found = problems(text);
        assert!(found[0].contains(problem), "{found:?}");
    }
}
