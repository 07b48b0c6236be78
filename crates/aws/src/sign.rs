//! AWS Signature Version 4 on a request, by the AWS SDK's own signer.

use std::time::SystemTime;

use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningParams, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// The services that requests are signed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// AWS Lambda
    Lambda,
    /// Amazon SQS
    Sqs,
    /// Amazon SNS
    Sns,
    /// Amazon S3
    S3,
    /// AWS Secrets Manager
    SecretsManager,
    /// AWS Systems Manager
    Ssm,
}

impl Service {
    /// The service's name in signatures and host names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lambda => "lambda",
            Self::Sqs => "sqs",
            Self::Sns => "sns",
            Self::S3 => "s3",
            Self::SecretsManager => "secretsmanager",
            Self::Ssm => "ssm",
        }
    }

    fn settings(self) -> SigningSettings {
        let mut settings = SigningSettings::default();
        // S3 takes a path as it is, and wants the body's checksum in a header of its own.
        if self == Self::S3 {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        settings
    }
}

/// A request that cannot be signed, with the reason.
#[derive(Debug)]
pub struct CannotSign(pub String);

/// Signs `headers` and `body` of a request to `uri`, and adds the headers that carry the signature.
///
/// # Errors
/// The request or the credentials are not what a signature can be made of.
#[expect(clippy::too_many_arguments, reason = "each is a part of what is signed")]
pub fn sign_request(
    service: Service,
    identity: &Identity,
    region: &str,
    now: SystemTime,
    method: &Method,
    uri: &str,
    headers: &mut HeaderMap,
    body: &[u8],
) -> Result<(), CannotSign> {
    let failed = |why: &dyn std::fmt::Display| CannotSign(format!("it cannot be signed: {why}"));
    let params: SigningParams<'_> = v4::SigningParams::builder()
        .identity(identity)
        .region(region)
        .name(service.name())
        .time(now)
        .settings(service.settings())
        .build()
        .map_err(|error| failed(&error))?
        .into();
    let signed = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let request = SignableRequest::new(method.as_str(), uri, signed, SignableBody::Bytes(body))
        .map_err(|error| failed(&error))?;
    let (instructions, _signature) = sign(request, &params).map_err(|error| failed(&error))?.into_parts();
    let (added, _query) = instructions.into_parts();
    for header in added {
        let mut value = HeaderValue::from_str(header.value()).map_err(|error| failed(&error))?;
        value.set_sensitive(header.sensitive());
        headers.insert(HeaderName::from_static(header.name()), value);
    }
    Ok(())
}
