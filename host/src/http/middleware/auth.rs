//! Authenticates every request, limits its rate and checks its scope, before the body is read. The rule of each route is in
//! [`super::access`].
//!
//! While no token was ever made, every local user of this machine has full access; requests from other sites' pages in a
//! local browser and requests through a proxy are refused. Once a token was made, every request needs one, even after all
//! tokens have expired or were revoked: otherwise a host would open up without a decision of its operator.

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

/// The authentication layer: it knows the tokens of the store, and the request rates of all callers.
pub struct AuthLayer {
    service: Service,
    rates: DefaultKeyedRateLimiter<RateKey>,
    /// How many requests were counted, for [`FORGET_EVERY`].
    counted: AtomicU32,
}

/// The key under which requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum RateKey {
    /// The id of a token.
    Token(String),
    /// The address of a client without a token. Of an IPv6 address only the /64 network counts, because its owner has all the
    /// addresses in it.
    Address(IpAddr),
}

/// After so many counted requests, keys with a full allowance are removed from memory.
const FORGET_EVERY: u32 = 1024;

/// Why a request is refused.
enum Refusal {
    /// The caller is not authenticated: 401.
    Unauthenticated(Box<Diagnostic>),
    /// The caller lacks permission: 403.
    Forbidden(Box<Diagnostic>),
    /// The route does not allow the method: 405, with the methods that it allows.
    Method(String),
    /// The caller sends too many requests: 429, with the seconds to wait.
    Rate(u64),
    /// The store failed, so the caller is not known.
    Store(Problem),
}

impl AuthLayer {
    /// A layer with the request rate of the configuration file (`requests_per_second`).
    pub fn new(service: Service) -> Self {
        let rate =
            NonZeroU32::new(service.config().server.requests_per_second).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(rate)
            .allow_burst(rate.saturating_mul(NonZeroU32::MIN.saturating_add(1)));
        Self {
            rates: RateLimiter::keyed(quota),
            counted: AtomicU32::new(0),
            service,
        }
    }

    /// Checks the head of a request. Returns the caller; `None` when the route is open or unknown, or when a workspace calls.
    async fn admit(&self, request: &Parts) -> Result<Option<Caller>, Refusal> {
        check_origin(request)?;
        let peer = peer(request);
        let address = RateKey::Address(rate_address(peer));
        let Some(route) = request.extensions.get::<MatchedPath>() else {
            // An unknown path answers 404 without authentication.
            self.count(address)?;
            return Ok(None);
        };
        let route = route.as_str();
        let Some(needed) = access::needed(&request.method, route) else {
            self.count(address)?;
            let methods = access::methods(route);
            if methods.is_empty() {
                tracing::error!(route, "a route has no access rule");
                return Err(Refusal::forbidden(Diagnostic::new(
                    "no-access-rule",
                    "this route has no access rule",
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
                    "this request needs the scope {}; the token {} has the scope {}",
                    scope.as_str(),
                    caller.id,
                    caller.scope.as_str()
                );
                Err(Refusal::forbidden(
                    Diagnostic::new("scope", message).help("ask the operator for another token"),
                ))
            }
            _ => Ok(caller),
        }
    }

    /// Identifies the caller by its API token, or as a local user while no token was ever made.
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
            .map_err(|e| Refusal::Store(e.into()))?;
        if needed == RouteAccess::Own && presented.is_some() && digest.is_none() {
            // A workspace's own token, which the handler checks.
            return Ok(None);
        }
        if !known.any {
            return check_local(request, peer).map(|()| Some(Caller::loopback()));
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
            true => Diagnostic::new("token-invalid", "this token is unknown, expired or revoked"),
            false => Diagnostic::new(
                "token-missing",
                "this request needs a token: `Authorization: Bearer orgh_…`",
            ),
        };
        Err(Refusal::unauthenticated(diagnostic.help(
            "the operator makes tokens with `orghost token new NAME --scope read|plan|write|admin`",
        )))
    }

    /// Counts a request, and refuses it when its caller exceeds the rate.
    fn count(&self, key: RateKey) -> Result<(), Refusal> {
        let counted = self.counted.fetch_add(1, Ordering::Relaxed);
        if counted.is_multiple_of(FORGET_EVERY) {
            self.rates.retain_recent();
        }
        self.rates.check_key(&key).map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            Refusal::Rate(wait.as_secs().saturating_add(1))
        })
    }
}

/// Passes an admitted request on with its [`Caller`] in the extensions, and answers a refused one. Refusals are audited.
pub async fn authenticate(
    State(layer): State<Arc<AuthLayer>>,
    request: Request,
    next: Next,
) -> Response {
    // Only the handler may read the body, so only the head is checked.
    let (mut head, body) = request.into_parts();
    match layer.admit(&head).await {
        Ok(caller) => {
            if let Some(caller) = caller {
                head.extensions.insert(caller);
            }
            audit::run(&layer.service, Request::from_parts(head, body), next).await
        }
        Err(refusal) => {
            let response = refusal.into_response();
            audit::refused(&layer.service, &head, response.status()).await;
            response
        }
    }
}

/// The address under which requests are counted: of IPv6 the /64 network.
fn rate_address(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

/// The token of `Authorization: Bearer`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The host that the request names: `:authority` in HTTP/2, else `Host`.
fn host(request: &Parts) -> Option<&str> {
    let of_uri = request.uri.authority().map(|authority| authority.as_str());
    of_uri.or_else(|| request.headers.get(header::HOST)?.to_str().ok())
}

/// Refuses requests from pages of other sites. A browser sends the site of the page as `Origin`.
fn check_origin(request: &Parts) -> Result<(), Refusal> {
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
        "this request comes from a page of another site; a browser may use this server from its own page only",
    );
    Err(Refusal::forbidden(diagnostic))
}

/// Accepts a request without a token only from a local user. `Host` must name this machine: a page of another site can let
/// its own name resolve to this machine (DNS rebinding), but then `Host` holds that name.
fn check_local(request: &Parts, peer: IpAddr) -> Result<(), Refusal> {
    let help = "make a token with `orghost token new NAME --scope admin`, and send it as `Authorization: Bearer`";
    let refused = |message: &str| {
        Err(Refusal::unauthenticated(
            Diagnostic::new("loopback-only", message).help(help),
        ))
    };
    if !peer.is_loopback() {
        return refused("a request from another machine needs a token");
    }
    if ["forwarded", "x-forwarded-for", "x-real-ip", "via"]
        .iter()
        .any(|name| request.headers.contains_key(*name))
    {
        return refused("a request through a proxy needs a token");
    }
    if !host(request).is_some_and(is_loopback_name) {
        return refused(
            "a request without a token must name localhost or a loopback address in `Host`",
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
    fn unauthenticated(diagnostic: Diagnostic) -> Self {
        Self::Unauthenticated(Box::new(diagnostic))
    }

    fn forbidden(diagnostic: Diagnostic) -> Self {
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
                let diagnostic = Diagnostic::new("method", format!("this path allows {allowed}"));
                let mut response = Problem::one(Class::NotFound, diagnostic).into_response();
                if let Ok(allowed) = HeaderValue::from_str(&allowed) {
                    response.headers_mut().insert(header::ALLOW, allowed);
                }
                response
            }
            Self::Rate(seconds) => {
                let diagnostic = Diagnostic::new("rate", "too many requests per second");
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
            Self::Store(problem) => problem.into_response(),
        }
    }
}
