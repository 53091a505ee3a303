//! Tocsin's sensors: each file holds one behaviour's record and the kernel program that fills it.

#![cfg_attr(target_arch = "bpf", no_std)]
