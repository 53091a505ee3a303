//! Sources: each turns what happens on the node into events, sent in batches into the one stream.

pub mod docker;
pub mod docker_probe;
pub mod runtime_files;
pub mod users;
