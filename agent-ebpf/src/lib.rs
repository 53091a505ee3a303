//! Tocsin's sensors: each file holds one behaviour's record and the kernel program that fills it.
//!
//! The agent uses this crate for the records alone; the programs exist only for `target_arch = "bpf"`, where
//! `main.rs` links them into one object. A record is `#[repr(C)]`, made of integers and byte arrays without padding, so
//! that any bytes of its length are a valid record.

#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        clippy::inline_always,
        reason = "the verifier follows no pointer from the stack into a function of its own"
    ),
    expect(clippy::needless_pass_by_value, reason = "aya's macros hand the context by value")
)]

pub mod record;
pub mod fields;
#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(target_arch = "bpf")]
mod path;
pub mod task;
pub mod fork;
pub mod exec;
pub mod exit;
pub mod socket;
pub mod connect;
pub mod listen;
pub mod accept;
pub mod dns;
pub mod wire;
