//! The exceptions of Invoke, with the status that each has on the wire.
//!
//! Source: AWS Lambda API Reference, "Invoke", section "Errors"; the last rows are common errors of all AWS services.

use http::StatusCode;
use serde_json::{Value, json};

/// One line an exception: the variants, their names and their status cannot drift apart.
macro_rules! exceptions {
    ($($name:ident = $status:ident,)*) => {
        /// An exception of the Invoke API, by the name that `x-amzn-ErrorType` carries.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "the names are AWS's own")]
        #[non_exhaustive]
        pub enum Exception { $($name,)* }

        impl Exception {
            /// All exceptions of the catalogue.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name as AWS writes it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The HTTP status it comes with.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }
        }
    };
}

exceptions! {
    TooManyRequestsException = TOO_MANY_REQUESTS,
    ServiceException = INTERNAL_SERVER_ERROR,
    EC2ThrottledException = BAD_GATEWAY,
    EC2UnexpectedException = BAD_GATEWAY,
    ENINotReadyException = BAD_GATEWAY,
    ENILimitReachedException = BAD_GATEWAY,
    SubnetIPAddressLimitReachedException = BAD_GATEWAY,
    ResourceNotReadyException = BAD_GATEWAY,
    ResourceConflictException = CONFLICT,
    SnapStartNotReadyException = CONFLICT,
    SnapStartTimeoutException = REQUEST_TIMEOUT,
    SnapStartException = BAD_REQUEST,
    SnapStartRegenerationFailureException = CONFLICT,
    CodeArtifactUserPendingException = CONFLICT,
    CodeArtifactUserDeletedException = CONFLICT,
    CodeArtifactUserFailedException = CONFLICT,
    EFSMountTimeoutException = REQUEST_TIMEOUT,
    EFSMountConnectivityException = REQUEST_TIMEOUT,
    EFSIOException = GONE,
    EFSMountFailureException = FORBIDDEN,
    S3FilesMountTimeoutException = REQUEST_TIMEOUT,
    S3FilesMountConnectivityException = REQUEST_TIMEOUT,
    S3FilesMountFailureException = FORBIDDEN,
    KMSAccessDeniedException = BAD_GATEWAY,
    KMSDisabledException = BAD_GATEWAY,
    KMSInvalidStateException = BAD_GATEWAY,
    KMSNotFoundException = BAD_GATEWAY,
    EC2AccessDeniedException = BAD_GATEWAY,
    InvalidSecurityGroupIDException = BAD_GATEWAY,
    InvalidSubnetIDException = BAD_GATEWAY,
    InvalidRuntimeException = BAD_GATEWAY,
    InvalidZipFileException = BAD_GATEWAY,
    RuntimeVersionDeletedException = CONFLICT,
    RuntimeAliasDeletedException = CONFLICT,
    NoPublishedVersionException = BAD_REQUEST,
    ModeNotSupportedException = BAD_REQUEST,
    ResourceNotFoundException = NOT_FOUND,
    InvalidParameterValueException = BAD_REQUEST,
    ServiceQuotaExceededException = PAYMENT_REQUIRED,
    RequestTooLargeException = PAYLOAD_TOO_LARGE,
    SerializedRequestEntityTooLargeException = PAYLOAD_TOO_LARGE,
    InvalidRequestContentException = BAD_REQUEST,
    UnsupportedMediaTypeException = UNSUPPORTED_MEDIA_TYPE,
    RecursiveInvocationException = BAD_REQUEST,
    DurableExecutionAlreadyStartedException = CONFLICT,
    AccessDeniedException = FORBIDDEN,
    ExpiredTokenException = FORBIDDEN,
    UnrecognizedClientException = FORBIDDEN,
    InvalidSignatureException = FORBIDDEN,
    MissingAuthenticationTokenException = FORBIDDEN,
}

impl Exception {
    /// The exception with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|exception| exception.name() == name)
    }

    /// The body that comes with it. AWS writes the member of the text in both spellings, so a client must read both.
    pub(crate) fn document(self, message: &str) -> Value {
        let member = match self {
            Self::ResourceNotFoundException | Self::AccessDeniedException => "Message",
            _ => "message",
        };
        let blame = if self.status().is_server_error() {
            "Server"
        } else {
            "User"
        };
        json!({"Type": blame, member: message})
    }
}

/// Why Lambda throttled a call: the `Reason` of a 429.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are AWS's own")]
pub enum ThrottleReason {
    ConcurrentInvocationLimitExceeded,
    ReservedFunctionConcurrentInvocationLimitExceeded,
    FunctionInvocationRateLimitExceeded,
    ReservedFunctionInvocationRateLimitExceeded,
    CallerRateLimitExceeded,
    ConcurrentSnapshotCreateLimitExceeded,
}

impl ThrottleReason {
    /// The name as AWS writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConcurrentInvocationLimitExceeded => "ConcurrentInvocationLimitExceeded",
            Self::ReservedFunctionConcurrentInvocationLimitExceeded => {
                "ReservedFunctionConcurrentInvocationLimitExceeded"
            }
            Self::FunctionInvocationRateLimitExceeded => "FunctionInvocationRateLimitExceeded",
            Self::ReservedFunctionInvocationRateLimitExceeded => "ReservedFunctionInvocationRateLimitExceeded",
            Self::CallerRateLimitExceeded => "CallerRateLimitExceeded",
            Self::ConcurrentSnapshotCreateLimitExceeded => "ConcurrentSnapshotCreateLimitExceeded",
        }
    }

    /// The body of a 429 for this reason; AWS repeats the header `Retry-After` in it.
    pub(crate) fn document(self, retry_after_seconds: Option<u32>) -> Value {
        let mut document = json!({"Type": "User", "Reason": self.name(), "message": "Rate Exceeded."});
        if let Some(seconds) = retry_after_seconds {
            document["retryAfterSeconds"] = seconds.to_string().into();
        }
        document
    }
}
