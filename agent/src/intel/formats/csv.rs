//! Comma-separated values: Feodo Tracker's and `ThreatFox`'s, MISP's, and what others write like them.
//!
//! A row of names says what the columns are, also where it is a comment, as abuse.ch writes it. Without one, the first
//! column that holds an address is the indicator. A field within quotation marks may have several lines, as comments of
//! MISP's have.

use std::io::{self, BufRead};

use csv_core::{ReadRecordResult, Reader};

use super::{Own, Reading, network};

/// Names of the column that holds the indicator.
const INDICATOR: &[&str] = &[
    "dst_ip",
    "src_ip",
    "ip",
    "ip_address",
    "ipaddress",
    "address",
    "network",
    "cidr",
    "ioc_value",
    "ioc",
    "indicator",
    "value",
    "url",
];
/// Of the one that says what kind of indicator it is.
const KIND: &[&str] = &["ioc_type", "indicator_type", "type"];
const CONFIDENCE: &[&str] = &["confidence_level", "confidence"];
/// Of the one that says until when it counts.
const EXPIRES: &[&str] = &["valid_until", "expires", "expiration", "expiry"];
/// Of those that say more of it.
const TAGS: &[&str] = &[
    "malware",
    "malware_printable",
    "threat",
    "threat_type",
    "tags",
    "attribute_tag",
    "event_tag",
];
/// Of the one that says whether it is meant for detection: MISP's.
const FOR_DETECTION: &[&str] = &["to_ids"];

/// A row of more lines is none: a quotation mark has no other, and the rest of the file would be one field.
const MOST_LINES: usize = 16;

/// What the columns are.
#[derive(Default)]
struct Columns {
    indicator: Option<usize>,
    kind: Option<usize>,
    confidence: Option<usize>,
    expires: Option<usize>,
    for_detection: Option<usize>,
    tags: Vec<usize>,
}

pub(super) fn read(input: &mut dyn BufRead, reading: &mut Reading) -> io::Result<()> {
    let (mut columns, mut row) = (Columns::default(), Row::new());
    // The lines so far of a row that goes on in the next one.
    let (mut begun, mut lines) = (String::new(), 0);
    reading.lines(input, |reading, line| {
        let is_comment = lines == 0 && line.starts_with('#');
        let said = if is_comment {
            line.trim_start_matches('#').trim()
        } else {
            line
        };
        if lines == 0 && (said.is_empty() || (is_comment && columns.indicator.is_some())) {
            return;
        }
        begun.push_str(said);
        if !row.read(&begun) {
            begun.push('\n');
            lines += 1;
            if is_comment || lines == MOST_LINES {
                (begun, lines) = Default::default();
                reading.refuse(UNCLOSED);
            }
            return;
        }
        (begun, lines) = Default::default();
        match Columns::named(&row) {
            Some(named) if columns.indicator.is_none() => columns = named,
            _ if is_comment => {}
            _ => columns.take(&row, reading),
        }
    })?;
    if lines > 0 {
        reading.refuse(UNCLOSED);
    }
    Ok(())
}

const UNCLOSED: &str = "a quotation mark has no other";

/// A row and its fields; the parser and its room serve all rows.
struct Row {
    parser: Reader,
    text: Vec<u8>,
    /// Where each field ends.
    ends: Vec<usize>,
}

impl Row {
    fn new() -> Self {
        Self {
            // Its default is another, which knows no commas.
            parser: Reader::new(),
            text: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Reads a row; whether it is a whole one. `ThreatFox` puts a space before the quotation mark of a field, where only
    /// a comma may stand.
    fn read(&mut self, row: &str) -> bool {
        let row = row.replace("\", \"", "\",\"") + "\n";
        self.parser.reset();
        self.text.resize(row.len(), 0);
        self.ends.resize(row.len(), 0);
        let (result, _, _, fields) = self.parser.read_record(row.as_bytes(), &mut self.text, &mut self.ends);
        self.ends.truncate(fields);
        matches!(result, ReadRecordResult::Record)
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len()).filter_map(|column| self.get(column))
    }

    fn get(&self, column: usize) -> Option<&str> {
        let start = column
            .checked_sub(1)
            .map_or(Some(0), |before| self.ends.get(before).copied())?;
        str::from_utf8(self.text.get(start..*self.ends.get(column)?)?).ok()
    }
}

impl Columns {
    /// The columns, if this row names them.
    fn named(row: &Row) -> Option<Self> {
        let at = |names: &[&str]| row.iter().position(|name| is_one_of(name, names));
        let tags = row.iter().enumerate().filter(|(_, name)| is_one_of(name, TAGS));
        Some(Self {
            indicator: Some(at(INDICATOR)?),
            kind: at(KIND),
            confidence: at(CONFIDENCE),
            expires: at(EXPIRES),
            for_detection: at(FOR_DETECTION),
            tags: tags.map(|(column, _)| column).collect(),
        })
    }

    fn take(&self, row: &Row, reading: &mut Reading) {
        let field = |column: Option<usize>| column.and_then(|column| row.get(column)).unwrap_or_default().trim();
        if matches!(field(self.for_detection), "0" | "false" | "False") {
            return;
        }
        let indicator = match self.indicator {
            // MISP writes a port behind the address so.
            Some(_) => field(self.indicator).split('|').next(),
            None => row.iter().find(|field| network(field).is_some()),
        };
        let Some(indicator) = indicator else {
            return reading.refuse("no address is in it");
        };
        // What it is called says whether it should be an address; names and digests are indicators, too.
        let is_called_so = field(self.kind)
            .get(..2)
            .is_some_and(|kind| kind.eq_ignore_ascii_case("ip"));
        let may_be_none = (self.kind.is_some() && !is_called_so) || indicator.contains("://");
        if may_be_none && network(indicator).is_none() {
            return;
        }
        let tags = self.tags.iter().flat_map(|column| field(Some(*column)).split(','));
        let tags = tags.map(str::trim).filter(|tag| !tag.is_empty() && *tag != "None");
        let own = Own {
            confidence: field(self.confidence).parse().ok().filter(|sure| *sure <= 100),
            expires: field(self.expires).parse().ok(),
            tags: &tags.map(str::to_owned).collect::<Vec<_>>(),
        };
        reading.add(indicator, &own);
    }
}

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name.trim()))
}
