//! What a caller may do, and what a request needs.

use std::fmt;

use axum::http::Method;

use crate::route::segments;

/// What a caller may do. Each includes the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Look.
    Read,
    /// Also pause, resume, stop, restart, preview, and look into dead letters.
    Operate,
    /// Everything.
    Admin,
}

impl Role {
    const ALL: [Self; 3] = [Self::Read, Self::Operate, Self::Admin];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| "its role is none of `read`, `operate`, `admin`".to_owned())
    }

    /// What the request needs. A change that is not listed here needs everything.
    pub(crate) fn needed(method: &Method, path: &str) -> Self {
        // A path that cannot be read is refused by whoever answers it.
        let segments = segments(path).unwrap_or_default();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        if [Method::GET, Method::HEAD, Method::OPTIONS].contains(method) {
            // Records may be shown there, as by a preview.
            let is_record = matches!(segments.as_slice(), ["connectors", _, "dead-letters", "records"]);
            return if is_record { Self::Operate } else { Self::Read };
        }
        match segments.as_slice() {
            ["connectors", _, "pause" | "resume" | "stop" | "restart" | "preview"]
            | ["connectors", _, "tasks", _, "restart"]
            | ["connectors", _, "topics", "reset"] => Self::Operate,
            // A configuration that is validated or previewed names what the worker then talks to.
            _ => Self::Admin,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_needs_the_least_role_that_may_do_it() {
        let cases = [
            ("GET", "/connectors", Role::Read, "looking"),
            ("HEAD", "/connectors/a/config", Role::Read, "looking"),
            ("GET", "/connectors/a/dead-letters", Role::Read, "looking"),
            (
                "GET",
                "/connectors/a/dead-letters/records",
                Role::Operate,
                "shows records",
            ),
            (
                "POST",
                "/connectors/a/dead-letters/redrive",
                Role::Admin,
                "writes records",
            ),
            ("PUT", "/connectors/a/pause", Role::Operate, "operating"),
            (
                "PUT",
                "/connectors/a/stop/",
                Role::Operate,
                "a slash at the end means nothing",
            ),
            (
                "PUT",
                "/connectors;x/a;y/pa%75se",
                Role::Operate,
                "as the path is read by whoever answers it",
            ),
            ("POST", "/connectors/a/restart", Role::Operate, "operating"),
            ("POST", "/connectors/a/tasks/0/restart", Role::Operate, "operating"),
            (
                "PUT",
                "/connector-plugins/X/config/validate",
                Role::Admin,
                "asks destinations with stored secrets",
            ),
            (
                "POST",
                "/connector-plugins/X/config/preview",
                Role::Admin,
                "asks the registry that it names",
            ),
            ("POST", "/connectors", Role::Admin, "creates"),
            ("PUT", "/connectors/a/config", Role::Admin, "changes"),
            ("PATCH", "/connectors/a/config", Role::Admin, "changes"),
            ("DELETE", "/connectors/a", Role::Admin, "deletes"),
            ("DELETE", "/connectors/pause", Role::Admin, "a connector of that name"),
            ("PATCH", "/connectors/a/offsets", Role::Admin, "may skip records"),
            ("PUT", "/admin/loggers/root", Role::Admin, "the worker itself"),
            ("POST", "/something/new", Role::Admin, "unknown"),
            ("PUT", "/connectors/%zz/pause", Role::Admin, "unreadable"),
            ("BREW", "/connectors/a", Role::Admin, "an unknown method"),
        ];
        for (method, path, wanted, why) in cases {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(Role::needed(&method, path), wanted, "{method} {path}: {why}");
        }
    }
}
