//! Certificates: an authority for the length of a test, and what it signs.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use countersign::simulate::authority::Role;
pub use countersign::simulate::authority::Validity;
use data_encoding::BASE64;
use rcgen::PublicKeyData;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use super::TemporaryDirectory;

/// Who signs certificates. Its files go when it does.
pub struct Authority {
    dir: TemporaryDirectory,
    pub made: Arc<countersign::simulate::authority::Authority>,
    count: AtomicU64,
}

/// A certificate with its key.
pub struct Certificate {
    pub made: countersign::simulate::authority::Certificate,
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
        let made = countersign::simulate::authority::Authority::new().unwrap();
        write(&dir.0.join("ca.pem"), &made.certificate.pem());
        Self { dir, made: Arc::new(made), count: AtomicU64::new(0) }
    }

    /// The authority's own certificate in PEM.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.0.join("ca.pem")
    }

    /// A store that trusts this authority and nobody else.
    pub fn roots(&self) -> Arc<RootCertStore> {
        self.made.roots().unwrap()
    }

    /// A server's certificate for these names and addresses.
    pub fn certificate(&self, names: &[&str], validity: Validity) -> Certificate {
        self.keep(self.made.sign(names, Role::Server, validity).unwrap())
    }

    /// A client's certificate.
    pub fn client_certificate(&self, name: &str) -> Certificate {
        self.keep(self.made.sign(&[name], Role::Client, Validity::Valid).unwrap())
    }

    /// A server's certificate for which nobody vouches; only its files lie here.
    pub fn self_signed(&self, names: &[&str]) -> Certificate {
        self.keep(countersign::simulate::authority::Certificate::self_signed(names).unwrap())
    }

    fn keep(&self, made: countersign::simulate::authority::Certificate) -> Certificate {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let file = |name: &str| self.dir.0.join(format!("{name}-{count}.pem"));
        let (certificate_file, key_file) = (file("certificate"), file("key"));
        write(&certificate_file, &made.certificate.pem());
        write(&key_file, &made.key.serialize_pem());
        Certificate {
            chain: vec![made.certificate.der().clone()],
            pin: BASE64.encode(&Sha256::digest(made.key.subject_public_key_info())),
            key: PrivateKeyDer::try_from(made.key.serialize_der()).unwrap(),
            certificate_file,
            key_file,
            made,
        }
    }
}

fn write(path: &Path, text: &str) {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
