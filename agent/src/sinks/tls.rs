//! How sinks speak TLS: whom they trust, and who they say they are.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// Files in PEM that stand in a sink's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TlsFiles<'a> {
    /// Certificates of the authorities that are trusted; without it the node's own.
    pub(super) ca: Option<&'a Path>,
    /// The certificate that is shown to the server …
    pub(super) certificate: Option<&'a Path>,
    /// … and its key.
    pub(super) key: Option<&'a Path>,
}

impl<'a> TlsFiles<'a> {
    pub(super) fn new(ca: Option<&'a PathBuf>, certificate: Option<&'a PathBuf>, key: Option<&'a PathBuf>) -> Self {
        Self {
            ca: ca.map(PathBuf::as_path),
            certificate: certificate.map(PathBuf::as_path),
            key: key.map(PathBuf::as_path),
        }
    }

    /// Refuses files where nothing is encrypted: whoever names them believes that it is.
    pub(super) fn must_be_absent(&self, scheme: &str) -> Result<()> {
        for (name, file) in [
            ("ca", self.ca),
            ("certificate", self.certificate),
            ("key-file", self.key),
        ] {
            ensure!(file.is_none(), "{name} is for {scheme} only");
        }
        Ok(())
    }

    /// Reads the files.
    pub(super) fn client(&self) -> Result<ClientConfig> {
        let roots = match self.ca {
            Some(file) => roots_of(file)?,
            None => roots_of_the_node()?,
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        match (self.certificate, self.key) {
            (None, None) => Ok(builder.with_no_client_auth()),
            (Some(certificate), Some(key_file)) => {
                let chain = certificates(certificate).with_context(|| cannot_read("certificate", certificate))?;
                let key = PrivateKeyDer::from_pem_file(key_file).with_context(|| cannot_read("key-file", key_file))?;
                let client = builder.with_client_auth_cert(chain, key);
                client.with_context(|| format!("{} and {}", certificate.display(), key_file.display()))
            }
            _ => bail!("certificate and key-file go together"),
        }
    }
}

fn cannot_read(setting: &str, file: &Path) -> String {
    format!("cannot read {setting} {}", file.display())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)?.collect::<Result<_, _>>()?;
    ensure!(!certificates.is_empty(), "there is no certificate in it");
    Ok(certificates)
}

fn roots_of(file: &Path) -> Result<RootCertStore> {
    let context = || cannot_read("ca", file);
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file).with_context(context)? {
        roots.add(certificate).with_context(context)?;
    }
    Ok(roots)
}

fn roots_of_the_node() -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    ensure!(!roots.is_empty(), "this node trusts no authority: ca must name one");
    Ok(roots)
}
