//! What is done on a machine that serves pages: by its root, and by its pages.

use super::{Action, By, FILELESS, FOLDER, ROOT, SHELL};

const NONE: &[(&str, &str)] = &[];

const FROM_MEMORY: &str = r#"python3 -c 'import os
memory = os.memfd_create("program")
os.write(memory, open("/bin/true", "rb").read())
os.execv(f"/proc/self/fd/{memory}", ["program"])'"#;

pub(super) const ACTIONS: &[Action] = &[
    Action {
        name: "host-nsenter",
        origin: "twin",
        does: "`nsenter -t 1 -m -- true`",
        by: By::Host("nsenter -t 1 -m -- true"),
        raises: NONE,
        because: "The host is its root's own.",
    },
    Action {
        name: "host-mount",
        origin: "twin",
        does: "`mount` of a tmpfs",
        by: By::Host("mount -t tmpfs tmpfs /mnt; umount /mnt"),
        raises: NONE,
        because: "",
    },
    Action {
        name: "host-insmod",
        origin: "twin",
        does: "`insmod --help`",
        by: By::Host("insmod --help"),
        raises: NONE,
        because: "",
    },
    Action {
        name: "host-debugfs",
        origin: "twin",
        does: "`debugfs -V`",
        by: By::Host("debugfs -V"),
        raises: NONE,
        because: "",
    },
    Action {
        name: "host-sshd",
        origin: "twin",
        does: "sshd",
        by: By::Host("ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key; /usr/sbin/sshd -f /dev/null"),
        raises: NONE,
        because: "",
    },
    Action {
        name: "httpd-shell",
        origin: "EG RunShellUntrusted",
        does: "a program called httpd runs a shell",
        by: By::Host(r#"cp /usr/bin/perl /opt/httpd; /opt/httpd -e 'system("bash", "-c", "ls >/dev/null")'"#),
        raises: &[(SHELL, "Medium")],
        because: "A server's name is enough; what serves under any other name is known by what it listens on.",
    },
    Action {
        name: "mysqld-ls",
        origin: "EG DbProgramSpawnedProcess",
        does: "a program called mysqld runs `ls`",
        by: By::Host(r#"cp /usr/bin/perl /opt/mysqld; /opt/mysqld -e 'system("ls", "/opt")'"#),
        raises: NONE,
        because: "It serves no pages.",
    },
    Action {
        name: "host-shared-memory",
        origin: "EG ExecutionFromDevShm",
        does: "a script in `/dev/shm`",
        by: By::Host("echo ls >/dev/shm/script; sh /dev/shm/script"),
        raises: &[(FOLDER, "Medium")],
        because: "Told wherever it happens, since the evidence is the same; graded by who does it.",
    },
    Action {
        name: "page-shared-memory",
        origin: "EG ExecutionFromDevShm",
        does: "the same by a page",
        by: By::Page("echo ls >/dev/shm/script-of-page; sh /dev/shm/script-of-page"),
        raises: &[(FOLDER, "High"), (SHELL, "High")],
        because: "",
    },
    Action {
        name: "host-script",
        origin: "ART T1059.004 8cd1947b",
        does: "a script in `/tmp`",
        by: By::Host("echo 'echo hello' >/tmp/art.sh; chmod +x /tmp/art.sh; sh /tmp/art.sh"),
        raises: &[(FOLDER, "Medium")],
        because: "Below a build's tools or a package manager it is low.",
    },
    Action {
        name: "page-script",
        origin: "ART T1059.004 8cd1947b",
        does: "the same by a page",
        by: By::Page("echo 'echo hello' >/tmp/page.sh; chmod +x /tmp/page.sh; sh /tmp/page.sh"),
        raises: &[(FOLDER, "High"), (SHELL, "High")],
        because: "",
    },
    Action {
        name: "host-memory",
        origin: "EG FilelessExecutionViaMemfdCreate",
        does: "a program from memory",
        by: By::Host(FROM_MEMORY),
        raises: &[(FILELESS, "High")],
        because: "Whoever does it hides it. Container runtimes are excepted.",
    },
    Action {
        name: "page-memory",
        origin: "EG FilelessExecutionViaMemfdCreate",
        does: "the same by a page",
        by: By::Page(FROM_MEMORY),
        raises: &[(FILELESS, "High"), (SHELL, "Medium")],
        because: "",
    },
    Action {
        name: "host-dropped",
        origin: "EG DropAndExecuteNewBinaryInContainer",
        does: "a new program outside of temporary folders",
        by: By::Host("cp /bin/ls /opt/new; /opt/new /opt"),
        raises: NONE,
        because: "A host has no image that it could differ from.",
    },
    Action {
        name: "page-dropped",
        origin: "EG DropAndExecuteNewBinaryInContainer",
        does: "the same by a page",
        by: By::Page("cp /bin/ls /opt/tools/new; /opt/tools/new /opt"),
        raises: &[(SHELL, "Low")],
        because: "A shell below a web server, and no more signs than that.",
    },
    Action {
        name: "host-vipw",
        origin: "EG UserMgmtBinaries",
        does: "`ls` under the name vipw",
        by: By::Host("ln -s /bin/ls /opt/vipw; /opt/vipw /opt"),
        raises: NONE,
        because: "The same command by an administrator is work.",
    },
    Action {
        name: "page-vipw",
        origin: "EG UserMgmtBinaries",
        does: "the same by a page",
        by: By::Page("ln -s /bin/ls /opt/tools/vipw; /opt/tools/vipw /opt"),
        raises: &[(ROOT, "Medium"), (SHELL, "Low")],
        because: "",
    },
    Action {
        name: "host-setuid",
        origin: "EG NonSudoSetuid",
        does: "becomes another user and tries to come back",
        by: By::Host("python3 -c 'import os\nos.setuid(1)\ntry: os.setuid(0)\nexcept OSError: pass'"),
        raises: NONE,
        because: "Every server gives up root so.",
    },
    Action {
        name: "host-setuid-file",
        origin: "ART T1548.001 759055b3",
        does: "`chmod u+s` of a copy",
        by: By::Host("cp /bin/true /opt/copy; chmod u+s /opt/copy"),
        raises: NONE,
        because: "Packages do so.",
    },
    Action {
        name: "page-setuid-file",
        origin: "ART T1548.001 759055b3",
        does: "the same by a page",
        by: By::Page("cp /bin/true /opt/tools/copy; chmod u+s /opt/tools/copy"),
        raises: &[(ROOT, "Medium"), (SHELL, "Low")],
        because: "",
    },
    Action {
        name: "cleared-log",
        origin: "EG ClearLogActivities",
        does: "empties a file called syslog",
        by: By::Host("mkdir /opt/generated; echo line >/opt/generated/syslog; : >/opt/generated/syslog"),
        raises: NONE,
        because: "Files are not watched.",
    },
    Action {
        name: "read-shadow",
        origin: "EG ReadSensitiveFileUntrusted",
        does: "root reads `/etc/shadow`",
        by: By::Host("cat /etc/shadow"),
        raises: NONE,
        because: "The same below a web server is told.",
    },
    Action {
        name: "traced",
        origin: "EG PtraceAttachedToProcess",
        does: "`ptrace(PTRACE_ATTACH)`",
        by: By::Host(
            "python3 -c 'import ctypes, subprocess
sleep = subprocess.Popen([\"sleep\", \"1000\"])
ctypes.CDLL(None).ptrace(16, sleep.pid, 0, 0)
sleep.kill()'",
        ),
        raises: NONE,
        because: "System calls are not watched.",
    },
];
