//! The node, as alerts name it.

use std::{fs, path::Path};

use crate::node;

/// What alerts say of the node; taken once at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Its host name.
    pub name: String,
    /// The distribution: `Debian GNU/Linux 12 (bookworm)`.
    pub os: String,
    /// The kernel's release: `6.1.0-28-amd64`.
    pub kernel: String,
    /// The agent's version.
    pub agent_version: &'static str,
}

impl Host {
    /// Asks the kernel and `/etc/os-release`.
    pub fn detect() -> Self {
        let uname = rustix::system::uname();
        let os_release = ["/usr/lib/os-release", "/etc/os-release"].map(node::path);
        let os_release = os_release.into_iter().find_map(|path| fs::read_to_string(path).ok());
        // In a container the kernel tells the container's name.
        let elsewhere = (node::root() != Path::new("/")).then(|| fs::read_to_string(node::path("/etc/hostname")).ok());
        let name = elsewhere.flatten().map(|name| name.trim().to_owned());
        Self {
            name: name
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| uname.nodename().to_string_lossy().into_owned()),
            os: os_release
                .as_deref()
                .and_then(pretty_name)
                .unwrap_or("Linux")
                .to_owned(),
            kernel: uname.release().to_string_lossy().into_owned(),
            agent_version: env!("CARGO_PKG_VERSION"),
        }
    }
}

fn pretty_name(os_release: &str) -> Option<&str> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim().trim_matches(['"', '\'']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_is_read_from_os_release() {
        let cases = [
            (
                "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n",
                Some("Debian GNU/Linux 12"),
            ),
            ("PRETTY_NAME=Alpine\n", Some("Alpine")),
            ("NAME=x\n", None),
        ];
        for (text, expected) in cases {
            assert_eq!(pretty_name(text), expected, "of {text}");
        }
    }
}
