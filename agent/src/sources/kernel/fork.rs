//! A process makes another.

use agent_ebpf::fork::{ForkRecord, TAG};

use super::{Decoder, Hook, Sensor, decode::key};
use crate::event::{Event, Fork, Kind};

/// The sensor's row.
pub(super) const SENSOR: Sensor = Sensor {
    name: "fork",
    tags: &[TAG],
    programs: &[("fork", Hook::Tracepoint("sched_process_fork"))],
    loses: "ancestors of short-lived processes",
    decode,
};

fn decode(decoder: &mut Decoder, bytes: &[u8]) -> Option<Event> {
    let ForkRecord { header, parent, child } = decoder.read(bytes)?;
    Some(decoder.event(
        &header,
        Kind::Fork(Fork {
            child: key(child),
            parent: key(parent),
        }),
    ))
}
