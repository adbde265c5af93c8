//! Who may use the HTTP listener: names, roles, and what each proves itself with.

use std::fmt;

use sha2::Digest as _;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Read everything, change nothing.
    Viewer,
    /// Change things too.
    Operator,
}

impl Role {
    /// As the configuration spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        }
    }
}

/// A SHA-256: of a token, or of a certificate (its fingerprint).
///
/// A fast hash without salt is right for a token of 256 random bits: nobody can try them all, and no two
/// are alike. For a password, which people choose, it would be wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The hash of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Reads `sha256:` and 64 hexadecimal digits, with colons between them as OpenSSL prints them or not.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text.strip_prefix("sha256:")?.bytes().filter(|byte| *byte != b':').collect();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Self(bytes))
    }

    /// The bytes, for a comparison in constant time.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    /// Not the hash: in a log it would only invite guesses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(***)")
    }
}

/// What a client proves itself with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A bearer token with that hash.
    Token(Digest),
    /// A certificate with that fingerprint.
    Certificate(Digest),
}

/// One `[[http.client]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpClient {
    /// Its name in the log and in the history, `[a-z0-9-]{1,32}`, unique.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// What it proves itself with.
    pub proof: Proof,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written_and_as_openssl_prints_it() {
        let digest = Digest::of(b"abc");
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(Digest::parse(text), Some(digest));
        let digits = &text["sha256:".len()..].to_uppercase();
        let pairs: Vec<_> = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap()).collect();
        assert_eq!(Digest::parse(&format!("sha256:{}", pairs.join(":"))), Some(digest));
        for wrong in ["", "sha256:", digits, &text[..70], &format!("{text}0"), &text.replace('b', "g"), "sha256:é"] {
            assert_eq!(Digest::parse(wrong), None, "{wrong}");
        }
        assert!(!format!("{digest:?}").contains("ba78"));
    }
}
