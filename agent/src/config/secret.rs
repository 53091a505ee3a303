//! Secrets: each stands in a file of its own, which only its owner and group may read, and is never shown.
//!
//! A setting that names such a file ends in `-file`, and no other setting does: by that name all of them are checked.

use std::{fmt, fs::File, io::Read, os::unix::fs::MetadataExt as _, path::Path};

use anyhow::{Context as _, Result, ensure};

use rustix::fs::Mode;

use super::{
    Config,
    definition::settings_of,
    layers::{Effective, Problem},
};

/// The content of a secret's file.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A longer file holds no secret.
const LONGEST: u64 = 64 << 10;

impl Secret {
    /// Reads it; a newline at its end is none of it.
    pub fn read(path: &Path) -> Result<Self> {
        let read = || -> Result<String> {
            let mut file = File::open(path).context("cannot be read")?;
            let metadata = file.metadata().context("cannot be read")?;
            ensure!(metadata.is_file(), "is no file");
            let of_others = Mode::from_raw_mode(metadata.mode()) & Mode::RWXO;
            ensure!(of_others.is_empty(), "others may read it: chmod o= it");
            let mut text = String::new();
            let read = file.by_ref().take(LONGEST + 1).read_to_string(&mut text);
            let length = read.context("cannot be read")? as u64;
            ensure!(length <= LONGEST, "has more than {LONGEST} bytes");
            text.truncate(text.trim_end_matches(['\n', '\r']).len());
            ensure!(!text.is_empty(), "is empty");
            Ok(text)
        };
        read().map(Self).with_context(|| format!("secret {}", path.display()))
    }

    /// The secret itself, for whom it is meant.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(super::values::CONCEALED)
    }
}

/// The settings that name files of secrets, with those files.
fn files(config: &Config) -> impl Iterator<Item = (String, String)> {
    let named = settings_of(config)
        .into_iter()
        .filter(|setting| setting.path.ends_with("-file"));
    let files = named.map(|setting| {
        let file = setting.value.parse().ok().and_then(|value| match value {
            toml::Value::String(file) => Some(file),
            _ => None,
        });
        (setting.path, file.unwrap_or_default())
    });
    files.filter(|(_, file)| !file.is_empty())
}

/// What is wrong with the files of secrets.
pub fn problems(effective: &Effective) -> Vec<Problem> {
    let wrong = files(&effective.config).filter_map(|(path, file)| {
        let error = Secret::read(Path::new(&file)).err()?;
        Some(Problem {
            origin: effective.origin(&path).clone(),
            path,
            reason: format!("{error:#}"),
        })
    });
    wrong.collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_secret_is_what_only_its_owner_and_group_may_read() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("token");
        let check = |text: &str, mode: u32| {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            Secret::read(&file)
                .map(|secret| secret.expose().to_owned())
                .map_err(|error| {
                    let error = format!("{error:#}");
                    error.replace(&format!("secret {}: ", file.display()), "")
                })
        };
        assert_eq!(check("hunter2\n", 0o640), Ok("hunter2".to_owned()));
        assert_eq!(check("two words ", 0o400), Ok("two words ".to_owned()));
        for (text, mode, expected) in [
            ("hunter2\n", 0o644, "others may read it: chmod o= it"),
            ("\n", 0o600, "is empty"),
            (&"x".repeat(70_000), 0o600, "has more than 65536 bytes"),
        ] {
            assert_eq!(check(text, mode), Err(expected.to_owned()));
        }
        let error = Secret::read(folder.path()).unwrap_err();
        assert!(format!("{error:#}").ends_with("is no file"), "{error:#}");
        let error = Secret::read(&folder.path().join("none")).unwrap_err();
        assert!(
            format!("{error:#}").contains("cannot be read: No such file"),
            "{error:#}"
        );
        assert_eq!(format!("{:?}", Secret("hunter2".into())), "(not shown)");
    }
}
