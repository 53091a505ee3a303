//! How values are written: as text that people read, checked while it is parsed.

use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde::{Deserialize, Deserializer, de::Error as _};

/// Something whose name is written: a level, a form.
pub mod text {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    /// By its name.
    pub fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    /// By its name.
    pub fn deserialize<'de, T: FromStr<Err = String>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// A length of time: `90s`, `36h`, `7d`, or a number of seconds.
pub mod duration {
    use jiff::SignedDuration;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use super::NumberOrText;

    /// In the largest unit that it is a whole number of.
    pub fn serialize<S: Serializer>(duration: &SignedDuration, serializer: S) -> Result<S::Ok, S::Error> {
        let seconds = duration.as_secs();
        let (unit, length) = [("d", 86_400), ("h", 3600), ("m", 60)]
            .into_iter()
            .find(|(_, length)| seconds != 0 && seconds % length == 0)
            .unwrap_or(("s", 1));
        serializer.collect_str(&format_args!("{}{unit}", seconds / length))
    }

    /// As text, or a number of seconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SignedDuration, D::Error> {
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(seconds) => super::parse_duration(&seconds.to_string()),
            NumberOrText::Text(text) => super::parse_duration(&text),
        }
        .map_err(D::Error::custom)
    }
}

/// A length of time, or an empty text for what is usual.
pub mod optional_duration {
    use jiff::SignedDuration;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use super::NumberOrText;

    /// As other lengths of time.
    pub fn serialize<S: Serializer>(duration: &Option<SignedDuration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::duration::serialize(duration, serializer),
            None => serializer.serialize_str(""),
        }
    }

    /// As text, or a number of seconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SignedDuration>, D::Error> {
        let text = match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(seconds) => seconds.to_string(),
            NumberOrText::Text(text) => text,
        };
        if text.is_empty() {
            return Ok(None);
        }
        super::parse_duration(&text).map(Some).map_err(D::Error::custom)
    }
}

/// The size of the ring: `8MiB`, or a number of bytes.
pub mod ring {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use super::NumberOrText;

    /// In the largest unit that it is a whole number of.
    pub fn serialize<S: Serializer>(bytes: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        let (unit, length) = [("MiB", 1 << 20), ("KiB", 1 << 10)]
            .into_iter()
            .find(|(_, length)| bytes.is_multiple_of(*length))
            .unwrap_or(("", 1));
        serializer.collect_str(&format_args!("{}{unit}", bytes / length))
    }

    /// As text, or a number of bytes.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(bytes) => super::parse_ring(&bytes.to_string()),
            NumberOrText::Text(text) => super::parse_ring(&text),
        }
        .map_err(D::Error::custom)
    }
}

/// A size: `64MiB`, or a number of bytes.
pub mod size {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use super::{NumberOrText, SIZES};

    /// In the largest unit that it is a whole number of.
    pub fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        let fitting = SIZES
            .into_iter()
            .find(|(_, size)| *bytes != 0 && bytes.is_multiple_of(*size));
        let (unit, size) = fitting.unwrap_or(("", 1));
        serializer.collect_str(&format_args!("{}{unit}", bytes / size))
    }

    /// As text, or a number of bytes.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(bytes) => super::parse_size(&bytes.to_string()),
            NumberOrText::Text(text) => super::parse_size(&text),
        }
        .map_err(D::Error::custom)
    }
}

/// A path, or an empty text for none.
pub mod optional_path {
    use std::path::PathBuf;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    /// As text.
    pub fn serialize<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_ref().unwrap_or(&PathBuf::new()).serialize(serializer)
    }

    /// As text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
        let path = PathBuf::deserialize(deserializer)?;
        Ok(Some(path).filter(|path| !path.as_os_str().is_empty()))
    }
}

/// An address of a host and a port, or an empty text for none.
pub mod optional_address {
    use std::net::SocketAddr;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    /// As text.
    pub fn serialize<S: Serializer>(address: &Option<SocketAddr>, serializer: S) -> Result<S::Ok, S::Error> {
        match address {
            Some(address) => serializer.collect_str(address),
            None => serializer.serialize_str(""),
        }
    }

