//! What the agent reads from others, as functions of any bytes: none may panic, whatever they are.
//!
//! `cargo xtask fuzz` has libFuzzer look for bytes that break one. The programs run their function once on each file that
//! they are given, with any compiler: to look at what was found, or to see what it does to a file of one's own.

use std::{cell::RefCell, io::BufReader, mem::offset_of};

use agent_ebpf::{
    dns::{self, DnsRecord},
    wire::{self, WireRecord},
};
use jiff::{SignedDuration, Timestamp};
use tocsin::{
    alert::{Level, log::Log, redact::Redactor},
    detect::{self, builtin, document::RuleFile},
    event::recorded::event_from_line,
    intel::{
        formats,
        settings::{FeedSettings, Format},
    },
    sources::{
        kernel::{Clock, Decoder, SENSORS},
        logins,
    },
    stream::{Last, Stream, entrance::Entrance, judge::Judge},
};

/// A record of the sensors: the first byte chooses which.
pub fn record(bytes: &[u8]) {
    let tags: Vec<_> = SENSORS.iter().flat_map(|sensor| sensor.tags).collect();
    if let Some((choice, rest)) = bytes.split_first() {
        let tag = tags[usize::from(*choice) % tags.len()];
        Decoder::new(Clock::now()).decode(&[&tag[..], rest].concat());
    }
}

/// A DNS message.
pub fn dns(message: &[u8]) {
    let Ok(length) = u16::try_from(message.len()) else {
        return;
    };
    let mut record = vec![0; offset_of!(DnsRecord, message)];
    record[..dns::TAG.len()].copy_from_slice(&dns::TAG);
    record[offset_of!(DnsRecord, length)..][..size_of::<u16>()].copy_from_slice(&length.to_ne_bytes());
    record.extend(message);
    Decoder::new(Clock::now()).decode(&record);
}

/// What a connection says first, in two parts: the first byte tells how long the first one is.
pub fn wire(bytes: &[u8]) {
    let Some((cut, said)) = bytes.split_first() else {
        return;
    };
    let Ok(all) = u16::try_from(said.len()) else {
        return;
    };
    let mut decoder = Decoder::new(Clock::now());
    let (begin, end) = said.split_at(usize::from(*cut).min(said.len()));
    for (offset, part) in [(0, begin), (begin.len(), end)] {
        let mut record = vec![0; size_of::<WireRecord>()];
        record[..wire::TAG.len()].copy_from_slice(&wire::TAG);
        let mut put = |at: usize, number: &[u8]| record[at..][..number.len()].copy_from_slice(number);
        put(offset_of!(WireRecord, length), &(part.len() as u16).to_ne_bytes());
        put(offset_of!(WireRecord, offset), &(offset as u32).to_ne_bytes());
        put(offset_of!(WireRecord, wanted), &u32::from(all).to_ne_bytes());
        record.extend(part);
        decoder.decode(&record);
    }
}

/// A threat feed: the first byte chooses the format.
pub fn feed(bytes: &[u8]) {
    const FORMATS: [Format; 7] = [
        Format::Auto,
        Format::Plain,
        Format::Csv,
        Format::Stix,
        Format::Misp,
        Format::Kunai,
        Format::Warninglist,
    ];
    if let Some((choice, rest)) = bytes.split_first() {
        let settings = FeedSettings {
            format: FORMATS[usize::from(*choice) % FORMATS.len()],
            ..FeedSettings::default()
        };
        // Most of it is refused, with a reason.
        let _ = formats::read(&settings, &mut BufReader::new(rest));
    }
}

/// A file of rules, and the events that its samples could be.
pub fn rule(bytes: &[u8]) {
    let file = RuleFile {
        path: "fuzzed.yml".into(),
        text: String::from_utf8_lossy(bytes).into(),
        built_in: false,
    };
    detect::load(&[file], Timestamp::UNIX_EPOCH);
}

/// Recorded events, one a line, carried to the verdict of the built-in rules. What they teach stays: one input meets the
/// state that the former ones left, as in a long replay.
pub fn event(bytes: &[u8]) {
    thread_local! {
        static STREAM: RefCell<Stream> = RefCell::new(stream());
    }
    let text = String::from_utf8_lossy(bytes);
    let events = text.lines().filter_map(|line| event_from_line(line).ok()).collect();
    STREAM.with_borrow_mut(|stream| stream.carry(events));
}

/// Lines of a log of logins, carried to their verdict as well.
pub fn login(bytes: &[u8]) {
    thread_local! {
        static STREAM: RefCell<Stream> = RefCell::new(stream());
    }
    let text = String::from_utf8_lossy(bytes);
    let events = text
        .lines()
        .filter_map(|line| logins::event_of_line(line).ok().flatten());
    STREAM.with_borrow_mut(|stream| stream.carry(events.collect()));
}

fn stream() -> Stream {
    let (rules, _) = detect::load(&builtin::rules(), Timestamp::UNIX_EPOCH);
    let log = Log::new(Redactor::new(&[]).unwrap_or_else(|_| Redactor::off()));
    let judge = Judge::new(rules, SignedDuration::from_mins(10), log, Level::Informational, None);
    Stream::new(Entrance::new(None), Last::Judge(Box::new(judge)))
}

/// Runs a target on each file that is named on the command line.
pub fn run_files(target: fn(&[u8])) -> std::io::Result<()> {
    for file in std::env::args_os().skip(1) {
        target(&std::fs::read(file)?);
    }
    Ok(())
}
