//! Orders about what was learned: a file each, in a folder beside the state. Whoever gives one needs no running agent, and
//! none is lost: an agent takes it up within a second or when it starts, and removes it once its effect is kept.

use std::{
    collections::BTreeSet,
    fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use tracing::warn;
use uuid::Uuid;

use super::file::{check, make, replace};
use crate::event::baseline::Order;

/// Orders that are taken up at a time.
const AT_A_TIME: usize = 1_000;

/// A larger one is not read: an import is as large as a state can be.
const LARGEST: u64 = 64 << 20;

/// Leaves an order.
pub fn give(folder: &Path, order: &Order) -> Result<()> {
    let orders = orders(folder);
    make(folder)?;
    make(&orders)?;
    // Names in the order of time, so that orders are done in the order in which they were given.
    let path = orders.join(format!("{}.json", Uuid::now_v7()));
    replace(&path, |file| {
        serde_json::to_writer(&mut *file, order)?;
        Ok(file.write_all(b"\n")?)
    })
}

/// The orders that wait and are not `seen` yet, with their names, in the order in which they were given. One that cannot
/// be read is said and set aside.
pub fn unseen(folder: &Path, seen: &mut BTreeSet<Box<str>>) -> Vec<(Box<str>, Order)> {
    let waiting = names(folder);
    seen.retain(|name| waiting.contains(name));
    let fresh: Vec<_> = waiting.difference(seen).take(AT_A_TIME).cloned().collect();
    let mut unseen = Vec::new();
    for name in fresh {
        let path = orders(folder).join(&*name);
        seen.insert(name.clone());
        match read(&path) {
            Ok(order) => unseen.push((name, order)),
            Err(error) => {
                warn!(
                    reason = format!("{error:#}"),
                    "an order about what was learned is not done"
                );
                // One that cannot be renamed either is not looked at again while this agent runs.
                let _ = fs::rename(&path, path.with_extension("broken"));
            }
        }
    }
    unseen
}

/// The orders that wait, in the order in which they were given, for whoever only wants to know.
pub fn waiting(folder: &Path) -> Result<Vec<Order>> {
    let paths = names(folder).into_iter().map(|name| orders(folder).join(&*name));
    // One that was done meanwhile is in the state by now, or will be in the next look.
    paths.filter(|path| path.exists()).map(|path| read(&path)).collect()
}

/// Removes orders whose effect is kept. One that somebody took back meanwhile is done all the same.
pub fn remove(folder: &Path, done: &[Box<str>]) -> Result<()> {
    for name in done {
        let path = orders(folder).join(&**name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

fn orders(folder: &Path) -> PathBuf {
    folder.join("baseline.orders")
}

fn names(folder: &Path) -> BTreeSet<Box<str>> {
    let entries = fs::read_dir(orders(folder)).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "json"))
        .map(Into::into)
        .collect()
}

fn read(path: &Path) -> Result<Order> {
    let context = || format!("cannot read {}", path.display());
    let length = fs::metadata(path).with_context(context)?.len();
    anyhow::ensure!(length <= LARGEST, "{} has {length} bytes", path.display());
    let text = fs::read(path).with_context(context)?;
    let order = serde_json::from_slice(&text).with_context(|| format!("{} is no order", path.display()))?;
    if let Order::Import(learned) = &order {
        check(learned).with_context(|| format!("{} is refused", path.display()))?;
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reset(subject: &str) -> Order {
        Order::Reset {
            subject: Some(subject.into()),
        }
    }

    #[test]
    fn orders_are_taken_up_once_in_their_order_and_stay_until_they_are_kept() {
        let (folder, mut seen) = (tempfile::tempdir().unwrap(), BTreeSet::new());
        assert!(unseen(folder.path(), &mut seen).is_empty());
        for subject in ["a", "b"] {
            give(folder.path(), &reset(subject)).unwrap();
        }
        let first = unseen(folder.path(), &mut seen);
        let given: Vec<_> = first.iter().map(|(_, order)| order.clone()).collect();
        assert_eq!(given, [reset("a"), reset("b")]);
        give(folder.path(), &reset("c")).unwrap();
        assert_eq!(unseen(folder.path(), &mut seen).len(), 1);
        remove(folder.path(), &[first[0].0.clone()]).unwrap();
        assert!(unseen(folder.path(), &mut seen).is_empty());
        assert_eq!(seen.len(), 2);
        let again = unseen(folder.path(), &mut BTreeSet::new());
        assert_eq!(again.len(), 2, "what was not kept is done again by the next agent");
        assert_eq!(waiting(folder.path()).unwrap(), [reset("b"), reset("c")]);
        remove(folder.path(), &[first[0].0.clone()]).expect("one that is gone already is no trouble");
    }

    #[test]
    fn a_broken_order_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        give(folder.path(), &reset("a")).unwrap();
        fs::write(orders(folder.path()).join("0.json"), "{}").unwrap();
        assert_eq!(unseen(folder.path(), &mut BTreeSet::new()).len(), 1);
        assert!(orders(folder.path()).join("0.broken").exists());
    }
}
