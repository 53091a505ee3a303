//! Builds the kernel programs, which `sources::kernel` embeds.

use std::{fs, path::Path};

use aya_build::{Package, Toolchain};

fn main() -> aya_build::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace holds this crate");
    // `cargo xtask setup` writes the nightly that fits the linker; without it, the installed nightly is tried.
    let chosen = root.join("target/tools/bpf-toolchain");
    println!("cargo:rerun-if-changed={}", chosen.display());
    // The embedded rules: a new file is no change of any that the compiler has read.
    println!("cargo:rerun-if-changed=rules");
    println!("cargo:rerun-if-changed={}", root.join("Cargo.lock").display());
    let toolchain = fs::read_to_string(chosen).unwrap_or_else(|_| "nightly".into());
    let sensors = Package {
        name: "agent-ebpf",
        root_dir: concat!(env!("CARGO_MANIFEST_DIR"), "/../agent-ebpf"),
        ..Package::default()
    };
    aya_build::build_ebpf([sensors], Toolchain::Custom(toolchain.trim()))
}
