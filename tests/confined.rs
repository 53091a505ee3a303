//! What the agent can still do, were it taken over.

use procfs::process::Process;

use crate::tocsin::Tocsin;

/// `CAP_NET_ADMIN`, `CAP_DAC_READ_SEARCH`, `CAP_SYS_PTRACE`, `CAP_SYS_ADMIN`, `CAP_SYS_RESOURCE` (`linux/capability.h`).
const KEPT: u64 = 1 << 12 | 1 << 2 | 1 << 19 | 1 << 21 | 1 << 24;
/// `SECCOMP_MODE_FILTER` (`linux/seccomp.h`).
const FILTERED: u32 = 2;

#[test]
fn it_keeps_only_what_it_needs() {
    let agent = Tocsin::start(&[]);
    let process = Process::new(agent.pid().try_into().unwrap()).unwrap();
    for thread in process.tasks().unwrap().map(Result::unwrap) {
        let status = thread.status().unwrap();
        assert_eq!(status.capeff & !KEPT, 0, "{}: effective", status.name);
        assert_eq!(status.capprm & !KEPT, 0, "{}: permitted", status.name);
        assert_eq!(status.capbnd.unwrap() & !KEPT, 0, "{}: bounding", status.name);
        assert_eq!(status.nonewprivs, Some(1), "{}", status.name);
        assert_eq!(status.seccomp, Some(FILTERED), "{}", status.name);
    }
}
