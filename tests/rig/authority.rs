//! Certificates: an authority for the length of a test, and what it signs.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use data_encoding::BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use super::TemporaryDirectory;

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

/// Who signs certificates. Its files go when it does.
pub struct Authority {
    dir: TemporaryDirectory,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    count: AtomicU64,
}

/// A certificate with its key.
pub struct Certificate {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    /// The SHA-256 of the SubjectPublicKeyInfo in base64.
    pub pin: String,
    /// The certificate in PEM.
    pub certificate_file: PathBuf,
    /// The key in PEM, for its owner only.
    pub key_file: PathBuf,
}

impl Authority {
    /// A new authority, which nobody knows.
    pub fn new() -> Self {
        let dir = TemporaryDirectory::new();
        let key = KeyPair::generate().unwrap();
        let mut params = params(&[], "countersign test authority", Validity::Valid);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).unwrap();
        write(&dir.0.join("ca.pem"), &certificate.pem());
        let der = certificate.der().clone();
        Self { dir, issuer: Issuer::new(params, key), certificate: der, count: AtomicU64::new(0) }
    }

    /// The authority's own certificate in PEM.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.0.join("ca.pem")
    }

    /// A store that trusts this authority and nobody else.
    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        Arc::new(roots)
    }

    /// A server's certificate for these names and addresses.
    pub fn certificate(&self, names: &[&str], validity: Validity) -> Certificate {
        let mut params = params(names, "countersign test server", validity);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(&params, Some(&self.issuer))
    }

    /// A client's certificate.
    pub fn client_certificate(&self, name: &str) -> Certificate {
        let mut params = params(&[], name, Validity::Valid);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(&params, Some(&self.issuer))
    }

    /// A server's certificate for which nobody vouches; only its files lie here.
    pub fn self_signed(&self, names: &[&str]) -> Certificate {
        self.issue(&params(names, "countersign test server", Validity::Valid), None)
    }

    fn issue(&self, params: &CertificateParams, issuer: Option<&Issuer<'static, KeyPair>>) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let certificate = match issuer {
            Some(issuer) => params.signed_by(&key, issuer),
            None => params.self_signed(&key),
        };
        let certificate = certificate.unwrap();
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let file = |name: &str| self.dir.0.join(format!("{name}-{count}.pem"));
        let (certificate_file, key_file) = (file("certificate"), file("key"));
        write(&certificate_file, &certificate.pem());
        write(&key_file, &key.serialize_pem());
        Certificate {
            chain: vec![certificate.der().clone()],
            pin: BASE64.encode(&Sha256::digest(key.subject_public_key_info())),
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            certificate_file,
            key_file,
        }
    }
}

/// The cryptography of both ends.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn params(names: &[&str], common_name: &str, validity: Validity) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let (first, last) = match validity {
        Validity::Valid => (2020, 2120),
        Validity::Expired => (2020, 2021),
        Validity::NotYetValid => (2120, 2121),
    };
    params.not_before = date_time_ymd(first, 1, 1);
    params.not_after = date_time_ymd(last, 1, 1);
    params
}

fn write(path: &Path, text: &str) {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
