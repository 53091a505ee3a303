//! What happened, in one line, and what to do next: shared by the forms.

use std::fmt::{self, Display};

use serde_json::Value;

use crate::{
    alert::Alert,
    detect::Rule,
    event::{Container, FindingKind, Kind, Login, Outcome, Process, Said, WebWorker},
};

/// The first digits of a container's id, by which Docker and Falco show it.
pub(super) fn short_id(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// The file name at the end of a path.
pub(super) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// An image's repository and tag: `registry:5000/nginx` and `1.27`.
pub(super) fn image_tag(image: &str) -> (&str, Option<&str>) {
    let image = image.split_once('@').map_or(image, |(image, _digest)| image);
    match image.rsplit_once(':') {
        // A colon before a slash is a registry's port.
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (image, None),
    }
}

/// The matched fields, each once: several selections of a rule may have matched the same.
pub(super) fn matched_once(alert: &Alert) -> impl Iterator<Item = (&str, &Value)> {
    let fields = alert.matched.iter().enumerate();
    let once = fields.filter(|(index, (name, _))| alert.matched[..*index].iter().all(|(before, _)| before != name));
    once.map(|(_, (name, value))| (&**name, value))
}

/// What the description says to do next: its last paragraph, or all of it if it has but one.
pub(super) fn next_steps(rule: &Rule) -> &str {
    let description = rule.description.trim();
    description.rsplit("\n\n").next().unwrap_or(description).trim()
}

/// `title: what happened, where, by whom` in one line.
pub(super) struct Summary<'a>(pub(super) &'a Alert);

impl Display for Summary<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(alert) = self;
        write!(out, "{}: {}", alert.rule.title, What(alert))?;
        match &alert.observed.container {
            Some(container) => write!(out, " in {}", Place(container))?,
            None if alert.observed.process.is_some() => out.write_str(" on the host")?,
            None => {}
        }
        if let Some(user) = &alert.observed.facts.user {
            write!(out, " by {user}")?;
        }
        let process = alert.observed.process.as_deref();
        if let Some(worker) = process.and_then(Process::web_worker) {
            write!(out, ", below the web worker {}", Worker(worker))?;
        }
        match alert.count {
            0 | 1 => Ok(()),
            count => write!(out, ", {count} times"),
        }
    }
}

/// Which web worker asked for it: `/usr/sbin/php-fpm8.2 (pid 1203, uid 33)`.
pub(super) struct Worker<'a>(pub(super) WebWorker<'a>);

impl Display for Worker<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(worker) = self;
        let (run, pid) = (&worker.process.execution, worker.process.key.pid);
        write!(out, "{} (pid {pid}, uid {})", run.exe, worker.uid())
    }
}

/// What happened: `/tmp/x listens on 0.0.0.0:80`.
pub(super) struct What<'a>(pub(super) &'a Alert);

impl Display for What<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let observed = &self.0.observed;
        let process = observed.process.as_deref();
        let who = process.map_or("a process", |process| &process.execution.exe);
        match &observed.event.kind {
            Kind::Exec(exec) => {
                let line = process.map_or(&exec.execution.command_line, |process| &process.execution.command_line);
                match &**line {
                    "" => out.write_str(who),
                    line => out.write_str(line),
                }
            }
            Kind::Connection(connection) if connection.initiated => {
                write!(out, "{who} connects to {}", connection.destination)?;
                if let Some(name) = observed.facts.destination_name.as_deref() {
                    write!(out, " ({name})")?;
                }
                match connection.said.as_deref() {
                    Some(said) => Asks(said).fmt(out),
                    None => Ok(()),
                }
            }
            Kind::Connection(connection) => match connection.source {
                Some(source) => write!(out, "{who} accepts {source} on {}", connection.destination),
                None => write!(out, "{who} accepts a connection on {}", connection.destination),
            },
            Kind::Listen(listener) => write!(out, "{who} listens on {}", listener.address),
            Kind::Dns(message) => write!(out, "{who} asks for {} {}", message.record_type, message.name),
            Kind::Memory(found) => write!(out, "{who}: {}", Found(&found.kind)),
            Kind::Login(login) => Attempt(login).fmt(out),
            Kind::Container(change) => write!(out, "container {}", change.action.name()),
            Kind::Health(health) => out.write_str(&health.detail),
            Kind::Recorded(_)
            | Kind::Fork(_)
            | Kind::Exit(_)
            | Kind::Runtime(_)
            | Kind::ToldExec(_)
            | Kind::OwnContainer(_)
            | Kind::Users(_)
            | Kind::Intel(_)
            | Kind::Again(_)
            | Kind::Looked(_)
            | Kind::KubernetesServer(_)
            | Kind::Baseline(_) => Matched(self.0).fmt(out),
        }
    }
}

