//! When entries of the journal were received, and which of them were read already.
//!
//! The clock on the wall is set back now and then: the first time after a start, or when a virtual machine goes on. So
//! entries of one boot are told apart by the time since that boot, which only goes forward and which journald keeps
//! where it copies entries into another file, unlike their numbers.

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use sdjournal::EntryRef;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What was received in the last microseconds has its turn with the next look: what was received before may be written
/// after it, into another user's file.
pub(super) const UNSETTLED: i64 = 200_000;

/// A clock is not set back by more in operation: what another boot or machine received so much later was received while it
/// was wrong.
const AHEAD: i64 = 60_000_000;

/// When an entry was received, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    /// The boot, whose number no other has.
    pub boot: [u8; 16],
    /// Since that boot.
    pub monotonic: i64,
    /// Since 1970.
    pub realtime: i64,
}

impl Received {
    pub(super) fn of(entry: &EntryRef) -> Self {
        Self {
            boot: entry.boot_id(),
            monotonic: entry.monotonic_usec().try_into().unwrap_or(i64::MAX),
            realtime: entry.realtime_usec().try_into().unwrap_or(i64::MAX),
        }
    }

    /// On the clocks of now.
    pub(super) fn now() -> Self {
        let since_boot = clock_gettime(ClockId::Monotonic);
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let boot = boot.ok().and_then(|text| Uuid::try_parse(text.trim()).ok());
        Self {
            boot: boot.unwrap_or_default().into_bytes(),
            monotonic: since_boot.tv_sec * 1_000_000 + since_boot.tv_nsec / 1_000,
            realtime: Timestamp::now().as_microsecond(),
        }
    }

    /// Whether nothing that was received before is still to be written.
    pub(super) fn is_settled(&self, now: &Self) -> bool {
        if self.boot == now.boot {
            self.monotonic <= now.monotonic - UNSETTLED
        } else {
            self.realtime <= now.realtime - UNSETTLED
        }
    }

    /// Whether that is so before long.
    pub(super) fn settles_soon(&self, now: &Self) -> bool {
        self.boot == now.boot || self.realtime < now.realtime + AHEAD
    }
}

/// Where the journal was read to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// The latest time at which what was read was received.
    pub realtime: i64,
    /// The boot of which something was read last …
    #[serde(default)]
    pub boot: Option<[u8; 16]>,
    /// … and how far.
    #[serde(default)]
    pub monotonic: i64,
}

impl Position {
    /// Before everything that is not settled yet.
    pub(super) fn at(now: &Received) -> Self {
        Self {
            realtime: now.realtime - UNSETTLED,
            boot: Some(now.boot),
            monotonic: now.monotonic - UNSETTLED,
        }
    }

    /// Whether an entry was received after what was read.
    pub(super) fn is_before(&self, entry: &Received, now: &Received) -> bool {
        match self.boot {
            Some(boot) if boot == entry.boot => entry.monotonic > self.monotonic,
            Some(_) if entry.boot == now.boot => true,
            _ => entry.realtime > self.realtime,
        }
    }

    /// Notes that an entry was read.
    pub(super) fn pass(&mut self, entry: &Received, now: &Received) {
        self.realtime = self.realtime.max(entry.realtime);
        if self.boot == Some(entry.boot) {
            self.monotonic = self.monotonic.max(entry.monotonic);
        } else if entry.boot == now.boot {
            self.boot = Some(entry.boot);
            self.monotonic = entry.monotonic;
        }
    }
}
