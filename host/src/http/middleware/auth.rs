//! Who asks, and whether they may: before a handler, and before a body is read. Knows no route; see [`super::access`].
//!
//! While no token was ever made, whoever is on this machine may do everything; and that must be they themselves, not a page
//! of another site in their browser, and not somebody behind a proxy. From the first token on, every request needs one, also
//! when all have expired or were revoked: a host must not open up by itself.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::access::{self, RouteAccess};
use super::audit;
use super::peer::peer;
use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};
use crate::service::Service;
use crate::state::token::{Caller, Scope, TokenDigest};

/// What stands before every route.
pub struct AuthLayer {
    service: Service,
    rates: DefaultKeyedRateLimiter<RateKey>,
    checks: AtomicU32,
}

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum RateKey {
    Token(String),
    /// Of IPv6 the network: who has one address there has all of them.
    Address(IpAddr),
}

/// After so many checks, askers that could ask anew anyway are forgotten.
const FORGET_EVERY: u32 = 1024;

/// What is refused, and with which status beside what its class says.
enum Refusal {
    /// 401.
    Unauthenticated(Box<Diagnostic>),
    /// 403.
    Forbidden(Box<Diagnostic>),
    /// 405.
    Method(String),
    /// 429, and the seconds after which to come back.
    Rate(u64),
    /// Nobody knows, because the store does not work.
    Broken(Problem),
}

impl AuthLayer {
    /// A gate of a host, with the rates of its configuration file.
    pub fn new(service: Service) -> Self {
        let rate =
            NonZeroU32::new(service.config().server.requests_per_second).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(rate)
            .allow_burst(rate.saturating_mul(NonZeroU32::MIN.saturating_add(1)));
        Self {
            rates: RateLimiter::keyed(quota),
            checks: AtomicU32::new(0),
            service,
        }
    }

    async fn admit(&self, request: &Parts) -> Result<Option<Caller>, Refusal> {
        own_site(request)?;
        let peer = peer(request);
        let address = RateKey::Address(network(peer));
        let Some(route) = request.extensions.get::<MatchedPath>() else {
            // There is no such thing, and nobody needs to be somebody to be told so.
            self.count(address)?;
            return Ok(None);
        };
        let route = route.as_str();
        let Some(needed) = access::needed(&request.method, route) else {
            self.count(address)?;
            let methods = access::methods(route);
            if methods.is_empty() {
                tracing::error!(route, "no access rule names this route");
                return Err(Refusal::may(Diagnostic::new(
                    "no-access-rule",
                    "nobody may use this route",
                )));
            }
            return Err(Refusal::Method(methods.join(", ")));
        };
        if needed == RouteAccess::Open {
            self.count(address)?;
            return Ok(None);
        }
        let caller = match self.caller(request, needed, peer).await {
            Err(refusal) => {
                self.count(address)?;
                return Err(refusal);
            }
            Ok(caller) => caller,
        };
        self.count(match &caller {
            Some(caller) if caller.id != Caller::loopback().id => RateKey::Token(caller.id.clone()),
            _ => address,
        })?;
        let scope = match needed {
            RouteAccess::Needs(scope) => scope,
            RouteAccess::Own | RouteAccess::Open => Scope::Write,
        };
        match &caller {
            Some(caller) if caller.scope < scope => {
                let message = format!(
                    "this needs the scope {}, and the token {} has {}",
                    scope.as_str(),
                    caller.id,
                    caller.scope.as_str()
                );
                Err(Refusal::may(
                    Diagnostic::new("scope", message).help("ask the operator for another token"),
                ))
            }
            _ => Ok(caller),
        }
    }

    async fn caller(
        &self,
        request: &Parts,
        needed: RouteAccess,
        peer: IpAddr,
    ) -> Result<Option<Caller>, Refusal> {
        let headers = &request.headers;
        let presented = bearer(headers);
        let digest = presented.and_then(TokenDigest::of);
        let store = self.service.store();
        let known = store
            .admission(digest)
            .await
            .map_err(|e| Refusal::Broken(e.into()))?;
        if needed == RouteAccess::Own && presented.is_some() && digest.is_none() {
            // A workspace's token.
            return Ok(None);
        }
        if !known.any {
            return alone(request, peer).map(|()| Some(Caller::loopback()));
        }
        if let Some((token, scope)) = known
            .token
            .and_then(|token| token.scope.map(|scope| (token, scope)))
        {
            return Ok(Some(Caller {
                id: token.id,
                name: token.name,
                scope,
            }));
        }
        let diagnostic = match headers.contains_key(header::AUTHORIZATION) {
            true => Diagnostic::new(
                "token-invalid",
                "this token does not count: it is unknown, expired or revoked",
            ),
            false => Diagnostic::new(
                "token-missing",
                "this needs a token, as `Authorization: Bearer orgh_…`",
            ),
        };
        Err(Refusal::who(diagnostic.help(
            "the operator makes one: orghost token new NAME --scope read|plan|write|admin",
        )))
    }

