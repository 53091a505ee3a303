//! Other tools' records, and lists of commands, as events that `tocsin replay` takes.

use serde_json::{Value, json};

/// Who runs a command of a list.
#[derive(Clone, Copy)]
pub(super) enum Below {
    /// root, at a terminal.
    LoginShell,
    /// www-data, by a page.
    WebServer,
}

/// The processes above a command, the eldest first: program, arguments. Their ids are 2, 3, 4…
type Line = &'static [(&'static str, &'static str)];

const LOGIN: Line = &[("/usr/sbin/sshd", "sshd: root@pts/0"), ("/usr/bin/bash", "-bash")];
const WEB: Line = &[
    ("/usr/sbin/nginx", "nginx: master process /usr/sbin/nginx"),
    ("/usr/sbin/php-fpm8.2", "php-fpm: pool www"),
];

/// The events of a list of commands: the processes above them, and for each command a shell and what it starts. All of
/// a command's processes have ids in the thousand of its number.
pub(super) fn commands(lines: &[&str], below: Below) -> Vec<Value> {
    let (above, user, uid) = match below {
        Below::LoginShell => (LOGIN, "root", 0),
        Below::WebServer => (WEB, "www-data", 33),
    };
    let exec = |pid: usize, parent: usize, image: &str, line: &str| {
        let mut event = json!({
            "time": 1_700_000_000 + pid, "category": "process_creation", "ProcessId": pid, "ParentProcessId": parent,
            "Image": image, "CommandLine": line, "CurrentDirectory": "/", "User": user, "process.uid": uid,
            "process.euid": uid, "process.host_user_namespace": true,
        });
        match below {
            Below::LoginShell => event["process.tty"] = "pts/0".into(),
            Below::WebServer => event["process.stdin"] = "null".into(),
        }
        event
    };
    let mut events: Vec<_> = above
        .iter()
        .enumerate()
        .map(|(number, (image, line))| exec(number + 2, number + 1, image, line))
        .collect();
    let nearest = above.len() + 1;
    for (number, line) in lines.iter().enumerate() {
        let shell = (number + 1) * 1000;
        events.push(exec(shell, nearest, "/usr/bin/dash", &format!("sh -c {line}")));
        for (place, words) in pipeline(line).iter().enumerate() {
            events.push(exec(shell + 1 + place, shell, &program(&words[0]), &words.join(" ")));
        }
    }
    events
}

/// The words of each command of a pipeline, as a shell takes them.
fn pipeline(line: &str) -> Vec<Vec<String>> {
    let (mut commands, mut word, mut quote) = (vec![Vec::new()], None::<String>, None);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            (letter, Some(open)) if letter == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(letters.next()),
            (' ' | '|', None) => {
                commands.last_mut().unwrap().extend(word.take());
                if letter == '|' {
                    commands.push(Vec::new());
                }
            }
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    commands.last_mut().unwrap().extend(word);
    commands
}

/// Where Debian has that program.
fn program(name: &str) -> String {
    match name {
        "php" => "/usr/bin/php8.2".into(),
        "auditctl" | "halt" | "iptables" | "service" | "setenforce" | "swapoff" | "ufw" | "useradd" => {
            format!("/usr/sbin/{name}")
        }
        name if name.starts_with('/') => name.into(),
        name => format!("/usr/bin/{name}"),
    }
}

/// The execution of one of auditd's SYSCALL records; it has no arguments.
pub(super) fn auditd(line: &str) -> Option<Value> {
    let field = |name: &str| {
        let value = line
            .split(' ')
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        value.map(|value| value.trim_matches('"'))
    };
    if !line.starts_with("type=SYSCALL ") || field("syscall") != Some("59") || field("success") != Some("yes") {
        return None;
    }
    let time = line.split_once("audit(")?.1.split(':').next()?;
    Some(execution(&json!({
        "time": time.parse::<f64>().ok()?, "Image": field("exe")?, "CommandLine": field("comm")?,
        "ProcessId": field("pid")?, "ParentProcessId": field("ppid")?, "process.uid": field("uid")?,
        "process.tty": field("tty").filter(|tty| *tty != "(none)"),
    })))
}

/// The execution of one of LAUREL's records.
pub(super) fn laurel(line: &str) -> Option<Value> {
    let record: Value = serde_json::from_str(line).ok()?;
    let call = record
        .get("SYSCALL")
        .filter(|call| call["SYSCALL"] == "execve" && call["success"] == "yes")?;
    let words: Vec<_> = record
        .pointer("/EXECVE/ARGV")?
        .as_array()?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let time = record["ID"].as_str()?.split(':').next()?;
    Some(execution(&json!({
        "time": time.parse::<f64>().ok()?, "Image": call["exe"], "CommandLine": words.join(" "),
        "ProcessId": call["pid"], "ParentProcessId": call["ppid"], "ParentImage": call["PPID"]["exe"],
        "process.uid": call["uid"], "User": call["UID"],
        "process.tty": call["tty"].as_str().filter(|tty| *tty != "(none)"),
    })))
}

/// An event of Tetragon's; nothing of the kinds that Tocsin has no like of.
pub(super) fn tetragon(line: &str) -> Option<Value> {
    let record: Value = serde_json::from_str(line).ok()?;
    let (kind, body) = record
        .as_object()?
        .iter()
        .find(|(name, _)| name.starts_with("process_"))?;
    let process = &body["process"];
    let container = &process["pod"]["container"];
    let mut event = execution(&json!({
        "time": record["time"], "Image": process["binary"],
        "CommandLine": format!("{} {}", process["binary"].as_str()?, process["arguments"].as_str().unwrap_or_default()),
        "CurrentDirectory": process["cwd"], "ProcessId": process["pid"], "ParentProcessId": body["parent"]["pid"],
        "ParentImage": body["parent"]["binary"], "process.uid": process["uid"],
        "container.id": container["id"].as_str()?.trim_start_matches("docker://"),
        "container.image": container["image"]["name"], "container.name": container["name"],
    }));
    match kind.as_str() {
        "process_exec" => {}
        "process_connect" => {
            event["category"] = "network_connection".into();
            event["Initiated"] = true.into();
            event["Protocol"] = "tcp".into();
            for (ours, theirs) in [
                ("DestinationIp", "destination_ip"),
                ("DestinationPort", "destination_port"),
                ("SourceIp", "source_ip"),
                ("SourcePort", "source_port"),
            ] {
                event[ours] = body[theirs].clone();
            }
        }
        "process_listen" => {
            event["category"] = "network_listen".into();
            event["SourceIp"] = body["ip"].clone();
            event["SourcePort"] = body["port"].clone();
        }
        _ => return None,
    }
    Some(event)
}

/// An execution with these fields; what is null is not known.
fn execution(fields: &Value) -> Value {
    let known = fields.as_object().unwrap().iter().filter(|(_, value)| !value.is_null());
    let mut event: serde_json::Map<_, _> = known.map(|(name, value)| (name.clone(), value.clone())).collect();
    event.insert("category".into(), "process_creation".into());
    event.into()
}
