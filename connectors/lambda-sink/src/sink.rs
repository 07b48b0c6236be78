use std::sync::Arc;

use klamm_connect_api::delivery::ErrorPolicy;
use klamm_connect_api::sink::{
    Call, EncodeError, Encoded, PayloadBuilder, Route, RouteError, RouteIndex, Sink, Verdict,
};
use klamm_connect_api::{BoxFuture, Record, Rendering};

use crate::config::{Plan, RoutePlan};
use crate::envelope;
use crate::invoke::{Invoke, Target};
use crate::route::Router;
use crate::verdict::{Destination, judge};

/// The sink of one task.
#[derive(Debug)]
pub(crate) struct LambdaSink {
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
    destination: Destination,
    rendering: Rendering,
}

impl LambdaSink {
    /// The sink of a plan. `client` gives a route its client.
    pub(crate) fn new(plan: Plan, client: impl Fn(&RoutePlan) -> Arc<dyn Invoke>) -> Self {
        let Plan {
            routes: plans,
            unrouted,
            destination_key,
        } = plan;
        let router = Router::new(plans.iter().map(|plan| &plan.topics));
        let (routes, functions) = plans
            .into_iter()
            .map(|plan| {
                let client = client(&plan);
                let send_within = plan.delivery.call_timeout * 3 / 4;
                let route = Route {
                    name: plan.name.into(),
                    destination: format!("{} ({})", plan.function.label(), plan.invocation.name()).into(),
                    delivery: plan.delivery,
                };
                let function = Function {
                    client,
                    target: Target {
                        path_and_query: plan.function.path_and_query(),
                        invocation: plan.invocation,
                        send_within,
                        answer_bytes: plan.answer_bytes,
                    },
                    destination: Destination {
                        function: plan.function.to_string(),
                        function_key: plan.function_key,
                        region: plan.region,
                        invocation: plan.invocation,
                        format: plan.format,
                    },
                    rendering: plan.rendering,
                };
                (route, function)
            })
            .unzip();
        Self {
            routes,
            functions,
            router,
            unrouted,
            destination_key,
        }
    }

    /// Routes come from the engine, which got them from [`Sink::routes`].
    fn function(&self, route: RouteIndex) -> &Function {
        self.functions
            .get(route.0)
            .expect("an index of `routes`, which is as long")
    }
}

impl Sink for LambdaSink {
    fn routes(&self) -> &[Route] {
        &self.routes
    }

    fn route(&self, record: &mut Record, routes: &mut Vec<RouteIndex>) -> Result<(), RouteError> {
        if self.router.routes(&record.topic, routes) {
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
        envelope::encode(&function.destination.format, function.rendering, record)
    }

    fn payload_builder(&self, route: RouteIndex) -> Box<dyn PayloadBuilder> {
        envelope::payload_builder(&self.function(route).destination.format)
    }

    fn send(&self, call: Call) -> BoxFuture<'_, Verdict> {
        Box::pin(async move {
            let Function {
                client,
                target,
                destination,
                ..
            } = self.function(call.route);
            let result = client.invoke(target, call.body.clone()).await;
            judge(destination, &call, result, || client.refuse_credentials())
        })
    }

    fn unrouted_policy(&self) -> ErrorPolicy {
        self.unrouted
    }
}
