//! What of a feed could not be read: all of it is counted, some of it told.

use std::fmt;

use crate::sinks::visible::visible;

/// So many are told; so much of each.
const TOLD: usize = 10;
const LONGEST: usize = 160;

/// Lines, or objects of a JSON document, that could not be read.
#[derive(Debug, Default)]
pub struct Refused {
    /// How many.
    pub count: usize,
    /// The first of them: the line, where there are lines, and why.
    pub told: Vec<(Option<usize>, String)>,
}

impl Refused {
    /// Notes one. The reason goes into logs, and may quote what others wrote.
    pub fn add(&mut self, line: Option<usize>, reason: impl fmt::Display) {
        self.count += 1;
        if self.told.len() < TOLD {
            let mut reason = visible(&reason.to_string()).into_owned();
            reason.truncate(reason.floor_char_boundary(LONGEST));
            self.told.push((line, reason));
        }
    }
}
