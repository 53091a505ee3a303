//! Standard output, whose reader may have seen enough, as in `tocsin rules list | head`. That ends a command in peace, and no
//! other pipe or socket that breaks does.

use std::{
    fmt,
    io::{self, Stdout, Write},
};

/// Standard output.
pub(super) struct Output(Stdout);

/// The reader of standard output has gone.
#[derive(Debug)]
struct ReaderGone;

impl Output {
    pub(super) fn open() -> Self {
        Self(io::stdout())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(mark)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(mark)
    }
}

fn mark(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::new(io::ErrorKind::BrokenPipe, ReaderGone),
        _ => error,
    }
}

/// Whether a command failed because nobody reads its output any more.
pub(super) fn reader_has_gone(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    matches!(error, Some(error) if error.is::<ReaderGone>())
}

impl fmt::Display for ReaderGone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("nobody reads the output any more")
    }
}

impl std::error::Error for ReaderGone {}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn only_standard_output_may_break() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        let told = |error: io::Error| reader_has_gone(&Err::<(), _>(error).context("cannot write").unwrap_err());
        assert!(told(mark(broken())));
        assert!(!told(broken()));
        assert!(!told(mark(io::ErrorKind::StorageFull.into())));
    }
}