/// What a connection is for, by its own word: `and asks api.example for /pods as curl/8.5.0`.
struct Asks<'a>(&'a Said);

impl Display for Asks<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Said {
            server_name,
            host,
            path,
            user_agent,
        } = self.0;
        out.write_str(" and asks")?;
        let whom = server_name.as_ref().or(host.as_ref());
        for (word, text) in [("", whom), (" for", path.as_ref()), (" as", user_agent.as_ref())] {
            if let Some(text) = text {
                write!(out, "{word} {text}")?;
            }
        }
        Ok(())
    }
}

/// An attempt to log in, or what was written in its place: `sshd lets root in from 192.0.2.1 by password`.
struct Attempt<'a>(&'a Login);

impl Display for Attempt<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(login) = self;
        let (service, user, target) = (login.service(), &login.user, &login.target_user);
        match (login.outcome, &**target) {
            (None, _) => return write!(out, "{service}: {}", login.message),
            (Some(Outcome::Success), "") => write!(out, "{service} lets {user} in")?,
            (Some(Outcome::Failure), "") => write!(out, "{service} does not let {user} in")?,
            (Some(Outcome::Success), target) => write!(out, "{service} lets {user} act as {target}")?,
            (Some(Outcome::Failure), target) => write!(out, "{service} does not let {user} act as {target}")?,
        }
        if let Some(source) = login.source {
            write!(out, " from {source}")?;
        }
        if target.is_empty() && !login.method.is_empty() {
            write!(out, " by {}", login.method)?;
        }
        if !login.command.is_empty() {
            write!(out, ": {}", login.command)?;
        }
        Ok(())
    }
}

/// What a look into a memory came upon: `executable anonymous memory (rwxp at 7f3c…) begins as a library does`.
struct Found<'a>(&'a FindingKind);

impl Display for Found<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            FindingKind::Code(code) => {
                let (kind, protection, address) = (code.backing.name(), &code.protection, &code.address);
                write!(out, "executable {kind} memory ({protection} at {address})")?;
                match &*code.path {
                    "" => Ok(()),
                    path => write!(out, " of {path}"),
                }?;
                out.write_str(if code.elf_head { " begins as a library does" } else { "" })
            }
            FindingKind::ChangedCode(changed) => {
                let (bytes, path, address) = (changed.bytes, &changed.path, &changed.address);
                write!(out, "{bytes} bytes of code from {address} on are not those of {path}")
            }
            FindingKind::Preload(preload) => write!(out, "{} loads {}", preload.by, preload.library),
            FindingKind::HeldFile(held) => write!(out, "reads {}, which is deleted", held.path),
            FindingKind::HiddenProcess(hider) => write!(out, "hidden by {}", hider.name()),
            FindingKind::Signature(signature) => write!(out, "its memory matches {}", signature.rules.join(", ")),
        }
    }
}

/// The matched fields, for events that have no better description.
struct Matched<'a>(&'a Alert);

impl Display for Matched<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in matched_once(self.0).enumerate() {
            let separator = if index == 0 { "" } else { " " };
            write!(out, "{separator}{name}={value}")?;
        }
        Ok(())
    }
}

