//! The certificates of clients: the modes of `client_auth_type` and `client_allowed_sans`.

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime, pem::PemObject as _},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};
use x509_cert::{
    Certificate,
    der::{Decode as _, oid::db::rfc5280},
    ext::pkix::{ExtendedKeyUsage, SubjectAltName, name::GeneralName},
};

/// `client_auth_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientAuth {
    None,
    Request,
    RequireAny,
    VerifyIfGiven,
    RequireAndVerify,
}

impl ClientAuth {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" | "NoClientCert" => Ok(Self::None),
            "RequestClientCert" => Ok(Self::Request),
            "RequireAnyClientCert" | "RequireClientCert" => Ok(Self::RequireAny),
            "VerifyClientCertIfGiven" => Ok(Self::VerifyIfGiven),
            "RequireAndVerifyClientCert" => Ok(Self::RequireAndVerify),
            other => Err(format!("invalid ClientAuth: {other}")),
        }
    }

    /// Whether a certificate must be one that an authority of the pool vouches for.
    pub(super) const fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }
}

/// Looks at the certificates of clients.
///
/// A certificate that is itself in the pool is a chain by itself, as in Go, whatever it says of
/// being an authority: installations use one self-signed certificate for both.
#[derive(Debug)]
pub(super) struct Verifier {
    auth: ClientAuth,
    pool: Vec<CertificateDer<'static>>,
    /// None where no certificate of the pool is one of an authority.
    authorities: Option<Arc<dyn ClientCertVerifier>>,
    sans: Option<Vec<String>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// `pool` holds certificates in PEM; all else in it is skipped.
    pub(super) fn new(
        auth: ClientAuth,
        pool: &[u8],
        sans: Option<Vec<String>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let pool: Vec<_> = CertificateDer::pem_slice_iter(pool).filter_map(Result::ok).collect();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(pool.iter().cloned());
        let authorities = if roots.is_empty() {
            None
        } else {
            let provider = Arc::clone(provider);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            Some(verifier.build().map_err(|error| error.to_string())?)
        };
        Ok(Self { auth, pool, authorities, sans, provider: Arc::clone(provider) })
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.pool.contains(leaf) {
            return check_by_itself(&parse(leaf)?, now);
        }
        let Some(authorities) = &self.authorities else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        match authorities.verify_client_cert(leaf, rest, now) {
            Ok(_) => Ok(()),
            // An authority's certificate that is not in the pool.
            Err(Error::InvalidCertificate(CertificateError::Other(_))) => {
                Err(CertificateError::UnknownIssuer.into())
            }
            Err(error) => Err(error),
        }
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        matches!(self.auth, ClientAuth::RequireAny | ClientAuth::RequireAndVerify)
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.authorities.as_ref().map_or(&[], |authorities| authorities.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.auth.verifies() {
            self.check(leaf, rest, now)?;
        }
        if let Some(allowed) = &self.sans
            && !names(&parse(leaf)?).iter().any(|name| allowed.contains(name))
        {
            return Err(CertificateError::NotValidForName.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn parse(cert: &CertificateDer<'_>) -> Result<Certificate, Error> {
    Certificate::from_der(cert).map_err(|_| CertificateError::BadEncoding.into())
}

/// Whether a certificate that is trusted as it stands may be used, at this time and for this.
fn check_by_itself(cert: &Certificate, now: UnixTime) -> Result<(), Error> {
    let cert = cert.tbs_certificate();
    let validity = cert.validity();
    let now = now.as_secs();
    if now < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    let usage = cert.get_extension::<ExtendedKeyUsage>();
    let usage = usage.map_err(|_| Error::from(CertificateError::BadEncoding))?;
    let any = [rfc5280::ID_KP_CLIENT_AUTH, rfc5280::ANY_EXTENDED_KEY_USAGE];
    if usage.is_some_and(|(_, ExtendedKeyUsage(all))| !all.iter().any(|one| any.contains(one))) {
        return Err(CertificateError::InvalidPurpose.into());
    }
    Ok(())
}

/// The subject's alternative names that can be allowed, as Go writes them.
fn names(cert: &Certificate) -> Vec<String> {
    let names = cert.tbs_certificate().get_extension::<SubjectAltName>().ok().flatten();
    let names = names.map(|(_, SubjectAltName(names))| names).unwrap_or_default();
    let text = |name: &GeneralName| match name {
        GeneralName::DnsName(text)
        | GeneralName::Rfc822Name(text)
        | GeneralName::UniformResourceIdentifier(text) => Some(text.as_str().to_owned()),
        GeneralName::IpAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(bytes.as_bytes()).map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(bytes.as_bytes()).map(|v6| Ipv6Addr::from(v6).into());
            v4.or(v6).ok().map(|address: IpAddr| address.to_canonical().to_string())
        }
        _ => None,
    };
    names.iter().filter_map(text).collect()
}
