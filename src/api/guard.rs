//! Whether a request may come in at all: `Host`, `Origin`, and who sent it. Decides from the headers and the
//! configuration in effect, so that a changed token counts from the next request on.
//!
//! There is no header that would let a page of another origin read a reply, or be asked first (CORS): a browser
//! keeps such pages away, and [`same_origin`] keeps away those that ask nevertheless.

use std::net::IpAddr;

use hyper::header::{HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Uri, Version};

use super::access::{Identity, identify};
use super::problem::{Kind, Problem};
use super::{Certificate, Peer};
use crate::config::{HttpConfig, Role};
use crate::history::Actor;

/// Lets a request pass, with who sent it, or says why not. `open`: the route is for everybody.
pub(super) fn check(head: &Parts, peer: Peer, http: Option<&HttpConfig>, open: bool) -> Result<Identity, Problem> {
    let identity = match peer {
        Peer::Unix(local) => local.identity(),
        Peer::Tcp { remote, certificate } => {
            let http = http.ok_or_else(|| {
                Problem::new(Kind::Forbidden, "the configuration in effect has no [http]; use the Unix socket")
            })?;
            let host = host(head)?;
            if !http.asks_for_credentials() {
                local_only(host.as_ref(), remote)?;
                Identity::new(Actor::named("http"), Role::Operator)
            } else if open {
                Identity::new(Actor::named("anybody"), Role::Viewer)
            } else {
                identify(&head.headers, certificate.filter(|shown| counts(shown, http)).as_ref(), http)?
            }
        }
    };
    same_origin(head)?;
    Ok(identity)
}

/// A certificate was checked when its connection began. It counts for as long as its authorities are those of the
/// configuration: who goes on has to connect again.
fn counts(shown: &Certificate, http: &HttpConfig) -> bool {
    http.tls.as_ref().is_some_and(|tls| tls.authorities == Some(shown.authorities))
}

/// Without a token only this host is served. A browser of this host can be led here by a name that
/// an attacker resolves to 127.0.0.1, hence the look at the name.
fn local_only(host: Option<&Authority>, remote: IpAddr) -> Result<(), Problem> {
    if !remote.to_canonical().is_loopback() {
        return Err(Problem::new(
            Kind::Forbidden,
            "without a token only this host is served; set http.token_file or add an [[http.client]]",
        ));
    }
    match host {
        Some(host) if !is_local_name(host.host()) => Err(Problem::new(
            Kind::ForeignHost,
            "without a token only localhost and loopback addresses are served; set http.token_file or add an [[http.client]]",
        )),
        _ => Ok(()),
    }
}

