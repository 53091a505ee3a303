//! A log file that is followed by its name: through rotation (by renaming or by copying), truncation and restarts.
//!
//! Where one has read to is known by the file's number and by the bytes before that place: numbers are given again, and a
//! file that was emptied may have grown beyond the place since.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// So much is read in one go: the stream has its turn between two.
const CHUNK: usize = 64 << 10;

/// Of a longer line only the beginning is handed on.
const LONGEST_LINE: usize = 16 << 10;

/// Of what was written while nobody read, so much is read, the newest.
const MOST_MISSED: u64 = 16 << 20;

/// By so many bytes before it a place is known: some lines, with their times and process ids.
const MARK: usize = 256;

/// How long a file is read on after another took its name: who writes may not know yet.
const AFTERWARDS: Duration = Duration::from_secs(10);

/// Files beside a log that are looked at for the rest of what was written before it was rotated.
const MOST_SIBLINGS: usize = 1_000;

/// A file and who reads it.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    /// The one that bore the name before, and until when it is read.
    former: Option<(Tail, Instant)>,
    current: Option<Tail>,
    /// Nothing was found of what followed the place from which it should go on.
    lost: bool,
}

/// Where a file was read to, for the next start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    device: u64,
    inode: u64,
    offset: u64,
    /// The place is within a line that is too long.
    #[serde(default)]
    within: bool,
    mark: Vec<u8>,
    /// While something of a file that was rotated is yet to come: where the one was read to that has the name now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    successor: Option<Box<Self>>,
}

/// An open file.
#[derive(Debug)]
struct Tail {
    file: File,
    at: Position,
}

impl LogFile {
    /// Follows a file from its end on. One that is not there yet is read from its beginning once it is.
    pub fn at_end(path: &Path) -> Self {
        let mut current = Tail::open(path).ok();
        if let Some(tail) = &mut current {
            // Where it does not end with a line, who writes is in the middle of one.
            let end = tail.length().unwrap_or_default();
            tail.go_to(end);
            tail.at.within = end > 0 && tail.at.mark.last() != Some(&b'\n');
        }
        Self {
            path: path.to_owned(),
            former: None,
            current,
            lost: false,
        }
    }

    /// Goes on where somebody has read to, also if the file was rotated meanwhile.
    pub fn resume(path: &Path, position: &Position) -> Self {
        let mut current = Tail::open(path).ok();
        let (mut former, mut lost) = (None, false);
        if !current.as_mut().is_some_and(|tail| tail.resume(position, true)) {
            let mut rest = former_of(path, position);
            lost = rest.is_none();
            if let Some(successor) = &position.successor {
                if current.as_mut().is_some_and(|tail| tail.resume(successor, true)) {
                    // Of the one before, half a line was yet to come.
                    lost = false;
                } else {
                    // Rotated once more.
                    rest = former_of(path, successor);
                    lost = rest.is_none();
                }
            }
            former = rest.map(|tail| (tail, Instant::now() + AFTERWARDS));
        }
        let tails = current.iter_mut().chain(former.as_mut().map(|(tail, _)| tail));
        tails.for_each(Tail::skip_too_much);
        Self {
            path: path.to_owned(),
            former,
            current,
            lost,
        }
    }

    /// Hands on what was written since, line by line and without their ends; gives whether there is more.
    pub fn read(&mut self, take: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        if let Some((tail, until)) = &mut self.former {
            if tail.read(take)? {
                return Ok(true);
            }
            if Instant::now() >= *until {
                self.former = None;
            }
        }
        if let Some(tail) = &mut self.current {
            if tail.was_replaced()? {
                // Whoever copies a log and empties it leaves the rest in the copy.
                let rest = former_of(&self.path, &tail.at);
                self.lost |= rest.is_none();
                self.former = rest.map(|tail| (tail, Instant::now() + AFTERWARDS));
                tail.go_to(0);
                return Ok(true);
            }
            if tail.read(take)? {
                return Ok(true);
            }
        }
        self.follow_the_name()
    }

    /// Whether, since this was last asked, something was written that could not be found any more.
    pub fn has_lost(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }

    /// Where it was read to; `None` where there is no file.
    pub fn position(&self) -> Option<Position> {
        let current = self.current.as_ref().map(|tail| tail.at.clone());
        let former = self.former.as_ref().map(|(tail, _)| tail);
        match former.filter(|tail| tail.length().is_ok_and(|length| length > tail.at.offset)) {
            Some(unread) => Some(Position {
                successor: current.map(Box::new),
                ..unread.at.clone()
            }),
            None => current,
        }
    }

