//! Asks functions whether they may be called, before there are records for them (`aws.lambda.preflight`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use klamm_aws::CredentialsPlan;
use klamm_connect_api::ConfigError;
use klamm_connect_api::sink::{Call, Failure, PreflightError, RouteIndex, Verdict};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::config::{Callee, FunctionRef, InvocationType, RoutePlan};
use crate::invoke::{Invoke, Request, Target};
use crate::verdict::{Destination, judge};

/// All functions have to be asked within this time.
const WITHIN: Duration = Duration::from_secs(30);
/// Answers of the service are short.
const ANSWER_BYTES: usize = 64 * 1024;
const TIMEOUT: &str = "aws.lambda.socket.timeout";

/// What is wrong with the routes' functions, one message each. Functions that a topic names are not known yet.
pub(crate) async fn preflight(
    routes: &[RoutePlan],
    client: impl Fn(&RoutePlan) -> Arc<dyn Invoke>,
) -> Vec<PreflightError> {
    let by = Instant::now() + WITHIN;
    let mut asked: Vec<&RoutePlan> = Vec::new();
    let mut errors = Vec::new();
    for route in routes {
        let Callee::Function(function) = &route.function else {
            continue;
        };
        if asked.iter().any(|other| asks_the_same(route, other)) {
            continue;
        }
        asked.push(route);
        let client = client(route);
        match timeout_at(by, ask(route, function, &*client)).await {
            Ok(found) => errors.extend(found),
            Err(_) => {
                let seconds = WITHIN.as_secs();
                errors.push(PreflightError {
                    error: ConfigError::new(
                        &route.function_key,
                        format!(
                            "function `{function}` could not be asked: not all functions answered within {seconds} s"
                        ),
                    ),
                    is_certain: false,
                });
                break;
            }
        }
    }
    errors
}

/// Whether asking for one of the routes answers for the other.
fn asks_the_same(one: &RoutePlan, other: &RoutePlan) -> bool {
    let question = |route: &RoutePlan| {
        (
            route.invocation,
            route.delivery.is_required,
            route.delivery.call_timeout,
        )
    };
    one.function == other.function
        && one.region == other.region
        && one.endpoint == other.endpoint
        && one.credentials == other.credentials
        && one.context.tenant_id == other.context.tenant_id
        && question(one) == question(other)
}

async fn ask(route: &RoutePlan, function: &FunctionRef, client: &dyn Invoke) -> Option<PreflightError> {
    let error = |key: &str, message: String, is_certain| PreflightError {
        error: ConfigError::new(key, message),
        is_certain,
    };
    if let Some((failure, is_certain)) = dry_run(route, function, client).await {
        // A shadow need not exist.
        let is_certain = is_certain && route.delivery.is_required;
        return Some(error(&route.function_key, failure.to_string(), is_certain));
    }
    if route.invocation != InvocationType::Sync {
        return None;
    }
    // Whoever may call a function need not be allowed to look at it.
    let seconds = time_out_s(function, client).await?;
    let wait = route.delivery.call_timeout;
    (Duration::from_secs(seconds) >= wait).then(|| {
        error(
            TIMEOUT,
            format!(
                "function `{function}` may run for {seconds} s, and its answer is waited for {} ms: wait longer, or shorten the \
                 function's time-out, else a call that still runs is sent again",
                wait.as_millis()
            ),
            false,
        )
    })
}

/// A call that does not run the function: why it would be refused, and whether it certainly would until somebody changes
/// something, as for a function, version or permission that is missing there.
async fn dry_run(route: &RoutePlan, function: &FunctionRef, client: &dyn Invoke) -> Option<(Failure, bool)> {
    let target = Target {
        invocation: InvocationType::Dry,
        tenant_id: route.context.tenant_header(),
        send_within: WITHIN,
        answer_bytes: ANSWER_BYTES,
        asks_log: false,
    };
    let destination = Destination {
        function: function.to_string(),
        function_key: route.function_key.clone(),
        region: route.region.clone(),
        invocation: InvocationType::Dry,
        answers: crate::config::Answers::Ignored,
        keeps_results: false,
        assumes_role: matches!(route.credentials, CredentialsPlan::Role(..)),
    };
    let path_and_query = function.path_and_query();
    let request = Request {
        target: &target,
        path_and_query: &path_and_query,
        client_context: None,
        execution_name: None,
        body: Bytes::from_static(b"{}"),
    };
    let sent_at = Instant::now();
    let result = client.invoke(request).await;
    let call = Call {
        route: RouteIndex(0),
        body: Bytes::new(),
        origins: Arc::new([]),
        timestamps: Arc::new([]),
    };
    match judge(&destination, &call, result, || client.refuse_credentials(sent_at)) {
        Verdict::Accepted | Verdict::Answered { .. } => None,
        Verdict::Unusable { failure } => {
            let status = failure.answered.as_ref().map(|answered| answered.status);
            Some((failure, matches!(status, Some(403 | 404))))
        }
        Verdict::Retry { failure, .. }
        | Verdict::Throttled { failure, .. }
        | Verdict::PartlyAccepted { failure, .. }
        | Verdict::Failed { failure }
        | Verdict::Poison { failure } => Some((failure, false)),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Configuration {
    timeout: u64,
}

/// How long the function may run, if the service tells.
async fn time_out_s(function: &FunctionRef, client: &dyn Invoke) -> Option<u64> {
    let answer = client.describe(&function.configuration_path()).await.ok()?;
    let configuration: Configuration = serde_json::from_slice(&answer.body)
        .ok()
        .filter(|_| answer.status == 200)?;
    Some(configuration.timeout)
}
