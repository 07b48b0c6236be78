use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use klamm_aws::{CredentialsPlan, ObjectStore};
use klamm_connect_api::delivery::ErrorPolicy;
use klamm_connect_api::sink::{
    Attachment, Call, EncodeError, Encoded, PayloadBuilder, Route, RouteError, RouteIndex, RouteUsage, Sink,
    SinkContext, Verdict,
};
use klamm_connect_api::{BoxFuture, Record};
use tokio::time::Instant;

use crate::batch;
use crate::claim::{ClaimCheck, ClaimPlan};
use crate::config::{CallContext, Callee, Compression, FunctionRef, FunctionTemplate, PayloadPlan, Plan, RoutePlan};
use crate::envelope;
use crate::invoke::{Answer, Invoke, InvokeError, Request, Target};
use crate::route::{Condition, Gate, Router, Shadow};
use crate::usage::Usage;
use crate::verdict::{Destination, judge, not_stored};

/// The sink of one task.
#[derive(Debug)]
pub(crate) struct LambdaSink {
    connector: String,
    /// Of the cluster that the records come from.
    bootstrap_servers: String,
    routes: Vec<Route>,
    functions: Vec<Function>,
    router: Router,
    unrouted: ErrorPolicy,
    destination_key: &'static str,
}

/// The function at the end of a route.
#[derive(Debug)]
struct Function {
    client: Arc<dyn Invoke>,
    target: Target,
    address: Address,
    destination: Destination,
    payload: PayloadPlan,
    context: CallContext,
    /// If the end of its log is asked for.
    usage: Option<Usage>,
    claim_check: Option<ClaimCheck>,
}

/// Path and query of a route's calls.
#[derive(Debug)]
enum Address {
    Fixed(String),
    ByTopic(Box<FunctionTemplate>),
}

impl LambdaSink {
    /// The sink of a plan. `client` gives a route its client, `store` that of its claim check, `conditions` makes what its
    /// filter asks for.
    pub(crate) fn new<E>(
        context: &SinkContext<'_>,
        plan: Plan,
        client: impl Fn(&RoutePlan) -> Arc<dyn Invoke>,
        store: impl Fn(&RoutePlan, &ClaimPlan) -> ObjectStore,
        conditions: impl Fn(&RoutePlan) -> Result<Vec<Condition>, E>,
    ) -> Result<Self, E> {
        let keeps_results = context.keeps_results;
        let bootstrap_servers = context.bootstrap_servers.join(",");
        let Plan {
            routes: plans,
            unrouted,
            destination_key,
        } = plan;
        let (mut routes, mut functions, mut gates) = (Vec::new(), Vec::new(), Vec::new());
        for plan in plans {
            let client = client(&plan);
            let claim_check = plan.claim_check.as_ref().map(|claim| {
                ClaimCheck::new(
                    claim.clone(),
                    store(&plan, claim),
                    (context.connector, &plan.name),
                    payload_builder(&plan.payload, &plan.context, &bootstrap_servers),
                    plan.delivery.batch_bytes,
                )
            });
            let limits = plan.limit_keys();
            let conditions = conditions(&plan)?;
            let is_required = plan.delivery.is_required;
            let send_within = plan.delivery.call_timeout * 3 / 4;
            let (address, by_topic) = match &plan.function {
                Callee::Function(function) => (Address::Fixed(function.path_and_query()), None),
                Callee::ByTopic(template) => (Address::ByTopic(template.clone()), Some(template.clone())),
            };
            gates.push((
                plan.topics,
                Gate {
                    conditions,
                    shadow: (!is_required).then(|| Shadow::new(&plan.name)),
                    share: plan.share,
                    by_topic,
                },
            ));
            let label = plan.function.label();
            let function = plan.function.to_string();
            routes.push(Route {
                limits,
                name: plan.name.into(),
                destination: format!("{label} ({})", plan.invocation.name()).into(),
                resource: function.as_str().into(),
                delivery: plan.delivery,
            });
            functions.push(Function {
                client,
                target: Target {
                    invocation: plan.invocation,
                    tenant_id: plan.context.tenant_header(),
                    send_within,
                    answer_bytes: plan.answer_bytes.unwrap_or_else(|| plan.answers.bytes(keeps_results)),
                    asks_log: plan.asks_log,
                },
                usage: plan.asks_log.then(|| Usage::new(plan.prices)),
                address,
                destination: Destination {
                    function,
                    function_key: plan.function_key,
                    region: plan.region,
                    invocation: plan.invocation,
                    answers: plan.answers,
                    // A shadow holds no offsets, so nothing waits for what it says.
                    keeps_results: keeps_results && is_required,
                    assumes_role: matches!(plan.credentials, CredentialsPlan::Role(..)),
                },
                payload: plan.payload,
                context: plan.context,
                claim_check,
            });
        }
        Ok(Self {
            connector: context.connector.to_owned(),
            bootstrap_servers,
            routes,
            functions,
            router: Router::new(gates),
            unrouted,
            destination_key,
        })
    }

    /// Routes come from the engine, which got them from [`Sink::routes`].
    fn function(&self, route: RouteIndex) -> &Function {
        self.functions
            .get(route.0)
            .expect("an index of `routes`, which is as long")
    }

