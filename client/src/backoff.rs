//! How long the client pauses before it repeats a request. It sends nothing itself.

use std::time::{Duration, SystemTime};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use tokio::time::Instant;

use orghost_model::limits;

/// The pauses between the repetitions of a request.
///
/// Each pause is about twice as long as the one before. Random jitter makes a pause at most twice as long, so that many
/// clients do not return together. No pause is shorter than the server's `Retry-After`.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The first pause, without jitter. Default: [`limits::SERVER_PAUSE`].
    pub first: Duration,
    /// The longest pause, without jitter. Default: [`limits::SERVER_PAUSE_LONGEST`].
    pub longest: Duration,
    /// The total time for one request to a busy server, attempts included. Default: [`limits::SERVER_BUSY`].
    pub busy: Duration,
    /// The total time for one request to a server that answered before and no longer does; it may be restarting. Default:
    /// [`limits::SERVER_BACK`].
    pub away: Duration,
}

/// Why a request is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryReason {
    /// The server is busy.
    Busy,
    /// The connection was lost.
    Away,
    /// The server refuses the stream of events; the operation itself can still be read.
    EventsRefused,
}

/// A pause before a repetition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// Why the request is repeated.
    pub reason: RetryReason,
    /// The length of the pause.
    pub wait: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: limits::SERVER_PAUSE,
            longest: limits::SERVER_PAUSE_LONGEST,
            busy: limits::SERVER_BUSY,
            away: limits::SERVER_BACK,
        }
    }
}

impl Backoff {
    /// The pauses for one request. The total time starts now.
    pub fn pauses(self) -> Pauses {
        let growing = ExponentialBuilder::new()
            .with_min_delay(self.first)
            .with_max_delay(self.longest)
            .without_max_times()
            .with_jitter();
        Pauses {
            backoff: self,
            growing: growing.build(),
            began: Instant::now(),
        }
    }
}

/// The pauses for one request, made by [`Backoff::pauses`].
pub struct Pauses {
    backoff: Backoff,
    growing: ExponentialBackoff,
    began: Instant,
}

impl Pauses {
    /// The next pause; `None` when it would end after the total time.
    pub fn next(&mut self, reason: RetryReason, retry_after: Option<Duration>) -> Option<Pause> {
        let pause = self.next_without_total(reason, retry_after);
        let total = match reason {
            RetryReason::Busy => self.backoff.busy,
            RetryReason::Away | RetryReason::EventsRefused => self.backoff.away,
        };
        (self.began.elapsed() + pause.wait <= total).then_some(pause)
    }

    /// The next pause, without regard to the total time.
    pub fn next_without_total(
        &mut self,
        reason: RetryReason,
        retry_after: Option<Duration>,
    ) -> Pause {
        let growing = self.growing.next().unwrap_or(self.backoff.longest);
        Pause {
            reason,
            wait: growing.max(retry_after.unwrap_or_default()),
        }
    }
}

/// The wait that `Retry-After` asks for (RFC 9110, 10.2.3): seconds, or a date. A date in the past means no wait.
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

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(8),
        busy: Duration::from_secs(60),
        away: Duration::from_secs(10),
    };

    fn parsed(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, text.parse().unwrap());
        retry_after(&headers)
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(parsed("7"), Some(Duration::from_secs(7)));
        let date = SystemTime::now() + Duration::from_secs(100);
        let until = parsed(&httpdate::fmt_http_date(date)).unwrap();
        assert!((98..=100).contains(&until.as_secs()), "{until:?}");
        let past = parsed("Fri, 31 Dec 1999 23:59:59 GMT");
        assert_eq!(past, Some(Duration::ZERO));
        for nonsense in ["soon", "-1", "1.5", ""] {
            assert_eq!(parsed(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn pauses_grow_and_are_never_shorter_than_retry_after() {
        let mut pauses = BACKOFF.pauses();
        for least in [1, 2, 4, 8, 8, 8] {
            let wait = pauses
                .next_without_total(RetryReason::Busy, Some(Duration::ZERO))
                .wait;
            let least = Duration::from_secs(least);
            assert!(wait >= least && wait <= least * 2, "{wait:?} for {least:?}");
        }
        let asked = Duration::from_secs(30);
        let pause = pauses.next_without_total(RetryReason::Busy, Some(asked));
        assert_eq!(pause.wait, asked);
    }

    #[test]
    fn no_pause_ends_after_the_total_time() {
        let mut pauses = BACKOFF.pauses();
        let wait = |seconds| Some(Duration::from_secs(seconds));
        assert!(pauses.next(RetryReason::Busy, wait(59)).is_some());
        assert!(pauses.next(RetryReason::Busy, wait(61)).is_none());
        assert!(pauses.next(RetryReason::Away, wait(11)).is_none());
    }
}
