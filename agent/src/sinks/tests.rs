use std::{
    io::{self, ErrorKind, Write},
    sync::Mutex,
};

use super::{stdout::Writer, *};
use crate::alert::{redact::Redactor, samples};

/// A destination that takes a few bytes at a time and fails as it is told, each error once.
#[derive(Clone, Default)]
struct Pipe {
    written: Arc<Mutex<Vec<u8>>>,
    failures: Arc<Mutex<Vec<ErrorKind>>>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(kind) = self.failures.lock().unwrap().pop() {
            return Err(kind.into());
        }
        let count = bytes.len().min(700);
        self.written.lock().unwrap().extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn writer(pipe: &Pipe) -> Writer<Pipe> {
    let formatter = Formatter {
        format: Format::Ocsf,
        host: Arc::default(),
        colour: false,
        width: 80,
    };
    Writer::new(formatter, pipe.clone())
}

/// Runs the sink over a closed log of those alerts; gives the ids that were written, and how it ended.
fn check(failures: &[ErrorKind], min_level: Level, alerts: &[Alert]) -> (Vec<String>, anyhow::Result<()>, Counters) {
    let log = Log::new(Redactor::off());
    let mut reader = log.reader();
    for alert in alerts {
        log.append(alert.clone());
    }
    log.close();
    let pipe = Pipe::default();
    pipe.failures.lock().unwrap().extend(failures.iter().rev());
    let counters = Counters::default();
    let ended = run(&mut writer(&pipe), &mut reader, min_level, &counters);
    let written = String::from_utf8(pipe.written.lock().unwrap().clone()).unwrap();
    let id = |line: &str| -> serde_json::Value { serde_json::from_str(line).expect("a whole line") };
    let ids = written
        .lines()
        .map(|line| id(line)["finding_info"]["uid"].as_str().unwrap().to_owned());
    (ids.collect(), ended, counters)
}

fn ids(alerts: &[Alert]) -> Vec<String> {
    alerts.iter().map(|alert| alert.id.to_string()).collect()
}

#[test]
fn every_alert_is_delivered_in_order() {
    let alerts: Vec<_> = (0..100).flat_map(|_| samples::all()).collect();
    let (written, ended, counters) = check(&[], Level::Informational, &alerts);
    assert!(ended.is_ok());
    assert_eq!(written, ids(&alerts));
    assert_eq!(counters.delivered.into_inner(), 800);
}

#[test]
fn a_full_disk_delays_and_loses_nothing() {
    let alerts = samples::all();
    let failures = [ErrorKind::StorageFull, ErrorKind::Interrupted, ErrorKind::WouldBlock];
    let (written, ended, counters) = check(&failures, Level::Informational, &alerts);
    assert!(ended.is_ok());
    assert_eq!(written, ids(&alerts));
    assert_eq!(counters.failures.into_inner(), 2);
}

#[test]
fn a_closed_pipe_ends_the_sink() {
    let (written, ended, _) = check(&[ErrorKind::BrokenPipe], Level::Informational, &samples::all());
    assert_eq!(
        format!("{:#}", ended.unwrap_err()),
        "writing to standard output: broken pipe"
    );
    assert!(written.is_empty());
}

#[test]
fn what_is_below_the_least_level_is_not_delivered() {
    let (written, ..) = check(&[], Level::High, &samples::all());
    assert_eq!(written.len(), 1, "one sample is high");
}

#[test]
fn finish_ends_the_threads() {
    let config = Config {
        settings: Settings::default(),
        min_level: Level::Critical,
        host: Arc::default(),
    };
    let log = Log::new(Redactor::off());
    let handle = start(&config, &log).unwrap();
    log.append(samples::exec());
    let counters = handle.counters[0].1.clone();
    assert_eq!(handle.finish(Instant::now() + Duration::from_secs(10)), 0);
    assert_eq!(
        counters.delivered.load(Ordering::Relaxed),
        0,
        "it is below the least level"
    );
}

#[test]
fn formats_have_names() {
    for format in Format::ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    assert!("xml".parse::<Format>().unwrap_err().contains("xml is no format"));
}
