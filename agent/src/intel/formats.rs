//! What the files of feeds say: a file of this folder for each format. What they say of other things than addresses
//! (names, addresses of pages, digests) is passed over; what nobody understands is refused, and the rest counts.

mod csv;
mod kunai;
mod misp;
mod plain;
mod stix;
mod warninglist;

use std::{
    io::{self, BufRead, Read},
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use jiff::Timestamp;
use url::{Host, Url};

use super::{
    Contents,
    list::{Builder, Said},
    refused::Refused,
    settings::{FeedSettings, Format},
};
use crate::sinks::visible::visible;

/// A longer line is refused.
const LONGEST_LINE: u64 = 1 << 16;

/// A larger JSON document is refused: all of it is in memory while it is read. Of lines there may be more.
pub const LARGEST_DOCUMENT: u64 = 128 << 20;

/// Reads a feed. Why it cannot be read goes into alerts and logs, and may quote what others wrote.
pub fn read(settings: &FeedSettings, input: &mut dyn BufRead) -> Result<Contents, String> {
    contents(settings, input).map_err(|reason| visible(&reason).into_owned())
}

fn contents(settings: &FeedSettings, input: &mut dyn BufRead) -> Result<Contents, String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    let start = input.fill_buf().map_err(unreadable)?;
    if let Some(packer) = packer(start) {
        return Err(format!("it is packed ({packer}): a feed is read as it is"));
    }
    let format = match settings.format {
        Format::Auto => detect(start).ok_or("nobody can tell its format: set it")?,
        Format::Misp if !is_json(start) => Format::Csv,
        format => format,
    };
    let mut reading = Reading {
        confidence: settings.confidence,
        builder: Builder::default(),
        refused: Refused::default(),
        line: None,
    };
    match format {
        Format::Csv => csv::read(input, &mut reading).map_err(unreadable)?,
        Format::Kunai => reading.lines(input, kunai::line).map_err(unreadable)?,
        Format::Stix => stix::read(&document(input)?, &mut reading)?,
        Format::Misp => misp::read(&document(input)?, &mut reading)?,
        Format::Warninglist => warninglist::read(&document(input)?, &mut reading)?,
        Format::Plain | Format::Auto => reading.lines(input, plain::line).map_err(unreadable)?,
    }
    let list = reading.builder.finish();
    if list.is_empty() {
        let first = reading.refused.told.first();
        let why = first.map_or(String::new(), |(_, reason)| format!(": {reason}"));
        return Err(format!("it lists no address{why}"));
    }
    Ok(Contents {
        list,
        refused: reading.refused,
    })
}

/// By what a file is packed that begins so.
fn packer(start: &[u8]) -> Option<&'static str> {
    const PACKERS: [(&[u8], &str); 6] = [
        (b"\x1f\x8b", "gzip"),
        (b"PK\x03\x04", "zip"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    ];
    let found = PACKERS.iter().find(|(magic, _)| start.starts_with(magic));
    found.map(|(_, name)| *name)
}

/// The beginning of a file as text, without what says nothing.
fn beginning(start: &[u8]) -> String {
    let start = String::from_utf8_lossy(start);
    start.trim_start_matches('\u{FEFF}').trim_start().to_owned()
}

fn is_json(start: &[u8]) -> bool {
    beginning(start).starts_with(['{', '['])
}

/// What a file is that begins so.
fn detect(start: &[u8]) -> Option<Format> {
    if is_json(start) {
        let start = beginning(start);
        let says = |words: &[&str]| words.iter().any(|word| start.contains(word));
        let formats = [
            (Format::Stix, says(&["\"objects\"", "\"bundle\"", "\"spec_version\""])),
            (Format::Misp, says(&["\"Event\"", "\"Attribute\"", "\"response\""])),
            (Format::Kunai, says(&["\"value\""])),
        ];
        return formats.into_iter().find_map(|(format, fits)| fits.then_some(format));
    }
    let start = beginning(start);
    let mut lines = start
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    let has_comma = lines.next().is_some_and(|line| line.contains(','));
    Some(if has_comma { Format::Csv } else { Format::Plain })
}

/// A feed that is being read.
struct Reading {
    /// How sure it is where it does not say.
    confidence: u8,
    builder: Builder,
    refused: Refused,
    /// The line that is being read, where there are lines.
    line: Option<usize>,
}

/// What a feed says of one indicator.
#[derive(Default)]
struct Own<'a> {
    confidence: Option<u8>,
    expires: Option<Timestamp>,
    tags: &'a [String],
}

impl Reading {
    /// Adds an address or a network.
    fn add(&mut self, text: &str, own: &Own<'_>) {
        let Some(network) = network(text) else {
            return self.refuse(format_args!("{text:?} is no address"));
        };
        let said = Said {
            confidence: own.confidence.unwrap_or(self.confidence),
            expires: own.expires.unwrap_or(Timestamp::MAX),
            tags: own.tags,
        };
        if let Err(reason) = self.builder.add(network, said) {
            self.refuse(format_args!("{text}: {reason}"));
        }
    }

    fn refuse(&mut self, reason: impl std::fmt::Display) {
        self.refused.add(self.line, reason);
    }

    /// Reads line by line; one that is too long or no text is refused.
    fn lines(&mut self, input: &mut dyn BufRead, mut take: impl FnMut(&mut Self, &str)) -> io::Result<()> {
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let mut start = Read::take(&mut *input, LONGEST_LINE);
            if start.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            self.line = Some(number);
            if line.len() as u64 == LONGEST_LINE && line.last() != Some(&b'\n') {
                input.skip_until(b'\n')?;
                self.refuse(format_args!("it has more than {LONGEST_LINE} bytes"));
                continue;
            }
            match str::from_utf8(&line) {
                Ok(text) => take(self, text.trim_start_matches('\u{FEFF}').trim()),
                Err(_) => self.refuse("not UTF-8"),
            }
        }
        Ok(())
    }
}

/// The whole of a document.
fn document(input: &mut dyn BufRead) -> Result<Vec<u8>, String> {
    let mut document = Vec::new();
    let read = input.take(LARGEST_DOCUMENT + 1).read_to_end(&mut document);
    read.map_err(|error| format!("cannot be read: {error}"))?;
    if document.len() as u64 > LARGEST_DOCUMENT {
        return Err(format!("it has more than {} MiB", LARGEST_DOCUMENT >> 20));
    }
    if let Some(rest) = document.strip_prefix("\u{FEFF}".as_bytes()) {
        return Ok(rest.to_vec());
    }
    Ok(document)
}

/// An address, a network, an address with a port, or that of a page whose server is named by its address.
fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    let address = text.parse::<IpAddr>().map(IpNet::from);
    let network = || text.parse::<IpNet>().map(|network| network.trunc());
    let endpoint = || text.parse::<SocketAddr>().map(|endpoint| endpoint.ip().into());
    let known = address.or_else(|_| network()).or_else(|_| endpoint()).ok();
    known.or_else(|| of_page(text))
}

fn of_page(text: &str) -> Option<IpNet> {
    if !text.contains("://") {
        return None;
    }
    match Url::parse(text).ok()?.host()? {
        Host::Ipv4(ip) => Some(IpAddr::from(ip).into()),
        Host::Ipv6(ip) => Some(IpAddr::from(ip).into()),
        Host::Domain(_) => None,
    }
}

#[cfg(test)]
mod tests;
