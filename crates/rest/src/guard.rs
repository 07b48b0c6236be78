//! What stands before every request: which paths a listener serves, how many requests a client may send, who he is, what
//! he may do, how much memory it takes; and a line in the audit log for each change.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Body as HttpBody, Bytes};
use klamm_runtime::{AdminListeners, RestConfig, Scheme};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;
use tower_service::Service as _;
use tracing::{error, info, warn};

use crate::RestError;
use crate::auth::{Authenticator, Caller, Role, Unknown};
use crate::clients::Buckets;
use crate::cors::{Cors, is_foreign};
use crate::error::ApiError;
use crate::reload::Reload;
use crate::response_headers::HeaderRule;
use crate::room::{NoRoom, Room, Roomy};
use crate::route::segments;

/// What each line of the audit log is logged under.
const AUDIT: &str = "klamm::audit";
/// First parts of the paths that `admin.listeners` is about.
const ADMIN: [&str; 2] = ["admin", "metrics"];

/// What a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surface {
    /// Everything.
    All,
    /// All but what `admin.listeners` is about.
    WithoutAdmin,
    /// What `admin.listeners` is about, and `/health`.
    Admin,
}

impl Surface {
    /// What `listeners` serve.
    pub(crate) fn of_listeners(admin: &AdminListeners) -> Self {
        match admin {
            AdminListeners::WithRest => Self::All,
            AdminListeners::Off | AdminListeners::On(_) => Self::WithoutAdmin,
        }
    }

    fn serves(self, path: &str) -> bool {
        // A path that cannot be read is refused by whoever answers it.
        let segments = segments(path).unwrap_or_default();
        let first = segments.first().map(String::as_str).unwrap_or_default();
        let is_admin = ADMIN.contains(&first);
        match self {
            Self::All => true,
            Self::WithoutAdmin => !is_admin,
            Self::Admin => is_admin || first == "health",
        }
    }
}

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) scheme: Scheme,
    /// SHA-256 of the certificate that it showed.
    pub(crate) certificate: Option<String>,
}

/// Who answers, and where.
pub(crate) struct Answers {
    pub(crate) router: Router,
    pub(crate) work: Handle,
}

impl Answers {
    async fn to(&self, request: Request<Body>) -> Response {
        let mut router = self.router.clone();
        // A client that goes away ends what is done for it.
        let answering = AbortOnDropHandle::new(self.work.spawn(async move { router.call(request).await }));
        match answering.await {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(error) => {
                error!(%error, "a request panicked, please report this");
                ApiError::plain(StatusCode::INTERNAL_SERVER_ERROR).into_response()
            }
        }
    }
}

pub(crate) struct Guard {
    authenticator: Option<Authenticator>,
    public_paths: Vec<String>,
    requests: Buckets,
    cors: Option<Cors>,
    response_headers: Vec<HeaderRule>,
    room: Room,
    now: fn() -> SystemTime,
}

impl Guard {
    /// # Errors
    /// A setting, or a file that it names, is wrong.
    pub(crate) fn try_new(config: &RestConfig, now: fn() -> SystemTime) -> Result<Self, RestError> {
        let wrong = |key: &'static str| {
            move |what| RestError::Setting {
                key: key.to_owned(),
                what,
            }
        };
        let per_second = f64::from(config.limits.requests_per_second);
        Ok(Self {
            authenticator: Authenticator::try_new(&config.authentication).map_err(wrong("rest.auth"))?,
            public_paths: config.authentication.public_paths.clone(),
            requests: Buckets::new(2.0 * per_second, per_second),
            cors: Cors::try_new(&config.allowed_origins, &config.allowed_methods)
                .map_err(wrong("access.control.allow.methods"))?,
            response_headers: HeaderRule::parse_all(&config.response_headers)
                .map_err(wrong("response.http.headers.config"))?,
            room: Room::default(),
            now,
        })
    }

    /// What is to be read again when it changes.
    pub(crate) fn reloads(&self) -> Vec<Arc<dyn Reload>> {
        self.authenticator
            .as_ref()
            .map(Authenticator::reloads)
            .unwrap_or_default()
    }

    /// Has a request answered, if nothing speaks against it.
    pub(crate) async fn answer<B>(
        &self,
        answers: &Answers,
        surface: Surface,
        peer: &Peer,
        request: Request<B>,
    ) -> Response
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let mut caller = None;
        let answered = self.pass(answers, surface, peer, request, &mut caller).await;
        let mut response = answered.unwrap_or_else(|refusal| refusal);
        audit(&method, &path, caller.as_ref(), peer, &response);
        for rule in &self.response_headers {
            rule.apply(response.headers_mut(), self.now);
        }
        response
    }

    async fn pass<B>(
        &self,
        answers: &Answers,
        surface: Surface,
        peer: &Peer,
        mut request: Request<B>,
        caller: &mut Option<Caller>,
    ) -> Result<Response, Response>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if !self.requests.take(peer.address.ip()) {
            return Err(later(
                StatusCode::TOO_MANY_REQUESTS,
                "Too many requests from this address",
                "1",
            ));
        }
        let path = request.uri().path();
        if !surface.serves(path) {
            return Err(ApiError::plain(StatusCode::NOT_FOUND).into_response());
        }
        let preflight = self
            .cors
            .as_ref()
            .and_then(|cors| cors.preflight(request.method(), request.headers()));
        if let Some(preflight) = preflight {
            return Ok(preflight);
        }
        let looks = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
        if !looks && is_foreign(self.cors.as_ref(), request.headers()) {
            let text =
                "Pages of this origin may not change anything here: `access.control.allow.origin` names those that may";
            return Err(ApiError::new(StatusCode::FORBIDDEN, text).into_response());
        }
        if let Some(authenticator) = &self.authenticator
            && !self.is_public(request.method(), path)
        {
            let known = authenticator.caller(request.headers(), peer.address.ip()).await;
            let known = known.map_err(|unknown| stranger(authenticator, unknown, peer))?;
            let needed = Role::needed(request.method(), path);
            let (name, role) = (known.name.clone(), known.role);
            *caller = Some(known);
            if role < needed {
                let text = format!("`{name}` has the role `{role}`, and this request needs the role `{needed}`");
                return Err(ApiError::new(StatusCode::FORBIDDEN, text).into_response());
            }
            // For what the body decides.
            request.extensions_mut().insert(role);
        }
        let origin = self.cors.is_some().then(|| request.headers().clone());
        let held = self.room.hold();
        let request = request.map(|body| Roomy::arriving(body, Arc::clone(&held)));
        let mut response = answers.to(request).await;
        if peer.scheme == Scheme::Https {
            secure_location(response.headers_mut());
        }
        if let (Some(cors), Some(asked)) = (&self.cors, origin) {
            cors.open(&asked, response.headers_mut());
        }
        let length = response
            .body()
            .size_hint()
            .exact()
            .and_then(|length| usize::try_from(length).ok());
        let held = self.room.hold();
        if held.take(length.unwrap_or_default()).is_err() {
            return Err(later(StatusCode::SERVICE_UNAVAILABLE, &NoRoom.to_string(), "1"));
        }
        Ok(response.map(|body| Roomy::leaving(body, held)))
    }

    fn is_public(&self, method: &Method, path: &str) -> bool {
        (*method == Method::GET || *method == Method::HEAD) && self.public_paths.iter().any(|public| public == path)
    }
}

