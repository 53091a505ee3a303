//! The folder in which agents keep what they have learned.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{CONFIGURATION, OPERATORS};
use crate::{dockerd::Dockerd, tocsin::Tocsin};

/// What agents leave to each other, and `tocsin baseline` to them.
pub(super) struct State(TempDir);

impl State {
    pub(super) fn new() -> Self {
        let state = Self(tempfile::tempdir().unwrap());
        fs::create_dir(state.folder()).unwrap();
        fs::write(state.path("tocsin.toml"), CONFIGURATION).unwrap();
        state
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.0.path().join("state")
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.folder().join(file)
    }

    pub(super) fn start_agent(&self, dockerd: &Dockerd) -> Tocsin {
        Tocsin::start_in(
            &self.folder(),
            &self.path("tocsin.toml"),
            &["--docker-socket", &dockerd.socket()],
        )
    }

    pub(super) fn order(&self, arguments: &[&str]) -> String {
        let mut command = Tocsin::command();
        command.arg("baseline").args(arguments);
        command
            .arg("--state-dir")
            .arg(self.folder())
            .arg("--config")
            .arg(self.path("tocsin.toml"));
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(super) fn show(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.order(arguments)).unwrap()
    }

    /// The operators' images as they were last written down.
    pub(super) fn operators(&self) -> Vec<Value> {
        let shown = self.show(&["show", "--format", "json"]);
        let mut subjects = shown["subjects"].as_array().unwrap().clone();
        subjects.retain(|subject| {
            OPERATORS
                .iter()
                .any(|(name, ..)| subject["image"] == format!("tocsin/{name}:1"))
        });
        subjects
    }

    /// What each operator's program is known as, in the order of the table.
    pub(super) fn states(&self) -> Vec<(String, String)> {
        let subjects = self.operators();
        let state = |(name, program, ..): &(&str, &str, &str, &str)| {
            let of_name = subjects
                .iter()
                .find(|subject| subject["image"] == format!("tocsin/{name}:1"))?;
            let behaviours = of_name["behaviours"].as_array()?;
            let of_program = behaviours.iter().find(|behaviour| behaviour["program"] == *program)?;
            Some(((*program).to_owned(), of_program["state"].as_str()?.to_owned()))
        };
        OPERATORS.iter().filter_map(state).collect()
    }

    /// Whether each of the operators' images is past its learning.
    pub(super) fn learns_no_more(&self) -> bool {
        let now = jiff::Timestamp::now();
        let learns = |subject: &Value| {
            subject["learns_until"]
                .as_str()
                .unwrap()
                .parse::<jiff::Timestamp>()
                .unwrap()
                > now
        };
        !self.operators().iter().any(learns)
    }

    pub(super) fn has_no_orders(&self) -> bool {
        let orders: &Path = &self.path("baseline.orders");
        fs::read_dir(orders).map_or(true, |mut entries| entries.next().is_none())
    }
}
