//! Code of a file that is not in memory as it is in the file: somebody has written over it.
//!
//! Code is mapped privately: a page that is written to becomes the process's own, and the page table tells which are. So
//! only these are compared, and all of them. A file that is itself changed on the disk changes in memory, too.

use std::{fs::File, os::unix::fs::FileExt as _};

use object::{
    FileKind, ReadCache,
    elf::{DF_TEXTREL, DT_FLAGS, DT_TEXTREL, FileHeader32, FileHeader64},
    read::elf::{Dyn as _, FileHeader, ProgramHeader as _},
};

use super::{Mapping, Target, code::ELF, pages::Which};
use crate::event::ChangedCode;

/// One finding for each file.
pub(super) fn find(target: &mut Target<'_>) -> Vec<ChangedCode> {
    let maps = target.maps;
    let mut found: Vec<ChangedCode> = Vec::new();
    let code = maps
        .iter()
        .filter(|mapping| mapping.is_executable() && mapping.is_private());
    for mapping in code.filter(|mapping| mapping.is_of_file()) {
        let Some(changed) = compare(target, mapping) else {
            continue;
        };
        match found.iter_mut().find(|known| known.path == changed.path) {
            Some(known) => {
                known.bytes += changed.bytes;
                known.breakpoints &= changed.breakpoints;
            }
            None => found.push(changed),
        }
    }
    found
}

/// What differs in one mapping, if anything does.
fn compare(target: &mut Target<'_>, mapping: &Mapping) -> Option<ChangedCode> {
    let written = target.pages.find(mapping, Which::Written);
    if written.is_empty() {
        return None;
    }
    let file = target.pages.file(mapping).ok()?;
    let mut head = [0; ELF.len()];
    // Others put their code in order themselves, as .NET does with its assemblies.
    if file.read_exact_at(&mut head, 0).is_err() || head != ELF {
        return None;
    }
    let size = procfs::page_size();
    let (mut in_memory, mut in_file) = (vec![0; size as usize], vec![0; size as usize]);
    let mut changes = Changes::default();
    for page in written.into_iter().flat_map(|pages| pages.step_by(size as usize)) {
        if target.pages.read(page, &mut in_memory).is_none() {
            continue;
        }
        in_file.fill(0);
        if read(&file, &mut in_file, page - mapping.start + mapping.offset).is_err() {
            return None;
        }
        changes.add(page, &in_memory, &in_file);
    }
    let first = changes.first?;
    Some(ChangedCode {
        path: mapping.path.clone(),
        protection: mapping.protection(),
        address: format!("{first:x}").into(),
        bytes: changes.bytes,
        breakpoints: !changes.others,
        text_relocations: has_text_relocations(file).unwrap_or_default(),
    })
}

/// Reads what the file has there; behind its end there is nothing.
fn read(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], offset + done as u64)? {
            0 => break,
            count => done += count,
        }
    }
    Ok(())
}

/// What differs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    first: Option<u64>,
    bytes: u64,
    /// Something else than breakpoints.
    others: bool,
}

impl Changes {
    /// Adds those of a page.
    fn add(&mut self, address: u64, in_memory: &[u8], in_file: &[u8]) {
        if in_memory == in_file {
            return;
        }
        for (index, (now, before)) in in_memory.iter().zip(in_file).enumerate() {
            if now != before {
                self.first.get_or_insert(address + index as u64);
                self.bytes += 1;
                self.others |= !is_breakpoint(in_memory, index);
            }
        }
    }
}

/// Whether that byte is, or is part of, an instruction that stops whoever runs it.
fn is_breakpoint(code: &[u8], index: usize) -> bool {
    if cfg!(target_arch = "aarch64") {
        let begin = index & !3;
        let word = code.get(begin..begin + 4).and_then(|bytes| bytes.try_into().ok());
        // BRK with any number.
        word.is_some_and(|bytes| u32::from_le_bytes(bytes) & 0xFFE0_001F == 0xD420_0000)
    } else {
        code[index] == 0xCC
    }
}

/// Whether the file says that its code must be changed to be loaded.
fn has_text_relocations(file: File) -> object::Result<bool> {
    let data = ReadCache::new(file);
    match FileKind::parse(&data)? {
        FileKind::Elf32 => of_class::<FileHeader32<object::Endianness>>(&data),
        FileKind::Elf64 => of_class::<FileHeader64<object::Endianness>>(&data),
        _ => Ok(false),
    }
}

fn of_class<Elf: FileHeader<Endian = object::Endianness>>(data: &ReadCache<File>) -> object::Result<bool> {
    let header = Elf::parse(data)?;
    let endian = header.endian()?;
    for segment in header.program_headers(endian, data)? {
        for entry in segment.dynamic(endian, data)?.unwrap_or_default() {
            let (tag, value) = (entry.tag(endian), entry.val(endian));
            if tag == DT_TEXTREL || tag == DT_FLAGS && value & u64::from(DF_TEXTREL) != 0 {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(in_memory: &[u8], expected: (Option<u64>, u64, bool)) {
        let mut changes = Changes::default();
        changes.add(0x1000, in_memory, &[0x55, 0x90, 0x90, 0xC3]);
        let Changes { first, bytes, others } = changes;
        assert_eq!((first, bytes, others), expected, "{in_memory:x?}");
    }

    #[test]
    fn what_differs_is_counted_and_breakpoints_are_known() {
        check(&[0x55, 0x90, 0x90, 0xC3], (None, 0, false));
        check(&[0x55, 0xE9, 0x90, 0x00], (Some(0x1001), 2, true));
        #[cfg(target_arch = "x86_64")]
        check(&[0xCC, 0x90, 0xCC, 0xC3], (Some(0x1000), 2, false));
        #[cfg(target_arch = "aarch64")]
        check(&[0xA0, 0x00, 0x20, 0xD4], (Some(0x1000), 4, false));
    }

    #[test]
    fn our_own_program_needs_no_text_relocations() {
        let own = File::open("/proc/self/exe").unwrap();
        assert!(!has_text_relocations(own).unwrap());
    }
}
