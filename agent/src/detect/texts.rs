//! The texts that a rule has an executable searched for, by `tocsin: {ask: executable-content, texts: […]}`.

use std::ops::RangeInclusive;

use super::{
    Ask,
    lists::{self, Known},
};

/// How long a text can be, in bytes: shorter ones stand in many an executable.
const LENGTHS: RangeInclusive<usize> = 8..=128;

/// How many texts a rule can have searched for: each is a walk through the executable.
const MOST: usize = 64;

/// The texts as written, with lists in the place of their names. The error is why nobody could search for them.
pub(super) fn check(written: &[String], lists: &Known, asks: Option<Ask>) -> Result<Vec<Box<str>>, String> {
    let texts = lists.texts(written).map_err(|name| lists::unknown(&name))?;
    if (asks == Some(Ask::ExecutableContent)) == texts.is_empty() {
        return Err("a rule has texts if it asks for executable-content, and only then".into());
    }
    if texts.len() > MOST {
        return Err(format!(
            "{} texts are too many to search for: {MOST} at most",
            texts.len()
        ));
    }
    // Rules compare what was found with the same lists, whose values are patterns.
    let odd = |text: &&String| !LENGTHS.contains(&text.len()) || text.contains(['*', '?', '\\']);
    match texts.iter().find(odd) {
        Some(text) => Err(format!(
            "cannot search for {text:?}: 8 to 128 bytes, without *, ? and \\"
        )),
        None => Ok(texts.into_iter().map(String::into_boxed_str).collect()),
    }
}