/// `container web (nginx:1.27, 3f4e8a0c9d7b)`, as far as it is known.
pub(super) struct Place<'a>(pub(super) &'a Container);

impl Display for Place<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Container { id, name, image, .. } = self.0;
        let id = short_id(id);
        match (&**name, &**image) {
            ("", "") => write!(out, "container {id}"),
            ("", image) => write!(out, "container {id} ({image})"),
            (name, "") => write!(out, "container {name} ({id})"),
            (name, image) => write!(out, "container {name} ({image}, {id})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::samples;

    #[test]
    fn one_line_says_it() {
        let cases = [
            (
                samples::exec(),
                "Process execution from temporary folder: /tmp/x -o pool.example:3333 in container web (registry.example:5000/shop/nginx:1.27, 3f4e8a0c9d7b) by www-data",
            ),
            (
                samples::exec_on_host(),
                "Process execution from temporary folder: /tmp/x -o pool.example:3333 on the host by www-data",
            ),
            (
                samples::connection(),
                "Suspicious request to Kubernetes API: /tmp/x connects to 10.96.0.1:443 (kubernetes.default.svc) in container web (registry.example:5000/shop/nginx:1.27, 3f4e8a0c9d7b) by www-data",
            ),
            (
                samples::listen(),
                "Exposed Docker daemon detected: /tmp/x listens on 0.0.0.0:2375 on the host by www-data",
            ),
            (
                samples::dns(),
                "Name of a miner pool: /tmp/x asks for AAAA pool.example on the host by www-data",
            ),
            (
                samples::container(),
                "Privileged Container Detected: container start in container web (registry.example:5000/shop/nginx:1.27, 3f4e8a0c9d7b)",
            ),
            (
                samples::login(),
                "Login after failed attempts from a new address: sshd lets root in from 203.0.113.9 by password",
            ),
            (samples::health(), "Events were lost: 12 events lost: the ring was full"),
            (samples::web(), "Web shell request: cs-uri-query=\"cmd=id\""),
        ];
        for (alert, expected) in cases {
            assert_eq!(Summary(&alert).to_string(), expected);
        }
    }

    #[test]
    fn what_is_asked_is_told_as_far_as_it_is_known() {
        let said = |texts: [&str; 4]| {
            let [server_name, host, path, user_agent] =
                texts.map(|text| Some(text).filter(|text| !text.is_empty()).map(Into::into));
            Asks(&Said {
                server_name,
                host,
                path,
                user_agent,
            })
            .to_string()
        };
        assert_eq!(said(["example.org", "", "", ""]), " and asks example.org");
        assert_eq!(said(["", "a", "/x", "curl/8.5.0"]), " and asks a for /x as curl/8.5.0");
        assert_eq!(said(["", "", "/x", ""]), " and asks for /x");
    }

    #[test]
    fn images_have_tags() {
        let cases = [
            ("nginx:1.27", ("nginx", Some("1.27"))),
            ("nginx", ("nginx", None)),
            ("registry:5000/nginx", ("registry:5000/nginx", None)),
            (
                "registry:5000/a/nginx:1@sha256:00",
                ("registry:5000/a/nginx", Some("1")),
            ),
            ("nginx@sha256:00", ("nginx", None)),
            ("", ("", None)),
        ];
        for (image, expected) in cases {
            assert_eq!(image_tag(image), expected, "of {image}");
        }
    }

    #[test]
    fn the_last_paragraph_tells_what_to_do() {
        let cases = [
            ("one", "one"),
            ("what it is\n\ndo this\nand that\n", "do this\nand that"),
            ("", ""),
        ];
        for (description, expected) in cases {
            let mut rule = samples::rule("a", crate::event::LogSource::Health);
            rule.description = description.into();
            assert_eq!(next_steps(&rule), expected);
        }
    }
}
