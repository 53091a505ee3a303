//! `Process execution from temporary folder`, whichever way a program there is run, in mounts of its own.

use std::time::Duration;

use serde_json::Value;

use crate::{
    ocsf::{activity, command_line, exe, level, title},
    programs::Outside,
    tocsin::Tocsin,
};

const TEMP: &str = "Process execution from temporary folder";

/// A service's own `/tmp`, as `PrivateTmp` makes it, and programs in it and beside it.
const SCRIPT: &str = r#"
mount -t tmpfs tmpfs /srv
mkdir -p /srv/private/tmp /srv/bin
mount --bind /srv/private/tmp /tmp
mount -t tmpfs tmpfs /var/tmp
cp /bin/true /tmp/MARK-program
cp /bin/true /srv/bin/MARK-elsewhere
echo : >/tmp/MARK-script.sh
echo : >/srv/bin/MARK-script-elsewhere.sh
loader=$(ls /lib64/ld-linux-x86-64.so.2 /lib/ld-linux-aarch64.so.1 2>/dev/null | head -n 1)
/tmp/MARK-program own-view
ln -s /tmp/MARK-program /srv/bin/MARK-link
/srv/bin/MARK-link by-link
"$loader" /tmp/MARK-program by-loader
"$loader" --library-path /usr/lib --argv0 MARK /tmp/MARK-program by-loader-with-options
sh /tmp/MARK-script.sh by-shell
cd /tmp
"$loader" ./MARK-program from-within-by-loader
sh MARK-script.sh from-within-by-shell
sh -s MARK as-input </tmp/MARK-script.sh
bash -euo pipefail -s MARK as-input-with-options </tmp/MARK-script.sh
cp /tmp/MARK-script.sh /tmp/MARK-removed.sh
(rm /tmp/MARK-removed.sh; exec sh -s MARK as-removed-input) </tmp/MARK-removed.sh
# Deeper than the kernel program walks.
deep=/tmp$(printf '/%.0sd' $(seq 70))
mkdir -p "$deep"
cp /tmp/MARK-script.sh "$deep"
sh -s MARK as-deep-input <"$deep/MARK-script.sh"
# None of these runs what lies there.
/srv/bin/MARK-elsewhere twin
"$loader" /srv/bin/MARK-elsewhere twin
sh /srv/bin/MARK-script-elsewhere.sh twin
sh -c ': twin; cat /tmp/MARK-script.sh' MARK >/dev/null
cat /tmp/MARK-script.sh >/dev/null
. /tmp/MARK-script.sh
sh -c 'read -r line' MARK twin </tmp/MARK-script.sh
sh /srv/bin/MARK-script-elsewhere.sh twin </tmp/MARK-script.sh
perl -v MARK twin </tmp/MARK-script.sh >/dev/null
# What is longer than a pipe holds, bash keeps in a file.
bash -c "$(printf 'bash -s MARK twin <<END\n%70000s\nEND' :)"
"#;

#[test]
fn every_way_to_run_what_lies_there_is_seen_in_a_service_s_own_mounts() {
    let outside = Outside::start();
    let agent = Tocsin::start(&["--dedup", "0"]);
    let mark = format!("mark{}", std::process::id());
    outside.run_script(&SCRIPT.replace("MARK", &mark), Duration::from_secs(30));
    let alerts = agent.alerts_after_quiet();
    let ours = |alert: &&Value| command_line(alert).contains(&mark) || exe(alert).contains(&mark);
    let found: Vec<_> = alerts
        .iter()
        .filter(|alert| title(alert) == TEMP && activity(alert) == "Create")
        .filter(ours)
        .map(|alert| (command_line(alert).rsplit(' ').next().unwrap_or_default(), level(alert)))
        .collect();
    let ways = [
        ("own-view", "Medium"),
        ("by-link", "Medium"),
        ("by-loader", "Medium"),
        ("by-loader-with-options", "Medium"),
        ("by-shell", "Medium"),
        ("from-within-by-loader", "Medium"),
        ("from-within-by-shell", "Medium"),
        ("as-input", "Medium"),
        ("as-input-with-options", "Medium"),
        ("as-removed-input", "High"),
        ("as-deep-input", "High"),
    ];
    assert_eq!(found, ways);
}
