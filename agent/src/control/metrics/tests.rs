use std::{collections::HashSet, fs, path::Path};

use super::*;
use crate::control::status::{Sensor, Sink};

fn status() -> Status {
    let mut status = Status {
        version: "1.2.3".into(),
        sensors: vec![
            Sensor {
                name: "exec".into(),
                ..Sensor::default()
            },
            Sensor {
                name: "dns".into(),
                off: Some("why".into()),
                ..Sensor::default()
            },
        ],
        sinks: vec![Sink {
            name: "odd \"name\" \\ of\na sink".into(),
            delivered: 7,
            ..Sink::default()
        }],
        ..Status::default()
    };
    status.lost.insert("exec".into(), 3);
    status.stream.runtimes.insert("docker".into(), true);
    status.stream.feeds.push(Feed {
        name: "c2".into(),
        indicators: 5,
        failures: 2,
        ..Feed::default()
    });
    status
}

#[test]
fn another_parser_reads_every_metric() {
    let text = text(&status());
    let scraped = prometheus_parse::Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
    let seen: HashSet<_> = scraped.samples.iter().map(|sample| sample.metric.as_str()).collect();
    for Metric {
        name, kind, meaning, ..
    } in METRICS
    {
        assert!(seen.contains(name), "{name} has no sample");
        assert_eq!(scraped.docs[*name], *meaning);
        for sample in scraped.samples.iter().filter(|sample| sample.metric == *name) {
            let fits = match &sample.value {
                prometheus_parse::Value::Counter(_) => *kind == Counter,
                prometheus_parse::Value::Gauge(_) => *kind == Gauge,
                _ => false,
            };
            assert!(fits, "{sample:?}");
        }
    }
    let value = |name: &str, label: Option<(&str, &str)>| {
        let sample = scraped.samples.iter().find(|sample| {
            sample.metric == name && label.is_none_or(|(label, value)| sample.labels.get(label) == Some(value))
        });
        match sample.unwrap().value {
            prometheus_parse::Value::Counter(value) | prometheus_parse::Value::Gauge(value) => value,
            _ => f64::NAN,
        }
    };
    assert!((value("tocsin_sensor_up", Some(("sensor", "exec"))) - 1.0).abs() < f64::EPSILON);
    assert!(value("tocsin_sensor_up", Some(("sensor", "dns"))).abs() < f64::EPSILON);
    assert!((value("tocsin_sink_delivered_total", None) - 7.0).abs() < f64::EPSILON);
    assert!((value("tocsin_events_lost_total", None) - 3.0).abs() < f64::EPSILON);
}

#[test]
fn names_keep_to_the_conventions() {
    let mut names = HashSet::new();
    for Metric { name, kind, .. } in METRICS {
        assert!(names.insert(name), "{name} is told twice");
        assert!(name.starts_with("tocsin_"), "{name}");
        assert_eq!(name.ends_with("_total"), *kind == Counter, "{name}");
    }
}

#[test]
fn the_page_says_what_the_table_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let written = fs::read_to_string(&file).unwrap_or_default();
    if written != page() {
        fs::write(&file, page()).unwrap();
        panic!("docs/metrics.md was out of date and is written anew: commit it");
    }
}
