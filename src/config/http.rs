//! The table `[http]`: where the listener listens, who may use it, and its TLS.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::access::{Digest, HttpClient, Proof};
use super::credential::Purpose;
use super::raw::{Entry, Place, Raw, Section, Value};
use super::tls::{Read, TlsConfig, TlsFiles};
use super::validate::{Findings, is_given, required};
use super::{Environment, HttpConfig, SourceName, values};

/// Fewer characters than this cannot hold the randomness that keeps a token from being guessed.
const SHORT_TOKEN: usize = 22;

/// The table's meaning; `None` without the table, or after an error.
pub(super) fn http(
    raw: &Raw,
    environment: &Environment,
    nowhere: &Place,
    findings: &mut Findings,
) -> Option<HttpConfig> {
    let top = &raw.top;
    if !is_given(top, "http") && raw.clients.is_empty() {
        return None;
    }
    let at = top.tables.get("http").unwrap_or(nowhere);
    let listen = required(top, "http.listen", at, findings, values::address);
    let purpose = Purpose { key: "http.token", section: top, in_url: None };
    let token = purpose.read(environment, findings).and_then(|token| {
        if token.expose().len() < SHORT_TOKEN {
            let message = "a token this short can be guessed; `rbac-sync token` makes a better one";
            findings.warning(purpose.place().unwrap_or(at), "http.token", message);
        }
        let read = digest_of_token(token.expose());
        read.map_err(|message| findings.error(purpose.place().unwrap_or(at), "http.token", message)).ok()
    });
    let tls = tls(top, at, findings);
    let clients: Vec<_> = raw.clients.iter().filter_map(|section| client(section, at, findings)).collect();
    unique(raw, &clients, findings);
    with_authority(raw, top, findings);

    let listen = listen?;
    if !values::is_loopback(&listen) && purpose.place().is_none() && raw.clients.is_empty() {
        let place = top.entries.get("http.listen").map_or(at, |entry| &entry.place);
        let message = "an address that is not loopback needs a token: set token_file or token_credential, add an \
                       [[http.client]] (`rbac-sync token` makes one), or listen on 127.0.0.1";
        findings.missing(place, "http.listen", message);
    }
    if !values::is_loopback(&listen) && !is_given(top, "http.tls") {
        let place = top.entries.get("http.listen").map_or(at, |entry| &entry.place);
        let message = "without [http.tls] tokens cross the network in the clear; add it, or listen on 127.0.0.1 behind \
                       a proxy with TLS";
        findings.warning(place, "http.listen", message);
    }
    Some(HttpConfig { listen, token, clients, tls })
}

/// A token itself, or `sha256:` and its hash.
fn digest_of_token(text: &str) -> Result<Digest, &'static str> {
    if text.starts_with("sha256:") {
        return Digest::parse(text).ok_or("what begins with sha256: must go on with 64 hexadecimal digits");
    }
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Digest::of(text.as_bytes()));
    }
    Err("the token must be visible ASCII without spaces: it travels in a header")
}

fn client(section: &Section, at: &Place, findings: &mut Findings) -> Option<HttpClient> {
    let at = section.tables.get("http.client").unwrap_or(at);
    let name = required(section, "http.client.name", at, findings, |value| {
        let name = values::text(value)?;
        let valid = SourceName::new(name).map(|_| name.to_owned());
        valid.ok_or_else(|| "must be 1 to 32 characters of a-z, 0-9 and - (lower case)".to_owned())
    });
    let role = required(section, "http.client.role", at, findings, values::role);
    let token = findings.value(section, "http.client.token_hash", values::digest);
    let certificate = findings.value(section, "http.client.certificate", values::digest);
    let given = |key| section.entries.contains_key(key);
    if given("http.client.token_hash") == given("http.client.certificate") {
        let message = "a client needs either `token_hash` (see `rbac-sync token`) or `certificate`, the SHA-256 \
                       fingerprint of its certificate";
        findings.error(at, "http.client", message);
    }
    let proof = token.map(Proof::Token).or(certificate.map(Proof::Certificate));
    Some(HttpClient { name: name?, role: role?, proof: proof? })
}

/// Who is who must be clear: no name twice, and no token or certificate under two names.
fn unique(raw: &Raw, clients: &[HttpClient], findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for section in &raw.clients {
        let Some(Entry { value: Value::Text(name), place }) = section.entries.get("http.client.name") else { continue };
        if !seen.insert(name) {
            findings.error(place, "http.client.name", "an earlier [[http.client]] has the same name");
        }
        if name == "token" {
            let message = "`token` is the name of the one whose token is in token_file; choose another one";
            findings.error(place, "http.client.name", message);
        }
    }
    for (index, client) in clients.iter().enumerate() {
        if clients[..index].iter().any(|other| other.proof == client.proof) {
            let section = raw.clients.iter().find(|section| is_named(section, &client.name));
            if let Some(entry) = section.and_then(|section| section.entries.get("http.client.name")) {
                findings.error(
                    &entry.place,
                    "http.client",
                    "an earlier [[http.client]] has the same token or certificate",
                );
            }
        }
    }
}

fn is_named(section: &Section, wanted: &str) -> bool {
    matches!(section.entries.get("http.client.name"), Some(Entry { value: Value::Text(name), .. }) if name == wanted)
}

/// A certificate is only asked for where an authority is known that it can come from.
fn with_authority(raw: &Raw, top: &Section, findings: &mut Findings) {
    if top.entries.contains_key("http.tls.client_ca") {
        return;
    }
    for entry in raw.clients.iter().filter_map(|section| section.entries.get("http.client.certificate")) {
        let message = "client certificates need [http.tls] client_ca, the authority that issued them";
        findings.error(&entry.place, "http.client.certificate", message);
    }
}

fn tls(top: &Section, at: &Place, findings: &mut Findings) -> Option<Arc<TlsConfig>> {
    if !is_given(top, "http.tls") {
        return None;
    }
    let at = top.tables.get("http.tls").unwrap_or(at);
    let certificate = required(top, "http.tls.certificate", at, findings, values::absolute_path);
    let key = required(top, "http.tls.key", at, findings, values::absolute_path);
    let client_ca = findings.value(top, "http.tls.client_ca", values::absolute_path);
    let files = TlsFiles { certificate: certificate?, key: key?, client_ca };
    match files.read(&mut findings.companions) {
        Ok(Read { tls, key_is_public }) => {
            findings.absorb(tls.content.as_bytes());
            let key = top.entries.get("http.tls.key").map_or(at, |entry| &entry.place);
            if key_is_public {
                findings.warning(key, "http.tls.key", "everybody on this host can read the key: chmod o-r");
            }
            Some(Arc::new(tls))
        }
        Err((key, message)) => {
            let place = top.entries.get(key).map_or(at, |entry| &entry.place);
            findings.error(place, key, message);
            None
        }
    }
}
