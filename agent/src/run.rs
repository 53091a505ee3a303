//! Puts the parts together: sources, the stream, the log of alerts and who reads it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::JoinHandle,
};
use tracing::{info, warn};

use crate::{
    config::{Config, LoginSource},
    control::status::KernelCounters,
    event::{Event, Health, Kind, RuntimeState, baseline::Copy},
    node,
    sources::{
        self, baseline,
        docker::{self, DockerConfig},
        kernel::{Clock, Decoder, Kernel, Reader, Reading, SensorState, Unattached},
        kubeconfig, logins,
        looks::Asker,
        procfs, runtime_files, users,
    },
    stream::QUEUE,
};

/// Where the node's users stand.
const PASSWD: &str = "/etc/passwd";

/// What an agent says that cannot see.
const NO_SENSOR: &str = "no sensor can run";

/// Questions that may wait for a helper.
const QUESTIONS: usize = 256;

/// How long what is on its way at the end may take: longer than an event waits for its container's facts.
pub const LAST_EVENTS: Duration = Duration::from_secs(2);

/// The channels to the helpers that look at things for the stream.
pub struct Helpers {
    /// Who reads the runtimes' own files.
    pub files: mpsc::Sender<runtime_files::Question>,
    /// Who looks closer where rules ask for it.
    pub looks: Asker,
}

/// Starts every source that needs no kernel programs, and the helpers. Must be called within a runtime.
pub fn start_sources(config: &Config, events: &sources::Sender) -> Helpers {
    tokio::spawn(users::run(node::path(PASSWD), events.clone()));
    for (runtime, socket) in config.runtimes() {
        let config = DockerConfig {
            runtime,
            socket: node::socket(socket),
        };
        tokio::spawn(docker::run(config, events.clone()));
    }
    let (files, questions) = mpsc::channel(QUESTIONS);
    tokio::spawn(runtime_files::run(questions, events.clone()));
    let looks = Asker::start(config.docker.probe, events);
    Helpers { files, looks }
}

/// Starts who reads what is written about logins. Where somebody has read to is kept in `state`, if that is named. Gives
/// what is told of it.
pub fn start_logins(config: &Config, state: Option<PathBuf>, events: &sources::Sender) -> Arc<logins::Told> {
    let told = Arc::default();
    if config.logins.source != LoginSource::Off {
        let settings = config.logins.clone();
        logins::start(settings, state, events.clone(), Arc::clone(&told));
    }
    told
}

/// Starts who keeps what was learned, and who hands on the orders about it. Gives the way to the keeper, and its task.
pub fn start_keeper(config: &Config, events: &sources::Sender) -> (mpsc::Sender<Copy>, JoinHandle<()>) {
    let (keeper, copies) = mpsc::channel(1);
    tokio::spawn(baseline::watch(config.state.clone(), events.clone()));
    (
        keeper,
        tokio::spawn(baseline::keep(config.state.clone(), copies, baseline::AGAIN)),
    )
}

/// What must be known before the first event: who the users are, where the node's cluster is and the agent itself
/// runs, and which runtimes will probably answer, so that events of their containers wait for them. One that does not
/// answer after all says so.
pub fn first_tidings(config: &Config) -> Vec<Event> {
    let now = Timestamp::now();
    let mut tidings = Vec::new();
    if let Ok(passwd) = std::fs::read_to_string(node::path(PASSWD)) {
        tidings.push(event(now, Kind::Users(passwd.into())));
    }
    tidings.extend(kubeconfig::servers(node::root()).map(|server| event(now, Kind::KubernetesServer(server))));
    if let Some(id) = procfs::own_container() {
        tidings.push(event(now, Kind::OwnContainer(id)));
    }
    for (name, socket) in config.runtimes() {
        let state = RuntimeState {
            name,
            connected: answers(&node::socket(socket)),
        };
        tidings.push(event(now, Kind::Runtime(state)));
    }
    tidings
}

/// Whether somebody listens on that socket.
pub fn answers(socket: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(socket).is_ok()
}

