//! Where an OCSF Detection Finding says what; an empty text where it does not say.

use serde_json::Value;

/// The alert's title.
pub(crate) fn title(alert: &Value) -> &str {
    text(alert, "/finding_info/title")
}

/// The rule's name, such as `docker-api-medium`.
pub(crate) fn rule(alert: &Value) -> &str {
    text(alert, "/finding_info/analytic/name")
}

/// The rule's id.
pub(crate) fn rule_uid(alert: &Value) -> &str {
    text(alert, "/finding_info/analytic/uid")
}

/// `Low`, `Medium`, `High`…
pub(crate) fn level(alert: &Value) -> &str {
    text(alert, "/severity")
}

/// `Create` for the first of a subject, `Update` for those after it.
pub(crate) fn activity(alert: &Value) -> &str {
    text(alert, "/activity_name")
}

/// The container's full id.
pub(crate) fn container_id(alert: &Value) -> &str {
    text(alert, "/evidences/0/container/uid")
}

/// The container's name.
pub(crate) fn container_name(alert: &Value) -> &str {
    text(alert, "/evidences/0/container/name")
}

/// The container's image, as it was named.
pub(crate) fn image(alert: &Value) -> &str {
    text(alert, "/evidences/0/container/image/name")
}

/// The executable's path.
pub(crate) fn exe(alert: &Value) -> &str {
    text(alert, "/evidences/0/process/file/path")
}

/// The command line.
pub(crate) fn command_line(alert: &Value) -> &str {
    text(alert, "/evidences/0/process/cmd_line")
}

/// The process's id on the node.
pub(crate) fn pid(alert: &Value) -> Option<u64> {
    alert.pointer("/evidences/0/process/pid").and_then(Value::as_u64)
}

/// The user's name.
pub(crate) fn user(alert: &Value) -> &str {
    text(alert, "/evidences/0/process/user/name")
}

/// The port that is connected to or listened on.
pub(crate) fn port(alert: &Value) -> Option<u64> {
    alert.pointer("/evidences/0/dst_endpoint/port").and_then(Value::as_u64)
}

/// One of Tocsin's own facts, such as `event.startup`.
pub(crate) fn fact<'a>(alert: &'a Value, name: &str) -> &'a Value {
    static NULL: Value = Value::Null;
    alert
        .get("unmapped")
        .and_then(|unmapped| unmapped.get(name))
        .unwrap_or(&NULL)
}

/// Whether the score that the alert goes by has found that signal.
pub(crate) fn has_signal(alert: &Value, name: &str) -> bool {
    let signals = fact(alert, "matched").get("signals").and_then(Value::as_array);
    signals.is_some_and(|signals| signals.iter().any(|signal| signal == name))
}

/// What an alert says, in a line for a failed test.
pub(crate) fn brief(alert: &Value) -> String {
    let facts = alert.get("unmapped").unwrap_or(&Value::Null);
    format!(
        "{} {} ({}) {facts}",
        activity(alert),
        rule(alert),
        text(alert, "/message")
    )
}

pub(crate) fn text<'a>(alert: &'a Value, path: &str) -> &'a str {
    alert.pointer(path).and_then(Value::as_str).unwrap_or_default()
}
