//! Sources turn what happened into events; they never decide whether it is bad.

pub mod kernel;
pub mod procfs;
pub mod docker;
pub mod looks;
pub mod memory;
mod sock_diag;
pub mod runtime_files;
mod binds;
pub mod users;
pub mod kubeconfig;
pub mod feeds;
pub mod log_file;
pub mod logins;
pub mod rules;
mod stillness;
pub mod configuration;
pub mod baseline;
pub mod wall_clock;

use tokio::sync::mpsc;

use crate::event::Event;

/// Where every source puts its events: one bounded channel of batches, so that a busy source wakes the stream once for
/// many events.
pub type Sender = mpsc::Sender<Vec<Event>>;

/// Text as the kernel or a file has it, which need not be UTF-8.
fn lossy(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).into()
}
