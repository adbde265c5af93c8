//! Who may ask: bearer token, `Host` and `Origin`. Decides from the headers and the configuration in
//! effect, so that a changed token counts from the next request on.
//!
//! On the Unix socket the file's mode decides who can connect; there is nothing more to check than
//! `Origin`, which only a web browser behind a proxy would send.

use std::net::IpAddr;

use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Uri, Version};
use subtle::ConstantTimeEq;

use super::Peer;
use super::problem::{Kind, Problem};
use crate::config::HttpConfig;

/// Lets a request pass or says why not. `open`: the route needs no token.
pub(super) fn check(head: &Parts, peer: Peer, http: Option<&HttpConfig>, open: bool) -> Result<(), Problem> {
    if let Peer::Tcp { remote } = peer {
        let http = http.ok_or_else(|| {
            Problem::new(Kind::Forbidden, "the configuration in effect has no [http]; use the Unix socket")
        })?;
        let host = host(head)?;
        match &http.token {
            Some(_) if open => {}
            Some(token) => authorize(&head.headers, token.expose())?,
            None => local_only(host.as_ref(), remote)?,
        }
    }
    same_origin(head)
}

fn authorize(headers: &HeaderMap, token: &str) -> Result<(), Problem> {
    let sent = headers.get(AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
    let (scheme, credentials) = sent.split_at(sent.len().min(b"Bearer ".len()));
    let equal = bool::from(credentials.trim_ascii().ct_eq(token.as_bytes()));
    if scheme.eq_ignore_ascii_case(b"Bearer ") && equal && !token.is_empty() {
        return Ok(());
    }
    Err(Problem::new(Kind::Unauthorized, "send the configured token as \"Authorization: Bearer TOKEN\""))
}

/// Without a token only this host is served. A browser of this host can be led here by a name that
/// an attacker resolves to 127.0.0.1, hence the look at the name.
fn local_only(host: Option<&Authority>, remote: IpAddr) -> Result<(), Problem> {
    if !remote.to_canonical().is_loopback() {
        return Err(Problem::new(Kind::Forbidden, "without a token only this host is served; set http.token_file"));
    }
    match host {
        Some(host) if !is_local_name(host.host()) => Err(Problem::new(
            Kind::ForeignHost,
            "without a token only localhost and loopback addresses are served; set http.token_file",
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

    use super::*;
    use crate::config::Secret;

    const LOCAL: Peer = Peer::Tcp { remote: IpAddr::V4(Ipv4Addr::LOCALHOST) };

    fn http(token: Option<&str>) -> HttpConfig {
        HttpConfig { listen: ([127, 0, 0, 1], 8080).into(), token: token.map(Secret::new) }
    }

    fn head(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/sync/status");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a valid request").into_parts().0
    }

    fn verdict(headers: &[(&str, &str)], peer: Peer, http: Option<&HttpConfig>) -> Result<(), Kind> {
        check(&head(headers), peer, http, false).map_err(|problem| problem.kind)
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
        let remote = Peer::Tcp { remote: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7)) };
        assert_eq!(verdict(&[("host", "localhost")], remote, Some(&http(None))), Err(Kind::Forbidden));
        let mapped = Peer::Tcp { remote: IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x7f00, 1)) };
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
            assert_eq!(verdict(&from(origin), Peer::Unix, None), Err(Kind::ForeignOrigin), "{origin}");
        }
    }

    #[test]
    fn a_listener_that_the_configuration_dropped_serves_nobody() {
        assert_eq!(verdict(&[("host", "localhost")], LOCAL, None), Err(Kind::Forbidden));
        assert_eq!(verdict(&[], Peer::Unix, None), Ok(()));
    }

    #[test]
    fn a_missing_or_doubled_host_is_malformed() {
        let open = http(None);
        assert_eq!(verdict(&[], LOCAL, Some(&open)), Err(Kind::Malformed));
        assert_eq!(verdict(&[("host", "localhost"), ("host", "localhost")], LOCAL, Some(&open)), Err(Kind::Malformed));
    }
}
