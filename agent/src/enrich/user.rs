//! Names of the node's users.

use std::sync::Arc;

use rustc_hash::FxHashMap;

/// User id to name, as the node's `/etc/passwd` has them.
#[derive(Debug, Default)]
pub struct Users(FxHashMap<u32, Arc<str>>);

impl Users {
    /// Reads the text of `/etc/passwd`. Lines of another form (comments, NIS) are passed over; the first name of an id
    /// counts, as for `getpwuid`.
    ///
    /// Own code: what the C library does here, a static binary must not (it would load name service modules).
    pub fn parse(passwd: &str) -> Self {
        let mut users = FxHashMap::default();
        for line in passwd.lines() {
            let mut columns = line.split(':');
            let (name, _password, uid) = (columns.next(), columns.next(), columns.next());
            if let (Some(name), Some(Ok(uid))) = (name, uid.map(str::parse)) {
                users.entry(uid).or_insert_with(|| name.into());
            }
        }
        Self(users)
    }

    /// The name of that user, if it has one.
    pub fn name(&self, uid: u32) -> Option<&Arc<str>> {
        self.0.get(&uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(passwd: &str, uid: u32, expected: Option<&str>) {
        let users = Users::parse(passwd);
        assert_eq!(users.name(uid).map(|name| &**name), expected, "{uid} in {passwd:?}");
    }

    #[test]
    fn names_are_found_by_id() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\ntoor:x:0:0::/:\n";
        check(passwd, 0, Some("root"));
        check(passwd, 33, Some("www-data"));
        check(passwd, 1000, None);
    }

    #[test]
    fn lines_of_another_form_are_passed_over() {
        let passwd = "# users\n+::::::\n\nbroken\nhuge:x:99999999999:0::/:\nnegative:x:-1:0::/:\nme:x:7:7\n";
        check(passwd, 7, Some("me"));
        check(passwd, 0, None);
    }
}
