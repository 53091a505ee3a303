//! Offsets of structure members in the running kernel's BTF (`Documentation/bpf/btf.rst`).
//!
//! A reader of our own, since aya's keeps offsets to itself and the crate that could serve is LGPL. It walks the type
//! table once and keeps nothing of it: aya's would hold some 20 MiB for as long as the programs load.

use std::{fs, path::Path};

use agent_ebpf::fields::{ABSENT, KernelField};
use anyhow::{Context as _, Result, bail, ensure};
use rustc_hash::FxHashMap;

/// Where the kernel shows its own BTF.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xEB9F;
const TYPE_BYTES: usize = 12;

// Kinds of types (include/uapi/linux/btf.h).
const INT: u32 = 1;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const DECL_TAG: u32 = 17;
const ENUM64: u32 = 19;
/// Typedef, volatile, const, restrict and type tag: names and qualifiers of another type.
const MODIFIERS: [u32; 5] = [8, 9, 10, 11, 18];

/// Reads the running kernel's BTF and finds every field. Those that this kernel lacks are [`ABSENT`].
pub fn resolve_fields(path: &Path, fields: &[KernelField]) -> Result<Vec<u32>> {
    let bytes = fs::read(path).with_context(|| format!("no BTF in this kernel: cannot read {}", path.display()))?;
    let btf = Btf::parse(&bytes, fields).with_context(|| format!("{} is no BTF", path.display()))?;
    Ok(fields
        .iter()
        .map(|field| btf.resolve(field).unwrap_or(ABSENT))
        .collect())
}

/// BTF in memory, and where each of its types starts.
struct Btf<'a> {
    bytes: &'a [u8],
    strings: &'a [u8],
    /// Where type N starts in `bytes`; type 0 is `void`.
    types: Vec<u32>,
    /// The structures, unions and enumerations of each name that is asked for: a kernel has some ten thousand others.
    by_name: FxHashMap<&'a [u8], Vec<u32>>,
}

/// The name that begins at that offset among the strings.
fn string(strings: &[u8], offset: u32) -> Result<&[u8]> {
    let text = strings.get(offset as usize..).context("name out of bounds")?;
    let end = memchr::memchr(0, text).context("name without end")?;
    Ok(&text[..end])
}

/// One entry of the type table.
#[derive(Clone, Copy)]
struct Type {
    name: u32,
    kind: u32,
    /// Members, parameters or values.
    count: usize,
    /// The flag that changes the meaning of a member's offset.
    flag: bool,
    /// The size in bytes, or the id of another type.
    size_or_id: u32,
}

impl<'a> Btf<'a> {
    fn parse(bytes: &'a [u8], fields: &'a [KernelField]) -> Result<Self> {
        ensure!(u16_at(bytes, 0)? == MAGIC, "wrong magic number");
        let header = u32_at(bytes, 4)? as usize;
        let [types_at, types_length, strings_at, strings_length] =
            [8, 12, 16, 20].map(|offset| u32_at(bytes, offset).map(|value| value as usize));
        let types_start = header + types_at?;
        let types_end = types_start + types_length?;
        let strings_start = header + strings_at?;
        let strings = bytes
            .get(strings_start..strings_start + strings_length?)
            .context("truncated strings")?;
        let mut btf = Self {
            bytes,
            strings,
            types: vec![0],
            by_name: fields
                .iter()
                .map(|field| (field.structure.as_bytes(), Vec::new()))
                .collect(),
        };
        let mut at = types_start;
        while at < types_end {
            let entry = btf.entry(at)?;
            if [STRUCT, UNION, ENUM, ENUM64].contains(&entry.kind)
                && let Some(same) = btf.by_name.get_mut(string(strings, entry.name)?)
            {
                same.push(btf.types.len() as u32);
            }
            btf.types.push(at as u32);
            at += TYPE_BYTES + entry.tail_bytes()?;
        }
        Ok(btf)
    }

    fn entry(&self, at: usize) -> Result<Type> {
        let info = u32_at(self.bytes, at + 4)?;
        Ok(Type {
            name: u32_at(self.bytes, at)?,
            kind: info >> 24 & 0x1F,
            count: (info & 0xFFFF) as usize,
            flag: info >> 31 == 1,
            size_or_id: u32_at(self.bytes, at + 8)?,
        })
    }

