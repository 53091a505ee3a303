//! End-to-end tests: the real binary against this machine's kernel and real servers.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod compose;
mod containers;
mod corpus_folder;
mod deadline;
mod dockerd;
mod fixtures;
mod neighbour;
mod logging;
mod network;
mod ocsf;
mod podman;
mod pods;
mod programs;
mod receiver;
mod replay;
mod runc;
mod tls;
mod to_file;
mod tocsin;
mod watch;
mod web_host;

mod docker_api;
mod baseline;
mod drift;
mod execution;
mod kubernetes;
mod kubernetes_dashboard;
mod miner;
mod privileged;
mod privileged_command;
mod restart;
mod scan;
mod short_lived;
mod ssh;

mod alert_pages;
mod attacks;
mod configuration;
mod corpus;
mod exceptions;
mod failures;
mod host;
mod log_daemons;
mod logins;
mod outputs;
mod noise;
mod paths;
mod peers;
mod php;
mod quiet;
mod reload;
mod reverse_shell;
mod sigma;
mod sockets;
mod status;
mod storm;
mod temporary_folder;
mod threat;
mod unix_sockets;
mod web_shell;
mod webhook;
