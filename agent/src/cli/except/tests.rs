//! Every rule's samples, each excepted by the alert that it raises: that event is silent, and no other is.

mod of_one_rule;

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Map, Value, json};

use super::*;
use crate::{
    alert::{self, redact::Redactor, samples},
    detect::{builtin, document::Documents, load},
    event::recorded::event_from_json,
    observed::Observed,
    sinks::{Format, Formatter, Host},
};

const FORMS: [Format; 2] = [Format::Ocsf, Format::Falco];
/// So many samples of each file are tried: loading rules takes its time.
const SAMPLES: usize = 2;

type Fields = Map<String, Value>;

#[test]
fn what_an_alert_tells_is_what_the_rules_saw() {
    for alert in samples::all() {
        for form in FORMS {
            let told = read_back(&alert, form).told(&alert.rule);
            for (name, value) in &told {
                let seen = alert.observed.field(name).map(|value| value.to_json());
                let as_text = seen.as_ref().map(|seen| Value::from(seen.to_string()));
                assert!(
                    seen.as_ref() == Some(value) || as_text.as_ref() == Some(value),
                    "{form}: {name} is {value}, the event has {seen:?}"
                );
            }
            let expected = alert.observed.process.is_some();
            assert_eq!(told.contains_key("Image"), expected, "{form} {told:?}");
        }
    }
}

#[test]
fn an_exception_silences_its_event_and_no_other() {
    let (mut tried, mut told_apart) = (BTreeSet::new(), BTreeSet::new());
    for file in builtin::rules() {
        let samples = builtin::samples(&file.path).unwrap_or_default();
        let matching = samples
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let matching = matching.filter(|sample| sample["match"] == true);
        let files = alone(&file);
        let mut rules = load(&files, Timestamp::UNIX_EPOCH).0;
        let events = matching.filter_map(|sample| lone_event(&sample)).take(SAMPLES);
        for (event, form) in events.zip(FORMS.into_iter().cycle()) {
            let Some(alert) = raise(&mut rules, &event) else {
                continue;
            };
            tried.insert(file.path.clone());
            let made = except(&rules, &alert, form, &[]).unwrap_or_else(|error| panic!("{event:?}: {error:#}"));
            let mut with = prove(&made.text, files.clone()).unwrap();
            if check(&mut rules, &mut with, &made, &event) {
                told_apart.insert(file.path.clone());
            }
        }
    }
    assert!(tried.len() > 15, "{tried:?}");
    assert_eq!(tried, told_apart, "nothing that differs in a field was still told");
}

/// The exception takes `event` out, and nothing that differs from it in a field that it names. Whether there was
/// something like that.
fn check(rules: &mut Rules, with: &mut Rules, made: &Made, event: &Fields) -> bool {
    assert_eq!(raised(with, event), NONE, "{}", made.text);
    let mut told = false;
    for chosen in &made.choice.chosen {
        for other in others(&chosen.field, chosen.value.as_ref()) {
            let mut changed = event.clone();
            changed.insert(chosen.field.clone(), other);
            let expected = raised(rules, &changed);
            assert_eq!(raised(with, &changed), expected, "{changed:?}\n{}", made.text);
            told |= !expected.is_empty();
        }
    }
    told
}

