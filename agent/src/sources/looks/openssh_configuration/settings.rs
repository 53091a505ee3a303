//! The settings of `sshd_config(5)` that say who is let in, and how.

use crate::event::OpensshConfiguration;

/// Conditional blocks that are told apart; the values of more are taken for those of the last.
const BLOCKS: usize = 256;

/// Values as far as they are said; the first one counts.
#[derive(Clone, Copy, Debug, Default)]
struct Values {
    /// `PermitRootLogin yes`, rather than only with a key, for set commands or not at all.
    root_login: Option<bool>,
    passwords: Option<bool>,
    keyboard_interactive: Option<bool>,
    pam: Option<bool>,
    /// `AuthenticationMethods` with an alternative that asks for no key.
    without_key: Option<bool>,
}

impl Values {
    fn or(self, other: Self) -> Self {
        Self {
            root_login: self.root_login.or(other.root_login),
            passwords: self.passwords.or(other.passwords),
            keyboard_interactive: self.keyboard_interactive.or(other.keyboard_interactive),
            pam: self.pam.or(other.pam),
            without_key: self.without_key.or(other.without_key),
        }
    }

    fn say(&mut self, keyword: &str, values: &[String]) {
        let first = values
            .first()
            .map(|value| value.to_ascii_lowercase())
            .unwrap_or_default();
        let switch = match &*first {
            "yes" => Some(true),
            "no" => Some(false),
            _ => None,
        };
        let (setting, value) = match keyword {
            "permitrootlogin" => (&mut self.root_login, Some(first == "yes")),
            "passwordauthentication" => (&mut self.passwords, switch),
            "kbdinteractiveauthentication" | "challengeresponseauthentication" => {
                (&mut self.keyboard_interactive, switch)
            }
            "usepam" => (&mut self.pam, switch),
            "authenticationmethods" => (
                &mut self.without_key,
                Some(values.iter().any(|value| asks_for_no_key(value))),
            ),
            _ => return,
        };
        *setting = setting.or(value);
    }

    /// With the server's own defaults.
    fn verdict(self) -> (bool, bool) {
        let keyboard_interactive = self.keyboard_interactive.unwrap_or(true) && self.pam.unwrap_or(false);
        let passwords = self.passwords.unwrap_or(true) || keyboard_interactive;
        (
            self.root_login.unwrap_or(false),
            passwords && self.without_key.unwrap_or(true),
        )
    }
}

/// Whether one of `AuthenticationMethods`' alternatives (`publickey,password`) is content with what people type.
fn asks_for_no_key(alternative: &str) -> bool {
    let typed = |method: &str| {
        let name = method.split(':').next().unwrap_or_default().to_ascii_lowercase();
        ["any", "password", "keyboard-interactive"].contains(&&*name)
    };
    alternative.split(',').all(typed)
}

/// For whom a line holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// For all for whom no block says otherwise.
    Global,
    /// For all, by `Match all`.
    Everybody,
    /// For those of the block of that number.
    Some(usize),
}

/// Conditional values, and those that `Match all` had said before.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    before: Values,
    own: Values,
}

/// All that a configuration says.
#[derive(Debug, Default)]
pub(super) struct Settings {
    global: Values,
    everybody: Values,
    blocks: Vec<Block>,
}

impl Settings {
    /// A line outside of files.
    pub(super) fn say(&mut self, line: &str) {
        if let Some((keyword, values)) = words(line) {
            self.say_within(Scope::Global, &keyword, &values);
        }
    }

    /// A keyword in lower case with its values.
    pub(super) fn say_within(&mut self, scope: Scope, keyword: &str, values: &[String]) {
        let within = match scope {
            Scope::Global => &mut self.global,
            Scope::Everybody => &mut self.everybody,
            Scope::Some(number) => match self.blocks.get_mut(number) {
                Some(block) => &mut block.own,
                None => return,
            },
        };
        within.say(keyword, values);
    }

    /// A `Match` line of a file that holds for `outer`: for whom the lines after it hold.
    pub(super) fn begin(&mut self, outer: Scope, criteria: &[String]) -> Scope {
        let for_all = matches!(criteria, [all] if all.eq_ignore_ascii_case("all"));
        if for_all && !matches!(outer, Scope::Some(_)) {
            return Scope::Everybody;
        }
        if self.blocks.len() < BLOCKS {
            let before = self.everybody;
            let own = Values::default();
            self.blocks.push(Block { before, own });
        }
        Scope::Some(self.blocks.len() - 1)
    }

    /// What is permitted to anybody.
    pub(super) fn verdict(&self) -> OpensshConfiguration {
        let all = self.everybody.or(self.global);
        let some = self.blocks.iter().map(|block| block.before.or(block.own).or(all));
        let verdicts = [all].into_iter().chain(some).map(Values::verdict);
        let (root_login, passwords) = verdicts.fold((false, false), |(root, password), (more_root, more_password)| {
            (root || more_root, password || more_password)
        });
        OpensshConfiguration {
            permits_root_login: Some(root_login),
            permits_passwords: Some(passwords),
        }
    }
}

/// A line's keyword, in lower case, and its values; `None` of one that says nothing.
pub(super) fn words(line: &str) -> Option<(String, Vec<String>)> {
    let line = line.trim();
    let end = line.find(|letter: char| letter.is_whitespace() || matches!(letter, '=' | '"'));
    let (keyword, rest) = line.split_at(end.unwrap_or(line.len()));
    if keyword.is_empty() || keyword.starts_with('#') {
        return None;
    }
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    Some((keyword.to_ascii_lowercase(), values(rest)))
}

/// Words parted by white space, with quotes around those that hold some, up to a comment.
fn values(text: &str) -> Vec<String> {
    let (mut values, mut rest) = (Vec::new(), text.trim_start());
    while !rest.is_empty() && !rest.starts_with('#') {
        let (mut value, mut quote, mut end) = (String::new(), None, rest.len());
        for (place, letter) in rest.char_indices() {
            match (letter, quote) {
                ('"' | '\'', None) => quote = Some(letter),
                (letter, Some(open)) if letter == open => quote = None,
                (letter, None) if letter.is_whitespace() => {
                    end = place;
                    break;
                }
                (letter, _) => value.push(letter),
            }
        }
        values.push(value);
        rest = rest[end..].trim_start();
    }
    values
}
