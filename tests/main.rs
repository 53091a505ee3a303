//! End-to-end tests: the real binary against this machine's kernel and real servers.
