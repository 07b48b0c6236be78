//! Where a service listens.

use klamm_connect_api::config::without_user_info;

/// Checks a base URL and takes the slash off its end.
///
/// # Errors
/// It is none; the text says what is accepted.
pub fn parse_endpoint(text: &str) -> Result<String, String> {
    const ACCEPTED: &str = "accepted is a base URL, such as `https://lambda.eu-central-1.amazonaws.com` or \
                            `http://127.0.0.1:9001`";
    let shown = without_user_info(text);
    let uri: http::Uri = text.parse().map_err(|_| format!("`{shown}` is no URL: {ACCEPTED}"))?;
    let known_scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    let with_user = uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'));
    if !known_scheme || uri.host().is_none_or(str::is_empty) || uri.query().is_some() || with_user {
        return Err(format!("`{shown}` is no base URL: {ACCEPTED}"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// A service's own endpoint in a region, with the partition's domain.
#[must_use]
pub fn regional_endpoint(service: &str, region: &str) -> String {
    let domain = match region.split('-').take(2).collect::<Vec<_>>().as_slice() {
        ["cn", _] => "amazonaws.com.cn",
        ["us", "iso"] => "c2s.ic.gov",
        ["us", "isob"] => "sc2s.sgov.gov",
        ["us", "isof"] => "csp.hci.ic.gov",
        ["eu", "isoe"] => "cloud.adc-e.uk",
        ["eusc", _] => "amazonaws.eu",
        _ => "amazonaws.com",
    };
    format!("https://{service}.{region}.{domain}")
}
