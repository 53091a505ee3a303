//! The real binary, run by a test: its alerts or events as they come, and its own log.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    deadline::wait_for,
    ocsf::{brief, exe, title},
    programs::run_deleted,
};

/// How long an alert may take: a debug build on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
/// No alert for so long, and what has happened is judged: an event is held for half a second at most.
const QUIET: Duration = Duration::from_millis(1500);

/// A running agent; killed when dropped.
pub(crate) struct Tocsin {
    child: Child,
    output: Arc<Mutex<Vec<Value>>>,
    log: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    /// What the agent keeps; gone with it.
    state: Option<TempDir>,
}

impl Tocsin {
    /// Starts `tocsin run` with these further arguments, and waits until it watches. The node's own configuration has
    /// no say.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let state = tempfile::tempdir().expect("a folder for the agent's state");
        let mut tocsin = Self::start_in(state.path(), Path::new("/dev/null"), arguments);
        tocsin.state = Some(state);
        tocsin
    }

    /// The same with a configuration file and a folder that outlives the agent.
    pub(crate) fn start_in(state: &Path, config: &Path, arguments: &[&str]) -> Self {
        let mut command = Self::command();
        command.args(["run", "--format", "ocsf", "--config"]).arg(config);
        command.arg("--state-dir").arg(state).args(arguments);
        command.env("TOCSIN_CONTROL_SOCKET", state.join("control.sock"));
        command.env("TOCSIN_METRICS_SOCKET", state.join("metrics.sock"));
        Self::spawn(&mut command, "watching")
    }

    /// Starts `tocsin record -` with these further arguments, and waits until it records.
    pub(crate) fn record(arguments: &[&str]) -> Self {
        let record = ["record", "-", "--config", "/dev/null"];
        Self::spawn(Self::command().args(record).args(arguments), "recording")
    }

    /// The binary, for other commands.
    pub(crate) fn command() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tocsin"));
        command.env_remove("TOCSIN_LOG").stdin(Stdio::null());
        // The node's own agent has these.
        command
            .env("TOCSIN_CONTROL_SOCKET", "")
            .env("TOCSIN_METRICS_SOCKET", "");
        command
    }

    /// Starts a command that writes JSON lines, and waits until its log says `ready`.
    pub(crate) fn spawn(command: &mut Command, ready: &str) -> Self {
        let started = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = started.expect("the agent starts");
        let (output, log) = <(Arc<Mutex<Vec<Value>>>, Arc<Mutex<String>>)>::default();
        let stdout = child.stdout.take().expect("a pipe");
        let stderr = child.stderr.take().expect("a pipe");
        let (lines, text) = (Arc::clone(&output), Arc::clone(&log));
        let readers = vec![
            thread::spawn(move || read_json_lines(stdout, &lines)),
            thread::spawn(move || read_text(stderr, &text)),
        ];
        let mut tocsin = Self {
            child,
            output,
            log,
            readers,
            state: None,
        };
        wait_for(
            &format!("`{ready}` in the agent's log"),
            Duration::from_secs(30),
            || {
                let ended = tocsin.child.try_wait().expect("the agent's state");
                assert!(ended.is_none(), "the agent ended: {}", tocsin.log());
                tocsin.log().contains(ready).then_some(())
            },
        );
        tocsin
    }

    /// Waits for an alert of that title of which `is_it` is true; panics with the others of that title if none comes.
    pub(crate) fn wait_for_alert(&self, title: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let of_title = self.of_title(title);
            if let Some(alert) = of_title.iter().find(|alert| is_it(alert)) {
                return alert.clone();
            }
            assert!(
                Instant::now() < deadline,
                "no such `{title}` within {PATIENCE:?}, but {:#?}\nlog: {}",
                of_title.iter().map(brief).collect::<Vec<_>>(),
                self.log()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for an event of a recording of which `is_it` is true.
    pub(crate) fn wait_for_event(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, PATIENCE, || self.alerts().into_iter().find(&is_it))
    }

    /// Every alert so far, or every event of a recording.
    pub(crate) fn alerts(&self) -> Vec<Value> {
        self.output.lock().expect("the output's lock").clone()
    }

    /// Every alert, once what has happened up to now is judged.
    pub(crate) fn alerts_after_quiet(&self) -> Vec<Value> {
        self.wait_for_canary();
        // Other processes of the machine raise alerts too: their noise is not waited out for ever.
        let deadline = Instant::now() + PATIENCE;
        let (mut count, mut since) = (0, Instant::now());
        while since.elapsed() < QUIET && Instant::now() < deadline {
            let now = self.output.lock().expect("the output's lock").len();
            if now != count {
                (count, since) = (now, Instant::now());
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.alerts()
    }

    /// What the agent has said on standard error.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("the log's lock").clone()
    }

    /// The agent's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks the agent to end, and gives all that it wrote.
    pub(crate) fn stop(mut self) -> (ExitStatus, Vec<Value>) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("the agent runs");
        let status = wait_for("end of the agent", PATIENCE, || {
            self.child.try_wait().expect("the agent's state")
        });
        for reader in self.readers.drain(..) {
            reader.join().expect("every line is JSON");
        }
        (status, self.alerts())
    }

    fn of_title(&self, wanted: &str) -> Vec<Value> {
        let mut alerts = self.alerts();
        alerts.retain(|alert| title(alert) == wanted);
        alerts
    }

    /// Does what deserves an alert and waits for it: the kernel's events stay in order, so all before it are judged,
    /// but for those that wait for their container's facts.
    fn wait_for_canary(&self) {
        // One without a file is graded high, whoever runs it.
        let canary = run_deleted("/dev/shm");
        self.wait_for_alert("Process execution from temporary folder", |alert| exe(alert) == canary);
    }
}

impl Drop for Tocsin {
    fn drop(&mut self) {
        // It may have ended by itself or by `stop`, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_json_lines(stdout: impl Read, lines: &Mutex<Vec<Value>>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        lines.lock().expect("the output's lock").push(value);
    }
}

fn read_text(stderr: impl Read, text: &Mutex<String>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let mut text = text.lock().expect("the log's lock");
        text.push_str(&line);
        text.push('\n');
    }
}
