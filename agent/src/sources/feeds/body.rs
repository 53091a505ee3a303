//! How much of an answer is taken: all of it or nothing, unpacked, and never more than a feed may have.

use std::{
    io::{self, ErrorKind, Write},
    time::Duration,
};

use flate2::write::MultiGzDecoder;
use http_body_util::BodyExt as _;
use hyper::{
    Response,
    body::Incoming,
    header::{CONTENT_ENCODING, CONTENT_LENGTH},
};
use tokio::time::timeout;

use super::{failure::Failure, request::header_text};
use crate::{http, intel::formats::LARGEST_DOCUMENT};

/// A server may be silent for so long.
pub(super) const SILENCE: Duration = Duration::from_secs(30);

/// What is said of a server that is silent for longer.
pub(super) fn silent() -> Failure {
    Failure::Later(format!("no answer within {SILENCE:?}"))
}

/// How much a server may say.
#[derive(Clone, Copy)]
pub(super) struct Most {
    mib: u64,
    /// Who says so.
    by: &'static str,
}

/// Writes down what an answer says, unpacked, as it comes.
pub(super) async fn write(answer: Response<Incoming>, most: Most, out: impl Write) -> Result<(), Failure> {
    let announced = header_text(answer.headers(), CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > most.bytes()) {
        return Err(most.exceeded());
    }
    let out = Limited::new(out, most);
    match header_text(answer.headers(), CONTENT_ENCODING) {
        None | Some("identity") => copy(answer.into_body(), most, out).await.map(drop),
        Some("gzip" | "x-gzip") => {
            let mut unpacked = copy(answer.into_body(), most, MultiGzDecoder::new(out)).await?;
            unpacked.try_finish().map_err(|error| most.failure(&error))
        }
        Some(_) => Err(Failure::Refused("it is packed, though not by gzip".to_owned())),
    }
}

async fn copy<W: Write>(mut body: Incoming, most: Most, mut out: W) -> Result<W, Failure> {
    let mut length = 0;
    while let Some(frame) = timeout(SILENCE, body.frame()).await.map_err(|_| silent())? {
        let breaks_off = |error| Failure::Later(format!("the answer breaks off: {}", http::innermost(error)));
        let Ok(data) = frame.map_err(breaks_off)?.into_data() else {
            continue;
        };
        // Packed, nothing may become of much.
        length += data.len() as u64;
        if length > most.bytes() {
            return Err(most.exceeded());
        }
        out.write_all(&data).map_err(|error| most.failure(&error))?;
    }
    Ok(out)
}

impl Most {
    /// As it is set.
    pub(super) fn new(mib: u64) -> Self {
        Self { mib, by: "max-mib" }
    }

    /// The same of a document of JSON, which is read in memory.
    pub(super) fn of_document(self) -> Self {
        let most = LARGEST_DOCUMENT >> 20;
        if self.mib <= most {
            return self;
        }
        Self {
            mib: most,
            by: "the most of a document",
        }
    }

    fn bytes(self) -> u64 {
        self.mib << 20
    }

    /// What is said of more.
    pub(super) fn exceeded(self) -> Failure {
        Failure::Refused(format!("it has more than {} MiB ({})", self.mib, self.by))
    }

    /// Why something could not be written.
    pub(super) fn failure(self, error: &io::Error) -> Failure {
        match error.kind() {
            ErrorKind::FileTooLarge => self.exceeded(),
            ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::UnexpectedEof => {
                Failure::Later(format!("it cannot be unpacked: {error}"))
            }
            _ => Failure::Later(format!("it cannot be written down: {error}")),
        }
    }
}

/// Takes so many bytes and no more.
pub(super) struct Limited<W> {
    out: W,
    left: u64,
}

impl<W: Write> Limited<W> {
    /// All of a feed.
    pub(super) fn new(out: W, most: Most) -> Self {
        Self {
            out,
            left: most.bytes(),
        }
    }

    /// Where it was written to.
    pub(super) fn into_inner(self) -> W {
        self.out
    }
}

impl<W: Write> Write for Limited<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or(ErrorKind::FileTooLarge)?;
        self.out.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