    /// What was written last before that, whole lines of at most so many bytes.
    pub fn before(&self, most: usize) -> Vec<u8> {
        let Some(tail) = &self.current else {
            return Vec::new();
        };
        let from = tail.at.offset.saturating_sub(most as u64);
        let mut bytes = vec![0; usize::try_from(tail.at.offset - from).unwrap_or_default()];
        if tail.file.read_exact_at(&mut bytes, from).is_err() {
            return Vec::new();
        }
        if from > 0 {
            let first = bytes
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(bytes.len(), |end| end + 1);
            bytes.drain(..first);
        }
        bytes
    }

    /// Whether another file bears the name now, which is read from its beginning.
    fn follow_the_name(&mut self) -> io::Result<bool> {
        let metadata = match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            metadata => metadata?,
        };
        let same = |tail: &Tail| (tail.at.device, tail.at.inode) == (metadata.dev(), metadata.ino());
        if self.current.as_ref().is_some_and(same) {
            return Ok(false);
        }
        let new = Tail::open(&self.path)?;
        let former = self.current.replace(new);
        self.former = former.map(|tail| (tail, Instant::now() + AFTERWARDS));
        Ok(true)
    }
}

impl Tail {
    /// Opens a file at its beginning.
    fn open(path: &Path) -> io::Result<Self> {
        // To open a pipe would wait for who writes.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let at = Position {
            device: metadata.dev(),
            inode: metadata.ino(),
            ..Position::default()
        };
        Ok(Self { file, at })
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Goes to a place at which a line begins.
    fn go_to(&mut self, offset: u64) {
        self.at.offset = offset;
        self.at.within = false;
        self.at.mark = self.mark(offset).unwrap_or_default();
    }

    /// The bytes before a place.
    fn mark(&self, offset: u64) -> io::Result<Vec<u8>> {
        let length = offset.min(MARK as u64);
        let mut mark = vec![0; usize::try_from(length).unwrap_or(MARK)];
        self.file.read_exact_at(&mut mark, offset - length)?;
        Ok(mark)
    }

    /// Goes on at that place, if it is one of this file. Without anything before it only the file's number tells.
    fn resume(&mut self, position: &Position, by_number: bool) -> bool {
        let same = (self.at.device, self.at.inode) == (position.device, position.inode);
        let known = if position.mark.is_empty() || by_number {
            same
        } else {
            true
        };
        if !known || self.mark(position.offset).ok().as_ref() != Some(&position.mark) {
            return false;
        }
        self.at = Position {
            device: self.at.device,
            inode: self.at.inode,
            successor: None,
            ..position.clone()
        };
        true
    }

    /// What was read is not there any more: the file was emptied, and perhaps written again.
    fn was_replaced(&self) -> io::Result<bool> {
        let length = self.length()?;
        if length == self.at.offset {
            return Ok(false);
        }
        Ok(length < self.at.offset || self.mark(self.at.offset)? != self.at.mark)
    }

    /// Of what was written while nobody read, leaves out what is too much.
    fn skip_too_much(&mut self) {
        let from = self.length().unwrap_or_default().saturating_sub(MOST_MISSED);
        if from > self.at.offset {
            self.go_to(from);
            self.at.within = true;
        }
    }

    /// Hands on the lines of the next chunk; gives whether there were any.
    fn read(&mut self, take: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        let mut chunk = Vec::new();
        let length = self.length()?.saturating_sub(self.at.offset).min(CHUNK as u64);
        if length == 0 {
            return Ok(false);
        }
        chunk.resize(usize::try_from(length).unwrap_or(CHUNK), 0);
        let read = self.file.read_at(&mut chunk, self.at.offset)?;
        let chunk = &chunk[..read];
        let end = match memchr::memrchr(b'\n', chunk) {
            Some(last) => last + 1,
            // The rest of the line may come yet, unless it is too long already.
            None if chunk.len() < LONGEST_LINE => return Ok(false),
            None => chunk.len(),
        };
        for line in chunk[..end].split_inclusive(|byte| *byte == b'\n') {
            let whole = line.strip_suffix(b"\n");
            let skipped = std::mem::replace(&mut self.at.within, whole.is_none());
            if !skipped {
                let line = whole.unwrap_or(line);
                take(&line[..line.len().min(LONGEST_LINE)]);
            }
        }
        self.at.offset += end as u64;
        self.at.mark = self.mark(self.at.offset)?;
        Ok(true)
    }
}

/// The file that was read to that place, by whichever name it now goes beside the log.
fn former_of(path: &Path, position: &Position) -> Option<Tail> {
    let name = path.file_name()?;
    let siblings = fs::read_dir(path.parent()?).ok()?.take(MOST_SIBLINGS);
    let mut siblings = siblings.filter_map(Result::ok).filter(|sibling| {
        let its = sibling.file_name();
        its != name && its.as_encoded_bytes().starts_with(name.as_encoded_bytes())
    });
    siblings.find_map(|sibling| {
        let mut tail = Tail::open(&sibling.path()).ok()?;
        tail.resume(position, false).then_some(tail)
    })
}

#[cfg(test)]
mod tests;