    fn string(&self, offset: u32) -> Result<&'a [u8]> {
        string(self.strings, offset)
    }

    /// The offset of the field in bytes, the value of an enumerator, or the size of a structure. A name with several
    /// definitions that disagree counts as absent: a guess would read foreign memory.
    fn resolve(&self, field: &KernelField) -> Option<u32> {
        let candidates = self.by_name.get(field.structure.as_bytes())?;
        let lookup = |member: &str| {
            let mut found = candidates
                .iter()
                .filter_map(|id| self.member(*id, member).ok().flatten());
            let first = found.next()?;
            found.all(|other| other == first).then_some(first)
        };
        if field.members.is_empty() {
            return Some(
                self.entry(self.types[*candidates.first()? as usize] as usize)
                    .ok()?
                    .size_or_id,
            );
        }
        field.members.iter().find_map(|member| lookup(member))
    }

    /// The offset of a member in a structure, also inside its anonymous structures and unions; or an enumerator's value.
    fn member(&self, id: u32, name: &str) -> Result<Option<u32>> {
        let at = *self.types.get(id as usize).context("type out of bounds")? as usize;
        let entry = self.entry(at)?;
        for index in 0..entry.count {
            let member_at = at + TYPE_BYTES + index * entry.item_bytes();
            let member_name = self.string(u32_at(self.bytes, member_at)?)?;
            if entry.kind == ENUM || entry.kind == ENUM64 {
                if member_name == name.as_bytes() {
                    return Ok(Some(u32_at(self.bytes, member_at + 4)?));
                }
                continue;
            }
            let offset = u32_at(self.bytes, member_at + 8)?;
            let bits = if entry.flag { offset & 0x00FF_FFFF } else { offset };
            if member_name == name.as_bytes() {
                return Ok(Some(bits / 8));
            }
            if member_name.is_empty()
                && let Some(inner) = self.member_of_anonymous(u32_at(self.bytes, member_at + 4)?, name)?
            {
                return Ok(Some(bits / 8 + inner));
            }
        }
        Ok(None)
    }

    fn member_of_anonymous(&self, mut id: u32, name: &str) -> Result<Option<u32>> {
        // A chain of qualifiers in real BTF has two or three links; a longer one is a loop.
        for _ in 0..16 {
            let entry = self.entry(*self.types.get(id as usize).context("type out of bounds")? as usize)?;
            match entry.kind {
                STRUCT | UNION => return self.member(id, name),
                kind if MODIFIERS.contains(&kind) => id = entry.size_or_id,
                _ => return Ok(None),
            }
        }
        bail!("a chain of qualifiers does not end")
    }
}

impl Type {
    /// Bytes of one member, parameter or value.
    fn item_bytes(self) -> usize {
        match self.kind {
            ENUM | FUNC_PROTO => 8,
            _ => 12,
        }
    }

    /// Bytes that follow the entry.
    fn tail_bytes(self) -> Result<usize> {
        Ok(match self.kind {
            INT | VAR | DECL_TAG => 4,
            ARRAY => 12,
            STRUCT | UNION | ENUM | FUNC_PROTO | DATASEC | ENUM64 => self.count * self.item_bytes(),
            // Pointers, forward declarations, qualifiers, functions, floats.
            2 | 7..=12 | 16 | 18 => 0,
            kind => bail!("unknown kind of type {kind}"),
        })
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    Ok(u16::from_ne_bytes(
        *bytes.get(at..).and_then(<[u8]>::first_chunk).context("truncated")?,
    ))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    Ok(u32::from_ne_bytes(
        *bytes.get(at..).and_then(<[u8]>::first_chunk).context("truncated")?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PID: KernelField = KernelField {
        name: "",
        structure: "task_struct",
        members: &["pid"],
    };

    #[test]
    fn reads_the_running_kernel() {
        let path = Path::new(VMLINUX);
        if !path.exists() {
            return eprintln!("skipped: this kernel shows no BTF");
        }
        let nested = KernelField {
            name: "",
            structure: "sock_common",
            members: &["skc_daddr"],
        };
        let enumerator = KernelField {
            name: "",
            structure: "pid_type",
            members: &["PIDTYPE_SID"],
        };
        let renamed = KernelField {
            name: "",
            structure: "task_struct",
            members: &["no_such", "pid"],
        };
        let missing = KernelField {
            name: "",
            structure: "no_such",
            members: &["pid"],
        };
        let size = KernelField {
            name: "",
            structure: "upid",
            members: &[],
        };
        let found = resolve_fields(path, &[PID, nested, enumerator, renamed, missing, size]).unwrap();
        assert_eq!(found[1..3], [0, 3]);
        assert_eq!(found[3], found[0]);
        assert_eq!(found[4..], [ABSENT, 16]);
    }

    #[test]
    fn garbage_is_refused_and_never_read_past_its_end() {
        let valid = fs::read(VMLINUX).unwrap_or_default();
        for length in [0, 1, 2, 8, 23, 24, 100, 4000] {
            if let Some(cut) = valid.get(..length) {
                assert!(Btf::parse(cut, &[]).is_err(), "{length} bytes");
            }
        }
        let mut bytes = vec![0u8; 64];
        bytes[..2].copy_from_slice(&MAGIC.to_ne_bytes());
        bytes[4] = 24;
        bytes[12] = 16;
        bytes[24 + 7] = 0x1F;
        assert!(Btf::parse(&bytes, &[]).is_err());
    }
}
