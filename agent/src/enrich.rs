//! Enrichers: what the node's state adds to an event. They open nothing and never wait.

pub mod address;
pub mod container;
pub mod hold;
pub mod user;
