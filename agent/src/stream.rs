//! The stream: one task that carries each event from the entrance to its verdict.

pub mod entrance;
