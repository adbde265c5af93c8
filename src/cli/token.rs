//! `token`: a new bearer token and the lines that let the daemon know it.

use super::args::TokenArgs;
use super::exit::{Exit, Failure};
use super::print;
use crate::config::Digest;

/// Random bytes of a token: as many as its hash has, so that neither can be guessed.
const BYTES: usize = 32;

/// Prints the token alone on standard output, once, so that it can go straight into a file; the lines for the
/// configuration, which hold no secret, on standard error.
pub(super) fn run(args: &TokenArgs) -> Result<Exit, Failure> {
    let mut bytes = [0; BYTES];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| Failure::new(Exit::Failed, "the system gives no random numbers"))?;
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    print::error(&lines(args, &Digest::of(token.as_bytes())));
    print::out(&format!("{token}\n"))?;
    Ok(Exit::Done)
}

fn lines(args: &TokenArgs, hash: &Digest) -> String {
    let (name, role) = (&args.name, args.role.as_str());
    format!(
        "# The token is shown this once. For the configuration:\n\
         [[http.client]]\nname = \"{name}\"\nrole = \"{role}\"\ntoken_hash = \"{hash}\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::RoleArg;

    #[test]
    fn the_lines_for_the_configuration_are_valid_and_hold_the_hash_only() {
        let args = TokenArgs { name: "grafana".into(), role: RoleArg::Viewer };
        let text = lines(&args, &Digest::of(b"hunter2"));
        assert!(!text.contains("hunter2"));
        let table: toml::Table = text.parse().expect("TOML");
        let client = &table["http"]["client"][0];
        assert_eq!((client["name"].as_str(), client["role"].as_str()), (Some("grafana"), Some("viewer")));
        assert_eq!(client["token_hash"].as_str().and_then(Digest::parse), Some(Digest::of(b"hunter2")));
    }
}