    /// As text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        let wrong = |_| D::Error::custom(format_args!("{text} is no address such as 127.0.0.1:9645"));
        text.parse().map(Some).map_err(wrong)
    }
}

/// Regular expressions of secrets. They may hold one, so they are never shown.
pub mod patterns {
    use regex::Regex;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    /// How many there are.
    pub fn serialize<S: Serializer>(patterns: &[String], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(patterns.iter().map(|_| super::CONCEALED))
    }

    /// As a list of texts.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
        let patterns = Vec::<String>::deserialize(deserializer)?;
        match patterns.iter().position(|pattern| Regex::new(pattern).is_err()) {
            None => Ok(patterns),
            Some(index) => {
                let number = index + 1;
                Err(D::Error::custom(format_args!(
                    "number {number} is no regular expression"
                )))
            }
        }
    }
}

/// A text that may hold a secret, such as an address with a token in it: never shown.
pub mod concealed {
    use serde::{Deserialize as _, Deserializer, Serializer};

    /// Whether there is one.
    pub fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if text.is_empty() { "" } else { super::CONCEALED })
    }

    /// As text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        String::deserialize(deserializer)
    }
}

/// What stands where something is not shown.
pub const CONCEALED: &str = "(not shown)";

/// A number from `MIN` to `MAX`.
pub fn within<'de, const MIN: i64, const MAX: i64, T: TryFrom<i64>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let number = i64::deserialize(deserializer)?;
    let fitting = Some(number).filter(|number| (MIN..=MAX).contains(number));
    let fitting = fitting.and_then(|number| T::try_from(number).ok());
    fitting.ok_or_else(|| D::Error::custom(format_args!("{number} is not from {MIN} to {MAX}")))
}

/// A list of so many at most.
pub fn at_most<'de, const MOST: usize, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let values = Vec::deserialize(deserializer)?;
    if values.len() > MOST {
        return Err(D::Error::custom(format_args!("{} are more than {MOST}", values.len())));
    }
    Ok(values)
}

/// What may be written either way.
#[derive(Deserialize)]
#[serde(untagged, expecting = "neither a number nor a text")]
enum NumberOrText {
    Number(i64),
    Text(String),
}

/// A length of time as people write it: `36h`, `7d`; a number alone means seconds.
pub fn parse_duration(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("{text} is no length of time such as 90s, 36h or 7d");
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(SignedDuration::from_secs(seconds.into()));
    }
    let span: Span = text.parse().map_err(|_| wrong())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours());
    let duration = duration.ok().filter(|duration| !duration.is_negative());
    duration.ok_or_else(wrong)
}

/// Units of sizes, the largest first.
const SIZES: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// A size as people write it: `64MiB`, `1GiB`; a number alone means bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let unit = SIZES
        .into_iter()
        .find_map(|(unit, size)| Some((text.strip_suffix(unit)?, size)));
    let (number, size) = unit.unwrap_or((text, 1));
    let bytes = number
        .trim()
        .parse()
        .ok()
        .and_then(|number: u64| number.checked_mul(size));
    bytes.ok_or_else(|| format!("{text} is no size such as 512KiB, 64MiB or 1GiB"))
}

/// A ring's size that the kernel takes: a power of two, of at least a page.
pub fn parse_ring(text: &str) -> Result<u32, String> {
    let wrong = || format!("{text} is no power of two from 4KiB to 256MiB");
    let digits = text.trim_end_matches(|character: char| !character.is_ascii_digit());
    let unit = match text[digits.len()..].trim() {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return Err(wrong()),
    };
    let number: u32 = digits.parse().map_err(|_| wrong())?;
    let bytes = number.checked_mul(unit).ok_or_else(wrong)?;
    let fits = bytes.is_power_of_two() && (4096..=1 << 28).contains(&bytes);
    Some(bytes).filter(|_| fits).ok_or_else(wrong)
}
