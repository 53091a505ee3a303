//! A process ends.

use agent_ebpf::exit::{ExitRecord, TAG};

use super::{Decoder, Hook, Sensor, decode::key};
use crate::event::{Event, Exit, Kind};

/// The sensor's row.
pub(super) const SENSOR: Sensor = Sensor {
    name: "exit",
    tags: &[TAG],
    programs: &[("exit", Hook::Tracepoint("sched_process_exit"))],
    loses: "when processes end: the process table keeps them until it is full",
    decode,
};

fn decode(decoder: &mut Decoder, bytes: &[u8]) -> Option<Event> {
    let ExitRecord {
        header,
        process,
        code,
        reserved: _,
    } = decoder.read(bytes)?;
    Some(decoder.event(
        &header,
        Kind::Exit(Exit {
            process: key(process),
            code,
        }),
    ))
}
