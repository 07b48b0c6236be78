//! `access.control.allow.origin`: which web pages may call the API from a browser.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;

/// The methods without the setting, as in Connect.
const DEFAULT_METHODS: &str = "GET,POST,HEAD";
const ALLOWED_HEADERS: HeaderValue =
    HeaderValue::from_static("X-Requested-With,Content-Type,Accept,Origin,Authorization");
/// Seconds that a browser remembers what is allowed.
const MAX_AGE: HeaderValue = HeaderValue::from_static("1800");

/// What pages may do.
#[derive(Debug, Clone)]
pub(crate) struct Cors {
    origins: Vec<String>,
    methods: HeaderValue,
}

/// Whether a page of another place than this API lets a browser ask, and none that may. Browsers name the page's origin with
/// everything that changes something, other clients name none.
pub(crate) fn is_foreign(cors: Option<&Cors>, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let place = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let is_own = place.is_some_and(|(_, place)| host == Some(place));
    !is_own && cors.is_none_or(|cors| cors.allowed(headers).is_none())
}

impl Cors {
    /// None without an origin.
    ///
    /// # Errors
    /// A method that is none.
    pub(crate) fn try_new(origins: &[String], methods: &[String]) -> Result<Option<Self>, String> {
        if origins.is_empty() {
            return Ok(None);
        }
        for method in methods {
            Method::from_bytes(method.as_bytes()).map_err(|_| format!("`{method}` is no method"))?;
        }
        let methods = if methods.is_empty() {
            DEFAULT_METHODS.to_owned()
        } else {
            methods.join(",")
        };
        Ok(Some(Self {
            origins: origins.to_vec(),
            methods: HeaderValue::from_str(&methods).map_err(|_| "it holds no methods".to_owned())?,
        }))
    }

    /// The origin of a page that may call.
    fn allowed<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        let text = origin.to_str().ok()?;
        let is_allowed = self.origins.iter().any(|allowed| allowed == "*" || allowed == text);
        is_allowed.then_some(origin)
    }

    /// The answer to a browser that asks beforehand. It does not say who asks: browsers send no credentials with it.
    pub(crate) fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Response> {
        if method != Method::OPTIONS || !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        let origin = self.allowed(headers)?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::OK;
        let answer = response.headers_mut();
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
        answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
        answer.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        self.mark(origin, answer);
        Some(response)
    }

    /// Lets the page that called see the answer.
    pub(crate) fn open(&self, asked: &HeaderMap, answer: &mut HeaderMap) {
        // Caches keep answers apart, whoever asked first.
        answer.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = self.allowed(asked) {
            self.mark(origin, answer);
        }
    }

    fn mark(&self, origin: &HeaderValue, answer: &mut HeaderMap) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        // A browser adds its user's password by itself only for origins that were named: `*` trusts no page with it.
        if origin
            .to_str()
            .is_ok_and(|text| self.origins.iter().any(|allowed| allowed == text))
        {
            answer.insert(
                header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_places_are_foreign_unless_they_are_allowed() {
        let allowed = Cors::try_new(&["https://ui.example".to_owned()], &[]).unwrap();
        let cases = [
            (None, false, "no browser"),
            (Some("http://worker:8083"), false, "the API's own place"),
            (Some("https://ui.example"), false, "allowed"),
            (Some("https://evil.example"), true, "not allowed"),
            (Some("null"), true, "a page that hides where it is from"),
        ];
        for (origin, wanted, why) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("worker:8083"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(is_foreign(allowed.as_ref(), &headers), wanted, "{why}");
        }
    }
}
