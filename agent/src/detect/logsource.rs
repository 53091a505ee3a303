//! Which family of events a rule judges: Sigma's `logsource` in the agent's terms.

use rsigma_parser::LogSource as Written;

use crate::event::LogSource;

/// The family that a rule of that `logsource` judges; without one, what it asks for.
pub fn family(written: &Written) -> Result<LogSource, String> {
    let part = |part: &Option<String>| part.as_deref().map(str::to_ascii_lowercase);
    let (product, category, service) = (part(&written.product), part(&written.category), part(&written.service));
    let found = match (product.as_deref(), category.as_deref(), service.as_deref()) {
        (None | Some("linux"), Some(category), None) => by_category(category),
        (Some("linux"), None, Some("sshd")) => Some(LogSource::Sshd),
        (Some("linux"), None, Some("sudo")) => Some(LogSource::Sudo),
        (Some("linux"), None, Some("auth")) => Some(LogSource::Auth),
        (Some("docker"), Some("container"), None) => Some(LogSource::Container),
        (Some("tocsin"), None, Some("health")) => Some(LogSource::Health),
        _ => None,
    };
    found.ok_or_else(|| describe([product, category, service]))
}

/// The `logsource` of rules that judge that family.
pub fn written(source: LogSource) -> &'static [(&'static str, &'static str)] {
    match source {
        LogSource::ProcessCreation => &[("product", "linux"), ("category", "process_creation")],
        LogSource::NetworkConnection => &[("product", "linux"), ("category", "network_connection")],
        LogSource::NetworkListen => &[("product", "linux"), ("category", "network_listen")],
        LogSource::DnsQuery => &[("category", "dns_query")],
        LogSource::Memory => &[("product", "linux"), ("category", "memory")],
        LogSource::Container => &[("product", "docker"), ("category", "container")],
        LogSource::Sshd => &[("product", "linux"), ("service", "sshd")],
        LogSource::Sudo => &[("product", "linux"), ("service", "sudo")],
        LogSource::Auth => &[("product", "linux"), ("service", "auth")],
        LogSource::Webserver => &[("category", "webserver")],
        LogSource::Health => &[("product", "tocsin"), ("service", "health")],
    }
}

/// Categories that a Linux rule, or one for any product, can be about.
fn by_category(category: &str) -> Option<LogSource> {
    match category {
        "process_creation" => Some(LogSource::ProcessCreation),
        "network_connection" => Some(LogSource::NetworkConnection),
        "network_listen" => Some(LogSource::NetworkListen),
        "dns_query" => Some(LogSource::DnsQuery),
        "memory" => Some(LogSource::Memory),
        "webserver" => Some(LogSource::Webserver),
        _ => None,
    }
}

fn describe(parts: [Option<String>; 3]) -> String {
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        return "the rule names no log source".into();
    }
    format!("no source of this agent carries {}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(product: &str, category: &str, service: &str, expected: Result<LogSource, &str>) {
        let part = |part: &str| (!part.is_empty()).then(|| part.to_owned());
        let written = Written {
            product: part(product),
            category: part(category),
            service: part(service),
            ..Written::default()
        };
        assert_eq!(family(&written), expected.map_err(str::to_owned));
    }

    #[test]
    fn what_is_written_for_a_family_is_read_as_that_family() {
        for source in LogSource::ALL {
            let part = |wanted: &str| {
                let mut parts = written(source).iter();
                parts.find(|(key, _)| *key == wanted).map_or("", |(_, value)| value)
            };
            check(part("product"), part("category"), part("service"), Ok(source));
        }
    }

    #[test]
    fn a_rule_finds_its_family_or_hears_that_there_is_none() {
        check("linux", "process_creation", "", Ok(LogSource::ProcessCreation));
        check("Linux", "Process_Creation", "", Ok(LogSource::ProcessCreation));
        check("", "process_creation", "", Ok(LogSource::ProcessCreation));
        check("", "webserver", "", Ok(LogSource::Webserver));
        check("", "dns_query", "", Ok(LogSource::DnsQuery));
        check("docker", "container", "", Ok(LogSource::Container));
        check("linux", "", "sshd", Ok(LogSource::Sshd));
        check("linux", "", "sudo", Ok(LogSource::Sudo));
        check("linux", "", "auth", Ok(LogSource::Auth));
        check("tocsin", "", "health", Ok(LogSource::Health));
        check(
            "windows",
            "process_creation",
            "",
            Err("no source of this agent carries windows/process_creation"),
        );
        check(
            "linux",
            "",
            "auditd",
            Err("no source of this agent carries linux/auditd"),
        );
        check(
            "linux",
            "container",
            "",
            Err("no source of this agent carries linux/container"),
        );
        check("", "", "", Err("the rule names no log source"));
    }
}
