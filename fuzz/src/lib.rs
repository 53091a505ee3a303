//! What the agent reads from others, as functions of any bytes: none may panic, whatever they are. Each gives how much it
//! has understood.
//!
//! `cargo xtask fuzz` has libFuzzer look for bytes that break one. The programs run their function once on each file that
//! they are given, with any compiler: to look at what was found, or to see what it does to a file of one's own.

pub mod seeds;

use std::{cell::RefCell, io::BufReader, mem::offset_of};

use agent_ebpf::{
    dns::{self, DnsRecord},
    wire::{self, MANY_BYTES, MOST_BYTES, WireRecord},
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
        feeds,
        kernel::{Clock, Decoder, SENSORS},
        logins, memory,
    },
    stream::{Last, Stream, entrance::Entrance, judge::Judge},
};

/// Records of the sensors, one after the other: a byte chooses which, two tell how long it is.
pub fn record(mut bytes: &[u8]) -> usize {
    let tags: Vec<_> = SENSORS.iter().flat_map(|sensor| sensor.tags).collect();
    let mut decoder = Decoder::new(Clock::now());
    let mut events = 0;
    while let Some(([choice, length @ ..], rest)) = bytes.split_first_chunk::<3>() {
        let length = usize::from(u16::from_le_bytes(*length));
        let (record, rest) = rest.split_at(length.min(rest.len()));
        let tag = tags[usize::from(*choice) % tags.len()];
        events += usize::from(decoder.decode(&[&tag[..], record].concat()).is_some());
        bytes = rest;
    }
    events
}

/// A DNS message.
pub fn dns(message: &[u8]) -> usize {
    let Ok(length) = u16::try_from(message.len()) else {
        return 0;
    };
    let mut record = vec![0; offset_of!(DnsRecord, message)];
    record[..dns::TAG.len()].copy_from_slice(&dns::TAG);
    record[offset_of!(DnsRecord, length)..][..size_of::<u16>()].copy_from_slice(&length.to_ne_bytes());
    record.extend(message);
    Decoder::new(Clock::now()).decode(&record).into_iter().count()
}

/// What some connections say first, in parts: a byte tells whose it is and how much is wanted of that one, one how far from
/// the former part it begins, two how long it is.
pub fn wire(mut bytes: &[u8]) -> usize {
    /// Connections that may speak in turn.
    const CONNECTIONS: usize = 4;
    let mut decoder = Decoder::new(Clock::now());
    let (mut ends, mut events) = ([0_u32; CONNECTIONS], 0);
    while let Some(([whose, gap, length @ ..], rest)) = bytes.split_first_chunk::<4>() {
        let length = u16::from_le_bytes(*length).min(MANY_BYTES as u16);
        let (part, rest) = rest.split_at(usize::from(length).min(rest.len()));
        let (length, cookie) = (part.len() as u32, usize::from(*whose) % CONNECTIONS);
        let offset = match gap.cast_signed() {
            i8::MIN => 0,
            gap => ends[cookie].wrapping_add_signed(gap.into()),
        };
        ends[cookie] = offset.wrapping_add(length);
        let wanted = match whose >> 2 & 3 {
            0 => MOST_BYTES,
            1 => MANY_BYTES,
            2 => length,
            _ => u32::MAX,
        };
        let mut record = vec![0; size_of::<WireRecord>()];
        record[..wire::TAG.len()].copy_from_slice(&wire::TAG);
        let mut put = |at: usize, number: &[u8]| record[at..][..number.len()].copy_from_slice(number);
        put(offset_of!(WireRecord, cookie), &(cookie as u64).to_ne_bytes());
        put(offset_of!(WireRecord, length), &(part.len() as u16).to_ne_bytes());
        put(offset_of!(WireRecord, offset), &offset.to_ne_bytes());
        put(offset_of!(WireRecord, wanted), &wanted.to_ne_bytes());
        record.extend(part);
        events += usize::from(decoder.decode(&record).is_some());
        bytes = rest;
    }
    events
}

/// A threat feed: the first byte chooses the format.
pub fn feed(bytes: &[u8]) -> usize {
    const FORMATS: [Format; 7] = [
        Format::Auto,
        Format::Plain,
        Format::Csv,
        Format::Stix,
        Format::Misp,
        Format::Kunai,
        Format::Warninglist,
    ];
    let Some((choice, rest)) = bytes.split_first() else {
        return 0;
    };
    read_feed(FORMATS[usize::from(*choice) % FORMATS.len()], rest)
}

fn read_feed(format: Format, text: &[u8]) -> usize {
    let settings = FeedSettings {
        format,
        ..FeedSettings::default()
    };
    // Most of it is refused, with a reason.
    formats::read(&settings, &mut BufReader::new(text)).map_or(0, |contents| contents.list.len())
}

/// The pages of a collection of a TAXII server, each ended by a zero, and what they list together.
pub fn taxii(bytes: &[u8]) -> usize {
    let pages: Vec<_> = bytes.split(|byte| *byte == 0).collect();
    feeds::bundle_of_pages(&pages).map_or(0, |bundle| read_feed(Format::Stix, &bundle))
}

/// What a process says of its memory: a list of mappings, an environment, `ld.so.preload`.
pub fn memory(bytes: &[u8]) -> usize {
    memory::understood_of(bytes)
}

/// A file of rules, and the events that its samples could be.
pub fn rule(bytes: &[u8]) -> usize {
    let file = RuleFile {
        path: "fuzzed.yml".into(),
        text: String::from_utf8_lossy(bytes).into(),
        built_in: false,
    };
    let (rules, _) = detect::load(&[file], Timestamp::UNIX_EPOCH);
    rules.iter().count()
}

/// Recorded events, one a line, carried to the verdict of the built-in rules. What they teach stays: one input meets the
/// state that the former ones left, as in a long replay.
pub fn event(bytes: &[u8]) -> usize {
    thread_local! {
        static STREAM: RefCell<Stream> = RefCell::new(stream());
    }
    let text = String::from_utf8_lossy(bytes);
    let events: Vec<_> = text.lines().filter_map(|line| event_from_line(line).ok()).collect();
    let count = events.len();
    STREAM.with_borrow_mut(|stream| stream.carry(events));
    count
}

/// Lines of a log of logins, carried to their verdict as well.
pub fn login(bytes: &[u8]) -> usize {
    thread_local! {
        static STREAM: RefCell<Stream> = RefCell::new(stream());
    }
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines();
    let events: Vec<_> = lines
        .filter_map(|line| logins::event_of_line(line).ok().flatten())
        .collect();
    let count = events.len();
    STREAM.with_borrow_mut(|stream| stream.carry(events));
    count
}

fn stream() -> Stream {
    let (rules, _) = detect::load(&builtin::rules(), Timestamp::UNIX_EPOCH);
    let log = Log::new(Redactor::new(&[]).unwrap_or_else(|_| Redactor::off()));
    let judge = Judge::new(rules, SignedDuration::from_mins(10), log, Level::Informational, None);
    Stream::new(Entrance::new(None), Last::Judge(Box::new(judge)))
}

/// Runs a target on each file that is named on the command line.
pub fn run_files(target: fn(&[u8]) -> usize) -> std::io::Result<()> {
    for file in std::env::args_os().skip(1) {
        let said = target(&std::fs::read(&file)?);
        println!("{}: {said}", file.display());
    }
    Ok(())
}