    async fn invoke(&self, call: &Call) -> (Cow<'_, Destination>, Result<Answer, InvokeError>) {
        let Function {
            client,
            target,
            address,
            destination,
            payload,
            context,
            ..
        } = self.function(call.route);
        let mut destination = Cow::Borrowed(destination);
        let path_and_query = match address {
            Address::Fixed(path_and_query) => Cow::Borrowed(path_and_query.as_str()),
            Address::ByTopic(template) => match function_of(template, call) {
                Ok(function) => {
                    destination.to_mut().function = function.to_string();
                    Cow::Owned(function.path_and_query())
                }
                Err(why) => return (destination, Err(InvokeError::Request(why))),
            },
        };
        let (trace, body) = if context.describes_batch {
            envelope::split_trace(&call.body)
        } else {
            (None, call.body.clone())
        };
        let body = match payload.compression {
            Compression::None => body,
            Compression::Gzip => match compressed(body).await {
                Ok(body) => body,
                Err(error) => return (destination, Err(error)),
            },
        };
        let route = self.routes.get(call.route.0).map_or("", |route| &route.name);
        let needs_id = context.names_execution || context.describes_batch;
        let batch_id = needs_id.then(|| batch::id(&self.connector, route, call));
        let client_context = context.describes_batch.then(|| {
            let batch_id = batch_id.as_deref().unwrap_or_default();
            batch::client_context(&self.connector, route, batch_id, &call.origins, trace)
        });
        let request = Request {
            target,
            path_and_query: &path_and_query,
            client_context: client_context.and_then(|text| HeaderValue::try_from(text).ok()),
            execution_name: batch_id
                .filter(|_| context.names_execution)
                .and_then(|id| HeaderValue::try_from(id).ok()),
            body,
        };
        let result = client.invoke(request).await;
        (destination, result)
    }
}

/// The function of a call's topic, which is one: such a route's batches hold a partition.
fn function_of(template: &FunctionTemplate, call: &Call) -> Result<FunctionRef, String> {
    let first = call.origins.first().ok_or("the call has no record")?;
    template.of(first.topic_partition.topic())
}

impl Sink for LambdaSink {
    fn routes(&self) -> &[Route] {
        &self.routes
    }

    fn route(&self, record: &mut Record, routes: &mut Vec<RouteIndex>) -> Result<(), RouteError> {
        if self.router.routes(record, routes)? {
            Ok(())
        } else {
            let Record { topic, .. } = record;
            let key = self.destination_key;
            Err(RouteError::NoRoute(format!(
                "no function takes records of topic `{topic}`: give it one in `{key}`"
            )))
        }
    }

    fn encode(&self, route: RouteIndex, record: &Record) -> Result<Encoded, EncodeError> {
        let function = self.function(route);
        let traced = |encoded| {
            if function.context.describes_batch {
                envelope::with_trace(record, encoded)
            } else {
                encoded
            }
        };
        let encoded = traced(envelope::encode(&function.payload, record)?);
        let Some(claim_check) = function.claim_check.as_ref() else {
            return Ok(encoded);
        };
        if !claim_check.takes(record, &encoded) {
            return Ok(encoded);
        }
        // It may be large, and so may what is made now.
        drop(encoded);
        let Some(content) = envelope::content(&function.payload, record)? else {
            return Ok(traced(envelope::encode(&function.payload, record)?));
        };
        let (attachment, reference) = claim_check.check_in(record, content);
        let referring = envelope::encode_reference(&function.payload, record, &reference)?;
        Ok(Encoded {
            attachment: Some(Arc::new(attachment)),
            ..traced(referring)
        })
    }

    fn payload_builder(&self, route: RouteIndex) -> Box<dyn PayloadBuilder> {
        let function = self.function(route);
        payload_builder(&function.payload, &function.context, &self.bootstrap_servers)
    }

    fn store<'a>(
        &'a self,
        route: RouteIndex,
        attachments: &'a [Arc<Attachment>],
    ) -> BoxFuture<'a, Result<(), Verdict>> {
        Box::pin(async move {
            let Function {
                claim_check,
                destination,
                ..
            } = self.function(route);
            let Some(claim_check) = claim_check else {
                return Ok(());
            };
            let stored = claim_check.store(attachments).await;
            stored.map_err(|declined| not_stored(destination, claim_check.name(), declined))
        })
    }

    fn send(&self, call: Call) -> BoxFuture<'_, Verdict> {
        Box::pin(async move {
            let sent_at = Instant::now();
            let (destination, result) = self.invoke(&call).await;
            let Function { client, usage, .. } = self.function(call.route);
            let billed = result.as_ref().ok().and_then(|answer| answer.billed);
            if let (Some(usage), Some(billed)) = (usage, billed) {
                usage.add(billed);
            }
            judge(&destination, &call, result, || client.refuse_credentials(sent_at))
        })
    }

    fn usage(&self, route: RouteIndex) -> Option<RouteUsage> {
        self.function(route).usage.as_ref().map(Usage::read)
    }

    fn unrouted_policy(&self) -> ErrorPolicy {
        self.unrouted
    }
}

fn payload_builder(payload: &PayloadPlan, context: &CallContext, bootstrap_servers: &str) -> Box<dyn PayloadBuilder> {
    let builder = envelope::payload_builder(payload, bootstrap_servers);
    if context.describes_batch {
        envelope::traced(builder)
    } else {
        builder
    }
}

/// Payloads of this size are compressed in less time than a thread takes to wake.
const COMPRESSED_AT_ONCE_BYTES: usize = 4096;

/// # Cancel safety
/// Safe: a thread that compresses ends with that.
async fn compressed(body: Bytes) -> Result<Bytes, InvokeError> {
    let compressed = if body.len() <= COMPRESSED_AT_ONCE_BYTES {
        envelope::compress(&body)
    } else {
        let compressing = tokio::task::spawn_blocking(move || envelope::compress(&body));
        compressing.await.unwrap_or_else(|error| Err(error.into()))
    };
    compressed.map_err(|error| InvokeError::Request(format!("its payload cannot be compressed: {error}")))
}

#[cfg(test)]
mod tests;
