//! An address or a network a line, whatever follows it: the lists of `FireHOL`, Spamhaus and ipsum, which counts lists
//! behind the address.

use super::{Own, Reading};

pub(super) fn line(reading: &mut Reading, line: &str) {
    let said = line.split(['#', ';']).next().unwrap_or_default();
    if let Some(first) = said.split([' ', '\t', ',']).find(|word| !word.is_empty()) {
        reading.add(first, &Own::default());
    }
}
