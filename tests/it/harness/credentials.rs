//! Tokens and certificates as the configuration and requests have them.

use sha2::{Digest, Sha256};

/// As the configuration writes a token's hash or a certificate's fingerprint.
pub(crate) fn hash(bytes: &[u8]) -> String {
    let digits: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// An `[[http.client]]`.
pub(crate) fn client(name: &str, role: &str, key: &str, hash: &str) -> String {
    format!("[[http.client]]\nname = \"{name}\"\nrole = \"{role}\"\n{key} = \"{hash}\"\n")
}

/// The header line that shows a token.
pub(crate) fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}
