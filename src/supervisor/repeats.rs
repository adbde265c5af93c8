//! Requests that come twice: a client that got no answer sends the same request with the same key again,
//! and gets the run that it has asked for already. Pure; kept in memory for a day, up to a thousand.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::{Admitted, Denied, RunRequest};
use crate::history::Actor;

/// How long a key is known.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3600);
/// Keys known at a time; past it the oldest is forgotten.
const MOST: usize = 1000;

/// The answers to requests with a key, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    answered: VecDeque<Answered>,
}

#[derive(Debug)]
struct Answered {
    actor: Actor,
    request: RunRequest,
    runs: Admitted,
    at: Instant,
}

impl Repeats {
    /// The answer to a request that came before, if it has a key and did. A key is only its sender's: that
    /// of somebody else, or over the other listener, is another one.
    pub(super) fn find(
        &mut self,
        actor: &Actor,
        request: &RunRequest,
        now: Instant,
    ) -> Result<Option<Admitted>, Denied> {
        let is_known = |answered: &Answered| now.duration_since(answered.at) < KNOWN_FOR;
        while self.answered.front().is_some_and(|oldest| !is_known(oldest)) {
            self.answered.pop_front();
        }
        let mut same_sender = self
            .answered
            .iter()
            .filter(|answered| answered.actor == *actor && answered.request.trigger == request.trigger);
        match same_sender.find(|answered| request.key.is_some() && answered.request.key == request.key) {
            Some(answered) if answered.request == *request => Ok(Some(answered.runs.clone())),
            Some(_) => Err(Denied::KeyReused),
            None => Ok(None),
        }
    }

    /// Remembers the answer to a request, if it has a key. A denied one may be sent again as if it were new.
    pub(super) fn keep(&mut self, actor: &Actor, request: &RunRequest, runs: &Admitted, now: Instant) {
        if request.key.is_none() {
            return;
        }
        if self.answered.len() >= MOST {
            self.answered.pop_front();
        }
        let (actor, request, runs) = (actor.clone(), request.clone(), runs.clone());
        self.answered.push_back(Answered { actor, request, runs, at: now });
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::engine::Mode;
    use crate::history::Trigger;

    fn request(key: Option<&str>) -> RunRequest {
        RunRequest {
            trigger: Trigger::Api,
            source: None,
            mode: Mode::Delta,
            dry_run: false,
            allow_deletes: false,
            key: key.map(Into::into),
        }
    }

    fn admitted() -> Admitted {
        Admitted { runs: vec![Uuid::now_v7()] }
    }

    fn actor() -> Actor {
        Actor::named("uid 7")
    }

    #[test]
    fn the_same_request_with_the_same_key_gets_the_same_run() {
        let (mut repeats, now, runs) = (Repeats::default(), Instant::now(), admitted());
        assert_eq!(repeats.find(&actor(), &request(Some("k")), now), Ok(None));
        repeats.keep(&actor(), &request(Some("k")), &runs, now);
        assert_eq!(repeats.find(&actor(), &request(Some("k")), now), Ok(Some(runs)));
        assert_eq!(repeats.find(&actor(), &request(Some("l")), now), Ok(None));
    }

    #[test]
    fn another_request_with_the_same_key_is_denied() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        repeats.keep(&actor(), &request(Some("k")), &admitted(), now);
        let other = RunRequest { mode: Mode::Full, ..request(Some("k")) };
        assert_eq!(repeats.find(&actor(), &other, now), Err(Denied::KeyReused));
    }

    #[test]
    fn a_key_is_known_only_for_its_sender_and_its_listener() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        repeats.keep(&actor(), &request(Some("k")), &admitted(), now);
        assert_eq!(repeats.find(&Actor::named("uid 8"), &request(Some("k")), now), Ok(None));
        let socket = RunRequest { trigger: Trigger::Socket, ..request(Some("k")) };
        assert_eq!(repeats.find(&actor(), &socket, now), Ok(None));
    }

    #[test]
    fn requests_without_a_key_are_never_repeats() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        repeats.keep(&actor(), &request(None), &admitted(), now);
        assert_eq!(repeats.find(&actor(), &request(None), now), Ok(None));
    }

    #[test]
    fn keys_are_forgotten_after_a_day_and_when_there_are_too_many() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        repeats.keep(&actor(), &request(Some("first")), &admitted(), now);
        let almost = now + KNOWN_FOR - Duration::from_secs(1);
        assert!(repeats.find(&actor(), &request(Some("first")), almost).unwrap().is_some());
        assert_eq!(repeats.find(&actor(), &request(Some("first")), now + KNOWN_FOR), Ok(None));
        for number in 0..=MOST {
            repeats.keep(&actor(), &request(Some(&number.to_string())), &admitted(), now);
        }
        assert_eq!(repeats.answered.len(), MOST);
        assert_eq!(repeats.find(&actor(), &request(Some("0")), now), Ok(None));
        assert!(repeats.find(&actor(), &request(Some("1")), now).unwrap().is_some());
    }
}
