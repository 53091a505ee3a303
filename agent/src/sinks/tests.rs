use std::{
    io::{self, ErrorKind, Write},
    sync::{Mutex, atomic::Ordering},
    time::Instant,
};

use super::{
    delivery::{Delivery, Orders},
    report::Report,
    stdout::Writer,
    *,
};
use crate::alert::{Level, log::Log, redact::Redactor, samples};

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
fn check(
    failures: &[ErrorKind],
    min_level: Level,
    alerts: &[Alert],
) -> (Vec<String>, anyhow::Result<()>, Arc<Counters>) {
    let log = Log::new(Redactor::off());
    let reader = log.reader(settings::at_least(min_level));
    for alert in alerts {
        log.append(alert.clone());
    }
    log.close();
    let pipe = Pipe::default();
    pipe.failures.lock().unwrap().extend(failures.iter().rev());
    let counters = Arc::<Counters>::default();
    let mut delivery = Delivery {
        sink: Box::new(writer(&pipe)),
        reader,
        report: Report::new("stdout", Arc::clone(&counters), None),
        orders: Arc::<Orders>::default(),
    };
    let ended = delivery.run();
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
    assert_eq!(counters.delivered.load(Ordering::Relaxed), alerts.len() as u64);
}

#[test]
fn a_full_disk_delays_and_loses_nothing() {
    let alerts = samples::all();
    let failures = [ErrorKind::StorageFull, ErrorKind::Interrupted, ErrorKind::WouldBlock];
    let (written, ended, counters) = check(&failures, Level::Informational, &alerts);
    assert!(ended.is_ok());
    assert_eq!(written, ids(&alerts));
    assert_eq!(counters.failures.load(Ordering::Relaxed), 2);
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

/// A sink that fails as it is told, once each, and keeps what it was given.
#[derive(Default)]
struct Fickle {
    failures: Vec<Failure>,
    taken: Arc<Mutex<Vec<String>>>,
    pending: Vec<Arc<Alert>>,
}

impl Sink for Fickle {
    fn deliver(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        self.pending.extend(alerts.iter().cloned());
        if !self.pending.is_empty()
            && let Some(failure) = self.failures.pop()
        {
            if matches!(failure, Failure::Refused(_)) {
                self.pending.remove(0);
            }
            return Err(failure);
        }
        let ids = self.pending.drain(..).map(|alert| alert.id.to_string());
        self.taken.lock().unwrap().extend(ids);
        Ok(())
    }

    fn undelivered(&self) -> usize {
        self.pending.len()
    }
}

fn started(sinks: Vec<Fickle>, log: &Arc<Log>) -> Handle {
    let names = ["first", "second"].into_iter();
    let opened = sinks.into_iter().zip(names).map(|(sink, name)| Opened {
        name,
        wanted: Wanted::ALL,
        sink: Box::new(sink),
        made_from: 0,
    });
    start(opened.collect(), Arc::default(), log, None).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

#[test]
fn what_is_refused_is_lost_and_the_others_arrive() {
    let log = Log::new(Redactor::off());
    let taken = Arc::<Mutex<Vec<String>>>::default();
    let handle = started(
        vec![Fickle {
            failures: vec![Failure::Refused(anyhow::anyhow!("no"))],
            taken: Arc::clone(&taken),
            ..Fickle::default()
        }],
        &log,
    );
    let alerts = samples::all();
    for alert in &alerts {
        log.append(alert.clone());
    }
    let counters = Arc::clone(&handle.status()[0].counters);
    assert_eq!(handle.finish(soon()), []);
    assert_eq!(*taken.lock().unwrap(), ids(&alerts[1..]));
    assert_eq!(counters.lost.load(Ordering::Relaxed), 1);
    assert_eq!(counters.delivered.load(Ordering::Relaxed), alerts.len() as u64 - 1);
}

#[test]
fn an_output_that_was_removed_has_no_longer_than_it_has() {
    let log = Log::new(Redactor::off());
    let (taken, counters) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Counters>::default());
    let mut delivery = Delivery {
        sink: Box::new(Fickle {
            taken: Arc::clone(&taken),
            ..Fickle::default()
        }),
        reader: log.reader(Wanted::ALL),
        report: Report::new("slow", Arc::clone(&counters), None),
        orders: Arc::<Orders>::default(),
    };
    let alerts = samples::all();
    for alert in &alerts {
        log.append(alert.clone());
    }
    delivery.orders.leave(Instant::now());
    delivery.run().unwrap();
    assert_eq!(counters.lost.load(Ordering::Relaxed), alerts.len() as u64);
    assert!(taken.lock().unwrap().is_empty());
}

#[test]
fn the_agent_goes_on_while_a_sink_is_left() {
    let log = Log::new(Redactor::off());
    let gone = || Fickle {
        failures: vec![Failure::Gone(anyhow::anyhow!("closed"))],
        ..Fickle::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let is_gone = |handle: &Handle, patience: u64| {
        let gone = async { tokio::time::timeout(Duration::from_millis(patience), handle.gone()).await };
        runtime.block_on(gone).is_ok()
    };
    let handle = started(vec![gone(), Fickle::default()], &log);
    log.append(samples::exec());
    assert!(!is_gone(&handle, 200));
    assert_eq!(handle.finish(soon()), []);

    let log = Log::new(Redactor::off());
    let handle = started(vec![gone(), gone()], &log);
    log.append(samples::exec());
    assert!(is_gone(&handle, 10_000));
}

#[test]
fn what_is_undelivered_at_the_end_is_told_by_sink() {
    let log = Log::new(Redactor::off());
    let stuck = Fickle {
        failures: (0..1000).map(|_| Failure::Later(anyhow::anyhow!("stuck"))).collect(),
        ..Fickle::default()
    };
    let handle = started(vec![Fickle::default(), stuck], &log);
    for alert in samples::all() {
        log.append(alert);
    }
    let late = handle.finish(Instant::now() + Duration::from_millis(500));
    assert_eq!(late, [("second", samples::all().len() as u64)]);
}

#[test]
fn a_sink_that_panics_is_gone_and_the_others_stay() {
    struct Broken;
    impl Sink for Broken {
        fn deliver(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
            assert!(alerts.is_empty(), "it cannot bear alerts");
            Ok(())
        }

        fn undelivered(&self) -> usize {
            0
        }
    }
    let log = Log::new(Redactor::off());
    let taken = Arc::<Mutex<Vec<String>>>::default();
    let good = Fickle {
        taken: Arc::clone(&taken),
        ..Fickle::default()
    };
    let sinks: [Box<dyn Sink>; 2] = [Box::new(Broken), Box::new(good)];
    let opened = sinks.into_iter().map(|sink| Opened {
        name: "one",
        wanted: Wanted::ALL,
        sink,
        made_from: 0,
    });
    let handle = start(opened.collect(), Arc::default(), &log, None).unwrap();
    log.append(samples::exec());
    assert_eq!(handle.finish(soon()), []);
    assert_eq!(taken.lock().unwrap().len(), 1);
}

#[test]
fn formats_have_names() {
    for format in Format::ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    assert!("xml".parse::<Format>().unwrap_err().contains("xml is no format"));
}
