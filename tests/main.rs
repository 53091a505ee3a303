//! End-to-end tests: the real binary against this machine's kernel and real servers.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod containers;
mod corpus_folder;
mod deadline;
mod dockerd;
mod fixtures;
mod network;
mod programs;
mod ocsf;
mod tls;
mod to_file;
mod tocsin;
mod watch;

mod privileged;

mod corpus;
mod failures;
mod host;
mod quiet;
mod reload;
mod sigma;
mod sockets;
mod storm;
