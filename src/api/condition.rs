//! `ETag` and `If-Match`: a change only of what its asker has seen.

use hyper::Response;
use hyper::header::{ETAG, HeaderMap, HeaderValue, IF_MATCH};

use super::problem::{Kind, Problem};

/// The tags of `If-Match`, of which one must be that of the resource; `None`: the header is absent, or `*`,
/// for the resources that have a tag always exist. A weak tag (`W/"x"`) never matches, as HTTP wants it.
pub(super) fn expected(headers: &HeaderMap) -> Result<Option<Vec<String>>, Problem> {
    let malformed = || Problem::new(Kind::Malformed, "If-Match is * or a list of tags in double quotes, as in ETag");
    let mut tags = Vec::new();
    let mut any = false;
    for value in headers.get_all(IF_MATCH) {
        let mut rest = value.to_str().map_err(|_| malformed())?.trim();
        if rest == "*" {
            any = true;
            continue;
        }
        while !rest.is_empty() {
            let (tag, after) = one(rest).ok_or_else(malformed)?;
            tags.extend(tag);
            rest = after;
        }
    }
    match (headers.contains_key(IF_MATCH), any, tags.is_empty()) {
        (false, ..) | (true, true, true) => Ok(None),
        (true, false, _) if headers.get_all(IF_MATCH).iter().any(|value| !value.is_empty()) => Ok(Some(tags)),
        _ => Err(malformed()),
    }
}

/// The first tag of a list, `None` in place of a weak one, and what follows its comma.
fn one(list: &str) -> Option<(Option<String>, &str)> {
    let weak = list.strip_prefix("W/");
    let inner = weak.unwrap_or(list).strip_prefix('"')?;
    let (tag, after) = inner.split_once('"')?;
    if tag.contains(|c: char| !c.is_ascii_graphic()) {
        return None;
    }
    let after = after.trim_start();
    let rest = match after.strip_prefix(',') {
        Some(next) => Some(next.trim_start()).filter(|next| !next.is_empty())?,
        None if after.is_empty() => "",
        None => return None,
    };
    Some((weak.is_none().then(|| format!("\"{tag}\"")), rest))
}

/// Adds the tag of what a reply shows.
pub(super) fn tagged<B>(mut reply: Response<B>, tag: &str) -> Response<B> {
    if let Ok(value) = HeaderValue::from_str(tag) {
        reply.headers_mut().insert(ETAG, value);
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Result<Option<Vec<String>>, Kind> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IF_MATCH, HeaderValue::from_str(value).expect("a header value"));
        }
        expected(&headers).map_err(|problem| problem.kind)
    }

    #[test]
    fn a_list_of_tags_a_star_or_nothing_is_read() {
        let tags = |tags: &[&str]| Ok(Some(tags.iter().map(|tag| format!("\"{tag}\"")).collect()));
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["*"]), Ok(None));
        assert_eq!(read(&["\"a\""]), tags(&["a"]));
        assert_eq!(read(&["\"a\", \"b,c\",\"\""]), tags(&["a", "b,c", ""]));
        assert_eq!(read(&["\"a\"", "\"b\""]), tags(&["a", "b"]), "lines are one list");
        assert_eq!(read(&["W/\"a\""]), tags(&[]), "a weak tag matches nothing");
    }

    #[test]
    fn anything_else_is_malformed() {
        for value in ["", "a", "\"a", "a\"", "\"a\" \"b\"", "\"a\",", ",", "* , \"a\"", "w/\"a\"", "\"a b\"", "**"] {
            assert_eq!(read(&[value]), Err(Kind::Malformed), "{value}");
        }
        assert_eq!(read(&["*", "\"a\""]), Err(Kind::Malformed));
    }
}
