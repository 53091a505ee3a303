//! Metrics: one table of what is told of a status, from which the text for Prometheus and docs/metrics.md are made.

use std::fmt::Write as _;

use super::status::{Feed, Status};

/// A metric.
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
    /// What it tells.
    pub meaning: &'static str,
    /// The label that tells its samples apart; empty where there is one sample.
    pub label: &'static str,
    /// Its samples, each with the value of the label.
    samples: fn(&Status) -> Vec<(&str, f64)>,
}

/// The kinds of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

impl Kind {
    /// Prometheus' word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

use Kind::{Counter, Gauge};

/// Every metric.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "tocsin_info",
        kind: Gauge,
        meaning: "Always 1; says the version of the agent that runs.",
        label: "version",
        samples: |status| vec![(&status.version, 1.0)],
    },
    Metric {
        name: "tocsin_start_time_seconds",
        kind: Gauge,
        meaning: "When the agent started, in seconds since 1970.",
        label: "",
        samples: |status| one(status.started.as_second() as f64),
    },
    Metric {
        name: "tocsin_sensor_up",
        kind: Gauge,
        meaning: "1 where a sensor is attached, 0 where this kernel refused it.",
        label: "sensor",
        samples: |status| {
            let sensors = status.sensors.iter();
            sensors
                .map(|sensor| (&*sensor.name, truth(sensor.off.is_none())))
                .collect()
        },
    },
    Metric {
        name: "tocsin_runtime_up",
        kind: Gauge,
        meaning: "1 where a container runtime answers, 0 where it is asked in vain.",
        label: "runtime",
        samples: |status| {
            let runtimes = status.stream.runtimes.iter();
            runtimes.map(|(name, up)| (&**name, truth(*up))).collect()
        },
    },
    Metric {
        name: "tocsin_events_total",
        kind: Counter,
        meaning: "Events that were judged or told the agent of its node.",
        label: "",
        samples: |status| one(number(status.stream.events)),
    },
    Metric {
        name: "tocsin_events_lost_total",
        kind: Counter,
        meaning: "Events that the ring between kernel and agent could not hold.",
        label: "sensor",
        samples: |status| {
            status
                .lost
                .iter()
                .map(|(name, lost)| (&**name, number(*lost)))
                .collect()
        },
    },
    Metric {
        name: "tocsin_records_broken_total",
        kind: Counter,
        meaning: "Records from the kernel that made no sense: a fault of the agent.",
        label: "",
        samples: |status| one(number(status.broken_records)),
    },
    Metric {
        name: "tocsin_queue_batches",
        kind: Gauge,
        meaning: "Batches of events that wait for the stream.",
        label: "",
        samples: |status| one(size(status.queue)),
    },
    Metric {
        name: "tocsin_queue_capacity_batches",
        kind: Gauge,
        meaning: "Batches of events that can wait; beyond, the kernel's ring fills.",
        label: "",
        samples: |status| one(size(status.queue_capacity)),
    },
    Metric {
        name: "tocsin_events_held",
        kind: Gauge,
        meaning: "Events that wait for their container's facts.",
        label: "",
        samples: |status| one(size(status.stream.held.now)),
    },
    Metric {
        name: "tocsin_events_held_total",
        kind: Counter,
        meaning: "Events that had to wait, by what became of them: released with the facts, expired or overflowed without.",
        label: "outcome",
        samples: |status| {
            let held = &status.stream.held;
            vec![
                ("released", number(held.released)),
                ("expired", number(held.expired)),
                ("overflowed", number(held.overflowed)),
            ]
        },
    },
    Metric {
        name: "tocsin_looks_open",
        kind: Gauge,
        meaning: "Closer looks that rules asked for and that are not answered yet.",
        label: "",
        samples: |status| one(size(status.stream.looks)),
    },
    Metric {
        name: "tocsin_processes",
        kind: Gauge,
        meaning: "Processes that are remembered.",
        label: "",
        samples: |status| one(size(status.stream.processes)),
    },
    Metric {
        name: "tocsin_containers",
        kind: Gauge,
        meaning: "Containers that are remembered.",
        label: "",
        samples: |status| one(size(status.stream.containers)),
    },
    Metric {
        name: "tocsin_baseline_images",
        kind: Gauge,
        meaning: "Images of which something was learned.",
        label: "",
        samples: |status| one(size(status.stream.images)),
    },
    Metric {
        name: "tocsin_baseline_behaviours",
        kind: Gauge,
        meaning: "Behaviours that were learned of images.",
        label: "",
        samples: |status| one(size(status.stream.behaviours)),
    },
    Metric {
        name: "tocsin_rules",
        kind: Gauge,
        meaning: "Rules in force.",
        label: "",
        samples: |status| one(size(status.stream.rules.in_force)),
    },
    Metric {
        name: "tocsin_rules_refused",
        kind: Gauge,
        meaning: "1 while the rules on disk have an error and the former ones are in force.",
        label: "",
        samples: |status| one(truth(status.stream.rules.refused.is_some())),
    },
    Metric {
        name: "tocsin_exceptions_ended",
        kind: Gauge,
        meaning: "Exceptions on disk that have ended and are no longer in force.",
        label: "",
        samples: |status| one(size(status.stream.rules.ended.len())),
    },
    Metric {
        name: "tocsin_configuration_refused",
        kind: Gauge,
        meaning: "1 while the configuration on disk has an error and the former one is in force.",
        label: "",
        samples: |status| one(truth(status.stream.configuration_refused.is_some())),
    },
    Metric {
        name: "tocsin_feed_in_force",
        kind: Gauge,
        meaning: "1 while what a threat feed lists counts, 0 while it has nothing or is older than its max-age.",
        label: "feed",
        samples: |status| of_feeds(status, |feed| truth(feed.is_in_force(status.now))),
    },
    Metric {
        name: "tocsin_feed_up_to_date",
        kind: Gauge,
        meaning: "0 while a threat feed's source cannot be read or understood, or is older than its max-age.",
        label: "feed",
        samples: |status| of_feeds(status, |feed| truth(feed.trouble.is_none())),
    },
    Metric {
        name: "tocsin_feed_indicators",
        kind: Gauge,
        meaning: "Indicators of a threat feed or a warninglist.",
        label: "feed",
        samples: |status| of_feeds(status, |feed| size(feed.indicators)),
    },
    Metric {
        name: "tocsin_feed_refused",
        kind: Gauge,
        meaning: "Lines or objects of it that could not be understood.",
        label: "feed",
        samples: |status| of_feeds(status, |feed| size(feed.refused)),
    },
    Metric {
        name: "tocsin_feed_last_success_timestamp_seconds",
        kind: Gauge,
        meaning: "When its file was written or its server last said so, in seconds since 1970; 0: never.",
        label: "feed",
        samples: |status| of_feeds(status, |feed| feed.fresh.map_or(0.0, |fresh| fresh.as_second() as f64)),
    },
    Metric {
        name: "tocsin_feed_fetch_failures_total",
        kind: Counter,
        meaning: "Fetches that failed, or gave what cannot be understood.",
        label: "feed",
        samples: |status| of_feeds(status, |feed| number(feed.failures)),
    },
    Metric {
        name: "tocsin_alerts_total",
        kind: Counter,
        meaning: "Alerts that were raised, updates included.",
        label: "",
        samples: |status| one(number(status.stream.alerts)),
    },
    Metric {
        name: "tocsin_sink_delivered_total",
        kind: Counter,
        meaning: "Alerts that a sink delivered.",
        label: "sink",
        samples: |status| {
            status
                .sinks
                .iter()
                .map(|sink| (&*sink.name, number(sink.delivered)))
                .collect()
        },
    },
    Metric {
        name: "tocsin_sink_lost_total",
        kind: Counter,
        meaning: "Alerts that a sink did not deliver and will not.",
        label: "sink",
        samples: |status| {
            status
                .sinks
                .iter()
                .map(|sink| (&*sink.name, number(sink.lost)))
                .collect()
        },
    },
    Metric {
        name: "tocsin_sink_failures_total",
        kind: Counter,
        meaning: "Deliveries that failed, retries included.",
        label: "sink",
        samples: |status| {
            status
                .sinks
                .iter()
                .map(|sink| (&*sink.name, number(sink.failures)))
                .collect()
        },
    },
    Metric {
        name: "tocsin_sink_waiting",
        kind: Gauge,
        meaning: "Alerts that a sink has not delivered yet.",
        label: "sink",
        samples: |status| {
            status
                .sinks
                .iter()
                .map(|sink| (&*sink.name, number(sink.waiting)))
                .collect()
        },
    },
];

