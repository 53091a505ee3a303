//! `tocsin baseline`: what the images of this node normally do, as far as it was learned.

mod show;

use std::{
    fs,
    io::{BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;

use super::{configuration, path_value};
use crate::{
    config::{Config, layers::Layers},
    enrich::baseline::Baseline,
    event::baseline::{Learned, Order, Subject, Tidings},
    sources::baseline::{file, orders},
};

/// Show and correct what was learned of each image: who talks to the Kubernetes API, what web workers run, which programs
/// are not the image's
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tocsin baseline show                              every image, and what it does
  tocsin baseline approve nginx:1.27                all that was seen of it is usual, and nothing else
  tocsin baseline approve sha256:3f4e8a 0c9d7b6a5f4e    one behaviour, by the id that `show` gives
  tocsin baseline export - | ssh node2 tocsin baseline import -
  tocsin baseline reset nginx:1.27                  learn it anew

SUBJECT is an image's digest (or its beginning), its name, or `host`. A running agent takes an order up within two
seconds; without one it waits for the next start.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
    /// The configuration file [default: /etc/tocsin/tocsin.toml, if it is there]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The folder of what is kept across restarts [default: /var/lib/tocsin]
    #[arg(long, value_name = "DIR", global = true)]
    state_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// What was learned, as the agent last wrote it down (it does so each minute unless configured)
    Show {
        /// An image or `host` [default: all]
        subject: Option<String>,
        /// The form
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Take for usual what was seen of an image, which ends its learning; or one behaviour
    Approve {
        /// An image or `host`
        subject: String,
        /// The behaviour's id
        behaviour: Option<String>,
    },
    /// Write all that was learned to a file, for another node
    Export {
        /// The file to write; `-` is standard output
        file: PathBuf,
    },
    /// Add what another node learned: what is known there is known here
    Import {
        /// The file to read; `-` is standard input
        file: PathBuf,
    },
    /// Forget an image, or all, and learn anew
    Reset {
        /// An image or `host` [default: all]
        subject: Option<String>,
    },
}

/// The forms in which it is shown.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object
    Json,
}

/// Does it.
pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<ExitCode> {
    let mut layers = Layers::new(arguments.config.clone());
    if let Some(folder) = &arguments.state_dir {
        layers.set("--state-dir", "state", path_value(folder)?);
    }
    let config = configuration(&layers)?;
    let learned = effective(&config)?;
    match &arguments.action {
        Action::Show { subject, format } => {
            let learned = match subject {
                Some(wanted) => only(&learned, wanted)?,
                None => learned,
            };
            let now = Timestamp::now();
            match format {
                Format::Text => show::text(&learned, config.baseline.measure(), now, out)?,
                Format::Json => show::json(&learned, config.baseline.measure(), now, out)?,
            }
        }
        Action::Approve { subject, behaviour } => {
            let (key, subject) = find(&learned, subject)?;
            if let Some(id) = behaviour {
                let known = subject.behaviours.keys().any(|behaviour| behaviour.id() == *id);
                anyhow::ensure!(known, "{key} has no behaviour of the id {id}");
            }
            let order = Order::Approve {
                subject: (**key).into(),
                behaviour: behaviour.as_deref().map(Into::into),
            };
            give(&config, &order, out)?;
        }
        Action::Export { file } => export(&learned, file, out)?,
        Action::Import { file } => give(&config, &Order::Import(import(file)?), out)?,
        Action::Reset { subject } => {
            let key = subject.as_deref().map(|wanted| find(&learned, wanted)).transpose()?;
            let subject = key.map(|(key, _)| (**key).into());
            give(&config, &Order::Reset { subject }, out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What was kept, with the orders that nobody has done yet.
fn effective(config: &Config) -> Result<Learned> {
    let path = file::path(&config.state);
    let mut baseline = Baseline::new(config.baseline.measure());
    match fs::metadata(&path) {
        Ok(_) => baseline.hear(&Tidings::Learned(file::read(&path)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
    for order in orders::waiting(&config.state)? {
        baseline.obey(&order);
    }
    Ok(baseline.learned())
}

fn give(config: &Config, order: &Order, out: &mut impl Write) -> Result<()> {
    orders::give(&config.state, order)?;
    writeln!(
        out,
        "ordered; a running agent does it within two seconds, else the next one"
    )?;
    Ok(())
}

/// The one subject that somebody means by a digest, its beginning, or a name.
fn find<'a>(learned: &'a Learned, wanted: &str) -> Result<(&'a Arc<str>, &'a Arc<Subject>)> {
    let digest =
        |key: &str| key.starts_with(wanted) || key.split_once(':').is_some_and(|(_, hex)| hex.starts_with(wanted));
    let meant = |(key, subject): &(&Arc<str>, &Arc<Subject>)| digest(key) || *subject.name == *wanted;
    let found: Vec<_> = learned.subjects.iter().filter(meant).collect();
    match found[..] {
        [one] => Ok(one),
        [] => bail!("nothing was learned of {wanted}"),
        [..] => {
            let keys: Vec<_> = found.iter().map(|(key, _)| &***key).collect();
            bail!("{wanted} can mean {}: name one", keys.join(", "))
        }
    }
}

fn only(learned: &Learned, wanted: &str) -> Result<Learned> {
    let (key, subject) = find(learned, wanted)?;
    Ok(Learned {
        subjects: [(Arc::clone(key), Arc::clone(subject))].into(),
        logins: Vec::new(),
    })
}

fn export(learned: &Learned, file: &Path, out: &mut impl Write) -> Result<()> {
    if file == Path::new("-") {
        return file::write(out, learned);
    }
    let written: Result<()> = (|| {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut output = BufWriter::new(options.open(file)?);
        file::write(&mut output, learned)?;
        Ok(output.flush()?)
    })();
    written.with_context(|| format!("cannot write {}", file.display()))
}

fn import(file: &Path) -> Result<Learned> {
    // Standard input has a path as well, and is read no further than a file.
    file::read(if file == Path::new("-") {
        Path::new("/dev/stdin")
    } else {
        file
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::baseline::sample;

    fn run_in(folder: &Path, action: Action) -> Result<String> {
        let arguments = Arguments {
            action,
            config: Some("/dev/null".into()),
            state_dir: Some(folder.into()),
        };
        let mut out = Vec::new();
        run(&arguments, &mut out)?;
        Ok(String::from_utf8(out)?)
    }

    fn shown(folder: &Path) -> serde_json::Value {
        let show = Action::Show {
            subject: None,
            format: Format::Json,
        };
        serde_json::from_str(&run_in(folder, show).unwrap()).unwrap()
    }

    /// The states of the behaviours of the first image, by program.
    fn states(folder: &Path) -> Vec<(String, String)> {
        let shown = shown(folder);
        let behaviours = shown["subjects"][0]["behaviours"].as_array().unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        behaviours
            .iter()
            .map(|behaviour| (text(&behaviour["program"]), text(&behaviour["state"])))
            .collect()
    }

    fn state(program: &str, state: &str) -> (String, String) {
        (program.into(), state.into())
    }

    #[test]
    fn orders_show_at_once_without_an_agent() {
        let folder = tempfile::tempdir().unwrap();
        file::store(folder.path(), &sample()).unwrap();
        assert_eq!(
            states(folder.path()),
            [state("/curl", "new"), state("/manager", "known")]
        );
        let id = shown(folder.path())["subjects"][0]["behaviours"][0]["id"].clone();
        let approve = |subject: &str, behaviour: Option<&str>| {
            let behaviour = behaviour.map(str::to_owned);
            run_in(
                folder.path(),
                Action::Approve {
                    subject: subject.into(),
                    behaviour,
                },
            )
        };
        approve("a", id.as_str()).unwrap();
        assert_eq!(
            states(folder.path()),
            [state("/curl", "known"), state("/manager", "known")]
        );
        for (subject, behaviour, reason) in [
            ("b", None, "nothing was learned of b"),
            ("x:1", Some("0"), "sha256:a has no behaviour of the id 0"),
        ] {
            assert_eq!(approve(subject, behaviour).unwrap_err().to_string(), reason);
        }
        run_in(
            folder.path(),
            Action::Reset {
                subject: Some("x:1".into()),
            },
        )
        .unwrap();
        assert_eq!(shown(folder.path())["subjects"], serde_json::json!([]));
    }

    #[test]
    fn what_one_node_learned_another_knows() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        file::store(one.path(), &sample()).unwrap();
        let file = one.path().join("export.json");
        run_in(one.path(), Action::Export { file: file.clone() }).unwrap();
        run_in(other.path(), Action::Import { file }).unwrap();
        assert_eq!(states(other.path()), [state("/manager", "known")]);
    }

    #[test]
    fn people_see_who_does_what() {
        let folder = tempfile::tempdir().unwrap();
        file::store(folder.path(), &sample()).unwrap();
        let show = |subject: &str| {
            let show = Action::Show {
                subject: Some(subject.into()),
                format: Format::Text,
            };
            run_in(folder.path(), show).unwrap()
        };
        let text = show("x:1");
        let expected = [
            "x:1",
            "sha256:a",
            "learned since 1970-01-03T00:00:00Z",
            "known",
            "/manager --watch → kubernetes-api",
        ];
        for part in expected {
            assert!(text.contains(part), "{part} in {text}");
        }
        // A path is its owner's choice.
        let mut learned = sample();
        for subject in learned.subjects.values_mut() {
            let subject = Arc::make_mut(subject);
            let behaviours = std::mem::take(&mut subject.behaviours).into_iter();
            let behaviours = behaviours.map(|(mut behaviour, sightings)| {
                behaviour.program = format!("{}\u{1b}[2J\u{202e}", behaviour.program).into();
                (behaviour, sightings)
            });
            subject.behaviours = behaviours.collect();
        }
        file::store(folder.path(), &learned).unwrap();
        let text = show("x:1");
        assert!(text.contains(r"/manager\x1b[2J\u{202e} --watch"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
    }
}
