//! The table `[http.tls]`: certificate, key and client authority, read and proved to fit each other.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::Digest as _;

use super::access::Digest;
use super::companions::Companions;

/// A chain or a bundle of authorities is smaller; anything larger is the wrong file.
const LIMIT: u64 = 1 << 20;

/// Where the files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate and those that issued it, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Authorities of client certificates, PEM; `None`: none is asked for.
    pub client_ca: Option<PathBuf>,
}

/// TLS of the HTTP listener, ready to be used.
#[derive(Clone)]
pub struct TlsConfig {
    /// Where it was read from.
    pub files: TlsFiles,
    /// Over all that was read.
    pub content: Digest,
    /// Over the authorities of client certificates.
    pub authorities: Option<Digest>,
    /// What a handshake needs.
    pub server: Arc<ServerConfig>,
}

#[cfg(test)]
impl TlsConfig {
    /// Reads the files; the error is what is wrong with them.
    pub(crate) fn read(files: TlsFiles) -> Result<Self, String> {
        files.read(&mut Companions::default()).map(|read| read.tls).map_err(|(_, wrong)| wrong)
    }
}

impl PartialEq for TlsConfig {
    fn eq(&self, other: &Self) -> bool {
        (&self.files, self.content) == (&other.files, other.content)
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsConfig").field(&self.files).finish()
    }
}

/// The key of the configuration that is wrong, and what is.
pub(super) type Wrong = (&'static str, String);

impl TlsFiles {
    /// Reads the files, all of them for `companions`, and proves that they fit.
    pub(super) fn read(self, companions: &mut Companions) -> Result<Read, Wrong> {
        let mut contents = |key: &'static str, path: &Path| {
            let read = companions.read(path, LIMIT);
            read.map_err(|reason| (key, format!("cannot read {}: {reason}", path.display())))
        };
        let certificate = contents("http.tls.certificate", &self.certificate);
        let key = contents("http.tls.key", &self.key);
        let client_ca = self.client_ca.as_ref().map(|path| contents("http.tls.client_ca", path));
        let ((certificate, _), (key, metadata)) = (certificate?, key?);
        let client_ca = client_ca.transpose()?.map(|(bytes, _)| bytes);
        let content = digest(&[Some(&certificate), Some(&key), client_ca.as_ref()]);
        let authorities = client_ca.as_deref().map(Digest::of);
        let server = server(&certificate, &key, client_ca.as_deref())?;
        let tls = TlsConfig { files: self, content, authorities, server: Arc::new(server) };
        Ok(Read { tls, key_is_public: metadata.mode() & 0o004 != 0 })
    }
}

/// The files, read.
pub(super) struct Read {
    pub(super) tls: TlsConfig,
    /// Everybody on this host may read the key.
    pub(super) key_is_public: bool,
}

/// The length keeps neighbours apart.
fn digest(parts: &[Option<&Vec<u8>>]) -> Digest {
    let mut all = sha2::Sha256::new();
    for part in parts.iter().flatten() {
        all.update((part.len() as u64).to_be_bytes());
        all.update(part);
    }
    Digest::of(&all.finalize())
}

fn certificates(key: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    // The parser's error could repeat a line of the file.
    let all = all.map_err(|_| (key, "the file is not valid PEM".to_owned()))?;
    if all.is_empty() { Err((key, "the file holds no certificate (PEM)".to_owned())) } else { Ok(all) }
}

fn server(certificate: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> Result<ServerConfig, Wrong> {
    let chain = certificates("http.tls.certificate", certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| ("http.tls.key", "the file holds no private key (PEM, not encrypted)".to_owned()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| ("http.tls.certificate", error.to_string()))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let wrong = |text: String| ("http.tls.client_ca", text);
            let mut roots = RootCertStore::empty();
            for authority in certificates("http.tls.client_ca", pem)? {
                roots.add(authority).map_err(|error| wrong(format!("not an authority's certificate: {error}")))?;
            }
            // Who shows none may still show a token.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = verifier.allow_unauthenticated().build().map_err(|error| wrong(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut server = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => ("http.tls.key", "the key does not belong to the certificate".to_owned()),
        other => ("http.tls.certificate", format!("cannot be used: {other}")),
    })?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(server)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;
    use crate::config::{Effect, diff, names};

    fn pair(folder: &Path, name: &str) -> TlsFiles {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = TlsFiles {
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
            client_ca: None,
        };
        std::fs::write(&files.certificate, cert.pem()).unwrap();
        std::fs::write(&files.key, signing_key.serialize_pem()).unwrap();
        files
    }

    fn refused(files: &TlsFiles) -> Wrong {
        files.clone().read(&mut Companions::default()).map(drop).expect_err("must be refused")
    }

    #[test]
    fn a_pair_that_fits_is_ready_and_another_one_differs() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (pair(folder.path(), "one"), pair(folder.path(), "two"));
        let tls = one.clone().read(&mut Companions::default()).unwrap().tls;
        assert_eq!(tls.server.alpn_protocols, [b"http/1.1".to_vec()]);
        std::fs::copy(&two.certificate, &one.certificate).unwrap();
        assert_eq!(refused(&one), ("http.tls.key", "the key does not belong to the certificate".to_owned()));
        std::fs::copy(&two.key, &one.key).unwrap();
        let other = one.clone().read(&mut Companions::default()).unwrap().tls;
        assert_ne!(other, tls);
    }

    #[test]
    fn a_replaced_pair_is_a_change_that_shows_paths_only_and_the_table_comes_and_goes_without_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (pair(folder.path(), "one"), pair(folder.path(), "two"));
        let with = |tls: Option<TlsConfig>| {
            let mut config = crate::api::testing::config();
            let http = crate::config::HttpConfig::on(([127, 0, 0, 1], 0).into());
            config.http = Some(crate::config::HttpConfig { tls: tls.map(Arc::new), ..http });
            config
        };
        let before = with(Some(one.clone().read(&mut Companions::default()).unwrap().tls));
        std::fs::copy(&two.certificate, &one.certificate).unwrap();
        std::fs::copy(&two.key, &one.key).unwrap();
        let after = with(Some(one.clone().read(&mut Companions::default()).unwrap().tls));
        let hot = |old: &_, new: &_| names(&diff(old, new), Effect::Hot);
        assert_eq!(hot(&before, &after), ["http.tls.certificate"]);
        assert_eq!(hot(&after, &with(None)), ["http.tls.certificate", "http.tls.key"]);
        let shown = crate::config::describe(&after);
        assert_eq!(shown["http"]["tls"]["key"], one.key.display().to_string());
        assert!(!shown.to_string().contains("PRIVATE"));
    }

    #[test]
    fn what_is_no_certificate_or_no_key_is_named_and_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let good = pair(folder.path(), "good");
        let junk = folder.path().join("junk");
        std::fs::write(&junk, "-----BEGIN PRIVATE KEY-----\nhunter2\n").unwrap();
        for (files, key) in [
            (TlsFiles { certificate: junk.clone(), ..good.clone() }, "http.tls.certificate"),
            (TlsFiles { key: junk.clone(), ..good.clone() }, "http.tls.key"),
            (TlsFiles { client_ca: Some(junk.clone()), ..good.clone() }, "http.tls.client_ca"),
            (TlsFiles { certificate: good.key.clone(), ..good.clone() }, "http.tls.certificate"),
            (TlsFiles { key: folder.path().join("none"), ..good.clone() }, "http.tls.key"),
        ] {
            let (wrong, message) = refused(&files);
            assert_eq!(wrong, key, "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