fn is_local_name(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || literal.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

fn host(head: &Parts) -> Result<Option<Authority>, Problem> {
    if let Some(authority) = head.uri.authority() {
        return Ok(Some(authority.clone()));
    }
    let host = single(&head.headers, HOST)?;
    match host {
        None if head.version == Version::HTTP_11 => Err(Problem::new(Kind::Malformed, "HTTP/1.1 needs a Host header")),
        None | Some("") => Ok(None),
        Some(host) => host
            .parse()
            .map(Some)
            .map_err(|_| Problem::new(Kind::Malformed, "the Host header is not a host with an optional port")),
    }
}

fn single(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Problem> {
    let malformed = || Problem::new(Kind::Malformed, format!("the {name} header is not one line of ASCII text"));
    let mut values = headers.get_all(&name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(malformed());
    }
    first.map(|value| value.to_str().map_err(|_| malformed())).transpose()
}

fn same_origin(head: &Parts) -> Result<(), Problem> {
    let Some(origin) = single(&head.headers, ORIGIN)? else { return Ok(()) };
    let origin_host = origin.parse::<Uri>().ok().and_then(|uri| uri.authority().cloned());
    if origin_host.is_some() && origin_host == host(head)? {
        return Ok(());
    }
    Err(Problem::new(Kind::ForeignOrigin, "requests that a web page of another host sends are refused"))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use hyper::Request;
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;
    use crate::api::local::Local;
    use crate::config::{Digest, HttpClient, Proof, TlsConfig, TlsFiles};

    const LOCAL: Peer = Peer::Tcp { remote: IpAddr::V4(Ipv4Addr::LOCALHOST), certificate: None };

    fn unix() -> Peer {
        Peer::Unix(Local::new(1000, Role::Viewer))
    }

    fn http(token: Option<&str>) -> HttpConfig {
        let token = token.map(|token| Digest::of(token.as_bytes()));
        HttpConfig { token, ..HttpConfig::on(([127, 0, 0, 1], 8080).into()) }
    }

    fn head(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/sync/status");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a valid request").into_parts().0
    }

    fn verdict(headers: &[(&str, &str)], peer: Peer, http: Option<&HttpConfig>) -> Result<(), Kind> {
        check(&head(headers), peer, http, false).map(drop).map_err(|problem| problem.kind)
    }

    #[test]
    fn without_a_token_only_loopback_names_pass() {
        let open = http(None);
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.8.8.8", "[::1]:8080"] {
            assert_eq!(verdict(&[("host", host)], LOCAL, Some(&open)), Ok(()), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:8080", "10.0.0.1", "localhost.evil.example", "[::2]"] {
            assert_eq!(verdict(&[("host", host)], LOCAL, Some(&open)), Err(Kind::ForeignHost), "{host}");
        }
    }

    #[test]
    fn without_a_token_only_this_host_passes_whatever_it_says() {
        let remote = Peer::Tcp { remote: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7)), certificate: None };
        assert_eq!(verdict(&[("host", "localhost")], remote, Some(&http(None))), Err(Kind::Forbidden));
        let mapped =
            Peer::Tcp { remote: IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x7f00, 1)), certificate: None };
        assert_eq!(verdict(&[("host", "localhost")], mapped, Some(&http(None))), Ok(()));
    }

    #[test]
    fn a_token_must_be_sent_and_be_right() {
        let closed = http(Some("s3cret"));
        let with = |value: &'static str| vec![("host", "rbac.example"), ("authorization", value)];
        assert_eq!(verdict(&with("Bearer s3cret"), LOCAL, Some(&closed)), Ok(()));
        assert_eq!(verdict(&with("bearer s3cret"), LOCAL, Some(&closed)), Ok(()));
        for wrong in ["Bearer s3cre", "Bearer s3cret2", "Bearer ", "Bearer", "", "Basic s3cret", "s3cret"] {
            assert_eq!(verdict(&with(wrong), LOCAL, Some(&closed)), Err(Kind::Unauthorized), "{wrong}");
        }
        assert_eq!(verdict(&[("host", "localhost")], LOCAL, Some(&closed)), Err(Kind::Unauthorized));
        assert!(check(&head(&[("host", "x")]), LOCAL, Some(&closed), true).is_ok(), "open routes need none");
    }

    #[test]
    fn pages_of_other_hosts_are_refused_on_both_listeners() {
        let open = http(None);
        let from = |origin: &'static str| vec![("host", "localhost:8080"), ("origin", origin)];
        assert_eq!(verdict(&from("http://localhost:8080"), LOCAL, Some(&open)), Ok(()));
        for origin in ["http://evil.example", "http://localhost:9999", "null", "http://", "x y"] {
            assert_eq!(verdict(&from(origin), LOCAL, Some(&open)), Err(Kind::ForeignOrigin), "{origin}");
            assert_eq!(verdict(&from(origin), unix(), None), Err(Kind::ForeignOrigin), "{origin}");
        }
    }

    #[test]
    fn a_listener_that_the_configuration_dropped_serves_nobody() {
        assert_eq!(verdict(&[("host", "localhost")], LOCAL, None), Err(Kind::Forbidden));
        assert_eq!(verdict(&[], unix(), None), Ok(()));
    }

    #[test]
    fn a_certificate_counts_for_as_long_as_its_authorities_do() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("pem"), cert.pem()).expect("written");
        std::fs::write(path("key"), signing_key.serialize_pem()).expect("written");
        let http = |client_ca: Option<&str>| {
            let files = TlsFiles { certificate: path("pem"), key: path("key"), client_ca: client_ca.map(path) };
            let client = HttpClient {
                name: "laptop".into(),
                role: Role::Viewer,
                proof: Proof::Certificate(Digest::of(b"certificate")),
            };
            let tls = Some(std::sync::Arc::new(TlsConfig::read(files).expect("they fit")));
            HttpConfig { tls, clients: vec![client], ..HttpConfig::on(([127, 0, 0, 1], 8080).into()) }
        };
        let authorities = Digest::of(cert.pem().as_bytes());
        let shown = Certificate { fingerprint: Digest::of(b"certificate"), authorities };
        let peer = Peer::Tcp { remote: IpAddr::V4(Ipv4Addr::LOCALHOST), certificate: Some(shown) };
        let host = [("host", "localhost")];
        assert_eq!(verdict(&host, peer, Some(&http(Some("pem")))), Ok(()));
        assert_eq!(verdict(&host, peer, Some(&http(None))), Err(Kind::Unauthorized));
        std::fs::write(path("pem"), cert.pem() + &cert.pem()).expect("written");
        assert_eq!(verdict(&host, peer, Some(&http(Some("pem")))), Err(Kind::Unauthorized));
    }

    #[test]
    fn a_missing_or_doubled_host_is_malformed() {
        let open = http(None);
        assert_eq!(verdict(&[], LOCAL, Some(&open)), Err(Kind::Malformed));
        assert_eq!(verdict(&[("host", "localhost"), ("host", "localhost")], LOCAL, Some(&open)), Err(Kind::Malformed));
    }
}
