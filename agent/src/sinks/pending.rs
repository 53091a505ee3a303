//! Alerts as bytes on their way to a pipe or file. A write that fails goes on in the middle of an alert later.

use std::io::{self, ErrorKind, Write};

use super::Formatter;
use crate::alert::Alert;

/// What is formatted and not yet written.
#[derive(Debug, Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    /// So many of the bytes are written.
    written: usize,
    /// Where each alert ends.
    ends: Vec<usize>,
}

impl Pending {
    /// Adds an alert in that form.
    pub(super) fn push(&mut self, alert: &Alert, formatter: &Formatter) {
        formatter.write(alert, &mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Writes as much as is taken.
    pub(super) fn write_to(&mut self, out: &mut impl Write) -> io::Result<()> {
        while self.written < self.bytes.len() {
            match out.write(&self.bytes[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.bytes.clear();
        self.ends.clear();
        self.written = 0;
        Ok(())
    }

    /// So many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// So many alerts are not written as a whole.
    pub(super) fn alerts(&self) -> usize {
        self.ends.len() - self.whole()
    }

    /// Whether one of them is written in part.
    pub(super) fn is_in_an_alert(&self) -> bool {
        self.written > self.begin()
    }

    /// Has that one written from its begin: its first half stands where nobody will look for it.
    pub(super) fn begin_again(&mut self) {
        self.written = self.begin();
    }

    /// So many alerts are written as a whole.
    fn whole(&self) -> usize {
        self.ends.partition_point(|end| *end <= self.written)
    }

    /// Where the alert begins that is written next or in part.
    fn begin(&self) -> usize {
        let before = self.whole().checked_sub(1);
        before.map_or(0, |before| self.ends[before])
    }
}
