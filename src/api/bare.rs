//! Problem details for what hyper refuses by itself, before any request is there: a message that is not HTTP/1, or
//! whose header is too large. hyper answers those with an empty body and closes. Pure: bytes in, bytes out.
//!
//! Such a head is told from ours without doubt: each of ours has `Cache-Control`, and no body of ours has a carriage
//! return, so that no part of one looks like a head.

use super::problem::{self, Kind, Problem};

/// Where the empty reply of hyper begins with which these bytes end, as every last message of a connection does that
/// is one.
pub(super) fn begins(bytes: &[u8]) -> Option<usize> {
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let start = bytes.windows(7).rposition(|seven| seven == b"HTTP/1.")?;
    let head = std::str::from_utf8(&bytes[start..]).ok()?;
    let mut lines = head.trim_end_matches("\r\n").split("\r\n");
    kind(lines.next()?)?;
    let is_ours = head.contains("\r\ncache-control: ");
    (lines.any(|line| line == "content-length: 0") && !is_ours).then_some(start)
}

fn kind(status_line: &str) -> Option<Kind> {
    match status_line.split(' ').nth(1)? {
        "400" => Some(Kind::Malformed),
        // A target that is too long is a part of the header too.
        "414" | "431" => Some(Kind::HeaderTooLarge),
        _ => None,
    }
}

/// The reply in place of such an empty one.
pub(super) fn explained(bare: &[u8]) -> Vec<u8> {
    let head = String::from_utf8_lossy(bare);
    let (status_line, rest) = head.split_once("\r\n").unwrap_or((&head, ""));
    let kind = kind(status_line).unwrap_or(Kind::Malformed);
    let detail = match kind {
        Kind::HeaderTooLarge => "a header has at most 16 KiB and 100 fields",
        _ => "this is not a message of HTTP/1.1",
    };
    let body = Problem::new(kind, detail).body();
    let status = kind.status();
    let mut text = format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let kept = rest.split("\r\n").filter(|line| !line.is_empty() && !line.starts_with("content-length:"));
    kept.for_each(|line| text.extend([line, "\r\n"]));
    let length = body.len().to_string();
    for (name, value) in [
        ("content-type", problem::CONTENT),
        ("content-length", &length),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ] {
        text.extend([name, ": ", value, "\r\n"]);
    }
    (text + "\r\n" + &body).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: &str = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\
        date: Tue, 24 Nov 2026 00:00:00 GMT\r\n\r\n";

    #[test]
    fn an_empty_refusal_is_found_where_it_begins_and_nothing_else_is() {
        assert_eq!(begins(BARE.as_bytes()), Some(0));
        let ours = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ncache-control: no-store\r\n\r\n";
        assert_eq!(begins((ours.to_owned() + BARE).as_bytes()), Some(ours.len()));
        let last = "c\r\ndata: HTTP/1.\r\n0\r\n\r\n";
        for other in [ours, last, "", "\r\n\r\n", &BARE[..BARE.len() - 1], &BARE.replace("431", "200")] {
            assert_eq!(begins(other.as_bytes()), None, "{other:?}");
        }
        assert_eq!(begins(&[BARE.as_bytes(), b"\xff\r\n\r\n"].concat()), None);
    }

    #[test]
    fn its_place_takes_a_problem_that_keeps_what_is_said_of_the_connection() {
        let text = String::from_utf8(explained(BARE.as_bytes())).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a whole reply");
        assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ndate: Tue"));
        assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{head}");
        assert_eq!(head.matches("content-length").count(), 1);
        let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!((&problem["type"], &problem["status"]), (&Kind::HeaderTooLarge.urn().into(), &431.into()));
        assert_eq!(begins(text.as_bytes()), None);
    }
}
