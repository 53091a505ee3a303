use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::error::ErrorKind;

use super::*;

/// The pages that users read.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders = ["docs", "docs/alerts"].map(|folder| fs::read_dir(root.join(folder)).unwrap());
    let files = folders.into_iter().flatten().map(|entry| entry.unwrap().path());
    let pages = files.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages
        .chain([root.join("README.md"), root.join("SECURITY.md")])
        .collect()
}

/// What follows the word `tocsin` where a line of a block, or a piece of code within a sentence, calls it.
fn calls(page: &str) -> Vec<&str> {
    let (mut calls, mut in_block) = (Vec::new(), false);
    for line in page.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            let line = line.trim_start_matches("$ ").trim_start_matches("sudo ");
            let piped = line.split_once("| sudo tocsin ").or(line.split_once("| tocsin "));
            calls.extend(piped.map(|(_, call)| call).or(line.strip_prefix("tocsin ")));
        } else {
            let code = line.split('`').skip(1).step_by(2);
            calls.extend(code.filter_map(|code| code.trim_start_matches("sudo ").strip_prefix("tocsin ")));
        }
    }
    calls
}

/// The words of a call, up to what is said of it or where it is sent. What may be left out is there.
fn words(call: &str) -> impl Iterator<Item = &str> {
    let ends = |word: &&str| {
        !["#", "|", ">", "<", "&&", ";", "…"]
            .iter()
            .any(|end| word.starts_with(end))
    };
    let words = call.split_whitespace().take_while(ends);
    words.map(|word| match word.trim_matches(['[', ']']) {
        "PID" => "1",
        word => word,
    })
}

#[test]
fn every_call_in_the_pages_is_one_that_is_understood() {
    let (mut seen, mut refused) = (0, Vec::new());
    for path in pages() {
        let page = fs::read_to_string(&path).unwrap();
        for call in calls(&page) {
            seen += 1;
            let Err(error) = Cli::try_parse_from(["tocsin"].into_iter().chain(words(call))) else {
                continue;
            };
            // A command's name alone stands for all that it can do.
            let named = ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
            if ![ErrorKind::DisplayHelp, ErrorKind::MissingRequiredArgument, named].contains(&error.kind()) {
                let error = error.to_string();
                let reason = error.lines().next().unwrap_or_default();
                refused.push(format!("{}: tocsin {call}: {reason}", path.display()));
            }
        }
    }
    assert!(refused.is_empty(), "{refused:#?}");
    assert!(seen > 60, "{seen}");
}
