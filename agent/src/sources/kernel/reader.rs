//! Reads the ring: a thread of its own, which polls while events flow and sleeps while none do.

use std::{
    os::fd::OwnedFd,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, atomic::Ordering},
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
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    io::Errno,
};
use tokio::sync::mpsc;

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

/// How long it sleeps at most, so that losses and a stream that has ended are noticed.
const SLEEP: Duration = Duration::from_millis(500);

/// How often losses are reported while they go on.
const LOSS_REPORTS: Duration = Duration::from_secs(5);

/// Reads the ring. The sensors stay attached while it lives.
pub struct Reader {
    ring: RingBuf<MapData>,
    /// Told to the kernel programs: they need not wake a reader that polls.
    polling: Array<MapData, u32>,
    lost: PerCpuHashMap<MapData, [u8; 4], u64>,
    programs: Ebpf,
}

/// A reader at work.
pub struct Reading {
    stop: Arc<OwnedFd>,
    failure: mpsc::Receiver<String>,
}

impl Reading {
    /// Why the kernel's events cannot be read any more: the agent is blind then. `None` once the reader has sent on all
    /// that it had and ended, because it was told to or because the stream has ended.
    pub async fn failure(&mut self) -> Option<String> {
        self.failure.recv().await
    }

    /// Tells it to detach the sensors, to send on what they have seen, and to end.
    pub fn stop(&self) {
        // Fails only where it was told 2^64 - 1 times before.
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
    }
}

/// What ends a rest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wake {
    /// The kernel has something.
    Ring,
    /// The reader shall end.
    Stop,
    /// Nothing but the time.
    Time,
}

impl Reader {
    pub(super) fn new(ring: RingBuf<MapData>, mut programs: Ebpf) -> Result<Self> {
        let polling = programs.take_map("POLLING").context("the object has no map POLLING")?;
        let lost = programs.take_map("LOST").context("the object has no map LOST")?;
        Ok(Self {
            ring,
            polling: polling.try_into()?,
            lost: lost.try_into()?,
            programs,
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

    /// Starts the thread that reads until it is told to stop or the stream has ended.
    pub fn spawn(self, decoder: Decoder, events: Sender, counters: Arc<KernelCounters>) -> Result<Reading> {
        let told = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let stop = Arc::new(told.context("cannot be told to stop")?);
        let (failed, failure) = mpsc::channel(1);
        let reading = Reading {
            stop: Arc::clone(&stop),
            failure,
        };
        let run = move || {
            let ended = panic::catch_unwind(AssertUnwindSafe(|| self.run(decoder, &events, &stop, &counters)));
            let reason = match ended {
                Ok(Ok(())) => return,
                Ok(Err(reason)) => format!("{reason:#}"),
                Err(_) => "the reader panicked".to_owned(),
            };
            // Fails only where nobody waits, because the agent ends.
            let _ = failed.blocking_send(reason);
        };
        thread::Builder::new()
            .name("kernel-ring".into())
            .spawn(run)
            .context("cannot start a thread")?;
        Ok(reading)
    }

    fn run(mut self, mut decoder: Decoder, events: &Sender, stop: &OwnedFd, counters: &KernelCounters) -> Result<()> {
        let mut losses = Losses::default();
        let mut empty_looks = 0;
        while !events.is_closed() {
            if forward(&mut self.ring, &mut decoder, events)? {
                empty_looks = 0;
            } else {
                empty_looks += 1;
            }
            counters.broken.store(decoder.broken, Ordering::Relaxed);
            if let Some(event) = losses.report(&self.lost, counters) {
                let _ = events.blocking_send(vec![event]);
            }
            let wake = if empty_looks < EMPTY_LOOKS {
                wait(NAP, stop, None)?
            } else {
                self.sleep(stop)?
            };
            match wake {
                Wake::Ring => empty_looks = 0,
                Wake::Time => {}
                Wake::Stop => {
                    // With nobody to write any more the ring has an end, also on a busy node.
                    drop(self.programs);
                    forward(&mut self.ring, &mut decoder, events)?;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Sleeps until the kernel has something. The programs are told first that they must wake the reader. One may have
    /// looked just before and go without: the short first wait ends after it has written, and the long one begins with
    /// another look at the ring.
    fn sleep(&mut self, stop: &OwnedFd) -> Result<Wake> {
        self.polling
            .set(0, 0, 0)
            .context("cannot tell the sensors to wake the reader")?;
        let wake = match wait(NAP, stop, Some(&self.ring))? {
            Wake::Time => wait(SLEEP, stop, Some(&self.ring))?,
            wake => wake,
        };
        self.polling
            .set(0, 1, 0)
            .context("cannot tell the sensors that the reader polls")?;
        Ok(wake)
    }
}

/// Sends on what is in the ring; tells whether there was anything. While the stream is busy this waits: the ring has more
/// room than any queue here, and what it cannot hold is counted in one place.
fn forward(ring: &mut RingBuf<MapData>, decoder: &mut Decoder, events: &Sender) -> Result<bool> {
    let mut any = false;
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(record) = ring.next() {
        any = true;
        batch.extend(decoder.decode(&record));
        drop(record);
        if batch.len() >= BATCH {
            let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
            events.blocking_send(full).context("the stream has ended")?;
        }
    }
    batch.extend(decoder.overdue(Instant::now()));
    if !batch.is_empty() {
        events.blocking_send(batch).context("the stream has ended")?;
    }
    Ok(any)
}

/// Waits until the reader shall end or that ring holds something, at most that long.
fn wait(most: Duration, stop: &OwnedFd, ring: Option<&RingBuf<MapData>>) -> Result<Wake> {
    let timeout = Timespec::try_from(most).context("a timeout")?;
    let stop = PollFd::new(stop, PollFlags::IN);
    let ready = match ring {
        Some(ring) => {
            let mut both = [stop, PollFd::new(ring, PollFlags::IN)];
            poll(&mut both, Some(&timeout)).map(|_| both.map(|descriptor| !descriptor.revents().is_empty()))
        }
        None => poll(&mut [stop], Some(&timeout)).map(|ready| [ready > 0, false]),
    };
    match ready {
        Ok([true, _]) => Ok(Wake::Stop),
        Ok([_, true]) => Ok(Wake::Ring),
        Ok(_) | Err(Errno::INTR) => Ok(Wake::Time),
        Err(reason) => Err(reason).context("cannot wait for the kernel's events"),
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
