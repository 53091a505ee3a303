//! A sink's thread: takes alerts from the log and has them delivered, for as long as that takes.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{Failure, Sink, report::Report};
use crate::alert::{
    Alert,
    log::{Batch, Reader},
};

/// When alerts follow each other faster than this, a sink takes them in groups: waking it for each costs more than
/// writing it. One alert that stands alone is never delayed.
const BURST: Duration = Duration::from_micros(500);

/// Once the agent is about to end there is little time for further tries.
const LAST_REST: Duration = Duration::from_millis(250);

/// Delivers until the log ends or the sink is gone.
pub(super) fn run(sink: &mut dyn Sink, reader: &mut Reader, report: &mut Report) -> anyhow::Result<()> {
    let most = sink.batch().get();
    let mut last = None::<Instant>;
    // What does not work is known before the first alert needs it.
    deliver(sink, &[], reader, report)?;
    while let Some(Batch { alerts, lost }) = reader.read(most) {
        report.lost(lost, "more came than its queue holds");
        let in_hand = &report.counters().in_hand;
        in_hand.store(alerts.len() as u64, Ordering::Relaxed);
        let refused = deliver(sink, &alerts, reader, report)?;
        let counters = report.counters();
        counters.in_hand.store(0, Ordering::Relaxed);
        (counters.delivered).fetch_add((alerts.len() as u64).saturating_sub(refused), Ordering::Relaxed);
        let burst = last.is_some_and(|last| last.elapsed() < BURST);
        if burst && alerts.len() < most {
            reader.pause(BURST);
        }
        last = Some(Instant::now());
    }
    Ok(())
}

/// Delivers one batch, trying again for as long as it takes, and gives how many were refused.
fn deliver(
    sink: &mut dyn Sink,
    alerts: &[Arc<Alert>],
    reader: &mut Reader,
    report: &mut Report,
) -> anyhow::Result<u64> {
    let (mut rest, longest) = sink.rests();
    let mut refused = 0;
    let mut outcome = sink.deliver(alerts);
    loop {
        match outcome {
            Ok(()) => break,
            Err(Failure::Gone(error)) => return Err(error),
            Err(Failure::Refused(error)) => {
                refused += 1;
                report.lost(1, &format!("{error:#}"));
            }
            Err(Failure::Later(error)) => {
                report.failed(&error);
                pause(reader, rest);
                // Told now rather than when it works again: the others can still say it.
                report.lost(reader.take_lost(), "more came than its queue holds");
                rest = (rest * 2).min(longest);
            }
        }
        outcome = sink.deliver(&[]);
    }
    report.works();
    Ok(refused)
}

/// Rests about so long: many agents that lost one receiver do not come back to it at the same moment.
fn pause(reader: &Reader, rest: Duration) {
    let rest = rest.mul_f64(0.5 + fastrand::f64() / 2.0);
    let closed_before = Instant::now();
    if reader.pause(rest) {
        // A closed log does not pause any more.
        thread::sleep(rest.min(LAST_REST).saturating_sub(closed_before.elapsed()));
    }
}
