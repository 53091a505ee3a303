//! A TLS client's hello (RFC 8446, 4.1.2), whole or cut: the server's name in it.
//!
//! A reader of our own: `tls-parser` reads whole messages alone and brings the table of every cipher suite along, and
//! rustls's acceptor tells nothing of a hello that it would refuse.

use std::borrow::Cow;

use super::bounded;

/// What stands for a server's name that is encrypted.
const UNKNOWN: &str = "unknown";

/// Bytes of a name in DNS.
const LONGEST_NAME: usize = 255;

/// What a hello says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hello {
    /// The name that stands in it.
    name: Option<Box<str>>,
    /// It holds another hello, encrypted, whose name is the one that counts (ECH, RFC 9849).
    is_encrypted: bool,
    /// All of it was there.
    pub(super) is_whole: bool,
}

impl Hello {
    /// The server's name; `unknown` where it is encrypted, `None` where the client gives none.
    pub(super) fn server_name(self) -> Option<Box<str>> {
        if self.is_encrypted {
            Some(UNKNOWN.into())
        } else {
            self.name
        }
    }

    /// Reads as far as the bytes go; `None` where they begin otherwise.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        const CLIENT_HELLO: usize = 1;
        let message = handshake(bytes)?;
        let mut rest = &*message;
        let Some(kind) = number(&mut rest, 1) else {
            return Some(Self::default());
        };
        (kind == CLIENT_HELLO).then_some(())?;
        let mut hello = Self::default();
        let length = number(&mut rest, 3);
        if let Some(length) = length {
            hello.is_whole = rest.len() >= length;
            hello.read(&rest[..length.min(rest.len())]);
        }
        Some(hello)
    }

    /// Reads what follows the message's length, as far as it goes.
    fn read(&mut self, body: &[u8]) -> Option<()> {
        const VERSION_AND_RANDOM: usize = 2 + 32;
        const SERVER_NAME: usize = 0;
        const ENCRYPTED_CLIENT_HELLO: usize = 0xFE0D;
        let mut rest = body.get(VERSION_AND_RANDOM..)?;
        for width_of_length in [1, 2, 1] {
            // The session's id, the cipher suites, the ways to compress.
            vector(&mut rest, width_of_length)?;
        }
        number(&mut rest, 2)?;
        loop {
            let kind = number(&mut rest, 2)?;
            if kind == ENCRYPTED_CLIENT_HELLO {
                self.is_encrypted = true;
            }
            let extension = vector(&mut rest, 2)?;
            if kind == SERVER_NAME {
                self.name = server_name(extension);
            }
        }
    }
}

/// The first name in the extension of that name (RFC 6066, 3).
fn server_name(mut extension: &[u8]) -> Option<Box<str>> {
    const HOST_NAME: usize = 0;
    let mut names = vector(&mut extension, 2)?;
    (number(&mut names, 1)? == HOST_NAME).then_some(())?;
    let name = vector(&mut names, 2)?;
    (!name.is_empty()).then(|| bounded(name, LONGEST_NAME))
}

/// The handshake's bytes without the records that they came in; `None` where the first record is another.
fn handshake(mut bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    const HANDSHAKE: usize = 22;
    let mut message = Cow::Borrowed(&[][..]);
    let mut any = false;
    while let Some(kind) = number(&mut bytes, 1) {
        if kind != HANDSHAKE {
            break;
        }
        any = true;
        let length = number(&mut bytes, 2).and_then(|_version| number(&mut bytes, 2));
        let length = length.unwrap_or_default().min(bytes.len());
        let (fragment, rest) = bytes.split_at(length);
        bytes = rest;
        if message.is_empty() {
            message = Cow::Borrowed(fragment);
        } else {
            message.to_mut().extend_from_slice(fragment);
        }
    }
    any.then_some(message)
}

/// The number in the first `width` bytes.
fn number(bytes: &mut &[u8], width: usize) -> Option<usize> {
    let (head, rest) = bytes.split_at_checked(width)?;
    *bytes = rest;
    Some(head.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

/// The bytes that follow their number, which stands in the first `width` bytes.
fn vector<'a>(bytes: &mut &'a [u8], width: usize) -> Option<&'a [u8]> {
    let length = number(bytes, width)?;
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(head)
}

#[cfg(test)]
mod tests;
