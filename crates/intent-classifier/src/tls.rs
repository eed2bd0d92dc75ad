//! TLS by rustls: certificates that are replaced without a restart.

use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme, SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use tokio::time::interval;
use tokio_rustls::TlsAcceptor;
use tracing::{error, info, warn};

use crate::config::{ConfigError, TlsSettings, TlsVersion};

/// How often files are looked at for changes.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);
/// From this time before its end on, a certificate is worth a warning.
const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 24 * 3600);

/// The certificate that the server shows, as it stands in the files.
#[derive(Debug)]
pub(crate) struct Tls {
    settings: TlsSettings,
    config: ArcSwap<ServerConfig>,
    expires_at: AtomicI64,
    /// When the files were last changed, as far as they were read.
    read: Mutex<Stamps>,
}

type Stamps = [Option<SystemTime>; 3];

/// What is read of the files at one time.
struct Material {
    config: Arc<ServerConfig>,
    expires_at: i64,
}

impl Tls {
    /// Reads certificate and key; `None` when none is named.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] when only one of the two is named, a file cannot be read, or they do not belong together.
    pub(crate) fn load(settings: &TlsSettings) -> Result<Option<Arc<Self>>, ConfigError> {
        let missing = |variable, other| {
            let reason = format!("is not set, but `{other}` is; TLS needs both");
            Err(ConfigError::Invalid { variable, reason })
        };
        match (&settings.cert_file, &settings.key_file) {
            (None, None) if settings.client_ca_file.is_some() => missing("TLS_CERT_FILE", "TLS_CLIENT_CA_FILE"),
            (None, None) => Ok(None),
            (Some(_), None) => missing("TLS_KEY_FILE", "TLS_CERT_FILE"),
            (None, Some(_)) => missing("TLS_CERT_FILE", "TLS_KEY_FILE"),
            (Some(cert_file), Some(key_file)) => {
                let read = Mutex::new(stamps(settings));
                let Material { config, expires_at } = Material::read(settings, cert_file, key_file)?;
                let (config, expires_at) = (ArcSwap::new(config), AtomicI64::new(expires_at));
                Ok(Some(Arc::new(Self { settings: settings.clone(), config, expires_at, read })))
            }
        }
    }

    /// Returns what accepts a connection with the certificate of now.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }

    /// Returns when the certificate ends, in seconds since 1970.
    pub(crate) fn expires_at(&self) -> i64 {
        self.expires_at.load(Ordering::Relaxed)
    }

    /// Reads the files again if they were changed; what cannot be used leaves the old certificate in place.
    pub(crate) fn reload(&self) {
        let now = stamps(&self.settings);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if *read == now {
            return;
        }
        *read = now;
        let (Some(cert_file), Some(key_file)) = (&self.settings.cert_file, &self.settings.key_file) else { return };
        match Material::read(&self.settings, cert_file, key_file) {
            Ok(Material { config, expires_at }) => {
                self.config.store(config);
                self.expires_at.store(expires_at, Ordering::Relaxed);
                info!(expires_at, "certificate reloaded");
                self.warn_of_expiry();
            }
            // Two files cannot be changed at once: the next look sees both.
            Err(error) => error!(%error, "certificate not reloaded; the old one goes on"),
        }
    }

    /// Looks at the files again and again, for the life of the process.
    pub(crate) async fn watch(self: Arc<Self>) {
        self.warn_of_expiry();
        let mut looks = interval(RELOAD_INTERVAL);
        loop {
            looks.tick().await;
            let tls = Arc::clone(&self);
            // The files may be on a slow disk.
            let _ = tokio::task::spawn_blocking(move || tls.reload()).await;
        }
    }

    fn warn_of_expiry(&self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        let left_seconds = self.expires_at() - now;
        if left_seconds < EXPIRY_WARNING.as_secs() as i64 {
            warn!(left_seconds, "the certificate ends soon, or has ended");
        }
    }
}

impl Material {
    fn read(settings: &TlsSettings, cert_file: &Path, key_file: &Path) -> Result<Self, ConfigError> {
        let invalid = |variable| move |reason| ConfigError::Invalid { variable, reason };
        let chain = certificates(cert_file).map_err(invalid("TLS_CERT_FILE"))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&chain[0])
            .map_err(|error| format!("`{}` holds no X.509 certificate: {error}", cert_file.display()))
            .map_err(invalid("TLS_CERT_FILE"))?;
        let expires_at = parsed.validity().not_after.timestamp();
        let key = PrivateKeyDer::from_pem_file(key_file)
            .map_err(|error| format!("cannot read a private key in PEM from `{}`: {error}", key_file.display()))
            .map_err(invalid("TLS_KEY_FILE"))?;

        let provider = Arc::new(ring::default_provider());
        let versions: &[&SupportedProtocolVersion] = match settings.min_version {
            TlsVersion::V1_2 => &[&TLS13, &TLS12],
            TlsVersion::V1_3 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .expect("ring speaks both versions");
        let builder = match &settings.client_ca_file {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let verifier = client_verifier(file, provider).map_err(invalid("TLS_CLIENT_CA_FILE"))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| format!("it cannot be used with `{}`: {error}", cert_file.display()))
            .map_err(invalid("TLS_KEY_FILE"))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), expires_at })
    }
}

/// Returns how to talk to the server on this machine that shows the certificate in `cert_file`: that one is trusted and
/// no other, whatever name it is for and however old it is.
///
/// # Errors
/// [`ConfigError::Invalid`] when the file cannot be read.
pub(crate) fn pinned(cert_file: &Path) -> Result<Arc<ClientConfig>, ConfigError> {
    let invalid = |reason| ConfigError::Invalid { variable: "TLS_CERT_FILE", reason };
    let certificate = certificates(cert_file).map_err(invalid)?.remove(0);
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Pinned { certificate, algorithms: provider.signature_verification_algorithms });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring speaks both versions")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Trusts one certificate.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *shown == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn client_verifier(
    file: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| format!("`{}` cannot be trusted: {error}", file.display()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| format!("`{}` cannot be used: {error}", file.display()))
}

/// Reads the certificates in a PEM file, at least one.
///
/// # Errors
/// A sentence that names the file.
pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = file.display();
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
        .map_err(|error| format!("cannot read certificates in PEM from `{shown}`: {error}"))?;
    if certificates.is_empty() { Err(format!("`{shown}` holds no certificate in PEM")) } else { Ok(certificates) }
}

fn stamps(settings: &TlsSettings) -> Stamps {
    [&settings.cert_file, &settings.key_file, &settings.client_ca_file].map(|file| {
        let file = file.as_ref()?;
        fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
    })
}
