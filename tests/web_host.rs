//! A Debian that serves web pages on this machine, in no container: own files, own network, own processes.

use std::{
    cell::{Cell, RefCell},
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{deadline::wait_for, dockerd::Dockerd, fixtures, tocsin::PATIENCE};

/// Where Debian's php-fpm is.
pub(crate) const PHP_FPM: &str = "/usr/sbin/php-fpm8.2";

/// A running host; all its processes end when it is dropped. Like `Outside`, it is nobody's child if it is older than
/// the agent: what it runs is not below cargo.
pub(crate) struct WebHost {
    /// The first process, a shell that runs a command a line.
    pid: i32,
    commands: RefCell<ChildStdin>,
    scripts: Cell<u32>,
    /// Its root is mounted over this in its own namespace.
    _folder: TempDir,
}

impl WebHost {
    /// Starts one from the fixture `web`; nothing if that is missing.
    pub(crate) fn start() -> Option<Self> {
        Self::start_from("web", "shared")
    }

    /// Starts one from the fixture `node`, where packages can be installed; nothing if that is missing.
    pub(crate) fn start_node() -> Option<Self> {
        Self::start_from("node", "own")
    }

    /// `usr` says whether that folder is the host's own or shared, which is sooner there.
    fn start_from(fixture: &str, usr: &str) -> Option<Self> {
        let fixture = fixtures::require(fixture)?;
        let folder = tempfile::tempdir().unwrap();
        let own = "--mount --propagation private --net --pid --fork --kill-child=KILL";
        // The outer shell ends at once and leaves the inner one to the machine's first process.
        let leave = format!(r#"exec 3<&0; unshare {own} sh -euc "$0" sh "$@" <&3 3<&- &"#);
        let mut outer = Command::new("sh");
        outer
            .args(["-c", &leave, PREPARE])
            .arg(folder.path())
            .arg(fixture)
            .arg(usr);
        let mut outer = outer.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (commands, said) = (outer.stdin.take().unwrap(), outer.stdout.take().unwrap());
        outer.wait().unwrap();
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line).unwrap();
        let pid = line.trim().parse().expect("the first process says its id");
        Some(Self {
            pid,
            commands: RefCell::new(commands),
            scripts: Cell::new(0),
            _folder: folder,
        })
    }

    /// Runs a shell script as the host's own root and gives its output; one that fails ends the test. A server that it
    /// leaves in the background stays.
    pub(crate) fn run(&self, script: &str) -> String {
        self.run_within(script, Duration::from_mins(1))
    }

    /// The same for a script that may take so long.
    pub(crate) fn run_within(&self, script: &str, limit: Duration) -> String {
        let number = self.scripts.get();
        self.scripts.set(number + 1);
        let name = format!("/run/script-{number}");
        self.write(&name, script);
        // Not as a file, which is not how people work.
        let run = format!(r#"sh -euc "$(cat {name})" >{name}.out 2>&1 </dev/null"#);
        writeln!(
            self.commands.borrow_mut(),
            "{run}; echo $? >{name}.end; mv {name}.end {name}.done"
        )
        .unwrap();
        let done = self.path(&format!("{name}.done"));
        let status = wait_for("end of the script", limit, || fs::read_to_string(&done).ok());
        let output = fs::read_to_string(self.path(&format!("{name}.out"))).unwrap();
        assert_eq!(status.trim(), "0", "{script}: {output}");
        output
    }

    /// A program of the host's, run by this test as root; good for clients.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--target",
            &self.pid.to_string(),
            "--mount",
            "--net",
            "--root",
            "--wd=/",
        ]);
        command.arg(program).stdin(Stdio::null());
        command
    }

    /// The body of what the host answers at that URL, such as `http://127.0.0.1/page.php`.
    pub(crate) fn get(&self, url: &str, parameters: &[(&str, &str)]) -> String {
        let mut curl = self.command("curl");
        curl.args(["--silent", "--show-error", "--fail", "--max-time", "30", "--get", url]);
        for (name, value) in parameters {
            curl.args(["--data-urlencode", &format!("{name}={value}")]);
        }
        let output = curl.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{url}: {errors}\n{}", self.log());
        String::from_utf8(output.stdout).unwrap()
    }

    /// Asks the page at that URL to run a command that takes long, and waits until its shell does.
    pub(crate) fn leave_running(&self, url: &str, command: &str) -> Asked {
        let mut curl = self.command("curl");
        curl.args(["--silent", "--get", "--data-urlencode", &format!("c={command}"), url]);
        let asked = Asked(curl.stdout(Stdio::null()).spawn().unwrap());
        let shell = format!("sh -c {command}");
        wait_for("the page's shell", PATIENCE, || {
            self.run("ps -e -o args=").contains(&shell).then_some(())
        });
        asked
    }

    /// Writes a file of the host's that everybody may read; makes its folder.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }

    /// Starts php-fpm as `program`, which is a copy of Debian's if it has another name, with two workers of `www-data`
    /// that listen at `listen`: an address with its port or a socket's path.
    pub(crate) fn start_php_fpm(&self, program: &str, listen: &str) {
        let pool = format!(
            "[global]\nerror_log = /var/log/php-fpm.log\n[www]\nuser = www-data\ngroup = www-data\n\
             listen = {listen}\nlisten.owner = www-data\npm = static\npm.max_children = 2\n"
        );
        self.write("/etc/php-fpm.conf", &pool);
        if program != PHP_FPM {
            self.run(&format!("mkdir -p $(dirname {program}); cp {PHP_FPM} {program}"));
        }
        // It leaves its parent, and listens by then.
        self.run(&format!("{program} --fpm-config /etc/php-fpm.conf"));
    }

    /// Starts nginx, which serves `/srv/www` on port 80 and has php-fpm at `php` run the pages.
    pub(crate) fn start_nginx(&self, php: &str) {
        let php = if php.starts_with('/') {
            format!("unix:{php}")
        } else {
            php.into()
        };
        self.write(
            "/etc/nginx/nginx.conf",
            &format!(
                "user www-data;\nworker_processes 1;\npid /run/nginx.pid;\nevents {{}}\nhttp {{\n\
                 access_log /var/log/nginx/access.log;\nserver {{\nlisten 80;\nroot /srv/www;\n\
                 location ~ \\.php$ {{ include /etc/nginx/fastcgi.conf; fastcgi_pass {php}; }}\n}}\n}}\n"
            ),
        );
        self.run("mkdir -p /var/log/nginx /var/lib/nginx /srv/www; nginx");
    }

    /// Starts a Python program that listens on that port and runs what the parameter `c` says.
    pub(crate) fn start_python(&self, port: u16) {
        self.write("/srv/python/server.py", &PYTHON.replace("PORT", &port.to_string()));
        self.run("setpriv --reuid 33 --regid 33 --clear-groups python3 /srv/python/server.py >/dev/null 2>&1 &");
        self.wait_for_listener(port);
    }

    /// The same in Java.
    pub(crate) fn start_java(&self, port: u16) {
        self.write("/srv/java/Server.java", &JAVA.replace("PORT", &port.to_string()));
        let run = "setpriv --reuid 33 --regid 33 --clear-groups java -XX:TieredStopAtLevel=1 /srv/java/Server.java";
        self.run(&format!("{run} >/run/java.log 2>&1 &"));
        self.wait_for_listener(port);
    }

    /// The host's first process, as this machine numbers it.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// A file of the host's, where this test can reach it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{name}", self.pid))
    }

    fn wait_for_listener(&self, port: u16) {
        let listening = format!(":{port:04X} 00000000:0000 0A");
        wait_for(&format!("listener on {port}"), PATIENCE * 2, || {
            let tables = ["tcp", "tcp6"].map(|table| format!("/proc/{}/net/{table}", self.pid));
            let mut texts = tables.iter().filter_map(|table| fs::read_to_string(table).ok());
            let zeros = format!(":{port:04X} {:032}:0000 0A", 0);
            texts
                .any(|text| text.contains(&listening) || text.contains(&zeros))
                .then_some(())
        });
    }

    fn log(&self) -> String {
        let logs = ["/run/log", "/var/log/php-fpm.log", "/var/log/nginx/error.log"];
        logs.map(|log| fs::read_to_string(self.path(log)).unwrap_or_default())
            .concat()
    }
}

