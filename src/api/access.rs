//! Who asks, and what that one may do. Pure: from what a request shows and the configuration in effect to an
//! [`Identity`].

use hyper::header::{AUTHORIZATION, HeaderMap};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::Certificate;
use super::problem::{Kind, Problem};
use crate::config::{Digest, HttpConfig, Proof, Role};
use crate::history::Actor;

/// Somebody known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) actor: Actor,
    pub(super) role: Role,
}

impl Identity {
    pub(super) fn new(actor: Actor, role: Role) -> Self {
        Self { actor, role }
    }

    /// Lets a change pass or says why not.
    pub(super) fn may_change(&self) -> Result<(), Problem> {
        match self.role {
            Role::Operator => Ok(()),
            Role::Viewer => {
                let detail = format!("{} may read but change nothing; an operator may", self.actor);
                Err(Problem::new(Kind::InsufficientRole, detail))
            }
        }
    }
}

/// Knows the sender of an HTTP request by its token, else by its certificate. A token that is sent must be
/// right, whatever the certificate says.
pub(super) fn identify(
    headers: &HeaderMap,
    certificate: Option<&Certificate>,
    http: &HttpConfig,
) -> Result<Identity, Problem> {
    let unauthorized = |detail: &str| Problem::new(Kind::Unauthorized, detail);
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    match (sent.next(), sent.next(), certificate) {
        (Some(value), None, _) => by_token(value.as_bytes(), http)
            .ok_or_else(|| unauthorized("send a configured token as \"Authorization: Bearer TOKEN\"")),
        (Some(_), Some(_), _) => Err(unauthorized("there is more than one Authorization header")),
        (None, _, Some(certificate)) => by_certificate(&certificate.fingerprint, http)
            .ok_or_else(|| unauthorized("no [[http.client]] has the fingerprint of this certificate")),
        (None, _, None) => Err(unauthorized("send a configured token as \"Authorization: Bearer TOKEN\"")),
    }
}

/// Compares the hash of what was sent with every known one, and takes as long for each of them as for none.
fn by_token(header: &[u8], http: &HttpConfig) -> Option<Identity> {
    let (scheme, token) = header.split_at(header.len().min(b"Bearer ".len()));
    let token = token.trim_ascii();
    if !scheme.eq_ignore_ascii_case(b"Bearer ") || token.is_empty() {
        return None;
    }
    let sent = Digest::of(token);
    let file = http.token.iter().map(|hash| (hash, "token", Role::Operator));
    let clients = http.clients.iter().filter_map(|client| match &client.proof {
        Proof::Token(hash) => Some((hash, client.name.as_str(), client.role)),
        Proof::Certificate(_) => None,
    });
    let known: Vec<_> = file.chain(clients).collect();
    let mut found = u32::MAX;
    for (index, (hash, ..)) in (0..).zip(&known) {
        found.conditional_assign(&index, sent.as_bytes().ct_eq(hash.as_bytes()));
    }
    let (_, name, role) = known.get(usize::try_from(found).ok()?)?;
    let actor = if *name == "token" { Actor::named(name) } else { Actor::named(&format!("token {name}")) };
    Some(Identity::new(actor, *role))
}

fn by_certificate(shown: &Digest, http: &HttpConfig) -> Option<Identity> {
    let client = http.clients.iter().find(|client| client.proof == Proof::Certificate(*shown))?;
    Some(Identity::new(Actor::named(&format!("certificate {}", client.name)), client.role))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HttpClient;

    fn http() -> HttpConfig {
        let client = |name: &str, role, proof| HttpClient { name: name.to_owned(), role, proof };
        HttpConfig {
            token: Some(Digest::of(b"file")),
            clients: vec![
                client("grafana", Role::Viewer, Proof::Token(Digest::of(b"one"))),
                client("ops", Role::Operator, Proof::Token(Digest::of(b"two"))),
                client("laptop", Role::Operator, Proof::Certificate(Digest::of(b"cert"))),
            ],
            ..HttpConfig::on(([127, 0, 0, 1], 0).into())
        }
    }

    fn known(sent: &[&str], certificate: Option<&[u8]>) -> Result<(String, Role), Kind> {
        let mut headers = HeaderMap::new();
        for value in sent {
            headers.append(AUTHORIZATION, value.parse().expect("a header"));
        }
        let authorities = Digest::of(b"authorities");
        let certificate = certificate.map(|der| Certificate { fingerprint: Digest::of(der), authorities });
        identify(&headers, certificate.as_ref(), &http())
            .map(|identity| (identity.actor.to_string(), identity.role))
            .map_err(|problem| problem.kind)
    }

    #[test]
    fn each_token_has_its_bearers_name_and_role() {
        assert_eq!(known(&["Bearer file"], None), Ok(("token".into(), Role::Operator)));
        assert_eq!(known(&["bearer one"], None), Ok(("token grafana".into(), Role::Viewer)));
        assert_eq!(known(&["Bearer two"], None), Ok(("token ops".into(), Role::Operator)));
    }

    #[test]
    fn what_is_not_a_known_token_is_nobodys() {
        let hash = format!("Bearer {}", Digest::of(b"two"));
        for wrong in ["Bearer tw", "Bearer twoo", "Bearer ", "Bearer", "", "Basic two", "two", "Bearer cert", &hash] {
            assert_eq!(known(&[wrong], None), Err(Kind::Unauthorized), "{wrong}");
        }
        assert_eq!(known(&["Bearer one", "Bearer two"], None), Err(Kind::Unauthorized));
        assert_eq!(known(&[], None), Err(Kind::Unauthorized));
    }

    #[test]
    fn a_certificate_counts_where_no_token_is_sent() {
        assert_eq!(known(&[], Some(b"cert")), Ok(("certificate laptop".into(), Role::Operator)));
        assert_eq!(known(&[], Some(b"other")), Err(Kind::Unauthorized), "its authority is known, it is not");
        assert_eq!(known(&["Bearer one"], Some(b"cert")), Ok(("token grafana".into(), Role::Viewer)));
        assert_eq!(known(&["Bearer wrong"], Some(b"cert")), Err(Kind::Unauthorized));
    }

    #[test]
    fn a_viewer_changes_nothing() {
        let identity = |role| Identity::new(Actor::named("x"), role);
        assert_eq!(identity(Role::Viewer).may_change().map_err(|problem| problem.kind), Err(Kind::InsufficientRole));
        assert!(identity(Role::Operator).may_change().is_ok());
    }
}
