//! Tocsin's agent: sources observe, enrichers add facts, rules judge, sinks deliver.
//!
//! The modules stand in the order in which an event meets them.
//!
//! # Invariants
//!
//! - Only `sources`, `sinks` and `control` do I/O. `enrich` reads what the sources have told it, never waits and opens nothing.
//!   `detect` and `alert` are functions of their arguments.
//! - No stage knows where an event came from: rules see a log source and fields, sinks see alerts.
//! - Nothing blocks the kernel ring's reader for long; what the ring cannot hold is counted by the kernel programs, and
//!   the count is itself an event.
//! - `aya` appears only under `sources::kernel`, `bollard` only in `sources::docker`.

pub mod event;
pub mod sources;
pub mod node;
pub mod config;
pub mod intel;
pub mod fields;
pub mod observed;
pub mod enrich;
pub mod stream;
pub mod detect;
pub mod alert;
pub mod sinks;
pub mod http;
pub mod tls;
pub mod control;
pub mod service;
pub mod confine;
pub mod run;
pub mod cli;