impl Drop for WebHost {
    fn drop(&mut self) {
        // The first process takes all others of its namespace with it.
        let _ = Pid::from_raw(self.pid).map(|pid| kill_process(pid, Signal::KILL));
    }
}

/// A request that has no answer yet; given up when dropped.
pub(crate) struct Asked(Child);

impl Drop for Asked {
    fn drop(&mut self) {
        // One that was answered meanwhile needs no end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes of the folder `$1` a root with the packages of `$2`, and becomes its first process, which says its id. `$3`
/// tells whether `/usr` is its `own`.
const PREPARE: &str = r#"
    read -r pid rest </proc/self/stat
    mount -t tmpfs -o mode=755 tmpfs "$1"
    cd "$1"
    cp -a "$2/etc" "$2/var" .
    [ "$3" != own ] || cp -a "$2/usr" .
    for link in bin sbin lib lib64; do ln -s "usr/$link" "$link"; done
    mkdir -p usr proc sys dev run/sshd tmp root home/admin srv opt old
    chmod 1777 tmp
    chown 1000:1000 home/admin
    if [ "$3" != own ]; then
        mount --bind "$2/usr" usr
        mount -o remount,bind,ro usr
    fi
    mount -t proc proc proc
    mount -t tmpfs -o mode=755 tmpfs dev
    for node in null zero full random urandom tty; do
        : >"dev/$node"
        mount --bind "/dev/$node" "dev/$node"
    done
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
    mount -t tmpfs -o mode=1777 tmpfs dev/shm
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    ln -s fd/0 dev/stdin
    ln -s fd/1 dev/stdout
    ln -s fd/2 dev/stderr
    # Not chroot: paths of its processes are to begin at its root, whoever looks.
    pivot_root . old
    cd /
    umount -l old
    rmdir old
    ip link set lo up
    echo "$pid"
    exec sh >/run/log 2>&1
"#;

const PYTHON: &str = r#"
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlparse

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        command = parse_qs(urlparse(self.path).query)["c"][0]
        output = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
        self.send_response(200)
        self.end_headers()
        self.wfile.write(output)

HTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
"#;

const JAVA: &str = r#"
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.net.URLDecoder;

public class Server {
    public static void main(String[] arguments) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", PORT), 0);
        server.createContext("/", exchange -> {
            String command = exchange.getRequestURI().getRawQuery().substring(2);
            String[] shell = {"/bin/sh", "-c", URLDecoder.decode(command, "UTF-8")};
            byte[] output = new ProcessBuilder(shell).redirectErrorStream(true).start().getInputStream().readAllBytes();
            exchange.sendResponseHeaders(200, output.length);
            exchange.getResponseBody().write(output);
            exchange.close();
        });
        server.start();
    }
}
"#;

#[test]
fn pages_of_every_language_run_commands() {
    let Some(host) = WebHost::start() else { return };
    host.write("/srv/www/page.php", "<?php system($_GET['c']);");
    host.start_php_fpm("/opt/app/worker", "127.0.0.1:9000");
    host.start_nginx("127.0.0.1:9000");
    host.start_python(8000);
    host.start_java(8080);
    for url in ["127.0.0.1/page.php", "127.0.0.1:8000/", "127.0.0.1:8080/"] {
        let said = host.get(&format!("http://{url}"), &[("c", "id -un; echo a b")]);
        assert_eq!(said, "www-data\na b\n", "{url}");
    }
    let sockets = host.run("ps -C worker,nginx -o user= | sort | uniq -c | tr -s ' '");
    assert_eq!(sockets, " 2 root\n 3 www-data\n");
    let pid = host.pid();
    drop(host);
    wait_for("end of the host", PATIENCE, || {
        (!PathBuf::from(format!("/proc/{pid}/root/srv")).exists()).then_some(())
    });
}

#[test]
fn the_same_root_is_an_image() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_web();
    let said = dockerd.docker_ok(&["run", "--network", "none", image, "python3", "-c", "print('served')"]);
    assert_eq!(said, "served");
}
