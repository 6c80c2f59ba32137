//! How long, and how often, a server is asked again. Counts pauses, and asks nothing.

use std::time::{Duration, SystemTime};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use tokio::time::Instant;

use crate::limits;

/// The pauses between repetitions of a request: each about twice as long as the one before, up to twice
/// [`longest`](Self::longest) with its jitter; at least as long as the server's `Retry-After`; and all of them together, with
/// the requests between them, no longer than a total.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The first pause, without its jitter.
    pub first: Duration,
    /// The longest, without its jitter.
    pub longest: Duration,
    /// In total, with a server that says "later".
    pub busy: Duration,
    /// In total, with a server that answered before and does not any more: it may be restarting.
    pub away: Duration,
}

/// Why a request is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The server says "later".
    Busy,
    /// The connection was lost.
    Away,
    /// The server does not give its events; the operation itself can be asked.
    Refused,
}

/// A pause before a repetition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// What made it necessary.
    pub why: Why,
    /// How long it is.
    pub wait: Duration,
}

impl Default for Patience {
    /// See [`limits::SERVER_PAUSE`], [`limits::SERVER_BUSY`] and [`limits::SERVER_BACK`].
    fn default() -> Self {
        Self {
            first: limits::SERVER_PAUSE,
            longest: limits::SERVER_PAUSE_LONGEST,
            busy: limits::SERVER_BUSY,
            away: limits::SERVER_BACK,
        }
    }
}

impl Patience {
    /// The pauses of one trouble, which begins now.
    pub fn pauses(self) -> Pauses {
        let growing = ExponentialBuilder::new()
            .with_min_delay(self.first)
            .with_max_delay(self.longest)
            .without_max_times()
            .with_jitter();
        Pauses {
            patience: self,
            growing: growing.build(),
            began: Instant::now(),
        }
    }
}

/// See [`Patience::pauses`].
pub struct Pauses {
    patience: Patience,
    growing: ExponentialBackoff,
    began: Instant,
}

impl Pauses {
    /// The next one; `None` when it would end after the total.
    pub fn next(&mut self, why: Why, asked: Option<Duration>) -> Option<Pause> {
        let pause = self.next_of_many(why, asked);
        let total = match why {
            Why::Busy => self.patience.busy,
            Why::Away | Why::Refused => self.patience.away,
        };
        (self.began.elapsed() + pause.wait <= total).then_some(pause)
    }

    /// The next one, whatever the total.
    pub fn next_of_many(&mut self, why: Why, asked: Option<Duration>) -> Pause {
        let growing = self.growing.next().unwrap_or(self.patience.longest);
        Pause {
            why,
            wait: growing.max(asked.unwrap_or_default()),
        }
    }
}

/// What `Retry-After` asks for (RFC 9110, 10.2.3): seconds, or a date, of which the past is no pause.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(
        date.duration_since(SystemTime::now())
            .unwrap_or(Duration::ZERO),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(8),
        busy: Duration::from_secs(60),
        away: Duration::from_secs(10),
    };

    fn asked(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, text.parse().unwrap());
        retry_after(&headers)
    }

    #[test]
    fn a_pause_is_asked_for_in_seconds_or_as_a_date() {
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        let date = SystemTime::now() + Duration::from_secs(100);
        let until = asked(&httpdate::fmt_http_date(date)).unwrap();
        assert!((98..=100).contains(&until.as_secs()), "{until:?}");
        assert_eq!(asked("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
        for nonsense in ["soon", "-1", "1.5", ""] {
            assert_eq!(asked(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn pauses_grow_and_none_is_shorter_than_asked_for() {
        let mut pauses = PATIENCE.pauses();
        for floor in [1, 2, 4, 8, 8, 8] {
            let wait = pauses.next_of_many(Why::Busy, Some(Duration::ZERO)).wait;
            let floor = Duration::from_secs(floor);
            assert!(wait >= floor && wait <= floor * 2, "{wait:?} for {floor:?}");
        }
        let asked = Duration::from_secs(30);
        assert_eq!(pauses.next_of_many(Why::Busy, Some(asked)).wait, asked);
    }

    #[test]
    fn no_pause_ends_after_the_total() {
        let mut pauses = PATIENCE.pauses();
        let wait = |seconds| Some(Duration::from_secs(seconds));
        assert!(pauses.next(Why::Busy, wait(59)).is_some());
        assert!(pauses.next(Why::Busy, wait(61)).is_none());
        assert!(pauses.next(Why::Away, wait(11)).is_none());
    }
}
