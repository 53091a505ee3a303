use super::*;
use crate::alert::samples;

fn check(cases: &[(&str, &str)]) {
    let redactor = Redactor::new(&[]).unwrap();
    for (text, expected) in cases {
        assert_eq!(redactor.text(text), *expected, "of {text}");
    }
}

#[test]
fn secrets_are_blotted_out() {
    check(&[
        ("tool --password hunter2 run", "tool --password [redacted] run"),
        ("tool --password=hunter2 run", "tool --password=[redacted] run"),
        ("tool --db-password 'a b' run", "tool --db-password [redacted] run"),
        ("tool -passphrase hunter2", "tool -passphrase [redacted]"),
        (
            "tool --api-key k1 --token t1",
            "tool --api-key [redacted] --token [redacted]",
        ),
        ("mysql -u root -phunter2 shop", "mysql -u root -p[redacted] shop"),
        (
            "/usr/bin/mysqldump -phunter2 shop",
            "/usr/bin/mysqldump -p[redacted] shop",
        ),
        ("sshpass -p hunter2 ssh host", "sshpass -p [redacted] ssh host"),
        (
            "docker login -u me -p hunter2 reg",
            "docker login -u me -p [redacted] reg",
        ),
        (
            "curl -u me:hunter2 https://host/",
            "curl -u me:[redacted] https://host/",
        ),
        (
            "curl -sku me:hunter2 https://host/",
            "curl -sku me:[redacted] https://host/",
        ),
        ("redis-cli -h db -a hunter2 ping", "redis-cli -h db -a [redacted] ping"),
        (
            "openssl rsa -passin pass:hunter2",
            "openssl rsa -passin pass:[redacted]",
        ),
        (
            "git clone https://me:hunter2@host/x.git",
            "git clone https://me:[redacted]@host/x.git",
        ),
        (
            "psql postgres://:hunter2@db/shop",
            "psql postgres://:[redacted]@db/shop",
        ),
        ("GET /a?access_token=abc&x=1", "GET /a?access_token=[redacted]&x=1"),
        ("sh -c DB_PASSWORD=hunter2 ./run", "sh -c DB_PASSWORD=[redacted] ./run"),
        ("env MYSQL_PWD=hunter2 run", "env MYSQL_PWD=[redacted] run"),
        ("export TOKEN='a b'; run", "export TOKEN=[redacted]; run"),
        (
            r#"curl -d {"user":"me","password":"x y"}"#,
            r#"curl -d {"user":"me","password":"[redacted]"}"#,
        ),
        (
            "curl -H Authorization: Bearer abc.def host",
            "curl -H Authorization: Bearer [redacted] host",
        ),
        (
            "curl -H authorization: Basic bWU6eA== host",
            "curl -H authorization: Basic [redacted] host",
        ),
        ("curl -H X-Api-Key: abc host", "curl -H X-Api-Key: [redacted] host"),
        (
            "curl -H Private-Token: abc host",
            "curl -H Private-Token: [redacted] host",
        ),
        (
            "https://api.telegram.org/bot110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PAL/getMe",
            "https://api.telegram.org/bot110201543:[redacted]/getMe",
        ),
        (
            "/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
            "/services/T00000000/B00000000/[redacted]",
        ),
        (
            "/api/webhooks/1234567890123/abcdefghijklmnopqrstuvwxyz_-x",
            "/api/webhooks/1234567890123/[redacted]",
        ),
        ("aws AKIAIOSFODNN7EXAMPLE s3", "aws [redacted] s3"),
        ("git ghp_0123456789abcdefghijABCDEFGHIJ012345", "git [redacted]"),
        (
            "run eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
            "run [redacted]",
        ),
        (
            "echo -----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- x",
            "echo -----BEGIN RSA PRIVATE KEY-----[redacted]-----END RSA PRIVATE KEY----- x",
        ),
    ]);
}

#[test]
fn near_misses_stay() {
    let clean = [
        "",
        "cat /home/me/password.txt",
        "cat /etc/secrets/token",
        "tool --password-file /run/pw --verbose",
        "tool --password-stdin",
        "tool --password --user me",
        "passwd root",
        "curl --cacert /var/run/secrets/kubernetes.io/serviceaccount/ca.crt https://10.0.0.1:443/api",
        "cat /var/run/secrets/kubernetes.io/serviceaccount/token",
        "mysql -u root -p shop",
        "mysql -P 3306 -h db",
        "ssh -p 2222 host",
        "mkdir -p /srv/mysql-data",
        "tar -pxf a.tar",
        "curl https://host:8443/path@2",
        "git clone git@github.com:me/repo.git",
        "tokenizer --max-tokens=12",
        "password_file=/run/pw ./run",
        "AKIA is a prefix",
        "eyJ.a.b",
        "docker login -u me --password-stdin",
        "the bearer of news",
        "/bot42:x/getMe",
        "/api/v1/services/Web/B/x",
        "/api/webhooks/12/x",
    ];
    check(&clean.map(|text| (text, text)));
}

#[test]
fn extra_patterns_and_off() {
    let redactor = Redactor::new(&[r"corp-(?<secret>\d+)".to_owned(), "xyzzy".to_owned()]).unwrap();
    assert_eq!(redactor.text("corp-123 xyzzy"), "corp-[redacted] [redacted]");
    assert!(format!("{:#}", Redactor::new(&["(".to_owned()]).unwrap_err()).contains("( is no regular expression"));
    assert_eq!(Redactor::off().text("--password x"), "--password x");
}

#[test]
fn no_text_of_an_alert_keeps_its_secret() {
    let redactor = Redactor::new(&[]).unwrap();
    for alert in samples::all() {
        let alert = samples::with_secret(&alert, "--password hunter2");
        assert!(
            format!("{alert:?}").contains("hunter2"),
            "the sample has no secret: {alert:?}"
        );
        let redacted = redactor.alert(alert);
        assert!(!format!("{redacted:?}").contains("hunter2"), "{redacted:?}");
    }
}

#[test]
fn what_is_clean_stays_shared() {
    let redactor = Redactor::new(&[]).unwrap();
    let alert = samples::exec();
    let observed = Arc::clone(&alert.observed);
    assert!(Arc::ptr_eq(&redactor.alert(alert).observed, &observed));
}
