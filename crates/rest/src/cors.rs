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
