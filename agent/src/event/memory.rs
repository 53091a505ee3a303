//! What a look into a process's memory comes upon, and at what it loads and holds.

use std::sync::Arc;

use super::ProcessKey;

/// Something in a process that is not there in an ordinary one. Whether that is bad is for rules to say.
#[derive(Clone, Debug)]
pub struct MemoryFinding {
    /// Whose memory; of a hidden process all that may be known is its number.
    pub process: ProcessKey,
    /// What was come upon.
    pub kind: FindingKind,
    /// The files that the process has mapped to be executed: what it is made of.
    pub libraries: Arc<[Box<str>]>,
    /// All that it may read it may also execute, as the kernel does for programs that are marked so
    /// (`READ_IMPLIES_EXEC`, `include/uapi/linux/personality.h`).
    pub read_implies_exec: bool,
}

/// What a look can come upon.
#[derive(Clone, Debug)]
pub enum FindingKind {
    /// Executable memory that is no file's: one finding for all mappings that are alike.
    Code(Code),
    /// Executable memory that is a file's and does not say what the file says.
    ChangedCode(ChangedCode),
    /// A library that is loaded before all others.
    Preload(Preload),
    /// A file that is open for reading and has no name any more.
    HeldFile(HeldFile),
    /// A process that those who list processes do not see.
    HiddenProcess(Hider),
    /// YARA rules that match what stands in the memory.
    Signature(Signature),
}

/// Executable memory that is no file's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Code {
    /// What is behind it.
    pub backing: Backing,
    /// Of a file in memory `memfd:NAME`, of a deleted one its path, else the name that the process gave it; empty
    /// without one.
    pub path: Box<str>,
    /// As `/proc/PID/maps` shows it: `rwxp`.
    pub protection: Box<str>,
    /// Where the first of them is: `7f3c12a45000-7f3c12a46000`.
    pub address: Box<str>,
    /// How many there are.
    pub count: u64,
    /// Their size together, in bytes.
    pub size: u64,
    /// One of them, or what was mapped together with it, begins as a program or a library does.
    pub elf_head: bool,
    /// A library of root's stands at its path, or another version beside it: an update.
    pub replaced: bool,
}

/// What is behind a mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Backing {
    /// Nothing: memory of the process's own.
    #[default]
    Anonymous,
    /// The same, where `brk` puts it.
    Heap,
    /// The first thread's stack.
    Stack,
    /// Memory that is shared with other processes.
    Shared,
    /// A file in memory alone (`memfd_create`, `memfd_secret`).
    Memfd,
    /// A file that no directory holds any more.
    Deleted,
    /// A file.
    File,
}

impl Backing {
    /// As rules see it under `memory.mapping`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Heap => "heap",
            Self::Stack => "stack",
            Self::Shared => "shared",
            Self::Memfd => "memfd",
            Self::Deleted => "deleted",
            Self::File => "file",
        }
    }
}

/// Executable memory that is not as its file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedCode {
    /// The file.
    pub path: Box<str>,
    /// As `/proc/PID/maps` shows it.
    pub protection: Box<str>,
    /// Where the first byte is that differs.
    pub address: Box<str>,
    /// How many bytes differ.
    pub bytes: u64,
    /// Each of them is a breakpoint, as debuggers and uprobes set them.
    pub breakpoints: bool,
    /// The file says that whoever loads it must change its code (`DT_TEXTREL`).
    pub text_relocations: bool,
}

/// A library that is loaded before all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preload {
    /// Who says so: `LD_PRELOAD`, `LD_AUDIT` or `ld.so.preload`.
    pub by: &'static str,
    /// What is to be loaded: where it is, if it is mapped, else as it is written there.
    pub library: Box<str>,
    /// It is mapped in the process.
    pub loaded: bool,
}

/// A file that is open for reading and deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldFile {
    /// Where it was.
    pub path: Box<str>,
    /// Another file stands there: it was saved or deployed anew.
    pub replaced: bool,
}

/// Why a process is not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hider {
    /// Something is mounted over its entry in `/proc`.
    Mount,
    /// The kernel knows it, and the listing of `/proc` leaves it out.
    Listing,
}

impl Hider {
    /// As rules see it under `memory.hidden_by`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mount => "mount",
            Self::Listing => "listing",
        }
    }
}

/// YARA rules that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The file that they are of; `built-in` for our own.
    pub source: Box<str>,
    /// Their names.
    pub rules: Vec<Box<str>>,
    /// Their tags.
    pub tags: Vec<Box<str>>,
    /// What is behind the mapping in which the first of them matches.
    pub backing: Backing,
    /// That mapping's file or name; empty without one.
    pub path: Box<str>,
    /// That mapping.
    pub address: Box<str>,
}

impl FindingKind {
    /// As rules see it under `memory.finding`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Code(_) => "code",
            Self::ChangedCode(_) => "changed-code",
            Self::Preload(_) => "preload",
            Self::HeldFile(_) => "held-file",
            Self::HiddenProcess(_) => "hidden-process",
            Self::Signature(_) => "signature",
        }
    }

    /// What is behind the mapping, of a finding that is one.
    pub fn backing(&self) -> Option<Backing> {
        match self {
            Self::Code(code) => Some(code.backing),
            Self::ChangedCode(_) => Some(Backing::File),
            Self::Signature(signature) => Some(signature.backing),
            Self::Preload(_) | Self::HeldFile(_) | Self::HiddenProcess(_) => None,
        }
    }

    /// The file, or what else bears a name.
    pub fn path(&self) -> Option<&str> {
        let path = match self {
            Self::Code(code) => &code.path,
            Self::ChangedCode(changed) => &changed.path,
            Self::Signature(signature) => &signature.path,
            Self::HeldFile(held) => &held.path,
            Self::Preload(preload) => &preload.library,
            Self::HiddenProcess(_) => return None,
        };
        Some(path).filter(|path| !path.is_empty()).map(AsRef::as_ref)
    }

    /// Where in the process's memory.
    pub fn address(&self) -> Option<&str> {
        let address = match self {
            Self::Code(code) => &code.address,
            Self::ChangedCode(changed) => &changed.address,
            Self::Signature(signature) => &signature.address,
            Self::Preload(_) | Self::HeldFile(_) | Self::HiddenProcess(_) => return None,
        };
        Some(address).filter(|address| !address.is_empty()).map(AsRef::as_ref)
    }

    /// How the mapping may be used.
    pub fn protection(&self) -> Option<&str> {
        match self {
            Self::Code(code) => Some(&code.protection),
            Self::ChangedCode(changed) => Some(&changed.protection),
            Self::Signature(_) | Self::Preload(_) | Self::HeldFile(_) | Self::HiddenProcess(_) => None,
        }
    }
}
