//! How receivers of alerts and servers of feeds are spoken to in TLS: whom the agent trusts, and who it says it is.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result, bail, ensure};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::{config::secret::Secret, node};

/// Where distributions have the authorities that they trust. An image of the agent alone has none, but finds the node's.
const BUNDLES: [&str; 4] = [
    "etc/ssl/certs/ca-certificates.crt",
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "etc/ssl/ca-bundle.pem",
    "etc/ssl/cert.pem",
];

/// Files in PEM that stand in settings.
#[derive(Clone, Debug)]
pub struct TlsFiles<'a> {
    /// The section of the settings.
    pub section: &'a str,
    /// Certificates of the authorities that are trusted; without it the node's own.
    pub ca: Option<&'a Path>,
    /// The certificate that is shown to the server …
    pub certificate: Option<&'a Path>,
    /// … and its key.
    pub key: Option<&'a Path>,
}

impl TlsFiles<'_> {
    /// Refuses files where nothing is encrypted: whoever names them believes that it is.
    pub fn must_be_absent(&self, scheme: &str) -> Result<()> {
        let section = self.section;
        for (name, file) in [
            ("ca", self.ca),
            ("certificate", self.certificate),
            ("key-file", self.key),
        ] {
            ensure!(file.is_none(), "{section}.{name}: for {scheme} only");
        }
        Ok(())
    }

    /// Reads the files.
    pub fn client(&self) -> Result<ClientConfig> {
        let section = self.section;
        let roots = match self.ca {
            Some(file) => roots_of(file).with_context(|| self.cannot_read("ca", file))?,
            None => roots_of_the_node().with_context(|| format!("{section}.ca"))?,
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        match (self.certificate, self.key) {
            (None, None) => Ok(builder.with_no_client_auth()),
            (Some(file), Some(key_file)) => {
                let chain = certificates(file).with_context(|| self.cannot_read("certificate", file))?;
                let key = Secret::read(key_file).with_context(|| format!("{section}.key-file"))?;
                let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
                    .with_context(|| self.cannot_read("key-file", key_file))?;
                let client = builder.with_client_auth_cert(chain, key);
                client.with_context(|| format!("{section}: {} and {}", file.display(), key_file.display()))
            }
            _ => bail!("{section}: certificate and key-file go together"),
        }
    }

    fn cannot_read(&self, setting: &str, file: &Path) -> String {
        format!("{}.{setting}: cannot read {}", self.section, file.display())
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)?.collect::<Result<_, _>>()?;
    ensure!(!certificates.is_empty(), "there is no certificate in it");
    Ok(certificates)
}

fn roots_of(file: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

fn roots_of_the_node() -> Result<RootCertStore> {
    let mut certificates = rustls_native_certs::load_native_certs().certs;
    if certificates.is_empty() {
        certificates = bundle_below(node::root());
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    ensure!(!roots.is_empty(), "this node trusts no authority, so one must be named");
    Ok(roots)
}

/// The authorities that a node trusts, of which the root is there.
fn bundle_below(root: &Path) -> Vec<CertificateDer<'static>> {
    let found = BUNDLES.iter().find_map(|bundle| certificates(&root.join(bundle)).ok());
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use base64::{Engine as _, prelude::BASE64_STANDARD};

    use super::*;

    #[test]
    fn the_nodes_authorities_are_found_below_its_root() {
        let root = tempfile::tempdir().unwrap();
        assert!(bundle_below(root.path()).is_empty());
        let identity = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let text = BASE64_STANDARD.encode(identity.cert.der());
        let bundle = root.path().join(BUNDLES[1]);
        fs::create_dir_all(bundle.parent().unwrap()).unwrap();
        fs::write(
            &bundle,
            format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"),
        )
        .unwrap();
        assert_eq!(bundle_below(root.path()), [identity.cert.der().clone()]);
    }
}