/// The attached sensors and the state that they must not be started without.
pub struct Sensors {
    kernel: Kernel,
}

impl Sensors {
    /// Makes them ready. What comes between this and [`Self::attach`] has the memory again that this took.
    pub fn load(config: &Config) -> Result<Unattached> {
        Kernel::load(config).context(NO_SENSOR)
    }

    /// Attaches the sensors. What this kernel cannot take is said, once each.
    pub fn attach(sensors: Unattached) -> Result<Self> {
        let kernel = sensors.attach().context(NO_SENSOR)?;
        for state in &kernel.sensors {
            if let Some(reason) = &state.refused {
                warn!(
                    sensor = state.sensor.name,
                    reason,
                    lost = state.sensor.loses,
                    "sensor off"
                );
            }
        }
        for field in &kernel.missing_fields {
            info!(field, "not in this kernel's BTF: the facts behind it are missing");
        }
        Ok(Self { kernel })
    }

    /// What came of each.
    pub fn states(&self) -> &[SensorState] {
        &self.kernel.sensors
    }

    /// How many are attached.
    pub fn attached(&self) -> usize {
        self.kernel
            .sensors
            .iter()
            .filter(|state| state.refused.is_none())
            .count()
    }

    /// Looks at what already stands and starts to read. The sensors are attached by now, so that nothing falls between.
    pub fn start(self, events: &sources::Sender, counters: Arc<KernelCounters>) -> Result<Started> {
        let mut first = self.sensors_off();
        let mut decoder = Decoder::new(Clock::now());
        let mut reader = self.kernel.into_reader()?;
        let (standing, meanwhile) = look_around(&mut reader, &mut decoder)?;
        first.extend(procfs::without_seen(standing, &meanwhile));
        first.extend(meanwhile);
        let reading = reader.spawn(decoder, events.clone(), counters)?;
        Ok(Started { first, reading })
    }

    fn sensors_off(&self) -> Vec<Event> {
        let now = Timestamp::now();
        let off = self.kernel.sensors.iter().filter_map(|state| {
            let reason = state.refused.as_ref()?;
            let detail = format!(
                "sensor {}: {reason}; not seen: {}",
                state.sensor.name, state.sensor.loses
            );
            Some(event(
                now,
                Kind::Health(Health {
                    kind: "sensor-off",
                    detail,
                }),
            ))
        });
        off.collect()
    }
}

/// Sensors that run.
pub struct Started {
    /// The sensors that are off, what stands, and what happened while that was looked at.
    pub first: Vec<Event>,
    /// Who reads what happens from now on.
    pub reading: Reading,
}

/// Reads `/proc` on a thread of its own, and the ring meanwhile: on a large node it would fill.
fn look_around(reader: &mut Reader, decoder: &mut Decoder) -> Result<(Vec<Event>, Vec<Event>)> {
    thread::scope(|scope| {
        let scan = scope.spawn(procfs::scan);
        let mut meanwhile = Vec::new();
        while !scan.is_finished() {
            meanwhile.extend(reader.drain(decoder));
            thread::sleep(Duration::from_millis(1));
        }
        let standing = scan.join().map_err(|_| anyhow::anyhow!("the look at /proc panicked"))?;
        meanwhile.extend(reader.drain(decoder));
        Ok((standing.context("cannot read /proc")?, meanwhile))
    })
}

/// Waits for a signal to end.
pub async fn until_signal() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        result = tokio::signal::ctrl_c() => result.context("cannot wait for signals"),
    }
}

/// A channel for events, of the size that a stream takes.
pub fn channel() -> (sources::Sender, mpsc::Receiver<Vec<Event>>) {
    mpsc::channel(QUEUE)
}

/// A runtime for the sources and the stream: one thread, since the stream is one task.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(Duration::from_secs(2))
        .build()
        .context("cannot start the runtime")
}

fn event(time: Timestamp, kind: Kind) -> Event {
    Event {
        time,
        startup: false,
        kind,
        given: None,
    }
}
