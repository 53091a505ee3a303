//! Reads the ring: a thread of its own, which polls while events flow and sleeps while none do.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, MapData, PerCpuHashMap, RingBuf},
};
use jiff::Timestamp;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use tokio::sync::oneshot;

use super::Decoder;
use crate::{
    control::status::KernelCounters,
    event::{Event, Health, Kind},
    sources::Sender,
};

/// Events that go to the stream at a time.
const BATCH: usize = 256;

/// How long the reader naps between two looks while events flow: long enough to find many, short against the time that
/// people take.
const NAP: Duration = Duration::from_millis(1);

/// Looks that find nothing before the reader sleeps until the kernel wakes it.
const EMPTY_LOOKS: u32 = 2;

/// How long it sleeps at most, so that losses and a stop are noticed.
const SLEEP: Duration = Duration::from_millis(500);

/// How often losses are reported while they go on.
const LOSS_REPORTS: Duration = Duration::from_secs(5);

/// Reads the ring. The sensors stay attached while it lives.
pub struct Reader {
    ring: RingBuf<MapData>,
    /// Told to the kernel programs: they need not wake a reader that polls.
    polling: Array<MapData, u32>,
    lost: PerCpuHashMap<MapData, [u8; 4], u64>,
    _programs: Ebpf,
}

impl Reader {
    pub(super) fn new(ring: RingBuf<MapData>, mut programs: Ebpf) -> Result<Self> {
        let polling = programs.take_map("POLLING").context("the object has no map POLLING")?;
        let lost = programs.take_map("LOST").context("the object has no map LOST")?;
        Ok(Self {
            ring,
            polling: polling.try_into()?,
            lost: lost.try_into()?,
            _programs: programs,
        })
    }

    /// Every event that is in the ring now: what came while the start-up scan ran.
    pub fn drain(&mut self, decoder: &mut Decoder) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(record) = self.ring.next() {
            events.extend(decoder.decode(&record));
        }
        events
    }

    /// Starts the thread that reads until `stop` is set or the stream has ended. What comes back resolves with the reason
    /// if it ends otherwise: the agent is blind then.
    pub fn spawn(
        self,
        decoder: Decoder,
        events: Sender,
        stop: Arc<AtomicBool>,
        counters: Arc<KernelCounters>,
    ) -> Result<oneshot::Receiver<String>> {
        let (failed, failure) = oneshot::channel();
        let run = move || {
            let ended = panic::catch_unwind(AssertUnwindSafe(|| self.run(decoder, &events, &stop, &counters)));
            let reason = match ended {
                Ok(Ok(())) => return,
                Ok(Err(reason)) => format!("{reason:#}"),
                Err(_) => "the reader panicked".to_owned(),
            };
            // Fails only where nobody waits, because the agent ends.
            let _ = failed.send(reason);
        };
        thread::Builder::new()
            .name("kernel-ring".into())
            .spawn(run)
            .context("cannot start a thread")?;
        Ok(failure)
    }

    fn run(
        mut self,
        mut decoder: Decoder,
        events: &Sender,
        stop: &AtomicBool,
        counters: &KernelCounters,
    ) -> Result<()> {
        let mut losses = Losses::default();
        let mut empty_looks = 0;
        while !stop.load(Ordering::Relaxed) && !events.is_closed() {
            if self.forward(&mut decoder, events)? {
                empty_looks = 0;
            } else {
                empty_looks += 1;
            }
            counters.broken.store(decoder.broken, Ordering::Relaxed);
            if let Some(event) = losses.report(&self.lost, counters) {
                let _ = events.blocking_send(vec![event]);
            }
            if empty_looks < EMPTY_LOOKS {
                thread::sleep(NAP);
            } else if self.sleep()? {
                empty_looks = 0;
            }
        }
        Ok(())
    }

    /// Sends on what is in the ring. While the stream is busy this waits: the ring has more room than any queue here,
    /// and what it cannot hold is counted in one place.
    fn forward(&mut self, decoder: &mut Decoder, events: &Sender) -> Result<bool> {
        let mut any = false;
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(record) = self.ring.next() {
            any = true;
            batch.extend(decoder.decode(&record));
            drop(record);
            if batch.len() == BATCH {
                let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                events.blocking_send(full).context("the stream has ended")?;
            }
        }
        if !batch.is_empty() {
            events.blocking_send(batch).context("the stream has ended")?;
        }
        Ok(any)
    }

    /// Sleeps until the kernel has something; tells whether it has. The programs are told first that they must wake the
    /// reader. One may have looked just before and go without: the short first wait ends after it has written, and the
    /// long one begins with another look at the ring.
    fn sleep(&mut self) -> Result<bool> {
        self.polling
            .set(0, 0, 0)
            .context("cannot tell the sensors to wake the reader")?;
        let woken = self.wait(NAP)? || self.wait(SLEEP)?;
        self.polling
            .set(0, 1, 0)
            .context("cannot tell the sensors that the reader polls")?;
        Ok(woken)
    }

    /// Waits until the ring holds something, at most that long.
    fn wait(&self, most: Duration) -> Result<bool> {
        let timeout = Timespec::try_from(most).context("a timeout")?;
        let mut ring = [PollFd::new(&self.ring, PollFlags::IN)];
        match poll(&mut ring, Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(reason) => Err(reason).context("cannot wait for the kernel's events"),
        }
    }
}

/// What was lost so far, and when it was last told.
#[derive(Default)]
struct Losses {
    told: u64,
    told_at: Option<Instant>,
}

impl Losses {
    /// An event that tells of losses which were not yet told.
    fn report(&mut self, lost: &PerCpuHashMap<MapData, [u8; 4], u64>, counters: &KernelCounters) -> Option<Event> {
        if self.told_at.is_some_and(|at| at.elapsed() < LOSS_REPORTS) {
            return None;
        }
        self.told_at = Some(Instant::now());
        let by_sensor: Vec<(String, u64)> = lost
            .iter()
            .filter_map(Result::ok)
            .map(|(tag, counts)| (String::from_utf8_lossy(&tag).trim_end().to_owned(), counts.iter().sum()))
            .collect();
        counters.set_lost(by_sensor.iter().cloned());
        let total: u64 = by_sensor.iter().map(|(_, count)| count).sum();
        if total == self.told {
            return None;
        }
        let new = total - self.told;
        self.told = total;
        let sensors: Vec<_> = by_sensor
            .iter()
            .map(|(sensor, count)| format!("{sensor} {count}"))
            .collect();
        let detail = format!(
            "{new} events lost, {total} since the start ({}): the ring was full",
            sensors.join(", ")
        );
        let kind = Kind::Health(Health { kind: "loss", detail });
        Some(Event {
            time: Timestamp::now(),
            startup: false,
            kind,
            given: None,
        })
    }
}
