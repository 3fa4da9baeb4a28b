//! A certificate and its key, out of PEM. Faults are worded as by Go's `crypto/tls`.

use rustls::{
    Error, InconsistentKeys,
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{PemObject as _, SectionKind},
    },
    sign::{CertifiedKey, SingleCertAndKey},
};

/// The chain and the key of the server.
pub(super) fn load(
    cert: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<SingleCertAndKey, String> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(cert).filter_map(Result::ok).collect();
    if chain.is_empty() {
        let said = match kinds(cert).as_slice() {
            [] => "tls: failed to find any PEM data in certificate input",
            [SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey] => {
                "tls: failed to find certificate PEM data in certificate input, but did find a \
                 private key; PEM inputs may have been switched"
            }
            _ => "tls: failed to find \"CERTIFICATE\" PEM block in certificate input",
        };
        return Err(said.into());
    }
    let Some(key) = PrivateKeyDer::pem_slice_iter(key).find_map(Result::ok) else {
        let said = match kinds(key).as_slice() {
            [] => "tls: failed to find any PEM data in key input",
            [SectionKind::Certificate] => {
                "tls: found a certificate rather than a key in the PEM for the private key"
            }
            _ => "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input",
        };
        return Err(said.into());
    };
    let pair = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "tls: private key does not match public key".to_owned()
        }
        error => format!("tls: {error}"),
    })?;
    Ok(SingleCertAndKey::from(pair))
}

/// The kinds of the sections of a PEM, if it has any.
fn kinds(pem: &[u8]) -> Vec<SectionKind> {
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem);
    sections.filter_map(|section| Some(section.ok()?.0)).collect()
}
