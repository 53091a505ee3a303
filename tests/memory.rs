//! `tocsin scan --memory`: what an intruder leaves in memory, made harmlessly, and a node where nobody was.

use std::{
    fs,
    io::Read as _,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::{
    deadline::wait_for,
    dockerd::Dockerd,
    fixtures,
    ocsf::{brief, container_id, exe, fact, rule},
    tocsin::{PATIENCE, Tocsin},
    web_host::{PHP_FPM, WebHost},
};

/// The alerts of a scan by that command, which is the program or starts it, with these further arguments.
pub(crate) fn scan_memory(command: &mut Command, arguments: &[&str]) -> Vec<Value> {
    let state = tempfile::tempdir().unwrap();
    command.args([
        "scan",
        "--memory",
        "--config",
        "/dev/null",
        "--format",
        "ocsf",
        "--dedup",
        "0",
    ]);
    let output = command
        .arg("--state-dir")
        .arg(state.path())
        .args(arguments)
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    assert!(log.contains(" left out (limits), "), "the summary is missing: {log}");
    let alerts = String::from_utf8(output.stdout).unwrap();
    alerts.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Those that looks into memory have raised.
fn of_memory(alerts: &[Value]) -> impl Iterator<Item = &Value> {
    alerts.iter().filter(|alert| !fact(alert, "memory.finding").is_null())
}

/// Writes a library into memory alone, and loads it from there.
const LOADED_FROM_MEMORY: &str = r#"
import _ctypes, ctypes, os, sys, time
memory = os.memfd_create(sys.argv[1])
os.write(memory, open(_ctypes.__file__, "rb").read())
ctypes.CDLL(f"/proc/self/fd/{memory}")
os.close(memory)
time.sleep(1000)
"#;

/// Maps memory of its own as a loader does, with a library's head before its code.
const MAPPED_BY_HAND: &str = r#"
import ctypes, time
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
head = libc.mmap(None, 8192, 3, 0x22, -1, 0)
ctypes.memmove(head, open("/bin/true", "rb").read(8192), 8192)
libc.mprotect(ctypes.c_void_p(head), 4096, 1)
libc.mprotect(ctypes.c_void_p(head + 4096), 4096, 5)
time.sleep(1000)
"#;

/// Makes memory executable that begins as nothing known.
const SHELL_CODE: &str = r#"
import mmap, time
memory = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=7)
memory.write(b"\xc3" * 16)
time.sleep(1000)
"#;

/// Writes over code of another process, where it never comes by.
const WRITES_OVER_CODE: &str = r#"
import sys
pid = sys.argv[1]
lines = [line.split() for line in open(f"/proc/{pid}/maps")]
code = next(line for line in lines if line[1] == "r-xp" and line[-1].endswith("/victim"))
end = int(code[0].split("-")[1], 16)
with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
    memory.seek(end - 64)
    memory.write(b"\x90" * 16)
"#;

/// Runs a program with a preloaded library that is not easily seen: behind much else, named a second time, by a link's mere
/// name.
const PRELOADS_UNSEEN: &str = r#"
import ctypes
padding = [b"P%d=" % number + b"x" * 100_000 for number in range(4)]
words = padding + [b"LD_PRELOAD=", b"LD_LIBRARY_PATH=/dev/shm", b"LD_PRELOAD=libjemalloc.so.2"]
array = lambda words: (ctypes.c_char_p * (len(words) + 1))(*words, None)
ctypes.CDLL(None).execve(b"/opt/preloaded", array([b"preloaded", b"1000"]), array(words))
"#;

#[test]
fn what_an_intruder_leaves_in_memory_is_found() {
    let Some(host) = WebHost::start() else { return };
    let Some(dockerd) = Dockerd::start() else { return };
    for (name, script) in [
        ("loaded", LOADED_FROM_MEMORY),
        ("mapped", MAPPED_BY_HAND),
        ("shellcode", SHELL_CODE),
        ("writer", WRITES_OVER_CODE),
        ("preloads", PRELOADS_UNSEEN),
    ] {
        host.write(&format!("/srv/{name}.py"), script);
    }
    host.run("cp /usr/bin/sleep /opt/victim; cp /usr/bin/sleep /opt/unhurt");
    host.run("/opt/unhurt 1000 & /opt/victim 1000 & sleep 0.2; python3 /srv/writer.py $!");
    // None of them links the library of regular expressions, whose compiler would be an explanation.
    for name in ["loaded", "posing", "mapped", "shellcode"] {
        host.run(&format!("cp /usr/bin/python3.11 /opt/{name}"));
    }
    for command in [
        "loaded /srv/loaded.py quiet",
        // The library that loads libraries makes code in a file in memory of this name.
        "posing /srv/loaded.py libffi",
        "mapped /srv/mapped.py",
        "shellcode /srv/shellcode.py",
    ] {
        host.run(&format!("/opt/{command} & sleep 1"));
    }
    host.run("cp /usr/lib/x86_64-linux-gnu/libz.so.1 /dev/shm/.x.so");
    host.run("LD_PRELOAD=/dev/shm/.x.so sleep 1000 2>/dev/null & sleep 0.2");
    // Something that was touched is no update.
    host.run("cp /dev/shm/.x.so /dev/shm/gone.so; cp /usr/bin/sleep /opt/touched");
    host.run("LD_PRELOAD=/dev/shm/gone.so /opt/touched 1000 & sleep 0.2; rm /dev/shm/gone.so; touch /dev/shm/gone.so");
    host.run("cp /usr/bin/sleep /opt/preloaded; cp /dev/shm/.x.so /dev/shm/y; ln -s y /dev/shm/libjemalloc.so.2");
    host.run("python3 /srv/preloads.py & sleep 0.5");
    host.write("/srv/www/page.php", "<?php unlink(__FILE__); sleep(100);");
    host.start_php_fpm(PHP_FPM, "127.0.0.1:9000");
    host.start_nginx("127.0.0.1:9000");
    host.run("chown -R www-data /srv/www; curl --silent http://127.0.0.1/page.php & sleep 0.5");
    wait_for("the page's end", PATIENCE, || {
        (!host.path("/srv/www/page.php").exists()).then_some(())
    });
    let image = dockerd.import_busybox();
    let everywhere = "echo /lib/libnothing.so >/etc/ld.so.preload; exec sleep 1000";
    let preload = dockerd.run("preload", &["--network", "none"], &[image, "sh", "-c", everywhere]);
    wait_for("the file in the container", PATIENCE, || {
        dockerd
            .docker(&["exec", &preload, "cat", "/etc/ld.so.preload"])
            .status
            .success()
            .then_some(())
    });

    let alerts = scan_memory(&mut Tocsin::command(), &["--docker-socket", &dockerd.socket()]);
    let expected: [(&str, &str, &dyn Fn(&Value) -> bool); 9] = [
        ("injected-code-high", "a library from memory", &|alert| {
            exe(alert) == "/opt/loaded" && fact(alert, "memory.path") == "memfd:quiet"
        }),
        ("injected-code-high", "one under a runtime's name", &|alert| {
            exe(alert) == "/opt/posing" && fact(alert, "memory.path") == "memfd:libffi"
        }),
        ("injected-code-high", "one that was mapped by hand", &|alert| {
            exe(alert) == "/opt/mapped" && fact(alert, "memory.mapping") == "anonymous"
        }),
        ("changed-code-high", "code that was written over", &|alert| {
            exe(alert) == "/opt/victim" && fact(alert, "memory.differs").as_u64().is_some_and(|bytes| bytes <= 16)
        }),
        ("preloaded-library-high", "a preloaded library", &|alert| {
            fact(alert, "memory.path") == "/dev/shm/.x.so"
        }),
        ("injected-code-high", "a deleted library", &|alert| {
            exe(alert) == "/opt/touched" && fact(alert, "memory.path") == "/dev/shm/gone.so"
        }),
        ("preloaded-library-high", "one that is not easily seen", &|alert| {
            exe(alert) == "/opt/preloaded" && fact(alert, "memory.path") == "/dev/shm/y"
        }),
        ("deleted-script-high", "a page that deleted itself", &|alert| {
            exe(alert) == PHP_FPM && fact(alert, "memory.path") == "/srv/www/page.php"
        }),
        (
            "preloaded-library-high",
            "a container where all is preloaded",
            &|alert| container_id(alert) == preload && fact(alert, "memory.preload_by") == "ld.so.preload",
        ),
    ];
    let all: Vec<_> = of_memory(&alerts).map(brief).collect();
    for (wanted, what, is_it) in expected {
        let found = of_memory(&alerts).filter(|alert| rule(alert) == wanted && is_it(alert));
        assert_eq!(found.count(), 1, "{what}: {all:#?}");
    }
    let unhurt = of_memory(&alerts).find(|alert| exe(alert) == "/opt/unhurt");
    assert!(unhurt.is_none(), "{all:#?}");
    // To search signatures takes as much as it may, and costs the others nothing.
    let mut little = Tocsin::command();
    little.env("TOCSIN_MEMORY_TOTAL", "1 MiB");
    let of_little = scan_memory(&mut little, &["--docker-socket", &dockerd.socket()]);
    for program in ["/opt/mapped", "/opt/victim"] {
        assert!(of_memory(&of_little).any(|alert| exe(alert) == program), "{program}");
    }
    // Whether Python brings such a compiler along is its packager's choice.
    let shell_code =
        of_memory(&alerts).any(|alert| exe(alert) == "/opt/shellcode" && rule(alert) == "injected-code-medium");
    assert!(shell_code, "{all:#?}");
}

#[test]
fn a_process_whose_entry_something_covers_is_found() {
    let hidden = [0, 1].map(|_| Running::start(Command::new("sh").args(["-c", "echo; exec sleep 1000"])));
    let empty = tempfile::tempdir().unwrap();
    let mount = |what: &str, over: &Running| format!("mount --bind {what} /proc/{}", over.0.id());
    // In a mount namespace of its own: the listing shows an empty folder in place of the one, and init in place of the other.
    let script = format!(
        "mount --make-rprivate / && {} && {} && exec \"$0\" \"$@\"",
        mount(empty.path().to_str().unwrap(), &hidden[0]),
        mount("/proc/1", &hidden[1])
    );
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", &script])
        .arg(Tocsin::command().get_program());
    let alerts = scan_memory(&mut command, &[]);
    let found: Vec<_> = of_memory(&alerts)
        .filter(|alert| rule(alert).starts_with("hidden-process"))
        .collect();
    let pids = hidden.each_ref().map(|running| running.0.id());
    for pid in pids {
        let of_it = found.iter().find(|alert| fact(alert, "memory.hidden_pid") == pid);
        let alert = of_it.unwrap_or_else(|| panic!("{pid}: {found:#?}"));
        assert_eq!(rule(alert), "hidden-process-high", "{alert:#}");
        assert_eq!(fact(alert, "memory.hidden_by"), "mount", "{alert:#}");
    }
    assert_eq!(found.len(), pids.len(), "{found:#?}");
}

/// Keeps Node's compiler busy for a moment, says so, and waits.
const NODE: &str = "let sum = 0; for (let n = 0; n < 1e7; n++) sum += Math.sqrt(n) % 7; console.log('done');
    setInterval(() => {}, 1000);";

/// A process that ends when it is dropped.
struct Running(Child);

impl Running {
    /// Starts it, and waits until it says something.
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = [0];
        child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
        Self(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended needs no end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_node_with_compilers_at_run_time_has_no_finding() {
    let Some(host) = WebHost::start() else { return };
    let Some(dockerd) = Dockerd::start() else { return };
    host.write(
        "/srv/www/page.php",
        "<?php echo preg_match('/(a+)+b(c|d)/', 'aaaabd'); sleep(1);",
    );
    host.start_php_fpm(PHP_FPM, "127.0.0.1:9000");
    host.start_nginx("127.0.0.1:9000");
    host.start_java(8080);
    let Some(nodejs) = fixtures::require("nodejs") else {
        return;
    };
    let mut node = Command::new("chroot");
    node.arg(nodejs).args(["/usr/bin/node", "-e", NODE]);
    let _node = Running::start(&mut node);
    assert_eq!(host.get("http://127.0.0.1/page.php", &[]), "1");
    let image = dockerd.import_busybox();
    dockerd.run("quiet", &["--network", "none"], &[image, "sleep", "1000"]);
    let alerts = scan_memory(&mut Tocsin::command(), &["--docker-socket", &dockerd.socket()]);
    let there = [
        "java",
        "node",
        "php-fpm8.2",
        "nginx",
        "dockerd",
        "containerd",
        "containerd-shim-runc-v2",
        "busybox",
    ];
    let is_of_these = |alert: &&Value| there.contains(&exe(alert).rsplit('/').next().unwrap_or_default());
    let found: Vec<_> = of_memory(&alerts).filter(is_of_these).map(brief).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn rules_of_ones_own_match_and_one_that_is_none_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("own.yar");
    let own = "rule own_words : ours { strings: $a = \"tocsin-\" $b = \"kept in memory\" condition: memory == \"data\" and $a and $b }";
    fs::write(&rules, own).unwrap();
    let mut words = Command::new("python3");
    words.args([
        "-c",
        "import time; text = 'tocsin-' + 'kept in memory'; print(text, flush=True); time.sleep(100)",
    ]);
    let words = Running::start(&mut words);
    let pid = words.0.id().to_string();
    let rules = rules.to_str().unwrap();
    let state = tempfile::tempdir().unwrap();
    let scan = |rules: &str| {
        let mut scan = Tocsin::command();
        scan.args([
            "scan",
            "--memory",
            &pid,
            "--yara-rules",
            rules,
            "--config",
            "/dev/null",
            "--format",
            "ocsf",
        ]);
        scan.args(["--fail-on", "medium", "--state-dir"])
            .arg(state.path())
            .output()
            .unwrap()
    };
    let output = scan(rules);
    let alerts = String::from_utf8_lossy(&output.stdout);
    let alerts: Vec<Value> = alerts.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: Vec<_> = of_memory(&alerts).collect();
    assert!(
        found
            .iter()
            .any(|alert| rule(alert) == "malware-in-memory-medium" && fact(alert, "memory.yara_source") == rules),
        "{found:#?}"
    );
    assert_eq!(output.status.code(), Some(3));

    fs::write(rules, "rule own_words {\n condition: $missing\n}").unwrap();
    let output = scan(rules);
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("own.yar:2:") && log.contains("$missing"), "{log}");
}
