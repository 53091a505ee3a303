//! What a process is for, as rules have said: a list that only grows, and that is read without a lock.

use std::sync::{Arc, OnceLock};

/// How many roles one process can have: rules give them, and there is no end to rules.
const MOST: usize = 8;

/// The roles of a process, in the order in which it was given them. Processes that fork share theirs, as they share what
/// they run.
#[derive(Clone, Debug, Default)]
pub struct Roles(OnceLock<Arc<Role>>);

#[derive(Debug, Default)]
struct Role {
    name: OnceLock<Arc<str>>,
    next: Roles,
}

impl Roles {
    /// Adds a role, unless it is there already or the list is full.
    pub fn add(&self, name: &Arc<str>) {
        let mut rest = self;
        for _ in 0..MOST {
            let role = rest.0.get_or_init(Arc::default);
            if role.name.get_or_init(|| Arc::clone(name)) == name {
                return;
            }
            rest = &role.next;
        }
    }

    /// Their names.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let roles = std::iter::successors(self.0.get(), |role| role.next.0.get());
        roles.map_while(|role| role.name.get().map(AsRef::as_ref))
    }

    /// Whether it is among them.
    pub fn has(&self, name: &str) -> bool {
        self.iter().any(|role| role == name)
    }

    /// The same list for a second owner: what either is given later, both have. (A clone of a list that was never used
    /// begins a list of its own.)
    #[must_use]
    pub fn shared(&self) -> Self {
        self.0.get_or_init(Arc::default);
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(roles: &Roles, names: &[&str]) {
        for name in names {
            roles.add(&(*name).into());
        }
    }

    #[test]
    fn a_role_is_kept_once_and_so_many_at_most() {
        let roles = Roles::default();
        assert_eq!(roles.iter().count(), 0);
        add(&roles, &["web-worker", "database", "web-worker"]);
        assert_eq!(roles.iter().collect::<Vec<_>>(), ["web-worker", "database"]);
        add(&roles, &["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        assert_eq!(roles.iter().count(), MOST);
    }

    #[test]
    fn sharers_learn_what_either_is_given() {
        let one = Roles::default();
        let other = one.shared();
        add(&other, &["web-worker"]);
        add(&one, &["database"]);
        assert_eq!(one.iter().collect::<Vec<_>>(), other.iter().collect::<Vec<_>>());
        assert_eq!(one.iter().count(), 2);
    }
}
