//! TLS of the client: whom it trusts, and the certificate that it shows.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::args::ClientArgs;
use super::exit::{Exit, Failure};

/// Trusts the authorities in `--ca-file`, else those of the host.
pub(super) fn config(args: &ClientArgs) -> Result<Arc<ClientConfig>, Failure> {
    let usage = |text: String| Failure::new(Exit::Usage, text);
    let mut roots = RootCertStore::empty();
    match &args.ca_file {
        Some(file) => {
            for certificate in certificates(file)? {
                let added = roots.add(certificate);
                added.map_err(|error| usage(format!("{}: not an authority's certificate: {error}", file.display())))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| usage(error.to_string()))?.with_root_certificates(roots);
    let mut config = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) => {
            let secret = PrivateKeyDer::from_pem_file(key)
                .map_err(|_| usage(format!("{}: no private key (PEM, not encrypted) can be read", key.display())))?;
            builder
                .with_client_auth_cert(certificates(cert)?, secret)
                .map_err(|error| usage(format!("{} and {}: {error}", cert.display(), key.display())))?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let wrong = || Failure::new(Exit::Usage, format!("{}: no certificate (PEM) can be read", file.display()));
    let all = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    all.ok().filter(|all| !all.is_empty()).ok_or_else(wrong)
}
