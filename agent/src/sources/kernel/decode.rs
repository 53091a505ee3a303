//! What decoding needs beside the record: the clock, and parts that came before it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Instant,
};

use agent_ebpf::{
    record::Header,
    socket::{AF_INET6, SocketRecord},
    task::{SocketOwner, TaskId},
    wire::WireRecord,
};
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use super::{
    SENSORS,
    exec::Chunks,
    wire::{self, Parts},
};
use crate::event::{Event, Kind, Owner, ProcessKey};

/// Nanoseconds in a clock tick as `/proc` counts them (`USER_HZ` is 100 on every architecture that Tocsin runs on).
const TICK: u64 = 10_000_000;

/// Turns records into events.
#[derive(Debug)]
pub struct Decoder {
    clock: Clock,
    /// Arguments and environments whose exec record has not come yet.
    pub(super) chunks: Chunks,
    /// Beginnings of what connections say.
    pub(super) parts: Parts,
    /// Records that made no sense: too short, or of no known sensor.
    pub broken: u64,
}

impl Decoder {
    /// A decoder that places events in time by `clock`.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            chunks: Chunks::default(),
            parts: Parts::default(),
            broken: 0,
        }
    }

    /// The event of a record, if it makes one.
    pub fn decode(&mut self, record: &[u8]) -> Option<Event> {
        let Some(tag) = record.first_chunk::<4>() else {
            self.broken += 1;
            return None;
        };
        let Some(sensor) = SENSORS.iter().find(|sensor| sensor.tags.contains(tag)) else {
            self.broken += 1;
            return None;
        };
        (sensor.decode)(self, record)
    }

    /// The events of records that have waited long enough for others.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<Event> {
        wire::overdue(self, now)
    }

    /// The record at the start of `bytes`; `None`, and counted, where they are too few.
    pub(super) fn read<T: Record>(&mut self, bytes: &[u8]) -> Option<T> {
        let Some(bytes) = bytes.get(..size_of::<T>()) else {
            self.broken += 1;
            return None;
        };
        // SAFETY: `Record` promises that any bytes are a value, and there are enough of them.
        Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
    }

    /// An event that a record of this header reports.
    pub(super) fn event(&self, header: &Header, kind: Kind) -> Event {
        Event {
            time: self.clock.time(header.time),
            startup: false,
            kind,
            given: None,
        }
    }

    /// When the record was made.
    pub(super) fn time(&self, header: &Header) -> Timestamp {
        self.clock.time(header.time)
    }
}

/// A record: integers and byte arrays without padding, so that any bytes are a value.
///
/// # Safety
///
/// The type must be `#[repr(C)]` and valid for every pattern of bytes.
pub(super) unsafe trait Record: Copy {}

// SAFETY: `agent-ebpf` makes every record of integers and byte arrays alone.
unsafe impl Record for agent_ebpf::fork::ForkRecord {}
// SAFETY: as above.
unsafe impl Record for agent_ebpf::exec::ExecRecord {}
// SAFETY: as above.
unsafe impl Record for agent_ebpf::exec::ChunkRecord {}
// SAFETY: as above.
unsafe impl Record for agent_ebpf::exit::ExitRecord {}
// SAFETY: as above.
unsafe impl Record for SocketRecord {}
// SAFETY: as above.
unsafe impl Record for WireRecord {}
// SAFETY: as above.
unsafe impl Record for Header {}
// SAFETY: as above.
unsafe impl Record for SocketOwner {}
// SAFETY: as above.
unsafe impl Record for [u8; 16] {}
// SAFETY: as above.
unsafe impl Record for u16 {}

/// Places the kernel's time since boot in the calendar.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Nanoseconds between 1970 and boot.
    boot: i128,
}

impl Clock {
    /// As the clocks stand now.
    pub fn now() -> Self {
        let nanoseconds = |clock| {
            let time = clock_gettime(clock);
            i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
        };
        Self {
            boot: nanoseconds(ClockId::Realtime) - nanoseconds(ClockId::Boottime),
        }
    }

    /// The moment that many nanoseconds after boot.
    pub fn time(self, since_boot: u64) -> Timestamp {
        Timestamp::from_nanosecond(self.boot + i128::from(since_boot)).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// The key of a process as the sensors name it.
pub(super) fn key(task: TaskId) -> ProcessKey {
    ProcessKey {
        pid: task.pid,
        start: task.start / TICK,
    }
}

/// The owner of a socket as the sensors name it.
pub(super) fn owner(owner: SocketOwner) -> Owner {
    let SocketOwner {
        task,
        cgroup_id,
        network_namespace,
        uid,
    } = owner;
    Owner {
        process: (task.pid != 0).then(|| key(task)),
        cgroup_id,
        network_namespace,
        uid,
    }
}

/// An address of the sensors: an IPv4 one stands in the first four bytes.
pub(super) fn address(family: u16, bytes: [u8; 16]) -> IpAddr {
    if family == AF_INET6 {
        Ipv6Addr::from(bytes).to_canonical()
    } else {
        let [a, b, c, d, ..] = bytes;
        Ipv4Addr::new(a, b, c, d).into()
    }
}

/// This side of a socket.
pub(super) fn local(record: &SocketRecord) -> SocketAddr {
    SocketAddr::new(address(record.family, record.local), record.local_port)
}

/// The other side of a socket.
pub(super) fn remote(record: &SocketRecord) -> SocketAddr {
    SocketAddr::new(address(record.family, record.remote), record.remote_port)
}
