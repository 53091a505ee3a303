//! A container's first process: the measure of what its other processes may do, and of how they came into it.

use jiff::Timestamp;

use crate::{
    enrich::process::outside,
    event::{Beyond, Capabilities, Namespaces, Process, ProcessKey, Seccomp},
};

/// The first process as it was when it was first seen. Whatever it made can have no more than this: bounding sets only
/// shrink, filters of system calls stay, and user namespaces only go down.
#[derive(Clone, Copy, Debug)]
pub struct First {
    /// Who.
    pub key: ProcessKey,
    /// Its namespaces, which are the container's.
    pub namespaces: Namespaces,
    /// When it ran its first program; `None` if it stood before the agent.
    pub began: Option<Timestamp>,
    bounding: Capabilities,
    seccomp: Seccomp,
    /// It stood before the agent, among the processes of the node: who came in from outside cannot be told any more
    /// from whom it made and left to the node's first process.
    lineage_lost: bool,
}

impl First {
    /// The process as the container's first one; `standing` if it was found by the start-up scan.
    pub fn new(process: &Process, standing: bool) -> Self {
        let execution = &process.execution;
        let shares_processes = || {
            let sender = outside(process)?.execution.namespaces.pid;
            Some(sender == execution.namespaces.pid)
        };
        Self {
            key: process.key,
            namespaces: execution.namespaces,
            began: (!standing).then_some(execution.time),
            bounding: execution.credentials.bounding,
            seccomp: execution.seccomp,
            lineage_lost: standing && shares_processes().unwrap_or(true),
        }
    }

    /// Whether the process was put into the running container: it has entered it, and is no descendant of the first one.
    /// No, where the line of its ancestors is not known up to one outside.
    pub fn has_not_made(&self, process: &Process) -> bool {
        if self.lineage_lost || !process.entered {
            return false;
        }
        let descends = process.key == self.key || process.ancestors_inside().any(|ancestor| ancestor.key == self.key);
        let is_known = |sender: &Process| sender.execution.namespaces.mount != 0;
        !descends && outside(process).is_some_and(is_known)
    }

    /// Whether a process of those namespaces is in this container. Its mount namespace alone does not tell: the kernel
    /// gives the number of one that is gone to the next one that is made.
    pub fn shares(&self, other: &Namespaces) -> bool {
        let own = &self.namespaces;
        let same = |one: u32, another: u32| one != 0 && one == another;
        same(own.mount, other.mount)
            && (same(own.pid, other.pid)
                || same(own.network, other.network)
                || same(own.ipc, other.ipc)
                || same(own.uts, other.uts))
    }

