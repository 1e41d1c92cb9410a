//! Whose certificate answers a client, and what is spoken inside the encryption.

use std::{
    collections::HashMap,
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rustls::{
    ServerConfig,
    client::verify_server_name,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{Certificate, Routes, Tls};

/// What HTTP/2 is called in the handshake; see RFC 9113, 3.2.
pub(super) const HTTP2: &[u8] = b"h2";

/// Why a listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("the certificate {} cannot be read: {reason}", path.display())]
    Chain { path: PathBuf, reason: String },
    #[error("the certificate file {} holds no certificate", path.display())]
    NoCertificate { path: PathBuf },
    #[error("the key {} cannot be read: {reason}", path.display())]
    Key { path: PathBuf, reason: String },
    #[error("the key {} does not belong to the certificate {}: {reason}", key.display(), chain.display())]
    Pair { chain: PathBuf, key: PathBuf, reason: String },
    #[error("the certificate {} is not valid for `{host}`", chain.display())]
    Host { chain: PathBuf, host: String },
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// How each listener that speaks TLS encrypts.
pub(super) type Configs = HashMap<SocketAddr, Arc<ServerConfig>>;

/// Reads the certificates of every listener that speaks TLS.
///
/// They are read anew with each table, and when the files change ([`stamp`]); connections that are
/// open keep the one they began with. Where files that were good before cannot be read any more,
/// what was read then stays in force: a renewal that went wrong must not keep a service from being
/// switched.
pub(super) fn read(routes: &Routes, before: (&Routes, &Configs)) -> Result<Configs, TlsError> {
    let mut configs = HashMap::new();
    let provider = Arc::new(ring::default_provider());
    for listener in &routes.listeners {
        let Some(tls) = &listener.tls else { continue };
        let address = listener.address;
        let known = before.0.listeners.iter().find(|known| known.address == address);
        let known = known.filter(|known| known.tls.as_ref() == Some(tls));
        let config = match (config(tls, &provider), known.and_then(|_| before.1.get(&address))) {
            (Ok(config), _) => Arc::new(config),
            (Err(error), Some(known)) => {
                tracing::warn!(%address, %error, "the certificates read before stay in force");
                Arc::clone(known)
            }
            (Err(error), None) => return Err(error),
        };
        configs.insert(address, config);
    }
    Ok(configs)
}

/// Returns what tells that a file of a certificate changed: its times, in the order of the table.
pub(super) fn stamp(routes: &Routes) -> Vec<Option<SystemTime>> {
    let tls = routes.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let files = tls.flat_map(|tls| &tls.certificates).flat_map(|one| [&one.chain, &one.key]);
    files.map(|file| fs::metadata(file).and_then(|about| about.modified()).ok()).collect()
}

impl Certificate {
    /// Says why the certificate cannot be used, if it cannot: a file is not there or holds
    /// something else, the key belongs to another certificate, or a host is not covered.
    pub fn problem(&self) -> Option<String> {
        let provider = ring::default_provider();
        Names::default().add(self, &provider).err().map(|error| error.to_string())
    }
}

fn config(tls: &Tls, provider: &Arc<CryptoProvider>) -> Result<ServerConfig, TlsError> {
    let mut names = Names::default();
    for certificate in &tls.certificates {
        names.add(certificate, provider)?;
    }
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Setup)?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(names));
    config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
    config.ticketer = ring::Ticketer::new().map_err(TlsError::Setup)?;
    Ok(config)
}

/// The certificates of one listener by the names clients ask for.
#[derive(Default)]
struct Names {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows the `*`.
    below: HashMap<String, Arc<CertifiedKey>>,
    /// For those who ask for no name or for an unknown one.
    first: Option<Arc<CertifiedKey>>,
}

impl Names {
    fn add(
        &mut self,
        certificate: &Certificate,
        provider: &CryptoProvider,
    ) -> Result<(), TlsError> {
        let chain = read_chain(&certificate.chain)?;
        let key = PrivateKeyDer::from_pem_file(&certificate.key).map_err(|error| {
            let (path, reason) = (certificate.key.clone(), error.to_string());
            TlsError::Key { path, reason }
        })?;
        let leaf = chain[0].clone();
        let certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| {
            let (chain, key) = (certificate.chain.clone(), certificate.key.clone());
            TlsError::Pair { chain, key, reason: error.to_string() }
        })?;
        let certified = Arc::new(certified);
        for host in &certificate.hosts {
            let host = host.to_ascii_lowercase();
            if !is_valid_for(&leaf, &host) {
                return Err(TlsError::Host { chain: certificate.chain.clone(), host });
            }
            match host.strip_prefix('*') {
                Some(suffix) => self.below.insert(suffix.to_owned(), Arc::clone(&certified)),
                None => self.exact.insert(host, Arc::clone(&certified)),
            };
        }
        self.first.get_or_insert(certified);
        Ok(())
    }

    fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let known = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            // A `*` in a certificate stands for one label; see RFC 9525, 6.3.
            let below = || self.below.get(name.find('.').map_or("", |dot| &name[dot..]));
            self.exact.get(&name).or_else(below)
        });
        known.or(self.first.as_ref()).cloned()
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.exact.keys().chain(self.below.keys());
        formatter.debug_set().entries(names).finish()
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name())
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |error: rustls::pki_types::pem::Error| {
        let reason = error.to_string();
        TlsError::Chain { path: path.to_owned(), reason }
    };
    let chain = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(chain)
}

/// Returns whether clients that ask for the host will take the certificate.
fn is_valid_for(leaf: &CertificateDer<'_>, host: &str) -> bool {
    let one_below = host.strip_prefix('*').map(|suffix| format!("any{suffix}"));
    let name = one_below.as_deref().unwrap_or(host);
    let (Ok(parsed), Ok(name)) = (ParsedCertificate::try_from(leaf), ServerName::try_from(name))
    else {
        return false;
    };
    verify_server_name(&parsed, &name).is_ok()
}