/// The answer to somebody who is not known.
fn stranger(authenticator: &Authenticator, unknown: Unknown, peer: &Peer) -> Response {
    match unknown {
        Unknown::TooOften => {
            return later(
                StatusCode::TOO_MANY_REQUESTS,
                "Too many wrong logins from this address",
                "6",
            );
        }
        Unknown::Busy => return later(StatusCode::SERVICE_UNAVAILABLE, "Too many log in at this moment", "1"),
        Unknown::Wrong(user) => warn!(target: AUDIT, client = %peer.address, user, "login refused"),
        Unknown::Silent => {}
    }
    // Connect's words.
    let mut response = ApiError::new(StatusCode::UNAUTHORIZED, "User cannot access the resource.").into_response();
    for challenge in authenticator.challenges() {
        let challenge = HeaderValue::from_static(challenge);
        response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

fn later(status: StatusCode, text: &str, seconds: &'static str) -> Response {
    let mut response = ApiError::new(status, text).into_response();
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
    response
}

/// Whoever made the location knew only the host.
fn secure_location(headers: &mut HeaderMap) {
    let location = headers
        .get(header::LOCATION)
        .and_then(|location| location.to_str().ok());
    let secure = location
        .and_then(|location| location.strip_prefix("http://"))
        .and_then(|rest| HeaderValue::from_str(&format!("https://{rest}")).ok());
    if let Some(secure) = secure {
        headers.insert(header::LOCATION, secure);
    }
}

/// Who did what to which connector from where, and what came of it: a line for each request that may change something. What
/// somebody unknown was refused is none: he could fill the log with it.
fn audit(method: &Method, path: &str, caller: Option<&Caller>, peer: &Peer, response: &Response) {
    if Role::needed(method, path) == Role::Read {
        return;
    }
    let segments = segments(path).unwrap_or_default();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    if let ["connectors", _, "preview"] | ["connector-plugins", ..] = segments.as_slice() {
        return; // changes nothing
    }
    let created = response
        .headers()
        .get(header::LOCATION)
        .and_then(|location| location.to_str().ok());
    let created = created
        .and_then(|location| location.rsplit_once("/connectors/"))
        .map(|(_, name)| name.to_owned());
    let connector = match segments.as_slice() {
        ["connectors", name, ..] => Some((*name).to_owned()),
        _ => created.and_then(|name| super::route::segments(&format!("/{name}")).ok()?.pop()),
    };
    let what = match segments.as_slice() {
        ["connectors", _, rest @ ..] => [&["connectors", "{connector}"], rest].concat().join("/"),
        other => other.join("/"),
    };
    let status = response.status();
    if caller.is_none() && status.is_client_error() {
        return;
    }
    let outcome = match status.as_u16() {
        200..=299 => "done",
        401 | 403 => "denied",
        400..=499 => "refused",
        _ => "failed",
    };
    info!(
        target: AUDIT,
        user = caller.map_or("anonymous", |caller| caller.name.as_str()),
        role = caller.map(|caller| caller.role.name()),
        client = %peer.address,
        certificate = peer.certificate,
        method = method.as_str(),
        // Line ends and other control characters, which names may hold, are escaped.
        path = %format_args!("/{}", what.escape_debug()),
        connector,
        status = status.as_u16(),
        outcome,
        "change"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_listener_serves_its_paths() {
        let cases = [
            ("/admin/loggers", [true, false, true]),
            ("/ad%6din/loggers", [true, false, true]),
            ("/admin;x=1/loggers", [true, false, true]),
            ("/metrics/", [true, false, true]),
            ("/health", [true, true, true]),
            ("/", [true, true, false]),
            ("/connectors/admin", [true, true, false]),
        ];
        for (path, wanted) in cases {
            let served = [Surface::All, Surface::WithoutAdmin, Surface::Admin].map(|surface| surface.serves(path));
            assert_eq!(served, wanted, "{path}");
        }
    }
}