    fn count(&self, asker: RateKey) -> Result<(), Refusal> {
        let checks = self.checks.fetch_add(1, Ordering::Relaxed);
        if checks.is_multiple_of(FORGET_EVERY) {
            self.rates.retain_recent();
        }
        self.rates.check_key(&asker).map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            Refusal::Rate(wait.as_secs().saturating_add(1))
        })
    }
}

/// Lets a request through, with its [`Caller`] in the extensions, or answers it. Refusals are audited.
pub async fn gate(State(gate): State<Arc<AuthLayer>>, request: Request, next: Next) -> Response {
    // A body cannot be looked at by two, so only the head is.
    let (mut head, body) = request.into_parts();
    match gate.admit(&head).await {
        Ok(caller) => {
            if let Some(caller) = caller {
                head.extensions.insert(caller);
            }
            audit::carry(&gate.service, Request::from_parts(head, body), next).await
        }
        Err(refusal) => {
            let response = refusal.into_response();
            audit::refused(&gate.service, &head, response.status()).await;
            response
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// `Host`, or what HTTP/2 has in its place.
fn host(request: &Parts) -> Option<&str> {
    let of_uri = request.uri.authority().map(|authority| authority.as_str());
    of_uri.or_else(|| request.headers.get(header::HOST)?.to_str().ok())
}

/// A browser says which site a page is from that asks; another site's pages have no business here.
fn own_site(request: &Parts) -> Result<(), Refusal> {
    let Some(origin) = request.headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let origin = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.parse::<Uri>().ok());
    let origin = origin.as_ref().and_then(Uri::authority);
    if origin.is_some_and(|origin| {
        host(request).is_some_and(|host| host.eq_ignore_ascii_case(origin.as_str()))
    }) {
        return Ok(());
    }
    let diagnostic = Diagnostic::new(
        "foreign-origin",
        "a page of another site asks: browsers may ask from this server's own page only",
    );
    Err(Refusal::may(diagnostic))
}

/// Without tokens: only whoever is on this machine, and who says so. A page of another site can make its own name mean this
/// machine (DNS rebinding), but then that name is in `Host`.
fn alone(request: &Parts, peer: IpAddr) -> Result<(), Refusal> {
    let help = "make a token (orghost token new NAME --scope admin), and present it as `Authorization: Bearer`";
    let refused = |message: &str| {
        Err(Refusal::who(
            Diagnostic::new("loopback-only", message).help(help),
        ))
    };
    if !peer.is_loopback() {
        return refused("without a token only this machine may ask");
    }
    if ["forwarded", "x-forwarded-for", "x-real-ip", "via"]
        .iter()
        .any(|name| request.headers.contains_key(*name))
    {
        return refused("a proxy asks for somebody else: that needs a token");
    }
    if !host(request).is_some_and(is_loopback_name) {
        return refused(
            "without a token the server answers as localhost only: `Host` names something else",
        );
    }
    Ok(())
}

fn is_loopback_name(host: &str) -> bool {
    let Ok(authority) = host.parse::<axum::http::uri::Authority>() else {
        return false;
    };
    let name = authority.host();
    let address = name
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

impl Refusal {
    fn who(diagnostic: Diagnostic) -> Self {
        Self::Unauthenticated(Box::new(diagnostic))
    }

    fn may(diagnostic: Diagnostic) -> Self {
        Self::Forbidden(Box::new(diagnostic))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Unauthenticated(diagnostic) => {
                let mut response = Problem::one(Class::Refused, *diagnostic).into_response();
                let bearer = HeaderValue::from_static("Bearer realm=\"orghost\"");
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, bearer);
                response
            }
            Self::Forbidden(diagnostic) => {
                Problem::one(Class::Refused, *diagnostic).into_response()
            }
            Self::Method(allowed) => {
                let diagnostic = Diagnostic::new("method", format!("this takes {allowed}"));
                let mut response = Problem::one(Class::NotFound, diagnostic).into_response();
                if let Ok(allowed) = HeaderValue::from_str(&allowed) {
                    response.headers_mut().insert(header::ALLOW, allowed);
                }
                response
            }
            Self::Rate(seconds) => {
                let diagnostic = Diagnostic::new("rate", "too many requests in a second");
                let problem = Problem::one(
                    Class::Busy,
                    diagnostic.help("the operator sets `requests_per_second` under [server]"),
                );
                let mut response = problem.into_response();
                response
                    .headers_mut()
                    .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                response
            }
            Self::Broken(problem) => problem.into_response(),
        }
    }
}
