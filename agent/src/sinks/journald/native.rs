//! The journal's native protocol (systemd's `JOURNAL_NATIVE_PROTOCOL`).

use std::{
    fs::File,
    io::{self, IoSlice, Write},
    mem::MaybeUninit,
    os::{fd::AsFd, unix::net::UnixDatagram},
    path::Path,
};

use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    io::Errno,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr},
};

/// An entry as it is sent.
#[derive(Debug, Default)]
pub(super) struct Entry {
    bytes: Vec<u8>,
    fields: usize,
}

/// The journal drops entries of more fields.
const MOST_FIELDS: usize = 1000;

/// Nobody may change what was sent.
const SEALED: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE)
    .union(SealFlags::SEAL);

impl Entry {
    /// Adds a field: `NAME=value`, or the name alone, the length and the value where that has several lines.
    pub(super) fn field(&mut self, name: &str, value: &[u8]) {
        if self.fields == MOST_FIELDS {
            return;
        }
        self.fields += 1;
        self.bytes.extend_from_slice(name.as_bytes());
        if value.contains(&b'\n') {
            self.bytes.push(b'\n');
            self.bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.bytes.push(b'=');
        }
        self.bytes.extend_from_slice(value);
        self.bytes.push(b'\n');
    }

    /// Sends it to the journal that listens at `path`.
    pub(super) fn send(&self, socket: &UnixDatagram, path: &Path) -> io::Result<()> {
        match socket.send_to(&self.bytes, path) {
            Ok(_) => Ok(()),
            Err(error) if is_too_large(&error) => self.send_as_file(socket, path),
            Err(error) => Err(error),
        }
    }

    fn send_as_file(&self, socket: &UnixDatagram, path: &Path) -> io::Result<()> {
        let memory = memfd_create("tocsin-alert", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC)?;
        let mut memory = File::from(memory);
        memory.write_all(&self.bytes)?;
        fcntl_add_seals(&memory, SEALED)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [memory.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        let address = SocketAddrUnix::new(path)?;
        sendmsg_addr(
            socket,
            &address,
            &[IoSlice::new(&[])],
            &mut control,
            SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The second is what a full machine says of a datagram that is merely long.
fn is_too_large(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(Errno::MSGSIZE.raw_os_error()) || code == Some(Errno::NOBUFS.raw_os_error())
}

/// The fields of an entry; `None` if it is not made of fields.
#[cfg(test)]
pub(super) fn read(mut bytes: &[u8]) -> Option<Vec<(String, String)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| matches!(byte, b'=' | b'\n'))?;
        let name = str::from_utf8(&bytes[..end]).ok()?;
        let (value, rest) = if bytes[end] == b'=' {
            let value = &bytes[end + 1..];
            value.split_at(value.iter().position(|byte| *byte == b'\n')?)
        } else {
            let (length, value) = bytes[end + 1..].split_first_chunk::<8>()?;
            value.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?
        };
        fields.push((name.to_owned(), String::from_utf8(value.to_vec()).ok()?));
        bytes = rest.strip_prefix(b"\n")?;
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{IoSliceMut, Read, Seek},
        os::fd::OwnedFd,
    };

    use rustix::{
        fs::fcntl_get_seals,
        net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
    };

    use super::*;

    #[test]
    fn what_fits_no_datagram_goes_as_a_sealed_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let mut entry = Entry::default();
        entry.field("MESSAGE", b"two\nlines");
        entry.field("LONG", &vec![b'x'; 4 << 20]);
        entry.send(&UnixDatagram::unbound().unwrap(), &path).unwrap();

        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffer = [0; 16];
        let datagram = recvmsg(
            &receiver,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut control,
            RecvFlags::empty(),
        );
        assert_eq!(datagram.unwrap().bytes, 0);
        let descriptor: OwnedFd = control
            .drain()
            .find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
                _ => None,
            })
            .unwrap();
        assert_eq!(fcntl_get_seals(&descriptor).unwrap(), SEALED);
        let mut file = File::from(descriptor);
        file.rewind().unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let fields = read(&bytes).unwrap();
        assert_eq!(fields[0], ("MESSAGE".to_owned(), "two\nlines".to_owned()));
        assert_eq!(fields[1].1.len(), 4 << 20);
    }
}
