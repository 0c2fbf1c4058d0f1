//! Certificates that are made as they are needed: an authority that nobody knows, and what it signs.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::SimulateError;

/// When a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Now.
    Valid,
    /// Until some time ago.
    Expired,
    /// From some time on.
    NotYetValid,
}

/// Whose certificate it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Server,
    Client,
}

/// Who signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The authority's own certificate.
    pub certificate: rcgen::Certificate,
}

/// A certificate with its key.
pub struct Certificate {
    pub certificate: rcgen::Certificate,
    pub key: KeyPair,
}

impl Authority {
    /// A new authority, which nobody knows.
    ///
    /// # Errors
    /// Where a certificate cannot be made, as everywhere here.
    pub fn new() -> Result<Self, SimulateError> {
        Self::with_key(KeyPair::generate()?)
    }

    /// The authority that had this key before: whoever trusts it, trusts what it signs now.
    ///
    /// # Errors
    /// See [`Authority::new`].
    pub fn with_key(key: KeyPair) -> Result<Self, SimulateError> {
        let mut params = params(&[], "countersign simulate authority", Validity::Valid)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// The key, in PEM.
    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A certificate for these names and addresses; the first of them is the common name.
    ///
    /// # Errors
    /// See [`Authority::new`].
    pub fn sign(&self, names: &[&str], role: Role, validity: Validity) -> Result<Certificate, SimulateError> {
        let (names, common_name) = match role {
            Role::Server => (names, "countersign simulate server"),
            Role::Client => (&[][..], names.first().copied().unwrap_or_default()),
        };
        let mut params = params(names, common_name, validity)?;
        params.extended_key_usages = vec![match role {
            Role::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Role::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let key = KeyPair::generate()?;
        Ok(Certificate { certificate: params.signed_by(&key, &self.issuer)?, key })
    }

    /// A store that trusts this authority and nobody else.
    ///
    /// # Errors
    /// See [`Authority::new`].
    pub fn roots(&self) -> Result<Arc<RootCertStore>, SimulateError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone())?;
        Ok(Arc::new(roots))
    }
}

impl Certificate {
    /// A server's certificate for which nobody vouches.
    ///
    /// # Errors
    /// See [`Authority::new`].
    pub fn self_signed(names: &[&str]) -> Result<Self, SimulateError> {
        let key = KeyPair::generate()?;
        Ok(Self { certificate: params(names, "countersign simulate server", Validity::Valid)?.self_signed(&key)?, key })
    }

    /// TLS with this certificate, for clients that have one of `clients` where that is said.
    ///
    /// # Errors
    /// Where TLS cannot be configured so.
    pub fn acceptor(&self, clients: Option<&Authority>) -> Result<TlsAcceptor, SimulateError> {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(clients.roots()?, provider()).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| SimulateError::Other(error.to_string()))?)
            }
        };
        let key =
            PrivateKeyDer::try_from(self.key.serialize_der()).map_err(|error| SimulateError::Other(error.into()))?;
        let mut config = builder.with_single_cert(vec![self.certificate.der().clone()], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// The cryptography of both ends.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn params(names: &[&str], common_name: &str, validity: Validity) -> Result<CertificateParams, SimulateError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    let (first, last) = match validity {
        Validity::Valid => (2020, 2120),
        Validity::Expired => (2020, 2021),
        Validity::NotYetValid => (2120, 2121),
    };
    params.not_before = date_time_ymd(first, 1, 1);
    params.not_after = date_time_ymd(last, 1, 1);
    Ok(params)
}
