//! Everyday work that must not ring: builds and installations.

use std::{env, path::Path, time::Duration};

use serde_json::Value;

use crate::{
    fixtures,
    ocsf::{exe, level, pid},
    programs::Outside,
    tocsin::Tocsin,
};

/// How long one of these may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn cargo_build_with_a_build_script_is_quiet() {
    let Some(cargo) = env::var_os("CARGO") else {
        return fixtures::skip("these tests are not run by cargo");
    };
    let bin = Path::new(&cargo).parent().unwrap().display();
    check(&format!(
        r#"{IN_OWN_FOLDER}
        PATH={bin}:$PATH
        mkdir src
        printf '[package]\nname = "tiny"\nversion = "0.1.0"\nedition = "2024"\n[workspace]\n' >Cargo.toml
        printf 'fn main() {{\n std::process::Command::new("cc").arg("--version").status().unwrap();\n println!("cargo::rustc-env=BUILT=1");\n}}\n' >build.rs
        printf 'fn main() {{ print!(env!("BUILT")) }}\n#[test]\nfn works() {{}}\n' >src/main.rs
        export TMPDIR=/tmp CARGO_TARGET_DIR=/tmp/tocsin-tiny-$$
        trap 'rm -rf "$CARGO_TARGET_DIR"' EXIT
        "{bin}/cargo" build --offline
        "{bin}/cargo" test --offline
        "#
    ));
}

#[test]
fn configure_and_make_are_quiet() {
    check(&format!(
        r#"{IN_OWN_FOLDER}
        command -v make cc
        cat >configure <<'END'
#!/bin/sh
for header in stdio.h unistd.h nothing-at-all.h; do
    printf '#include <%s>\nint main(void) {{ return 0; }}\n' "$header" >conftest.c
    if cc -o conftest conftest.c 2>/dev/null && ./conftest; then echo "$header: yes"; else echo "$header: no"; fi
done
rm -f conftest conftest.c
printf 'all: tiny check\ntiny: tiny.o part.o\n\tcc -o $@ $^\ncheck: tiny\n\t./tiny\n%%.o: %%.c\n\tcc -pipe -c -o $@ $<\ninstall: all\n\tinstall -m 755 tiny $(DESTDIR)/tiny\n' >Makefile
END
        chmod +x configure
        printf 'int part(void);\nint main(void) {{ return part(); }}\n' >tiny.c
        printf 'int part(void) {{ return 0; }}\n' >part.c
        ./configure
        make -j2
        mkdir root && make install DESTDIR=root
        "#
    ));
}

#[test]
fn installing_a_package_is_quiet() {
    let Some(debian) = fixtures::require("debian") else {
        return;
    };
    check(&format!(
        r"{IN_OWN_FOLDER}
        tar -xf {image}
        mkdir -p var/lib/dpkg/info var/lib/dpkg/updates var/lib/dpkg/triggers tmp package/DEBIAN package/usr/share/tiny
        chmod 1777 tmp
        : >>var/lib/dpkg/status
        for name in diff ldconfig; do cp bin/true usr/sbin/$name; done
        printf 'Package: tiny\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@host.invalid>\nDescription: tiny\n' >package/DEBIAN/control
        echo tiny >package/usr/share/tiny/file
        for script in preinst postinst prerm postrm; do
            cat >package/DEBIAN/$script <<'END'
#!/bin/sh
set -e
# As scripts of packages do that unpack a helper of theirs.
folder=$(mktemp -d)
printf '#!/bin/sh\nid -u\n' >$folder/helper
chmod +x $folder/helper
$folder/helper
rm -r $folder
chmod 755 /usr/share/tiny || true
END
            chmod 755 package/DEBIAN/$script
        done
        chroot . dpkg-deb --build package tiny.deb
        chroot . dpkg --install tiny.deb
        chroot . dpkg --purge tiny
        ",
        image = debian.join("image.tar").display(),
    ));
}

/// A folder that is not among the temporary ones, which are another matter, and is gone with the script's mounts.
const IN_OWN_FOLDER: &str = "mount -t tmpfs tmpfs /srv && cd /srv";

/// Runs the script as somebody at work would, and checks that nothing about it is raised that is worth a look.
fn check(script: &str) {
    let outside = Outside::start();
    let agent = Tocsin::start(&[]);
    let process = outside.run_script(script, PATIENCE);
    let alerts = agent.alerts_after_quiet();
    let loud = alerts
        .iter()
        .filter(|alert| level(alert) != "Low" && is_below(alert, process));
    let loud: Vec<_> = loud
        .map(|alert| (level(alert), exe(alert), alert.pointer("/evidences/0/process/cmd_line")))
        .collect();
    assert!(loud.is_empty(), "{loud:?}");
}

/// Whether an alert is about that process or one below it.
fn is_below(alert: &Value, wanted: u64) -> bool {
    let mut process = alert.pointer("/evidences/0/process");
    while let Some(one) = process {
        if one["pid"] == wanted {
            return true;
        }
        process = one.get("parent_process");
    }
    pid(alert) == Some(wanted)
}
