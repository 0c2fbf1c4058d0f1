//! TLS to a service: whom it trusts, and when a handshake begins.

use std::cell::Cell;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
    WebPkiServerVerifier,
};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, NamedGroup, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

use crate::config::clients::Remote;
use crate::config::value::{Authorities, ServiceSecret};
use crate::domain::secret::Secret;
use crate::files::{self, Exposure};

/// Where systems keep the authorities they trust: Debian, Red Hat, SUSE, Alpine and the BSDs.
pub const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// How many sessions are kept for resumption.
const SESSIONS: usize = 32;

/// Whom TLS trusts, and as whom it speaks.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// `None`: those of this machine.
    pub authorities: Option<Authorities>,
    pub pins: Vec<[u8; 32]>,
    pub identity: Option<Own>,
}

impl Trust {
    /// What the section of a service says, else what stands for all; `resolve` makes paths of plugin.ini absolute.
    pub fn of(remote: &Remote, resolve: impl Fn(&Path) -> PathBuf) -> Self {
        let general = remote.network.general();
        let path = |path: &Option<PathBuf>| path.as_deref().map(&resolve);
        let files = path(&remote.client_cert.0).zip(path(&remote.client_key.0));
        let shared = || Some(general?.ca_cert.as_ref()?.resolved(&resolve));
        let together = || general?.client_cert.as_ref().map(|identity| Own::Together(identity.0.clone()));
        Self {
            authorities: path(&remote.ca_file.0).map(Authorities::File).or_else(shared),
            pins: remote.pin_sha256.0.clone(),
            identity: files.map(|(chain, key)| Own::Files { chain, key }).or_else(together),
        }
    }
}

/// Certificate chain and key of this client.
#[derive(Clone, Debug)]
pub enum Own {
    Files {
        chain: PathBuf,
        key: PathBuf,
    },
    /// Both in one text.
    Together(ServiceSecret),
}

/// The certificates that a server presented last, the server's own first.
pub type Presented = Arc<Mutex<Vec<CertificateDer<'static>>>>;

/// What TLS is configured with; every certificate that is presented is left in `presented`. `read` reads our secrets.
///
/// # Errors
/// What is wrong with which file.
pub fn config(
    trust: &Trust,
    read: impl Fn(&ServiceSecret) -> Result<Secret<String>, String>,
    presented: &Presented,
) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let roots = roots(trust.authorities.as_ref())?;
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| error.to_string())?;
    let verifier = Verifier { inner, pins: trust.pins.clone(), presented: Arc::clone(presented) };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &trust.identity {
        None => builder.with_no_client_auth(),
        Some(Own::Together(source)) => {
            let text = read(source)?;
            // Goes into the handshake only, and is wiped.
            let pem = text.expose().as_bytes();
            let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            let certificates = certificates
                .ok()
                .filter(|found| !found.is_empty())
                .ok_or("[tls] client_cert: holds no certificate in PEM form")?;
            let key = PrivateKeyDer::from_pem_slice(pem)
                .map_err(|_| "[tls] client_cert: holds no private key in PEM form that is not encrypted")?;
            builder.with_client_auth_cert(certificates, key).map_err(|error| format!("[tls] client_cert: {error}"))?
        }
        Some(Own::Files { chain, key }) => {
            let certificates = certificates(chain)?;
            let text = files::read_text(key, Exposure::Private).map_err(|error| error.to_string())?;
            let key_der = PrivateKeyDer::from_pem_slice(text.as_bytes())
                .map_err(|_| format!("{}: holds no private key in PEM form", key.display()))?;
            builder
                .with_client_auth_cert(certificates, key_der)
                .map_err(|error| format!("{}: {error}", chain.display()))?
        }
    };
    config.resumption = Resumption::store(Arc::new(Sessions(ClientSessionMemoryCache::new(SESSIONS))));
    Ok(config)
}

/// The authorities that are named, or those of this machine.
fn roots(authorities: Option<&Authorities>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let named = match authorities {
        None => None,
        Some(Authorities::File(file)) => Some((certificates(file)?, file.display().to_string())),
        Some(Authorities::Written(pem)) => {
            let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
            let read = read.ok().filter(|found| !found.is_empty());
            Some((read.ok_or("[tls] ca_cert: holds no certificate in PEM form")?, "[tls] ca_cert".to_owned()))
        }
    };
    if let Some((certificates, place)) = named {
        for certificate in certificates {
            roots.add(certificate).map_err(|error| format!("{place}: {error}"))?;
        }
        return Ok(roots);
    }
    let bundle = SYSTEM.iter().map(Path::new).find(|path| path.exists());
    let Some(bundle) = bundle else {
        return Err("this machine has no list of trusted authorities; install ca-certificates or set ca_file".into());
    };
    // One that is odd does not make the others useless.
    let (added, _) = roots.add_parsable_certificates(certificates(bundle)?);
    if added == 0 { Err(format!("{}: holds no usable certificate", bundle.display())) } else { Ok(roots) }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_reader_iter(BufReader::new(file)).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(format!("{}: holds no certificate in PEM form", path.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// The usual checks of chain, name and dates; then the pins, where there are any.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    pins: Vec<[u8; 32]>,
    presented: Presented,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Ok(mut presented) = self.presented.lock() {
            let chain = std::iter::once(end_entity).chain(intermediates);
            *presented = chain.map(|certificate| certificate.clone().into_owned()).collect();
        }
        let verified = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        if !self.pins.is_empty() {
            let key = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
            let hash: [u8; 32] = Sha256::digest(key.as_ref()).into();
            if !self.pins.contains(&hash) {
                return Err(Error::General("the service's key is none of pin_sha256".into()));
            }
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

thread_local! {
    static BEGUN: Cell<bool> = const { Cell::new(false) };
}

/// Whether a handshake began on this thread since this was asked last.
pub fn has_begun() -> bool {
    BEGUN.take()
}

/// The sessions to resume. It is asked for one at the beginning of every handshake, before a byte is sent: by that a
/// connection that failed before TLS is told from one that failed in it, which decides whether failing open is possible.
#[derive(Debug)]
struct Sessions(ClientSessionMemoryCache);

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(server_name, group);
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        BEGUN.set(true);
        self.0.kx_hint(server_name)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(server_name, value);
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        BEGUN.set(true);
        self.0.tls12_session(server_name)
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        self.0.remove_tls12_session(server_name);
    }

    fn insert_tls13_ticket(&self, server_name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(server_name, value);
    }

    fn take_tls13_ticket(&self, server_name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        BEGUN.set(true);
        self.0.take_tls13_ticket(server_name)
    }
}
