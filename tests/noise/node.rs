//! What administrators, cron and compilers do on the node itself.

use std::{ffi::OsStr, path::Path, time::Duration};

use crate::{deadline::wait_for, programs::Outside, web_host::WebHost};

/// In the command line of what runs on the machine itself and belongs to the hour.
pub(crate) const OUTSIDE: &str = "tocsin-noise";

/// How long a step may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// Makes the unpacked packages a node as its installer would, with an administrator, sshd and cron.
pub(crate) fn prepare(host: &WebHost) {
    host.write("/etc/hosts", "127.0.0.1 localhost node blog.example\n");
    host.write("/etc/cron.d/hour", CRONTAB);
    host.write("/usr/local/bin/backup", BACKUP);
    host.write("/usr/src/tiny.sh", TINY);
    host.run_within(PREPARE, PATIENCE);
}

/// Upgrades packages with their scripts and triggers.
pub(crate) fn upgrade(host: &WebHost) {
    host.run_within(UPGRADE, PATIENCE);
}

/// An administrator logs in from afar: looks around, copies, changes, becomes root.
pub(crate) fn log_in(host: &WebHost, round: u32) {
    host.run_within(&LOG_IN.replace("ROUND", &round.to_string()), PATIENCE);
}

/// Builds a C program with configure and make: in a folder for sources, and in `/tmp` as people do who will not keep it.
pub(crate) fn compile(host: &WebHost) {
    for folder in ["/usr/src/tiny", "/tmp/tiny-1.0"] {
        host.run_within(&format!("{BUILD_AS_ADMIN} sh /usr/src/tiny.sh {folder}"), PATIENCE);
    }
}

/// Builds a Rust program that has a build script, with the machine's cargo and its target folder in `/tmp`.
pub(crate) fn compile_rust(outside: &Outside, cargo: &OsStr) {
    let bin = Path::new(cargo).parent().expect("cargo lies in a folder").display();
    outside.run_script(&RUST.replace("BIN", &bin.to_string()), PATIENCE);
}

/// Waits until cron has run every job since now.
pub(crate) fn wait_for_cron(host: &WebHost) {
    let done = host.path("/run/cron-done");
    // It is not there if no minute has passed.
    let _ = std::fs::remove_file(&done);
    wait_for("minute of cron", Duration::from_mins(2), || done.exists().then_some(()));
}

