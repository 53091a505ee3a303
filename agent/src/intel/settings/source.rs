//! Where a feed is: in a file, behind an address, in a TAXII collection. What else is set must go with that.

use std::{fmt, net::IpAddr, path::Path};

use url::{Host, Url};

use super::{FeedSettings, Format};

/// Where a feed is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// In a file that somebody else keeps up to date.
    File(&'a Path),
    /// Behind an address, from where it is fetched.
    Url(&'a Url),
    /// In a collection of a TAXII server, from where it is fetched.
    Taxii(&'a Url),
}

impl FeedSettings {
    /// Where the feed is; `None`: it is off.
    pub fn source(&self) -> Option<Source<'_>> {
        let path = Some(&*self.path).filter(|path| !path.as_os_str().is_empty());
        let url = self.url.as_ref().map(Source::Url);
        path.map(Source::File)
            .or(url)
            .or_else(|| self.taxii.as_ref().map(Source::Taxii))
    }

    /// Whether it is fetched over the network.
    pub fn is_fetched(&self) -> bool {
        matches!(self.source(), Some(Source::Url(_) | Source::Taxii(_)))
    }

    /// What does not go together: the setting, and why.
    pub(super) fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let sources = [
            ("path", !self.path.as_os_str().is_empty()),
            ("url", self.url.is_some()),
            ("taxii", self.taxii.is_some()),
        ];
        let set: Vec<_> = sources.iter().filter(|(_, is_set)| *is_set).collect();
        if let [(first, _), (second, _), ..] = &set[..] {
            found.push((*second, format!("{first} is set, too: a feed has one source")));
        }
        let files = [
            ("headers-file", &self.headers_file),
            ("token-file", &self.token_file),
            ("password-file", &self.password_file),
            ("ca", &self.ca),
        ];
        let fetched = self.url.as_ref().or(self.taxii.as_ref());
        for (name, _) in files.iter().filter(|(_, file)| file.is_some()) {
            match fetched {
                None => found.push((*name, "for url and taxii only".to_owned())),
                Some(url) if *name == "ca" && url.scheme() != "https" => {
                    found.push((*name, "for https:// only".to_owned()));
                }
                Some(_) => {}
            }
        }
        if self.token_file.is_some() && self.password_file.is_some() {
            found.push((
                "password-file",
                "token-file is set, too: a request bears one".to_owned(),
            ));
        }
        if self.taxii.is_some() && !matches!(self.format, Format::Auto | Format::Stix) {
            found.push(("format", "a collection is of STIX: stix, or auto".to_owned()));
        }
        found
    }
}

/// Without what may be secret in an address.
impl fmt::Display for Source<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::Url(url) | Self::Taxii(url) => formatter.write_str(&url.origin().ascii_serialization()),
        }
    }
}

/// An address from which something may be fetched. What is wrong is said without the address, in which a secret may be.
pub fn parse(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "no address such as https://feeds.example/list")?;
    if !may_be_fetched(&url) {
        return Err("not https://, which only an address of this machine itself (http://127.0.0.1) need not be");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("with a password in it: that belongs into password-file");
    }
    Ok(url)
}

/// Whether nobody between can read or change what is fetched from there.
pub fn may_be_fetched(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.has_host(),
        "http" => match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(ip)) => IpAddr::from(ip).is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        },
        _ => false,
    }
}

/// How addresses are written in settings. They are never shown.
pub(super) mod address {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
    use url::Url;

    use crate::config::values::concealed;

    /// Whether there is one.
    #[expect(clippy::ref_option, reason = "so it is called by serde")]
    pub(crate) fn serialize<S: Serializer>(url: &Option<Url>, serializer: S) -> Result<S::Ok, S::Error> {
        concealed::serialize(url.as_ref().map_or("", Url::as_str), serializer)
    }

    /// As text; an empty one for none.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        super::parse(&text).map(Some).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_encrypted_or_this_machines() {
        for text in [
            "https://feeds.example/list?key=1",
            "https://192.0.2.1:8443/",
            "http://127.0.0.1:80/x",
            "http://[::1]/",
            "http://localhost/x",
        ] {
            assert!(parse(text).is_ok(), "{text}");
        }
        for (text, reason) in [
            ("feeds.example", "no address"),
            ("http://feeds.example/hunter2", "not https://"),
            ("http://192.0.2.1/", "not https://"),
            ("http://localhost.example/", "not https://"),
            ("file:///etc/passwd", "not https://"),
            ("ftp://127.0.0.1/", "not https://"),
            ("https://user:hunter2@feeds.example/", "password-file"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason) && !error.contains("hunter2"), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_told_of_an_address_is_its_server() {
        let url = parse("https://feeds.example:8443/hunter2?key=hunter2").unwrap();
        assert_eq!(Source::Url(&url).to_string(), "https://feeds.example:8443");
    }
}