    /// What the process has that nobody whom the first one made could ever have.
    pub fn exceeded_by(&self, process: &Process) -> Beyond {
        if process.key == self.key || !process.entered {
            return Beyond::default();
        }
        let execution = &process.execution;
        let users = execution.namespaces.user;
        let other_users = users != 0 && self.namespaces.user != 0 && users != self.namespaces.user;
        // Everybody may make a user namespace of his own and has every capability in it: over nothing but itself.
        let own_users = other_users && execution.namespaces.in_initial_user() != Some(true);
        let known = self.bounding.0 != 0;
        Beyond {
            capabilities: known && !own_users && !self.bounding.contain(execution.credentials.effective),
            seccomp: self.seccomp == Seccomp::Filter && execution.seccomp == Seccomp::Disabled,
            user_namespace: other_users && (!own_users || self.has_not_made(process)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::{Credentials, Execution};

    const USUAL: u64 = 0xA804_25FB;
    const ALL: u64 = (1 << 41) - 1;
    const NODE: u32 = Namespaces::INITIAL_USER;
    const OWN: u32 = 4_026_532_000;

    /// Mount namespace, user namespace, effective and bounding set, and whether system calls are filtered.
    type Rights = (u32, u32, u64, bool);

    fn process(
        pid: u32,
        parent: Option<&Arc<Process>>,
        container: Option<&str>,
        (mount, user, set, filter): Rights,
    ) -> Arc<Process> {
        let execution = Execution {
            credentials: Credentials {
                effective: Capabilities(set),
                bounding: Capabilities(set),
                ..Credentials::default()
            },
            namespaces: Namespaces {
                mount,
                user,
                pid: mount,
                ..Namespaces::default()
            },
            seccomp: if filter { Seccomp::Filter } else { Seccomp::Disabled },
            ..Execution::default()
        };
        Arc::new(Process {
            key: ProcessKey { pid, start: 1 },
            replaced: None,
            former_exe: None,
            parent: parent.cloned(),
            execution: Arc::new(execution),
            container: container.map(Arc::from),
            escaped_cgroup: false,
            entered: mount > 1,
            depth: 0,
        })
    }

    /// What a process with `rights` exceeds those of the first one by, made by the first one and by somebody outside.
    fn check(first: Rights, rights: Rights, inside: &[&str], from_outside: &[&str]) {
        let runtime = process(1, None, None, (1, NODE, ALL, false));
        let first = process(10, Some(&runtime), Some("a"), first);
        let made = process(11, Some(&first), Some("a"), rights);
        let put = process(12, Some(&runtime), Some("a"), rights);
        let measure = First::new(&first, false);
        assert!(!measure.has_not_made(&first) && !measure.has_not_made(&made) && measure.has_not_made(&put));
        for (process, expected) in [(made, inside), (put, from_outside), (first, &[])] {
            let beyond: Vec<_> = measure.exceeded_by(&process).names().collect();
            assert_eq!(beyond, expected, "{rights:?}");
        }
    }

    #[test]
    fn what_a_container_could_never_have_is_told() {
        let usual = (2, NODE, USUAL, true);
        let (caps, all) = (["capabilities"].as_slice(), ["capabilities", "seccomp"].as_slice());
        check(usual, (2, NODE, USUAL & 0xFF, true), &[], &[]);
        check(usual, (2, NODE, USUAL | 1 << 21, true), caps, caps);
        check(usual, (2, NODE, ALL, false), all, all);
        check((2, NODE, ALL, false), (2, NODE, ALL, false), &[], &[]);
        // unshare -U, which makes a sandbox; and `docker exec` into one is not what the first process could have.
        check(usual, (2, OWN, ALL, true), &[], &["user-namespace"]);
        // From the users of its own to the node's: out.
        let out = ["capabilities", "user-namespace"].as_slice();
        check((2, OWN, USUAL, true), (2, NODE, ALL, true), out, out);
        // Nothing is known of the first one.
        check((2, 0, 0, false), (2, NODE, ALL, false), &[], &[]);
    }

    #[test]
    fn a_runtime_on_its_way_is_not_inside_yet() {
        let runtime = process(1, None, None, (1, NODE, ALL, false));
        let first = process(10, Some(&runtime), Some("a"), (2, NODE, USUAL, true));
        let on_its_way = process(12, Some(&runtime), Some("a"), (1, NODE, ALL, false));
        let measure = First::new(&first, false);
        assert!(!measure.has_not_made(&on_its_way));
        assert_eq!(measure.exceeded_by(&on_its_way), Beyond::default());
    }

    #[test]
    fn a_line_that_is_not_known_says_nothing() {
        let runtime = process(1, None, None, (1, NODE, ALL, false));
        let stranger = process(2, None, None, (0, 0, 0, false));
        let first = process(10, Some(&runtime), Some("a"), (2, NODE, USUAL, true));
        for parent in [None, Some(&stranger)] {
            let orphan = process(12, parent, Some("a"), (2, NODE, USUAL, true));
            assert!(!First::new(&first, false).has_not_made(&orphan));
        }
        // With the node's processes, orphans are the node's.
        let among = process(10, Some(&runtime), Some("a"), (1, NODE, USUAL, true));
        let orphan = process(12, Some(&runtime), Some("a"), (2, NODE, USUAL, true));
        assert!(!First::new(&among, true).has_not_made(&orphan));
        assert!(First::new(&among, false).has_not_made(&orphan));
    }
}