const PREPARE: &str = r#"
    export DEBIAN_FRONTEND=noninteractive
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d /usr/local/bin/backup
    echo "127.0.0.1 $(hostname)" >>/etc/hosts
    # Accounts as the installer leaves them, or PAM refuses all once a package's script has it set up anew.
    sed 's/:.*/:*:20000:0:99999:7:::/' /etc/passwd >/etc/shadow
    chown root:shadow /etc/shadow
    chmod 640 /etc/shadow
    pam-auth-update --package --force
    dpkg --force-confmiss --install $(ls /var/cache/apt/archives/*.deb | grep -E 'libc-bin|openssh-server|sudo|php|cron|ucf')
    echo 'admin ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/admin
    mkdir -p /run/sshd /root/.ssh /home/admin/.ssh
    ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
    cp /root/.ssh/id_ed25519.pub /home/admin/.ssh/authorized_keys
    chown -R 1000:1000 /home/admin
    touch /var/log/syslog /var/log/auth.log
    chown -R man:man /var/cache/man
    service cron start
    service ssh start
    echo 'StrictHostKeyChecking accept-new' >/root/.ssh/config
    until ssh -o LogLevel=ERROR admin@127.0.0.1 true; do sleep 0.1; done
"#;

/// `apt-get upgrade` from packages at hand; their services are restarted.
const UPGRADE: &str = r"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq -y -o DPkg::Options::=--force-confold --reinstall install /var/cache/apt/archives/*.deb
    apt-get -qq check
    apt-get clean --dry-run
";

const LOG_IN: &str = r#"
    to=admin@127.0.0.1
    # At a terminal, as themselves and as root.
    ssh -tt $to "bash -lic 'uptime; who; df -h; free -m; ps aux | head -5; for n in 1 2 3; do hostname; done; uname -a'"
    ssh -tt $to "sudo -i bash -lic 'id; tail -n 2 /var/log/syslog; ss -tln; ls -la /root; visudo -c; crontab -l || true'"
    # One command each, as tools do.
    ssh $to 'uname -r; cat /etc/os-release; id'
    ssh $to 'sudo -n systemctl --version || sudo -n service nginx status; sudo service php8.2-fpm reload'
    ssh $to 'python3 -c "import platform; print(platform.platform())"'
    # A script of theirs, copied and run where it was put.
    printf '#!/bin/sh\nset -e\nsudo install -m 644 /dev/stdin /etc/motd <<END\nround ROUND\nEND\n' >/root/deploy.sh
    scp -q /root/deploy.sh $to:deploy.sh
    ssh $to 'chmod +x deploy.sh; ./deploy.sh; bash deploy.sh; rm deploy.sh'
    # As configuration management does: a module in a folder of its own below home.
    ssh $to '/bin/sh -c "mkdir -p ~/.ansible/tmp/ansible-1; echo done"'
    printf 'import json; print(json.dumps({"changed": False}))\n' | ssh $to 'cat >~/.ansible/tmp/ansible-1/module.py'
    ssh $to '/bin/sh -c "sudo -H -S -n -u root /bin/sh -c \"/usr/bin/python3 /home/admin/.ansible/tmp/ansible-1/module.py\"; rm -rf ~/.ansible/tmp"'
    printf 'put /etc/hosts hosts-ROUND\nls -l\nget hosts-ROUND /root/hosts\nrm hosts-ROUND\n' | sftp -q -b - $to
    rsync -a /etc/nginx/ $to:nginx/
    # The database.
    ssh $to 'sudo mysqldump --single-transaction wordpress | gzip >wordpress.sql.gz'
    ssh $to 'sudo mysql -e "SELECT COUNT(*) FROM wordpress.wp_posts"'
    ! ssh -o BatchMode=yes nobody-here@127.0.0.1 true
"#;

/// By the administrator, who has logged in.
const BUILD_AS_ADMIN: &str = "ssh admin@127.0.0.1 sudo";

/// A small program with a configure script, built and installed in the folder `$1`.
const TINY: &str = r"set -e
rm -rf $1
mkdir -p $1
cd $1
cat >configure <<'END'
#!/bin/sh
for header in stdio.h unistd.h nothing-at-all.h; do
    printf '#include <%s>\nint main(void) { return 0; }\n' $header >conftest.c
    if cc -o conftest conftest.c 2>/dev/null && ./conftest; then echo $header: yes; else echo $header: no; fi
done
rm -f conftest conftest.c
printf 'all: tiny check\ntiny: tiny.o\n\tcc -o $@ $^\ncheck: tiny\n\t./tiny\n%%.o: %%.c\n\tcc -pipe -O2 -c -o $@ $<\ninstall: all\n\tinstall -D -m 755 tiny /usr/local/bin/tiny\n' >Makefile
END
chmod +x configure
printf 'int main(void) { return 0; }\n' >tiny.c
./configure
make -j2
make install
/usr/local/bin/tiny
cd /
rm -rf $1
";

const RUST: &str = r#"
    mount -t tmpfs tmpfs /srv && cd /srv
    PATH=BIN:$PATH
    mkdir src
    printf '[package]\nname = "tiny"\nversion = "0.1.0"\nedition = "2024"\n[workspace]\n' >Cargo.toml
    printf 'fn main() {\n std::process::Command::new("cc").arg("--version").status().unwrap();\n println!("cargo::rustc-env=BUILT=1");\n}\n' >build.rs
    printf 'fn main() { print!(env!("BUILT")) }\n#[test]\nfn works() {}\n' >src/main.rs
    export TMPDIR=/tmp CARGO_TARGET_DIR=/tmp/tocsin-noise-$$
    trap 'rm -rf "$CARGO_TARGET_DIR"' EXIT
    BIN/cargo build --offline
    BIN/cargo test --offline
    BIN/cargo run --offline
"#;

/// Each job of an hour or a day, every minute.
const CRONTAB: &str = r"
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
* * * * * root cd / && run-parts --report /etc/cron.hourly
* * * * * root cd / && run-parts /etc/cron.daily
* * * * * root /usr/lib/php/sessionclean
* * * * * root /usr/sbin/logrotate --force /etc/logrotate.conf
* * * * * www-data cd /usr/share/wordpress && HTTP_HOST=blog.example php wp-cron.php >/dev/null 2>&1
* * * * * root /usr/local/bin/backup
* * * * * admin df -h / | awk 'NR > 1 { print $5 }' && echo disk | logger -s
* * * * * root sleep 8; touch /run/cron-done
";

/// A backup as many write it.
const BACKUP: &str = r"#!/bin/bash
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf $folder' EXIT
mysqldump --single-transaction wordpress >$folder/wordpress.sql
tar -czf $folder/site.tar.gz -C /var/lib/wordpress wp-content
find /etc -name '*.conf' | tar -cf - -T - 2>/dev/null | gzip >$folder/etc.tar.gz
install -d -m 700 /var/backups/site
mv $folder/* /var/backups/site
find /var/backups/site -mtime +7 -delete
";
