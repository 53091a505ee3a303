//! What an OpenSSH server's command line says of its configuration.

/// The options of `sshd(8)` that take a value.
const WITH_VALUE: &str = "CEbcfghkopu";

/// What counts of a command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Arguments {
    /// Lines of configuration (`-o`).
    pub(super) options: Vec<String>,
    /// The file that stands for the usual one (`-f`).
    pub(super) file: Option<String>,
}

impl Arguments {
    /// Reads a command line, also as the server rewrites it: `sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups`.
    pub(super) fn of(command_line: &str) -> Self {
        let line = command_line.strip_prefix("sshd: ").unwrap_or(command_line);
        let line = line.split(" [listener]").next().unwrap_or_default();
        let mut words = line.split_whitespace().skip(1).peekable();
        let mut arguments = Self::default();
        while let Some(word) = words.next() {
            let Some(letters) = word.strip_prefix('-') else {
                continue;
            };
            let Some(place) = letters.find(|letter| WITH_VALUE.contains(letter)) else {
                continue;
            };
            let (option, attached) = letters[place..].split_at(1);
            let value = match attached {
                "" => words.next().unwrap_or_default(),
                attached => attached,
            };
            match option {
                // Whether `Keyword value` was one argument, the line does not tell any more.
                "o" if !value.contains('=') => {
                    let rest = words.next_if(|next| !next.starts_with('-')).unwrap_or_default();
                    arguments.options.push(format!("{value} {rest}"));
                }
                "o" => arguments.options.push(value.to_owned()),
                "f" => arguments.file = Some(value.to_owned()),
                _ => {}
            }
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, options: &[&str], file: Option<&str>) {
        let expected = Arguments {
            options: options.iter().map(ToString::to_string).collect(),
            file: file.map(str::to_owned),
        };
        assert_eq!(Arguments::of(line), expected, "{line}");
    }

    #[test]
    fn options_and_the_file_are_found_in_every_form() {
        check("/usr/sbin/sshd -D -e", &[], None);
        check("/usr/sbin/sshd -De -f /srv/c -p 2222", &[], Some("/srv/c"));
        check("sshd -Df/srv/c", &[], Some("/srv/c"));
        check(
            "sshd -o PermitRootLogin=yes -oUsePAM=no -o PasswordAuthentication no -D",
            &["PermitRootLogin=yes", "UsePAM=no", "PasswordAuthentication no"],
            None,
        );
        check(
            "sshd: /usr/sbin/sshd -D -o UsePAM=no [listener] 0 of 10-100 startups",
            &["UsePAM=no"],
            None,
        );
        check("sshd -p 22 -E -f", &[], None);
        check("sshd -o", &[" "], None);
        check("", &[], None);
    }
}
