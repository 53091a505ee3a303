//! `Suspicious PHP execution detected`: what a page hands to PHP, and what PHP's own tools do in silence.

use crate::{
    deadline::wait_for,
    ocsf::{brief, command_line, fact, level, title},
    tocsin::{PATIENCE, Tocsin},
    web_host::{PHP_FPM, WebHost},
};

const TITLE: &str = "Suspicious PHP execution detected";

/// Runs what follows as the web server's user, but not below it.
const AS_WEB_USER: &str = "setpriv --reuid 33 --regid 33 --clear-groups";

fn host() -> Option<WebHost> {
    let host = WebHost::start()?;
    host.write("/srv/www/page.php", "<?php system($_GET['c']);");
    host.start_php_fpm(PHP_FPM, "/run/php.sock");
    host.start_nginx("/run/php.sock");
    Some(host)
}

#[test]
fn code_that_a_page_hands_to_php_is_seen_in_every_form() {
    let Some(host) = host() else { return };
    host.run("cp /usr/bin/php8.2 /opt/job");
    host.write("/srv/www/uploads/picture.php", "<?php echo 1;");
    host.write("/srv/app/report.php", "<?php echo 1;");
    let agent = Tocsin::start(&["--dedup", "0"]);
    let mark = std::process::id();
    // What a page runs, how the alert's command line begins, and how bad that is.
    let cases = [
        ("php -r 'echo MARK;'", "php -r echo MARK;", "High"),
        (
            "/opt/job -r 'echo system(\"echo MARK\");'",
            "/opt/job -r echo system",
            "High",
        ),
        ("echo '<?php echo 1;' | php -d a=MARK", "php -d a=MARK", "High"),
        (
            "php -d a=MARK /srv/www/uploads/picture.php",
            "php -d a=MARK /srv/www/uploads/",
            "High",
        ),
        (
            "php -d a=MARK -d allow_url_include=1 /srv/app/report.php",
            "php -d a=MARK -d allow_url_include",
            "High",
        ),
        (
            "php -d a=MARK -r '@fsockopen(\"127.0.0.1\", 1);'",
            "php -d a=MARK -r @fsockopen",
            "Critical",
        ),
    ];
    let marked = |text: &str| text.replace("MARK", &mark.to_string());
    for (command, begins, grade) in cases {
        host.get("http://127.0.0.1/page.php", &[("c", &marked(command))]);
        let alert = agent.wait_for_alert(TITLE, |alert| command_line(alert).starts_with(&marked(begins)));
        assert_eq!(
            (level(&alert), fact(&alert, "web_worker.image")),
            (grade, &PHP_FPM.into()),
            "{command}: {}",
            brief(&alert)
        );
    }
    host.get(
        "http://127.0.0.1/page.php",
        &[("c", &marked("php -d a=fileMARK /srv/app/report.php"))],
    );
    let alerts = agent.alerts_after_quiet();
    let of_file = alerts
        .iter()
        .filter(|alert| command_line(alert).contains(&marked("a=fileMARK")));
    assert!(
        !of_file.into_iter().any(|alert| title(alert) == TITLE),
        "a file is what a site is made of"
    );
}

#[test]
fn what_is_made_for_php_runs_it_in_silence() {
    let Some(host) = WebHost::start() else { return };
    let mark = std::process::id();
    let runs_php = |name: &str| format!(r#"<?php system("php -r 'echo 1; # {name}{mark}'");"#);
    for tool in ["artisan", "composer", "wp"] {
        host.write(&format!("/srv/app/{tool}"), &runs_php(tool));
    }
    host.write("/srv/app/index.php", &runs_php("page"));
    let agent = Tocsin::start(&["--dedup", "0"]);
    for (tool, arguments) in [
        ("artisan", "queue:work"),
        ("composer", "install"),
        ("wp", "cron event run"),
    ] {
        host.run(&format!("cd /srv/app; {AS_WEB_USER} php {tool} {arguments}"));
    }
    // What Debian's cron runs twice an hour: it asks each PHP for its settings, by code.
    host.run("/usr/lib/php/sessionclean");
    // Debian's cron itself, which runs this when it starts.
    let done = host.path("/tmp/cron-done");
    // Debian's own settings include files that a package's script would write.
    let permitted = ["auth", "account", "session"].map(|what| format!("{what} required pam_permit.so\n"));
    for service in ["cron", "other"] {
        host.write(&format!("/etc/pam.d/{service}"), &permitted.concat());
    }
    let job = format!("@reboot www-data php -r 'echo 1; # cron{mark}' && touch /tmp/cron-done\n");
    host.write("/etc/cron.d/site", &job);
    host.run("mkdir -p /var/spool/cron/crontabs && cron");
    wait_for("cron's job", PATIENCE, || done.exists().then_some(()));
    // The same by a script that is no such tool.
    host.run(&format!("{AS_WEB_USER} php /srv/app/index.php"));
    let alert = agent.wait_for_alert(TITLE, |alert| command_line(alert).contains(&format!("page{mark}")));
    assert_eq!(level(&alert), "Medium", "{}", brief(&alert));
    let alerts = agent.alerts_after_quiet();
    let page = format!("page{mark}");
    let loud = alerts
        .iter()
        .filter(|alert| title(alert) == TITLE && !command_line(alert).contains(&page));
    let loud: Vec<_> = loud.map(brief).collect();
    assert_eq!(loud, [] as [String; 0]);
}
