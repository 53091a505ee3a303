use std::sync::Arc;

use super::*;
use crate::{
    alert::samples,
    observed::Observed,
    sinks::{Format, Host},
};

fn page(alert: &Alert, colour: bool, width: usize) -> String {
    let host = Arc::new(Host {
        name: "node-1".to_owned(),
        ..Host::default()
    });
    let formatter = Formatter {
        format: Format::Pretty,
        host,
        colour,
        width,
    };
    let mut out = Vec::new();
    formatter.write(alert, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn it_tells_what_where_who_and_what_to_do() {
    let expected = "\
MEDIUM  Process execution from temporary folder  2026-11-24T01:02:03Z
  what     /tmp/x -o pool.example:3333
  where    container web (registry.example:5000/shop/nginx:1.27,
           3f4e8a0c9d7b) on node-1
  who      www-data (uid 33, logged in as 1000), terminal pts3
  process  1 /sbin/init
           └─ 801 containerd-shim -id 3f4e
              └─ 1203 nginx: worker process
                 └─ 4711 /tmp/x -o pool.example:3333
  matched  Image = /tmp/x
           process.uid = 33
  count    3 times since 2026-11-24T01:02:03Z
  rule     process-execution-from-temporary-folder, by Tocsin
           (elsewhere VM_Sample, K8S.NODE_Sample)
  next     Find out who started it; stop the container and keep its
           file system for a look.

";
    let mut alert = samples::exec();
    alert.count = 3;
    assert_eq!(page(&alert, false, 70), expected);
}

#[test]
fn colour_comes_only_when_asked() {
    for alert in samples::all() {
        assert!(!page(&alert, false, 80).contains('\x1b'));
        assert!(page(&alert, true, 80).contains('\x1b'));
    }
}

#[test]
fn hostile_arguments_reach_the_terminal_as_text() {
    let hostile = "x \x1b]0;owned\x07\x1b[2J\u{202e}txt.exe\r\nHIGH  forged headline";
    let mut alert = samples::with_secret(&samples::exec(), hostile);
    Arc::make_mut(&mut alert.rule).title = hostile.into();
    let mut observed = Observed::clone(&alert.observed);
    observed.facts.user = Some(hostile.into());
    let mut container = samples::container_facts();
    container.name = hostile.into();
    observed.container = Some(Arc::new(container));
    alert.observed = Arc::new(observed);
    alert.matched = vec![(hostile.into(), hostile.into())];
    let page = page(&alert, false, 80);
    let harmful = |character: char| (character.is_control() && character != '\n') || character == '\u{202e}';
    assert!(!page.contains(harmful), "{page}");
    assert!(!page.lines().any(|line| line.starts_with("HIGH")), "{page}");
}

#[test]
fn long_lines_are_cut_and_long_trees_left_out_in_the_middle() {
    let mut process = None;
    for pid in 1..=30 {
        process = Some(samples::process(
            pid,
            "/bin/sh",
            &"argument ".repeat(4000),
            process.take(),
        ));
    }
    let mut alert = samples::exec();
    let mut observed = Observed::clone(&alert.observed);
    observed.process = process;
    alert.observed = Arc::new(observed);
    let page = page(&alert, false, 80);
    assert!(
        page.lines()
            .skip(1)
            .all(|line| unicode_width::UnicodeWidthStr::width(line) <= 80),
        "{page}"
    );
    assert!(page.lines().count() < 50, "{page}");
    assert!(page.contains("└─ … 18 more … 20 argument"), "{page}");
    assert!(page.contains("└─ 30 argument"), "{page}");
}
