//! AWS Signature Version 4 on a request, by the AWS SDK's own signer.

use std::time::SystemTime;

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningParams, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::InvokeError;

/// Signs `headers` and `body` of a request to `uri`, and adds the headers that carry the signature.
pub(super) fn sign_request(
    identity: &Identity,
    region: &str,
    now: SystemTime,
    method: &str,
    uri: &str,
    headers: &mut HeaderMap,
    body: &[u8],
) -> Result<(), InvokeError> {
    let failed = |why: &dyn std::fmt::Display| InvokeError::Request(format!("it cannot be signed: {why}"));
    let params: SigningParams<'_> = v4::SigningParams::builder()
        .identity(identity)
        .region(region)
        .name("lambda")
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| failed(&error))?
        .into();
    let signed = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let request =
        SignableRequest::new(method, uri, signed, SignableBody::Bytes(body)).map_err(|error| failed(&error))?;
    let (instructions, _signature) = sign(request, &params).map_err(|error| failed(&error))?.into_parts();
    let (added, _query) = instructions.into_parts();
    for header in added {
        let mut value = HeaderValue::from_str(header.value()).map_err(|error| failed(&error))?;
        value.set_sensitive(header.sensitive());
        headers.insert(HeaderName::from_static(header.name()), value);
    }
    Ok(())
}
