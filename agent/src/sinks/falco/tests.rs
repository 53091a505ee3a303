use super::*;
use crate::{alert::samples, observed::Observed};

fn line(alert: &Alert) -> Value {
    let host = Host {
        name: "node-1".to_owned(),
        ..Host::default()
    };
    let mut out = Vec::new();
    write(alert, &host, &mut out);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().count(), 1, "one line");
    serde_json::from_str(&text).unwrap()
}

fn check(alert: &Alert, expected: &[(&str, Value)]) {
    let line = line(alert);
    for (name, expected) in expected {
        let found = line.get(name).or_else(|| line["output_fields"].get(name));
        assert_eq!(found, Some(expected), "{name} in {line:#}");
    }
}

#[test]
fn the_envelope_and_the_process() {
    let alert = samples::exec();
    let output = "2026-11-24T01:02:03.456789012Z: Warning Process execution from temporary folder: /tmp/x -o \
                  pool.example:3333 in container web (registry.example:5000/shop/nginx:1.27, 3f4e8a0c9d7b) by www-data";
    check(
        &alert,
        &[
            ("output", output.into()),
            ("priority", "Warning".into()),
            ("rule", "Process execution from temporary folder".into()),
            ("time", "2026-11-24T01:02:03.456789012Z".into()),
            ("source", "syscall".into()),
            ("hostname", "node-1".into()),
            ("tags", alert.rule.tags.clone().into()),
            ("evt.time", 1_795_482_123_456_789_012_i64.into()),
            ("tocsin.id", alert.id.to_string().into()),
            ("tocsin.rule_author", "Tocsin".into()),
            ("tocsin.compatibility", "VM_Sample,K8S.NODE_Sample".into()),
            ("tocsin.matched.process.uid", 33.into()),
            ("proc.name", "x".into()),
            ("proc.exepath", "/tmp/x".into()),
            ("proc.cmdline", "/tmp/x -o pool.example:3333".into()),
            ("proc.pname", "nginx".into()),
            ("proc.aname[2]", "containerd-shim-runc-v2".into()),
            ("user.name", "www-data".into()),
            ("container.id", "3f4e8a0c9d7b".into()),
            ("container.name", "web".into()),
            ("container.image.repository", "registry.example:5000/shop/nginx".into()),
            ("container.image.tag", "1.27".into()),
        ],
    );
    check(&samples::exec_on_host(), &[("container.id", "host".into())]);
}

#[test]
fn the_web_worker_above_is_named() {
    let alert = samples::exec();
    let nginx = alert
        .observed
        .process
        .as_ref()
        .and_then(|process| process.parent.as_ref());
    nginx.unwrap().execution.roles.add(&"web-worker".into());
    let line = line(&alert);
    let output = line["output"].as_str().unwrap();
    assert!(
        output.ends_with(" by www-data, below the web worker /usr/sbin/nginx (pid 1203, uid 33)"),
        "{output}"
    );
    check(
        &alert,
        &[
            ("tocsin.web_worker.image", "/usr/sbin/nginx".into()),
            ("tocsin.web_worker.pid", 1203.into()),
            ("tocsin.web_worker.uid", 33.into()),
            ("tocsin.web_worker.command_line", "nginx: worker process".into()),
        ],
    );
}

#[test]
fn sockets_and_other_sources() {
    check(
        &samples::connection(),
        &[
            ("fd.sip", "10.96.0.1".into()),
            ("fd.sport", 443.into()),
            ("fd.cip", "172.17.0.2".into()),
        ],
    );
    check(
        &samples::listen(),
        &[("fd.sport", 2375.into()), ("priority", "Error".into())],
    );
    check(&samples::dns(), &[("dns.name", "pool.example".into())]);
    check(
        &samples::container(),
        &[("source", "docker".into()), ("container.privileged", true.into())],
    );
    check(
        &samples::login(),
        &[
            ("source", "auth".into()),
            ("user.name", "root".into()),
            ("fd.cip", "203.0.113.9".into()),
            ("tocsin.login.method", "password".into()),
        ],
    );
    check(&samples::health(), &[("source", "health".into())]);
    check(
        &samples::web(),
        &[
            ("tocsin.matched.cs-uri-query", "cmd=id".into()),
            ("tocsin.given.c-ip", "203.0.113.9".into()),
        ],
    );
}

#[test]
fn fields_are_flat_whatever_was_matched() {
    for mut alert in samples::all() {
        alert
            .matched
            .push(("Image".into(), serde_json::json!(["a\n", {"b": null}])));
        let line = line(&alert);
        for (name, value) in line["output_fields"].as_object().unwrap() {
            assert!(
                !value.is_array() && !value.is_object() && !value.is_null(),
                "{name} is {value}"
            );
        }
    }
}

#[test]
fn hostile_texts_stay_one_line() {
    let mut alert = samples::exec();
    let mut observed = Observed::clone(&alert.observed);
    observed.process = Some(samples::process(1, "/a\nb", "x\u{1b}[2J\r\n\"}", None));
    alert.observed = std::sync::Arc::new(observed);
    check(&alert, &[("proc.cmdline", "x\u{1b}[2J\r\n\"}".into())]);
}
