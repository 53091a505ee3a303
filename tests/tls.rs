//! Certificates for a daemon that asks its clients for one, signed by an authority of the test's own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A folder's files, as `dockerd --tlsverify` and its clients want them.
pub(crate) struct Certificates {
    /// The authority's certificate.
    pub(crate) authority: PathBuf,
    /// The daemon's certificate for 127.0.0.1, and its key.
    pub(crate) server: (PathBuf, PathBuf),
    /// A client's certificate, and its key.
    pub(crate) client: (PathBuf, PathBuf),
}

impl Certificates {
    /// Makes them in `folder`, an existing one, with the program that `openssl` starts.
    pub(crate) fn make(openssl: impl Fn() -> Command, folder: &Path) -> Self {
        let request = |name: &str, extra: &[&str]| {
            let (certificate, key) = (
                folder.join(format!("{name}.pem")),
                folder.join(format!("{name}-key.pem")),
            );
            let mut command = openssl();
            command.args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ]);
            command
                .args(["-subj", &format!("/CN={name}"), "-config"])
                .arg(folder.join("openssl.cnf"));
            command
                .arg("-keyout")
                .arg(&key)
                .arg("-out")
                .arg(&certificate)
                .args(extra);
            let output = command.output().expect("openssl starts");
            assert!(
                output.status.success(),
                "openssl: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            (certificate, key)
        };
        fs::write(folder.join("openssl.cnf"), "[req]\ndistinguished_name = name\n[name]\n")
            .expect("the folder is writable");
        let (authority, key) = request("authority", &["-addext", "basicConstraints=critical,CA:TRUE"]);
        let signed = [
            "-CA",
            &authority.to_string_lossy(),
            "-CAkey",
            &key.to_string_lossy(),
            "-addext",
        ]
        .map(String::from);
        let signed: Vec<&str> = signed.iter().map(String::as_str).collect();
        let server = request("server", &[&signed[..], &["subjectAltName=IP:127.0.0.1"]].concat());
        let client = request("client", &[&signed[..], &["extendedKeyUsage=clientAuth"]].concat());
        Self {
            authority,
            server,
            client,
        }
    }

    /// What has a daemon demand a certificate of this authority.
    pub(crate) fn daemon_arguments(&self) -> Vec<String> {
        let file = |name: &str, path: &Path| format!("--{name}={}", path.display());
        vec![
            "--tlsverify".to_owned(),
            file("tlscacert", &self.authority),
            file("tlscert", &self.server.0),
            file("tlskey", &self.server.1),
        ]
    }
}
