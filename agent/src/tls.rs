//! How receivers of alerts and servers of feeds are spoken to in TLS: whom the agent trusts, and who it says it is.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result, bail, ensure};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::config::secret::Secret;

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
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    ensure!(!roots.is_empty(), "this node trusts no authority, so one must be named");
    Ok(roots)
}