#[test]
fn every_rule_has_an_example_of_an_exception_that_silences_what_it_names() {
    let mut named = BTreeSet::new();
    for example in examples() {
        let document: Value = yaml_serde::from_str(&example).unwrap();
        let fields = document["filter"]["selection"].as_object().unwrap();
        let names_image = fields.contains_key("container.image");
        assert_eq!(
            names_image,
            fields.contains_key("container.image_digest"),
            "an image's name alone: {example}"
        );
        for rule in document["filter"]["rules"].as_array().unwrap() {
            let rule = rule.as_str().unwrap();
            // The same example stands in each rule of its grades.
            if named.insert((rule.to_owned(), example.clone())) {
                check_example(&example, rule, fields);
            }
        }
    }
    let named: BTreeSet<_> = named.into_iter().map(|(rule, _)| rule).collect();
    let (documents, _) = Documents::read(&builtin::rules());
    let alerts = documents.rules.iter().map(|placed| &placed.what).filter(|rule| {
        let ours = rule.custom_attributes.get("tocsin");
        let says = |key: &&str| ours.is_some_and(|ours| ours.get(key).is_some());
        // What raises no alert by itself needs none, unless a count of it does.
        rule.level != Some(rsigma_parser::Level::Informational) && !["ask", "role", "teaches"].iter().any(says)
    });
    let alerts = alerts.map(|rule| vec![rule.name.clone().unwrap()]);
    let counts = documents.correlations.iter().map(|placed| placed.what.rules.clone());
    let without: Vec<_> = alerts
        .chain(counts)
        .filter(|rules| !rules.iter().any(|rule| named.contains(rule)))
        .collect();
    assert!(
        without.is_empty(),
        "no worked exception for {without:?}: write one into docs/rules.md"
    );
}

/// The exceptions in the documentation, and those in what rules say of their false positives.
fn examples() -> Vec<String> {
    let page = include_str!("../../../../docs/rules.md");
    let blocks = page.split("```yaml\n").skip(1);
    let of_page = blocks
        .map(|rest| rest.split("```").next().unwrap())
        .flat_map(|block| block.split("---\n"))
        .filter(|document| document.contains("filter:"))
        .map(str::to_owned);
    let (documents, _) = Documents::read(&builtin::rules());
    let said = documents.rules.iter().flat_map(|rule| rule.what.falsepositives.clone());
    let of_rules = said.filter_map(|text| {
        let (_, example) = text.split_once("\n\n    title:")?;
        let lines = example.lines().map(|line| line.strip_prefix("    ").unwrap_or(line));
        Some(format!("title:{}", lines.collect::<Vec<_>>().join("\n")))
    });
    of_page.chain(of_rules).collect()
}

/// A sample of the rule in which the fields are as the example says is silent with it, and is not without it.
fn check_example(example: &str, rule: &str, fields: &Fields) {
    let named = |line: &str| line.strip_prefix("name: ") == Some(rule);
    let file = builtin::rules().into_iter().find(|file| file.text.lines().any(named));
    let file = file.unwrap_or_else(|| panic!("there is no rule {rule}"));
    let samples = builtin::samples(&file.path).unwrap();
    let excepting = RuleFile {
        path: "example.yml".into(),
        text: example.to_owned(),
        built_in: false,
    };
    let mut without = Loaded::of(alone(&file));
    let mut with = Loaded::of([&without.files[..], &[excepting]].concat());
    let samples = samples.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let silenced = samples.filter(|sample| sample["match"] == true).find_map(|sample| {
        let events = as_excepted(&sample, fields);
        (without.raised(&events) != NONE).then(|| with.raised(&events))
    });
    assert_eq!(silenced, Some(NONE), "{rule}: {example}");
}

/// The events of a sample, with the fields as an exception names them.
fn as_excepted(sample: &Value, fields: &Fields) -> Vec<Fields> {
    let events = sample["events"].as_array().unwrap().iter().enumerate();
    let excepted = events.map(|(second, event)| {
        let mut event = event.as_object().unwrap().clone();
        event.entry("time").or_insert(json!(second));
        for (name, value) in fields {
            let value = value.get(0).unwrap_or(value).clone();
            match name.split_once('|') {
                None => event.insert(name.clone(), value),
                Some((name, _)) => event.insert(name.to_owned(), format!("{}x", value.as_str().unwrap()).into()),
            };
        }
        event
    });
    excepted.collect()
}

/// Rules that every sample finds as if they had just been loaded.
struct Loaded {
    files: Vec<RuleFile>,
    rules: Rules,
}

impl Loaded {
    fn of(files: Vec<RuleFile>) -> Self {
        let rules = load(&files, Timestamp::UNIX_EPOCH).0;
        Self { files, rules }
    }

