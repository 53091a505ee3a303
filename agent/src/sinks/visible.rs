//! Hostile text made harmless for terminals: what would move the cursor, colour, or reorder the line is shown instead.

use std::{borrow::Cow, fmt::Write};

/// The text with control, bidirectional and invisible characters as escapes such as `\n`, `\x1b` and `\u{202e}`.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            harmful if is_harmful(harmful) && harmful.is_ascii() => _ = write!(out, "\\x{:02x}", u32::from(harmful)),
            harmful if is_harmful(harmful) => _ = write!(out, "\\u{{{:x}}}", u32::from(harmful)),
            plain => out.push(plain),
        }
    }
    Cow::Owned(out)
}

fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        let cases = [
            ("plain Grüße 漢字", "plain Grüße 漢字"),
            ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
            ("\x1b[2J\x07", "\\x1b[2J\\x07"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("gpj.\u{202e}exe", "gpj.\\u{202e}exe"),
            ("a\u{200b}b\u{2066}c\u{7f}", "a\\u{200b}b\\u{2066}c\\x7f"),
        ];
        for (text, expected) in cases {
            assert_eq!(visible(text), expected);
        }
    }
}
