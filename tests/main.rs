//! End-to-end tests: the real binary against this machine's kernel and real servers.

mod containers;
mod deadline;
mod dockerd;
mod fixtures;
mod ocsf;
mod tls;
mod tocsin;
mod watch;

mod privileged;