    /// What they raise about these events, one after the other.
    fn raised(&mut self, events: &[Fields]) -> BTreeSet<String> {
        if self.rules.count() {
            self.rules = load(&self.files, Timestamp::UNIX_EPOCH).0;
        }
        events.iter().flat_map(|event| raised(&mut self.rules, event)).collect()
    }
}

const NONE: BTreeSet<String> = BTreeSet::new();

/// Values that are almost that of a field.
fn others(field: &str, value: Option<&Value>) -> Vec<Value> {
    match value {
        None => vec![json!(samples::CONTAINER_ID)],
        Some(Value::String(text)) => {
            let ends = [format!("{text}x"), format!("x{text}")];
            let cased = [text.to_uppercase(), text.to_lowercase()];
            let all = ends.into_iter().chain(cased).filter(|other| other != text);
            all.map(Value::from).collect()
        }
        Some(Value::Number(number)) => vec![json!(number.as_u64().unwrap() + 1)],
        Some(other) => panic!("{field} is {other}"),
    }
}

/// The event of a sample that has one, with what every real event has as well.
fn lone_event(sample: &Value) -> Option<Fields> {
    let [event] = &sample["events"].as_array()?[..] else {
        return None;
    };
    let mut event = event.as_object()?.clone();
    let mut add = |field: &str, value: Value| _ = event.entry(field).or_insert(value);
    add("time", json!(0));
    if sample["events"][0].get("container.id").is_some() || sample["events"][0]["category"] == "container" {
        add("container.image", json!("registry.example:5000/team/agent:1.2"));
        add(
            "container.image_digest",
            json!(format!("sha256:{}", samples::CONTAINER_ID)),
        );
    }
    if sample["events"][0].get("Image").is_some() {
        add("CommandLine", json!(r#"agent --glob "*.[ch]?" C:\dir\ 100%"#));
        add("User", json!("svc-agent"));
    }
    Some(event)
}

/// A rule file, the lists that it may quote and the scores that it does: all others cost time.
fn alone(file: &RuleFile) -> Vec<RuleFile> {
    let quotes = |score: &RuleFile| {
        let mut names = score.text.lines().filter_map(|line| line.strip_prefix("name: "));
        names.any(|name| file.text.contains(&format!("score.{name}")))
    };
    let mut files = builtin::rules();
    files.retain(|other| {
        let is_in = |folder| other.path.starts_with(folder);
        other.path == file.path || is_in("lists") || (is_in("scores") && quotes(other))
    });
    files
}

fn raised(rules: &mut Rules, event: &Fields) -> BTreeSet<String> {
    let mut observed = Observed::from(event_from_json(event.clone()).unwrap());
    let matches = rules.judge(&mut observed);
    matches.iter().map(|found| found.rule.name.to_string()).collect()
}

/// The alert of an event, if it raises one.
fn raise(rules: &mut Rules, event: &Fields) -> Option<alert::Alert> {
    let mut observed = Observed::from(event_from_json(event.clone()).unwrap());
    let mut matches = rules
        .judge(&mut observed)
        .into_iter()
        .filter(|found| found.asks.is_none() && found.rule.role.is_none());
    let found = matches.next()?;
    Some(alert::Alert::new(found.rule, Arc::new(observed), found.matched))
}

fn read_back(alert: &alert::Alert, format: Format) -> Alert {
    let formatter = Formatter {
        format,
        host: Arc::new(Host::default()),
        colour: false,
        width: 80,
    };
    let mut line = Vec::new();
    formatter.write(alert, &mut line);
    Alert::read(std::str::from_utf8(&line).unwrap()).unwrap()
}

fn except(rules: &Rules, alert: &alert::Alert, form: Format, fields: &[&str]) -> Result<Made> {
    let fields: Vec<_> = fields.iter().map(|field| (*field).to_owned()).collect();
    make(
        &read_back(alert, form),
        rules,
        &fields,
        &Expires::Days(90),
        samples::at(0),
    )
}