fn of_feeds(status: &Status, value: impl Fn(&Feed) -> f64) -> Vec<(&str, f64)> {
    let feeds = status.stream.feeds.iter();
    feeds.map(|feed| (&*feed.name, value(feed))).collect()
}

fn one(value: f64) -> Vec<(&'static str, f64)> {
    vec![("", value)]
}

fn number(value: u64) -> f64 {
    value as f64
}

fn size(value: usize) -> f64 {
    value as f64
}

fn truth(value: bool) -> f64 {
    f64::from(u8::from(value))
}

/// The metrics of a status in Prometheus' text format.
pub fn text(status: &Status) -> String {
    let mut text = String::new();
    for metric in METRICS {
        let Metric {
            name,
            kind,
            meaning,
            label,
            samples,
        } = metric;
        _ = writeln!(text, "# HELP {name} {meaning}\n# TYPE {name} {}", kind.name());
        for (value, sample) in samples(status) {
            _ = match *label {
                "" => writeln!(text, "{name} {sample}"),
                label => writeln!(text, "{name}{{{label}=\"{}\"}} {sample}", escaped(value)),
            };
        }
    }
    text
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The page of the documentation that lists every metric.
pub fn page() -> String {
    let mut page = String::from(include_str!("metrics/page.md"));
    for Metric {
        name,
        kind,
        meaning,
        label,
        ..
    } in METRICS
    {
        let label = if label.is_empty() {
            String::new()
        } else {
            format!("`{label}`")
        };
        _ = writeln!(page, "| `{name}` | {} | {label} | {meaning} |", kind.name());
    }
    page
}

#[cfg(test)]
mod tests;
