use std::time::{Duration, SystemTime};

use klamm_aws::{CredentialsPlan, Environment, RolePlan};
use klamm_connect_api::delivery::{ErrorPolicy, Ordering};
use klamm_connect_api::{Decimals, Natural, RawConfig, Rendering, Timestamps};

use super::*;

type Pairs<'a> = &'a [(&'a str, &'a str)];

const BASE: Pairs<'static> = &[("connector.class", CLASS), ("aws.lambda.region", "eu-west-1")];
const ARN: &str = "arn:aws:lambda:us-east-2:123456789012:function:f";

fn raw(base: Pairs<'_>, entries: Pairs<'_>) -> RawConfig {
    base.iter()
        .chain(entries)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// All errors, those of single keys and those of the plan, as `key: message` lines.
fn plan_in(environment: &Environment, raw: &RawConfig) -> Result<Plan, String> {
    let def = definition(raw);
    let evaluated = def.evaluate(raw);
    let mut errors = evaluated.errors();
    let plan = Plan::try_new(raw, &evaluated.parsed, environment);
    let plan = plan.map_err(|found| errors.extend(found));
    if errors.is_empty() {
        return plan.map_err(|()| "no route".to_owned());
    }
    Err(errors
        .iter()
        .map(|error| format!("{}: {}", error.key, error.message))
        .collect::<Vec<_>>()
        .join("\n"))
}

fn no_environment() -> Environment {
    Environment::new([("", ""); 0], || SystemTime::UNIX_EPOCH)
}

fn plan(entries: Pairs<'_>) -> Result<Plan, String> {
    plan_in(&no_environment(), &raw(BASE, entries))
}

#[test]
fn what_is_wrong_is_named_with_its_key_and_the_way_out() {
    let cases: &[(Pairs<'_>, &str, &str)] = &[
        (
            &[],
            "aws.lambda.function.name: names no function: set it, or `aws.lambda.configuration.mode=multiple` with \
             `aws.lambda.topic2function.map`, or `routes` with `routes.<alias>.function`",
            "no grammar is used",
        ),
        (
            &[("aws.lambda.function.name", "a b")],
            "aws.lambda.function.name: Invalid value a b for configuration aws.lambda.function.name: `a b` has no valid \
             function name (1 to 64 letters, digits, `-` and `_`): accepted are a function's name, \
             `<account>:function:<name>` or an ARN, each with `:<version or alias>` behind it if need be",
            "one error for one mistake",
        ),
        (
            &[("aws.lambda.function.name", ARN)],
            "aws.lambda.function.name: `arn:aws:lambda:us-east-2:123456789012:function:f` is in us-east-2, but \
             `aws.lambda.region` is eu-west-1: a function is called in its own region",
            "an ARN of another region",
        ),
        (
            &[
                ("aws.lambda.function.name", "f"),
                ("aws.lambda.topic2function.map", "a;b"),
            ],
            "aws.lambda.topic2function.map: has no effect with `aws.lambda.configuration.mode=single`: set \
             `aws.lambda.configuration.mode=multiple`, or leave the map out",
            "a map that would be ignored",
        ),
        (
            &[
                ("aws.lambda.configuration.mode", "multiple"),
                ("aws.lambda.function.name", "f"),
            ],
            "aws.lambda.function.name: has no effect with `aws.lambda.configuration.mode=multiple`: leave it out, or set \
             `aws.lambda.configuration.mode=single` and leave `aws.lambda.topic2function.map` out\n\
             aws.lambda.topic2function.map: `aws.lambda.configuration.mode=multiple` needs it: accepted is \
             `<topic>;<function>,<topic>;<function>`",
            "the name in place of the map",
        ),
        (
            &[
                ("aws.lambda.configuration.mode", "many"),
                ("aws.lambda.function.name", "f"),
            ],
            "aws.lambda.configuration.mode: Invalid value many for configuration aws.lambda.configuration.mode: Value must \
             be one of: single, multiple",
            "unknown mode",
        ),
        (
            &[
                ("aws.lambda.configuration.mode", "multiple"),
                ("aws.lambda.topic2function.map", "orders"),
            ],
            "aws.lambda.topic2function.map: Invalid value orders for configuration aws.lambda.topic2function.map: entry \
             `orders` names no function: accepted is `<topic>;<function>`, with commas between entries",
            "an entry without a function",
        ),
        (
            &[
                ("aws.lambda.configuration.mode", "multiple"),
                ("aws.lambda.topic2function.map", "a;f,a;f"),
            ],
            "aws.lambda.topic2function.map: entry `a;f` stands twice: keep one of them",
            "the same entry twice would double every record",
        ),
        (
            &[
                ("aws.lambda.configuration.mode", "multiple"),
                ("aws.lambda.topic2function.map", "a;f"),
                ("topics", "a,b"),
            ],
            "aws.lambda.topic2function.map: topic `b` of `topics` has no function: give it one, or take it out of `topics`",
            "a topic without a function",
        ),
        (
            &[
                ("routes", "x"),
                ("routes.x.function", "f"),
                ("routes.x.topics", "a"),
                ("topics", "a,b"),
            ],
            "routes: topic `b` of `topics` has no function: give it one, or take it out of `topics`",
            "the same with routes",
        ),
        (
            &[
                ("routes", "x"),
                ("routes.x.topics", "a"),
                ("aws.lambda.function.name", "f"),
            ],
            "aws.lambda.function.name: has no effect with `routes`: leave it out, or leave `routes` out\n\
             routes.x.function: route `x` names no function: set it, or `routes.x.functions` with weights",
            "two grammars",
        ),
        (
            &[("routes", "x"), ("routes.x.function", "f")],
            "routes.x.topics: route `x` takes no topics: set `routes.x.topics` or `routes.x.topics.regex`",
            "a route without topics",
        ),
        (
            &[
                ("routes", "x"),
                ("routes.x.function", "f"),
                ("routes.x.topics.regex", "a("),
            ],
            "routes.x.topics.regex: Invalid value a( for configuration routes.x.topics.regex: `a(` is no regular \
             expression: Invalid regex: Parsing error at position 2: Opening parenthesis without closing parenthesis",
            "a bad pattern",
        ),
        (
            &[
                ("routes", "x"),
                ("routes.x.function", "f"),
                ("routes.x.topics", "a"),
                ("routes.y.topics", "b"),
            ],
            "routes.y.topics: `routes` does not list `y`: add it there, or leave this out",
            "a route that is configured and not listed",
        ),
        (
            &[("routes", "x,x"), ("routes.x.function", "f"), ("routes.x.topics", "a")],
            "routes: `x` stands twice: keep one of them",
            "a repeated alias",
        ),
        (
            &[("aws.lambda.function.name", "f"), ("aws.access.key.id", "AK")],
            "aws.secret.access.key: is missing: `aws.access.key.id` and `aws.secret.access.key` go together; leave both out \
             for the AWS default chain",
            "half a key",
        ),
        (
            &[
                ("aws.lambda.function.name", "f"),
                ("authentication.method", "IAM Roles"),
            ],
            "authentication.method: Invalid value IAM Roles for configuration authentication.method: accepted is `Access \
             Keys`; for a role leave this out and set `aws.role.arn`, or let the AWS default chain take it from a profile, a \
             web identity or the instance",
            "Cloud's roles",
        ),
        (
            &[
                ("aws.lambda.function.name", "f"),
                ("aws.lambda.proxy.url", "http://proxy:3128"),
            ],
            "aws.lambda.proxy.url: proxies are not supported yet: leave it out and let the worker reach the endpoint directly",
            "a proxy may not be passed by in silence",
        ),
        (
            &[("aws.lambda.function.name", "f"), ("event.format", "xml")],
            "event.format: Invalid value xml for configuration event.format: Value must be one of: confluent, esm, nordstrom, \
             raw, cloudevents",
            "no format",
        ),
        (
            &[
                ("aws.lambda.function.name", "f"),
                ("event.format", "cloudevents"),
                ("cloudevents.type", "${key}"),
                ("cloudevents.source", ""),
            ],
            "cloudevents.source: Invalid value  for configuration cloudevents.source: Value must not be empty: CloudEvents \
             require this attribute\n\
             cloudevents.type: Invalid value ${key} for configuration cloudevents.type: `${key}` in `${key}` is not known \
             here: accepted are `${topic}`",
            "attributes that would not be valid",
        ),
        (
            &[
                ("aws.lambda.function.name", "f"),
                ("cloudevents.type", "order"),
                ("payload.formatter.class", "JsonPayloadFormatter"),
                ("esm.event.source.arn", "arn:aws:kafka:x"),
            ],
            "cloudevents.type: has no effect without `event.format=cloudevents`: set that, or leave this out\n\
             payload.formatter.class: has no effect without `event.format=nordstrom`: set that, or leave this out\n\
             esm.event.source.arn: has no effect without `event.format=esm`: set that, or leave this out",
            "settings of formats that are not used",
        ),
        (
            &[
                ("aws.lambda.function.name", "f"),
                ("aws.lambda.invocation.type", "async"),
                ("response.format", "failures"),
            ],
            "response.format: has no effect without `aws.lambda.invocation.type=sync`: set that, or leave this out",
            "nobody sees the answers of asynchronous calls",
        ),
        (
            &[
                ("aws.lambda.function.name", "f"),
                ("record.converter.class", "com.acme.Mine"),
            ],
            "record.converter.class: Invalid value com.acme.Mine for configuration record.converter.class: accepted are \
             `JsonKeyValueConverter` and `EscapedJsonKeyValueConverter`, short or with their package: classes of your own \
             cannot be loaded",
            "a class of the user",
        ),
        (
            &[
                ("aws.lambda.function.name", "f"),
                ("aws.lambda.endpoint", "localhost:9001"),
            ],
            "aws.lambda.endpoint: Invalid value localhost:9001 for configuration aws.lambda.endpoint: `localhost:9001` is no \
             base URL: accepted is a base URL, such as `https://lambda.eu-central-1.amazonaws.com` or \
             `http://127.0.0.1:9001`",
            "no scheme",
        ),
        (
            &[
                ("aws.lambda.function.name", "f"),
                ("aws.lambda.socket.timeout", "900001"),
            ],
            "aws.lambda.socket.timeout: Invalid value 900001 for configuration aws.lambda.socket.timeout: Value must be no \
             more than 900000",
            "longer than a function may run",
        ),
        (
            &[
                ("aws.lambda.function.name", "f"),
                ("aws.lambda.invocation.type", "async"),
                ("delivery.batch.bytes", "1048577"),
            ],
            "delivery.batch.bytes: 1048577 is above the 1048576 bytes that the destination takes in a call",
            "asynchronous payloads are smaller",
        ),
    ];
    for (entries, wanted, why) in cases {
        assert_eq!(plan(entries).map(|_| ()).unwrap_err(), *wanted, "{why}");
    }
}

#[test]
fn a_setting_of_a_route_that_nobody_reads_is_refused_with_the_accepted_names() {
    let entries = &[
        ("routes", "x"),
        ("routes.x.function", "f"),
        ("routes.x.topics", "a"),
        ("routes.x.predicat", "isLarge"),
    ];
    let error = plan(entries).map(|_| ()).unwrap_err();
    assert!(
        error.starts_with("routes.x.predicat: no setting of a route is called `predicat`: accepted are topics, "),
        "{error}"
    );
    assert!(
        error.contains("invocation.type") && error.contains("delivery.batch.size"),
        "{error}"
    );
}

#[test]
fn a_single_function_takes_all_topics_under_confluents_defaults() {
    let plan = plan(&[("aws.lambda.function.name", "order-fn:prod"), ("topics", "a,b")]).unwrap();
    let [route] = plan.routes.as_slice() else {
        panic!("one route")
    };
    assert_eq!(route.name, "order-fn:prod");
    assert!(matches!(route.topics, Topics::All));
    assert_eq!(route.endpoint, "https://lambda.eu-west-1.amazonaws.com");
    assert_eq!(route.invocation, InvocationType::Sync);
    assert_eq!(route.payload.format, EventFormat::Confluent(Schemaless::Json));
    assert_eq!(route.answers, Answers::Ignored);
    assert_eq!(route.credentials, CredentialsPlan::DefaultChain);
    assert_eq!(route.answer_bytes, None);
    assert_eq!(route.answers.bytes(false), 65_536);
    assert_eq!(route.answers.bytes(true), 6_291_456, "results are read to the end");
    let delivery = &route.delivery;
    assert_eq!((delivery.batch_records, delivery.batch_bytes), (20, 6_291_456));
    assert_eq!(
        (delivery.ordering, delivery.error_policy),
        (Ordering::Partition, ErrorPolicy::Fail)
    );
    assert_eq!(delivery.call_timeout, Duration::from_secs(50));
}

#[test]
fn a_map_becomes_a_route_for_each_function_and_a_repeated_topic_goes_to_both() {
    let map = "orders;order-fn, refunds;order-fn,orders;audit-fn:7";
    let plan = plan(&[
        ("aws.lambda.configuration.mode", "multiple"),
        ("aws.lambda.topic2function.map", map),
    ])
    .unwrap();
    let routes: Vec<_> = plan
        .routes
        .iter()
        .map(|route| match &route.topics {
            Topics::Named(topics) => (route.name.as_str(), topics.join(" ")),
            topics => panic!("named topics, not {topics:?}"),
        })
        .collect();
    assert_eq!(
        routes,
        [
            ("order-fn", "orders refunds".to_owned()),
            ("audit-fn:7", "orders".to_owned())
        ]
    );
    assert_eq!(plan.destination_key, "aws.lambda.topic2function.map");
}

#[test]
fn functions_of_one_name_in_two_accounts_have_routes_of_their_own() {
    let map = "a;111111111111:function:f,b;222222222222:function:f";
    let plan = plan(&[
        ("aws.lambda.configuration.mode", "multiple"),
        ("aws.lambda.topic2function.map", map),
    ])
    .unwrap();
    let names: Vec<_> = plan.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["111111111111:function:f", "222222222222:function:f"]);
}

#[test]
fn a_route_overrides_what_the_connector_sets() {
    let plan = plan(&[
        ("delivery.batch.size", "50"),
        ("aws.lambda.invocation.type", "async"),
        ("routes", "orders,audit"),
        ("routes.orders.topics", "orders"),
        ("routes.orders.function", "order-fn:prod"),
        ("routes.orders.invocation.type", "SYNC"),
        ("routes.orders.delivery.batch.size", "1"),
        ("routes.orders.behavior.on.error", "ignore"),
        ("routes.orders.event.format", "esm"),
        ("routes.audit.topics.regex", ".*"),
        ("routes.audit.function", "audit-fn"),
        ("routes.audit.aws.lambda.region", "us-west-2"),
        ("topics", "orders,refunds"),
    ])
    .unwrap();
    let [orders, audit] = plan.routes.as_slice() else {
        panic!("two routes")
    };
    assert_eq!(
        (orders.invocation, audit.invocation),
        (InvocationType::Sync, InvocationType::Async)
    );
    assert_eq!((orders.delivery.batch_records, audit.delivery.batch_records), (1, 50));
    assert_eq!(
        (orders.delivery.ordering, audit.delivery.ordering),
        (Ordering::Partition, Ordering::None)
    );
    assert_eq!(
        (orders.delivery.batch_bytes, audit.delivery.batch_bytes),
        (6_291_456, 1_048_576)
    );
    assert_eq!(
        (orders.delivery.error_policy, audit.delivery.error_policy),
        (ErrorPolicy::Ignore, ErrorPolicy::Fail)
    );
    assert_eq!(
        (orders.region.as_str(), audit.region.as_str()),
        ("eu-west-1", "us-west-2")
    );
    let esm = EventFormat::Esm { source_arn: None };
    assert_eq!(&orders.payload.format, &esm);
    assert_eq!((orders.answer_bytes, orders.answers.bytes(false)), (None, 6_291_456));
    assert_eq!(
        (orders.answers, orders.payload.packing),
        (Answers::Failures, Packing::One)
    );
    assert!(matches!(&audit.topics, Topics::Matching { pattern, .. } if pattern.matches("refunds").unwrap()));
    assert_eq!(orders.function_key, "routes.orders.function");
}

// A route's own key pair went out with the session token of the connector's.
#[test]
fn a_route_with_credentials_of_its_own_takes_none_of_the_connectors() {
    let own = [
        ("aws.access.key.id", "AK"),
        ("aws.secret.access.key", "hidden"),
        ("aws.session.token", "hidden"),
        ("routes", "x"),
        ("routes.x.topics", "t"),
        ("routes.x.function", "f"),
        ("routes.x.aws.access.key.id", "AKX"),
    ];
    let error = plan(&own).unwrap_err().to_string();
    assert!(error.contains("aws.secret.access.key` go together"), "{error}");
    let mut own = own.to_vec();
    own.push(("routes.x.aws.secret.access.key", "hidden"));
    let CredentialsPlan::Static {
        key_id, session_token, ..
    } = &plan(&own).unwrap().routes[0].credentials
    else {
        panic!("static credentials")
    };
    assert_eq!((key_id.reveal(), session_token), ("AKX", &None));
}

#[test]
fn renderings_are_chosen_by_route_and_settings_without_effect_are_named() {
    let routes: Pairs<'_> = &[
        ("routes", "a,b"),
        ("routes.a.topics", "a"),
        ("routes.a.function", "f"),
        ("routes.b.topics", "b"),
        ("routes.b.function", "g"),
        ("routes.b.payload.rendering", "Natural"),
    ];
    let with = |more: Pairs<'_>| plan(&[routes, more].concat());
    let plan = with(&[("payload.decimals", "number"), ("routes.b.payload.timestamps", "epoch")]).unwrap();
    assert_eq!(plan.routes[0].payload.rendering, Rendering::Connect);
    let natural = Natural {
        decimals: Decimals::Number,
        timestamps: Timestamps::Epoch,
    };
    assert_eq!(plan.routes[1].payload.rendering, Rendering::Natural(natural));
    let without_effect = "has no effect without `payload.rendering=natural`: set that, or leave this out";
    assert_eq!(
        with(&[("routes.a.payload.decimals", "number")]).unwrap_err(),
        format!("routes.a.payload.decimals: {without_effect}")
    );
    assert_eq!(
        with(&[("routes.b.payload.rendering", "connect"), ("payload.timestamps", "iso")]).unwrap_err(),
        format!("payload.timestamps: {without_effect}")
    );
    let misspelt = with(&[("payload.rendering", "pretty")]).unwrap_err();
    assert!(misspelt.contains("must be one of: connect, natural"), "{misspelt}");
}

#[test]
fn a_claim_check_is_a_routes_own_or_the_connectors_and_its_bucket_where_the_function_is() {
    let routes: Pairs<'_> = &[
        ("routes", "a,b,c"),
        ("routes.a.topics", "a"),
        ("routes.a.function", "f"),
        ("routes.b.topics", "b"),
        ("routes.b.function", "f"),
        ("routes.b.aws.lambda.region", "us-east-2"),
        ("routes.b.claim.check.min.bytes", "1000"),
        ("routes.c.topics", "c"),
        ("routes.c.function", "f"),
        ("routes.c.claim.check.destination", ""),
        ("claim.check.destination", "s3://my-claims/prod/"),
    ];
    let environment = Environment::new([("AWS_ENDPOINT_URL_S3", "http://s3:1/")], || std::time::UNIX_EPOCH);
    let plan_of = |environment: &Environment| plan_in(environment, &raw(BASE, routes)).unwrap();
    let claim = |region: &str, endpoint: Option<&str>, min_bytes| {
        Some(crate::claim::ClaimPlan {
            place: klamm_aws::ObjectPlace {
                bucket: "my-claims".to_owned(),
                prefix: "prod/".to_owned(),
                region: region.to_owned(),
                endpoint: endpoint.map(str::to_owned),
            },
            min_bytes,
        })
    };
    let found = |plan: Plan| {
        plan.routes
            .into_iter()
            .map(|route| route.claim_check)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        found(plan_of(&no_environment())),
        [
            claim("eu-west-1", None, None),
            claim("us-east-2", None, Some(1000)),
            None
        ]
    );
    let endpoint = Some("http://s3:1");
    assert_eq!(found(plan_of(&environment))[0], claim("eu-west-1", endpoint, None));

    let function = ("aws.lambda.function.name", "f");
    let cases: &[(Pairs<'_>, &str)] = &[
        (
            &[function, ("claim.check.destination", "s3://B")],
            "claim.check.destination: Invalid value s3://B for configuration claim.check.destination: it names no bucket: \
             accepted are `s3://<bucket>/<prefix>` and the ARN of an S3 bucket with `/<prefix>` behind it",
        ),
        (
            &[function, ("claim.check.region", "eu-west-1")],
            "claim.check.region: has no effect without `claim.check.destination`: set that, or leave this out",
        ),
        (
            &[
                function,
                ("claim.check.destination", "s3://my-claims"),
                ("claim.check.endpoint", "https://me:hunter2@h"),
            ],
            "claim.check.endpoint: Invalid value https://***@h for configuration claim.check.endpoint: `https://***@h` is no \
             base URL: accepted is a base URL, such as `https://lambda.eu-central-1.amazonaws.com` or `http://127.0.0.1:9001`",
        ),
    ];
    for (entries, wanted) in cases {
        assert_eq!(plan(entries).unwrap_err(), *wanted);
    }
}

#[test]
fn regular_expressions_that_overlap_to_one_function_are_refused_where_that_can_be_seen() {
    let cases = [
        // the connector's, two routes', the example ("" is none), why
        ("orders.*", "orders-.*", "orders.*", "orders-x", "one within the other"),
        ("orders.*", "orders-eu|refunds", "orders-e[uw]", "orders-eu", "a branch"),
        (".*", "a\\.b", "a.b", "a.b", "an escaped dot is one"),
        ("orders-eu", "orders-.*", ".*-eu", "orders-eu", "of the connector's own"),
        (
            "orders-.*",
            "orders-.*|x",
            "refunds|x",
            "",
            "what is not consumed overlaps in vain",
        ),
        (".*", "orders-.*", "refunds-.*", "", "apart"),
        (".*", "(?!pay).*", "pay(ments)?", "", "too much to see"),
    ];
    for (consumed, x, y, example, why) in cases {
        let plan = |function| {
            let entries = [
                ("topics.regex", consumed),
                ("aws.lambda.region", "us-east-2"),
                ("routes", "x,y"),
                ("routes.x.topics.regex", x),
                ("routes.x.function", "f"),
                ("routes.y.topics.regex", y),
                ("routes.y.function", function),
            ];
            plan_in(&no_environment(), &raw(&[], &entries))
        };
        let found = plan("f").err();
        let wanted = format!("routes.y.topics.regex: route `x` takes topics such as `{example}` to the same function");
        match (&found, example) {
            (None, "") => {}
            (Some(text), example) => assert!(!example.is_empty() && text.starts_with(&wanted), "{why}: {text}"),
            (None, _) => panic!("{why}: accepted"),
        }
        assert!(plan("g").is_ok(), "{why}: each function gets a record once");
    }
}

/// What transforms rename topics to is not known here: routes that share none of the topics that are read are accepted.
#[test]
fn a_transform_alone_makes_no_two_routes_share_a_topic() {
    let entries = [
        ("topics", "orders"),
        ("aws.lambda.region", "us-east-2"),
        ("transforms", "mask"),
        ("routes", "x,y"),
        ("routes.x.topics.regex", "orders.*"),
        ("routes.x.function", "f"),
        ("routes.y.topics.regex", "orders-eu.*"),
        ("routes.y.function", "f"),
    ];
    plan_in(&no_environment(), &raw(&[], &entries)).unwrap();
}

#[test]
fn what_is_wrong_with_routes_is_named_with_its_key() {
    let route = |more: Pairs<'static>| {
        let base: Pairs<'static> = &[("routes", "x,y"), ("routes.y.topics", "y"), ("routes.y.function", "g")];
        [base, more].concat()
    };
    let cases: &[(Pairs<'static>, &str, &str)] = &[
        (
            &[("routes.x.topics", "y"), ("routes.x.function", "g")],
            "routes.y.topics: route `x` takes topic `y` to the same function: every record would arrive twice. Change one of \
             them, or give both a `predicate` or `pattern`",
            "the same topic to the same function",
        ),
        (
            &[("routes.x.topics.regex", "[xy]"), ("routes.x.function", "g")],
            "routes.y.topics: route `x` takes topic `y` to the same function: every record would arrive twice. Change one of \
             them, or give both a `predicate` or `pattern`",
            "by a regular expression",
        ),
        (
            &[
                ("routes.x.topics", "x"),
                ("routes.x.function", "f"),
                ("routes.x.predicate", "isLarge"),
            ],
            "routes.x.predicate: `predicates` does not list `isLarge`: declare it there, with `predicates.isLarge.type`",
            "a predicate that is not declared",
        ),
        (
            &[
                ("routes.x.topics", "x"),
                ("routes.x.function", "f"),
                ("routes.x.negate", "true"),
            ],
            "routes.x.negate: has no effect without `routes.x.predicate`: set that, or leave this out",
            "nothing to negate",
        ),
        (
            &[("routes.x.topics", "x"), ("routes.x.functions", "f;9,g;1")],
            "routes.x.functions: several functions share the records of a partition, which then have no order: set \
             `routes.x.delivery.ordering` to `key`, which keeps the order of each key, or to `none`",
            "a partition's order cannot be kept",
        ),
        (
            &[
                ("routes.x.topics", "x"),
                ("routes.x.functions", "f;1,f;2"),
                ("delivery.ordering", "key"),
            ],
            "routes.x.functions: `f` stands twice: keep one of them",
            "a function twice",
        ),
        (
            &[("routes.x.topics", "x"), ("routes.x.functions", "f")],
            "routes.x.functions: Invalid value f for configuration routes.x.functions: entry `f` has no weight: accepted is \
             `<function>;<weight>`, with a weight from 1 to 1000000 and commas between entries",
            "no weight",
        ),
        (
            &[
                ("routes.x.topics", "x"),
                ("routes.x.functions", "f;0"),
                ("routes.x.function", "f"),
            ],
            "routes.x.functions: Invalid value f;0 for configuration routes.x.functions: entry `f;0` has no valid weight: \
             accepted is `<function>;<weight>`, with a weight from 1 to 1000000 and commas between entries\n\
             routes.x.functions: `routes.x.function` is set too: keep one of them",
            "nothing for it, and two grammars",
        ),
        (
            &[("routes.x.topics.regex", "x.*"), ("routes.x.function", "fn-${topic}")],
            "routes.x.function.allow: is missing: a topic's name chooses the function in `routes.x.function`, so say which \
             functions may be called, such as `fn-.*`",
            "a topic's name decides what is called",
        ),
        (
            &[
                ("routes.x.topics", "a,b.c"),
                ("routes.x.function", "fn-${topic}"),
                ("routes.x.function.allow", "fn-.*"),
            ],
            "routes.x.function: topic `b.c`: `fn-b.c` has no valid function name (1 to 64 letters, digits, `-` and `_`): \
             accepted are a function's name, `<account>:function:<name>` or an ARN, each with `:<version or alias>` behind it \
             if need be",
            "a topic's name may hold what a function's may not",
        ),
        (
            &[
                ("routes.x.topics", "a,b"),
                ("routes.x.function", "fn-${topic}"),
                ("routes.x.function.allow", "fn-a"),
            ],
            "routes.x.function: topic `b`: `fn-b` is no function that `fn-a` allows",
            "not allowed",
        ),
        (
            &[
                ("routes.x.topics", "x"),
                ("routes.x.function", "f"),
                ("routes.x.function.allow", "f"),
            ],
            "routes.x.function.allow: has no effect without `${topic}` in `routes.x.function`: leave it out",
            "nothing to allow",
        ),
        (
            &[
                ("routes.x.topics.regex", "x.*"),
                ("routes.x.function", "${topic}"),
                ("routes.x.function.allow", ".*"),
                ("routes.x.delivery.batch.scope", "route"),
            ],
            "routes.x.function: a function for each topic needs calls that hold one topic: leave \
             `delivery.batch.scope=route` out",
            "a call has one function",
        ),
        (
            &[
                ("routes.x.topics", "x"),
                ("routes.x.function", "f"),
                ("routes.x.aws.role.arn", "arn:aws:iam::1:role/a"),
                ("routes.x.aws.lambda.tenant.id", "a\u{e4}"),
            ],
            "routes.x.aws.role.arn: Invalid value arn:aws:iam::1:role/a for configuration routes.x.aws.role.arn: accepted is a \
             role's ARN, such as `arn:aws:iam::123456789012:role/lambda-caller`\n\
             routes.x.aws.lambda.tenant.id: Invalid value a\u{e4} for configuration routes.x.aws.lambda.tenant.id: accepted are \
             1 to 256 letters, digits, spaces and any of `._:/=+-@`",
            "no role, no tenant",
        ),
    ];
    for (entries, wanted, why) in cases {
        assert_eq!(plan(&route(entries)).map(|_| ()).unwrap_err(), *wanted, "{why}");
    }
}

#[test]
fn routes_may_share_topics_where_their_conditions_or_functions_differ() {
    let base: Pairs<'_> = &[
        ("routes", "x,y"),
        ("routes.x.topics", "t"),
        ("routes.x.function", "f"),
        ("routes.y.topics.regex", ".*"),
    ];
    let predicate: Pairs<'_> = &[
        ("predicates", "p"),
        ("routes.x.predicate", "p"),
        ("routes.x.negate", "true"),
    ];
    for (more, why) in [
        ([base, &[("routes.y.function", "g")]].concat(), "another function"),
        ([base, &[("routes.y.function", "f:7")]].concat(), "another version"),
        (
            [
                base,
                &[("routes.y.function", "f"), ("routes.y.aws.lambda.region", "us-east-1")],
            ]
            .concat(),
            "another region",
        ),
        ([base, predicate, &[("routes.y.function", "f")]].concat(), "a condition"),
    ] {
        assert!(plan(&more).is_ok(), "{why}: {:?}", plan(&more).map(|_| ()));
    }
}

#[test]
fn functions_with_weights_and_functions_of_topics_become_routes_of_their_own() {
    let plan = plan(&[
        ("routes", "split,each,any"),
        ("routes.split.topics", "s"),
        ("routes.split.functions", "f:blue;9, f:green;1"),
        ("routes.split.delivery.ordering", "key"),
        ("routes.each.topics", "a,b"),
        ("routes.each.function", "fn-${topic}:live"),
        ("routes.each.function.allow", "fn-[ab]:live"),
        ("routes.any.topics.regex", "x.*"),
        ("routes.any.function", "${topic}-fn"),
        ("routes.any.function.allow", "x.*"),
        ("routes.any.aws.lambda.tenant.id", "acme"),
        ("routes.any.aws.lambda.durable.execution", "true"),
    ])
    .unwrap();
    let routes: Vec<_> = plan
        .routes
        .iter()
        .map(|route| (route.name.as_str(), route.function.to_string(), route.share.clone()))
        .collect();
    let share = |range| Some(Share { range, of: 10 });
    assert_eq!(
        routes,
        [
            ("split/f:blue", "f:blue".to_owned(), share(0..9)),
            ("split/f:green", "f:green".to_owned(), share(9..10)),
            ("each/a", "fn-a:live".to_owned(), None),
            ("each/b", "fn-b:live".to_owned(), None),
            ("any", "${topic}-fn".to_owned(), None),
        ]
    );
    assert_eq!(plan.routes[0].function_key, "routes.split.functions");
    let any = &plan.routes[4].context;
    assert_eq!((any.tenant_id.as_deref(), any.names_execution), (Some("acme"), true));
    let Callee::ByTopic(template) = &plan.routes[4].function else {
        panic!("known by topic only")
    };
    assert_eq!(template.of("x1").unwrap().to_string(), "x1-fn");
    assert!(template.of("y").is_err(), "not allowed");
    assert!(template.of("x.1").is_err(), "no name");
}

// A renamed topic chose the function where it was listed, and the topic as consumed where it was matched.
#[test]
fn the_topic_that_names_a_function_is_the_one_that_is_consumed() {
    let entries: Pairs<'_> = &[
        ("transforms", "rename"),
        ("routes", "each"),
        ("routes.each.topics", "orders,refunds"),
        ("routes.each.function", "fn-${topic}"),
        ("routes.each.function.allow", "fn-raw-.*"),
    ];
    let plan = plan_in(&no_environment(), &raw(&BASE[..2], entries)).unwrap();
    let [route] = plan.routes.as_slice() else {
        panic!("one route: its function is known with the record: {:?}", plan.routes)
    };
    assert_eq!(route.name, "each");
    assert!(matches!(&route.function, Callee::ByTopic(template) if template.of("raw-orders").is_ok()));
    assert!(matches!(&route.topics, Topics::Named(names) if names == &["orders", "refunds"]));
}

#[test]
fn a_shadow_gives_up_at_once_unless_its_route_says_otherwise() {
    let base: Pairs<'_> = &[
        ("delivery.retry.max.attempts", "7"),
        ("routes", "x,y"),
        ("routes.x.topics", "t"),
        ("routes.x.function", "f"),
        ("routes.y.topics", "t"),
        ("routes.y.function", "g"),
        ("routes.y.required", "false"),
    ];
    let of_shadow = |more: Pairs<'_>| {
        let mut routes = plan(&[base, more].concat()).unwrap().routes;
        assert!(routes[0].delivery.is_required);
        assert_eq!(
            (routes[0].delivery.retry.max_attempts, routes[0].delivery.bisect),
            (7, true)
        );
        let RoutePlan { delivery, .. } = routes.remove(1);
        assert!(!delivery.is_required);
        (delivery.retry.max_attempts, delivery.bisect, delivery.error_policy)
    };
    assert_eq!(of_shadow(&[]), (1, false, ErrorPolicy::Log));
    let own: Pairs<'_> = &[
        ("routes.y.delivery.retry.max.attempts", "2"),
        ("routes.y.delivery.bisect", "true"),
        ("routes.y.behavior.on.error", "ignore"),
    ];
    assert_eq!(of_shadow(own), (2, true, ErrorPolicy::Ignore));
    let contradiction = [base, &[("routes.y.behavior.on.error", "fail")]].concat();
    assert_eq!(
        plan(&contradiction).map(|_| ()).unwrap_err(),
        "routes.y.behavior.on.error: `routes.y.required=false` means that failures hold no offsets: set `log`, `ignore` or \
         `dlq`"
    );
}

#[test]
fn a_role_is_taken_on_with_the_routes_own_or_the_connectors_credentials() {
    let role = "arn:aws:iam::123456789012:role/lambda-caller";
    let nordstrom = [
        ("aws.lambda.function.name", "f"),
        (
            "aws.credentials.provider.class",
            "com.nordstrom.kafka.connect.auth.AWSAssumeRoleCredentialsProvider",
        ),
        ("aws.credentials.provider.role.arn", role),
        ("aws.credentials.provider.session.name", "connect"),
        ("aws.credentials.provider.external.id", "abc"),
    ];
    let plan_of = |entries: Pairs<'_>| plan(entries).unwrap().routes.remove(0).credentials;
    let wanted = RolePlan {
        arn: role.to_owned(),
        session_name: "connect".to_owned(),
        external_id: Some("abc".to_owned()),
    };
    assert_eq!(
        plan_of(&nordstrom),
        CredentialsPlan::Role(Box::new(CredentialsPlan::DefaultChain), wanted)
    );
    assert_eq!(
        plan(&nordstrom[..2]).map(|_| ()).unwrap_err(),
        "aws.credentials.provider.class: classes cannot be loaded: leave it out for the AWS default chain, and set \
         `aws.role.arn` for a role to assume",
        "the class alone names no role"
    );
    let other = "arn:aws:iam::123456789012:role/other";
    let own = [
        ("aws.role.arn", role),
        ("aws.role.external.id", "abc"),
        ("aws.access.key.id", "AK"),
        ("aws.secret.access.key", "s"),
        ("routes", "x"),
        ("routes.x.topics", "t"),
        ("routes.x.function", "f"),
        ("routes.x.aws.role.arn", other),
    ];
    let CredentialsPlan::Role(base, role) = plan_of(&own) else {
        panic!("a role")
    };
    assert!(matches!(*base, CredentialsPlan::Static { .. }));
    assert_eq!(
        (role.arn.as_str(), role.external_id),
        (other, None),
        "the connector's id belongs to its own role"
    );
}

#[test]
fn with_transforms_only_records_tell_which_topics_there_are() {
    let entries = &[
        ("aws.lambda.configuration.mode", "multiple"),
        ("aws.lambda.topic2function.map", "b;f"),
        ("topics", "a"),
        ("transforms", "rename"),
    ];
    assert!(plan(entries).is_ok());
}

#[test]
fn the_cloud_class_logs_failures_by_default_and_nordstroms_waits_longer() {
    let cloud = raw(
        &[],
        &[
            ("connector.class", "LambdaSink"),
            ("aws.lambda.region", "eu-west-1"),
            ("aws.lambda.function.name", "f"),
            ("authentication.method", "Access Keys"),
            ("aws.access.key.id", "AK"),
            ("aws.secret.access.key", "hidden"),
            ("kafka.auth.mode", "KAFKA_API_KEY"),
            ("kafka.api.key", "key"),
            ("kafka.api.secret", "hidden"),
            ("input.data.format", "JSON"),
            ("aws.lambda.configuration.mode", "single"),
        ],
    );
    let plan = plan_in(&no_environment(), &cloud).unwrap();
    assert_eq!(plan.routes[0].delivery.error_policy, ErrorPolicy::Log);
    assert!(matches!(plan.routes[0].credentials, CredentialsPlan::Static { .. }));
    assert!(!format!("{plan:?}").contains("hidden"), "secrets are never shown");
    let Notices {
        unknown,
        without_effect,
    } = notices(&cloud, &definition(&cloud));
    assert_eq!(unknown, [""; 0]);
    let keys: Vec<_> = without_effect
        .iter()
        .filter_map(|notice| notice.split(' ').next())
        .collect();
    assert_eq!(keys, ["kafka.api.key", "kafka.api.secret", "kafka.auth.mode"]);

    let nordstrom: Pairs<'_> = &[
        ("connector.class", NORDSTROM_CLASS),
        ("aws.region", "us-east-2"),
        ("aws.lambda.function.arn", ARN),
        ("aws.lambda.invocation.mode", "ASYNC"),
    ];
    let plan = plan_in(&no_environment(), &raw(nordstrom, &[])).unwrap();
    assert_eq!(plan.routes[0].payload.format, EventFormat::Nordstrom(Formatter::Plain));
    assert_eq!(plan.routes[0].payload.packing, Packing::Array);
    assert_eq!(plan.routes[0].invocation, InvocationType::Async);
    assert_eq!(plan.routes[0].delivery.call_timeout, Duration::from_secs(300));
    let json: Pairs<'_> = &[
        (
            "payload.formatter.class",
            "com.nordstrom.kafka.connect.formatters.JsonPayloadFormatter",
        ),
        ("payload.formatter.key.schema.visibility", "ALL"),
        ("aws.lambda.batch.enabled", "false"),
    ];
    let plan = plan_in(&no_environment(), &raw(nordstrom, json)).unwrap();
    let formatter = Formatter::Json {
        key: SchemaVisibility::All,
        value: SchemaVisibility::Min,
    };
    assert_eq!(plan.routes[0].payload.format, EventFormat::Nordstrom(formatter));
    assert_eq!(plan.routes[0].delivery.batch_records, 1, "no batches");
    assert_eq!(plan.routes[0].payload.packing, Packing::One);
    let both = [json, &[("delivery.batch.size", "5")]].concat();
    assert_eq!(
        plan_in(&no_environment(), &raw(nordstrom, &both))
            .map(|_| ())
            .unwrap_err(),
        "aws.lambda.batch.enabled: `delivery.batch.size` says otherwise: leave one of them out"
    );
}

#[test]
fn camels_connector_sends_one_value_a_call() {
    let camel: Pairs<'_> = &[
        ("connector.class", CAMEL_CLASS),
        ("camel.kamelet.aws-lambda-sink.function", "f"),
        ("camel.kamelet.aws-lambda-sink.region", "eu-west-1"),
        ("camel.kamelet.aws-lambda-sink.accessKey", "AK"),
        ("camel.kamelet.aws-lambda-sink.secretKey", "hidden"),
        ("camel.kamelet.aws-lambda-sink.useDefaultCredentialsProvider", "false"),
    ];
    let plan = plan_in(&no_environment(), &raw(camel, &[])).unwrap();
    let route = &plan.routes[0];
    assert_eq!(
        (&route.payload.format, route.payload.packing),
        (&EventFormat::Raw, Packing::One)
    );
    assert_eq!((route.region.as_str(), route.delivery.batch_records), ("eu-west-1", 1));
    assert!(matches!(route.credentials, CredentialsPlan::Static { .. }));
    assert_eq!(route.function_key, "camel.kamelet.aws-lambda-sink.function");
    assert_eq!(
        notices(&raw(camel, &[]), &definition(&raw(camel, &[]))),
        Notices::default()
    );
    let more: Pairs<'_> = &[
        ("camel.kamelet.aws-lambda-sink.profileCredentialsName", "p"),
        ("camel.sink.marshal", "json"),
    ];
    assert_eq!(
        plan_in(&no_environment(), &raw(camel, more)).map(|_| ()).unwrap_err(),
        "camel.kamelet.aws-lambda-sink.profileCredentialsName: profiles are chosen for the worker: start it with AWS_PROFILE, \
         and leave this out\n\
         camel.sink.marshal: settings of Camel itself are not supported: leave it out"
    );
}

#[test]
fn region_and_endpoint_come_from_setting_then_arn_then_environment() {
    let environment = |entries: Pairs<'_>| Environment::new(entries.iter().copied(), || SystemTime::UNIX_EPOCH);
    let cases: &[(Pairs<'_>, Pairs<'_>, &str, &str)] = &[
        // configuration, environment, wanted, why
        (
            &[("aws.lambda.region", "eu-west-1")],
            &[("AWS_REGION", "us-east-1")],
            "eu-west-1 https://lambda.eu-west-1.amazonaws.com",
            "setting",
        ),
        (
            &[("aws.lambda.function.name", ARN)],
            &[("AWS_REGION", "us-east-1")],
            "us-east-2 https://lambda.us-east-2.amazonaws.com",
            "ARN",
        ),
        (
            &[],
            &[("AWS_DEFAULT_REGION", "cn-north-1")],
            "cn-north-1 https://lambda.cn-north-1.amazonaws.com.cn",
            "environment",
        ),
        (
            &[],
            &[("AWS_REGION", " "), ("AWS_DEFAULT_REGION", "us-east-1")],
            "us-east-1 https://lambda.us-east-1.amazonaws.com",
            "blank is not set",
        ),
        (
            &[("aws.lambda.endpoint", "http://127.0.0.1:9001/")],
            &[("AWS_REGION", "us-east-1"), ("AWS_ENDPOINT_URL", "http://elsewhere")],
            "us-east-1 http://127.0.0.1:9001",
            "endpoint setting",
        ),
        (
            &[],
            &[
                ("AWS_REGION", "us-east-1"),
                ("AWS_ENDPOINT_URL", "http://all"),
                ("AWS_ENDPOINT_URL_LAMBDA", "http://lambda"),
            ],
            "us-east-1 http://lambda",
            "the service's own variable wins",
        ),
        (
            &[],
            &[],
            "aws.lambda.region: is not set, and neither is AWS_REGION: set it to the functions' region, such as `eu-central-1`",
            "nowhere",
        ),
    ];
    for (entries, variables, wanted, why) in cases {
        let mut raw = raw(&[("connector.class", CLASS), ("aws.lambda.function.name", "f")], &[]);
        raw.extend(
            entries
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
        );
        let found = match plan_in(&environment(variables), &raw) {
            Ok(plan) => format!("{} {}", plan.routes[0].region, plan.routes[0].endpoint),
            Err(error) => error,
        };
        assert_eq!(found, *wanted, "{why}");
    }
}

#[test]
fn harmless_keys_of_other_connectors_and_unknown_ones_are_accepted_and_named() {
    let raw = raw(
        BASE,
        &[
            ("aws.lambda.function.name", "f"),
            ("aws.lambda.batch.size", "5"),
            ("confluent.topic.bootstrap.servers", "b:9092"),
            ("reporter.bootstrap.servers", "b:9092"),
            ("reporter.result.topic.name", ""),
            ("reporter.admin.security.protocol", "SSL"),
            ("aws.lambda.proxy.url", ""),
            ("aws.lambda.functon.name", "typo"),
            ("tasks.max", "1"),
        ],
    );
    assert!(plan_in(&no_environment(), &raw).is_ok());
    assert_eq!(
        notices(&raw, &definition(&raw)),
        Notices {
            unknown: vec!["aws.lambda.functon.name".to_owned()],
            without_effect: vec![
                "confluent.topic.bootstrap.servers (there is no licence to store)".to_owned(),
                "reporter.admin.security.protocol (topics are made through the producer's connections)".to_owned(),
            ],
        }
    );
}

/// The reference of settings is made of the framework's own definition.
#[test]
fn no_setting_of_the_framework_is_called_misspelt() {
    let reference = include_str!("../../../../docs/settings.md");
    let (_, part) = reference.split_once("\n## Every connector\n").unwrap();
    let (part, _) = part.split_once("\n## Connector ").unwrap();
    let keys = part
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let raw: RawConfig = keys.map(|key| (key.to_owned(), String::new())).collect();
    assert!(raw.len() > 30 && raw.contains_key("task.restart.policy"), "{raw:?}");
    assert_eq!(notices(&raw, &definition(&raw)), Notices::default());
}

#[test]
fn routes_are_limited_together_if_lambda_limits_them_together() {
    let keys = |entries: Pairs<'_>| {
        let entries: Vec<_> = [("topics", "t")].iter().chain(entries).copied().collect();
        plan_in(&no_environment(), &raw(&BASE[..1], &entries)).unwrap().routes[0].limit_keys()
    };
    let (function, region) = ("aws.lambda.function.name", "aws.lambda.region");
    let first = keys(&[(function, "f"), (region, "us-east-2")]);
    let cases: [(Pairs<'_>, (bool, bool), &str); 7] = [
        (
            &[(function, "f:prod"), (region, "us-east-2")],
            (true, true),
            "another alias",
        ),
        (
            &[
                (function, "f:7"),
                (region, "us-east-2"),
                ("aws.lambda.invocation.type", "async"),
            ],
            (true, true),
            "another type",
        ),
        (
            &[(function, "g"), (region, "us-east-2")],
            (false, true),
            "another function",
        ),
        (
            &[(function, "f"), (region, "us-east-1")],
            (false, false),
            "another region",
        ),
        (
            &[
                (function, "f"),
                (region, "us-east-2"),
                ("aws.lambda.endpoint", "http://e"),
            ],
            (false, false),
            "another endpoint",
        ),
        (
            &[
                (function, "f"),
                (region, "us-east-2"),
                ("aws.access.key.id", "a"),
                ("aws.secret.access.key", "b"),
            ],
            (false, false),
            "other credentials",
        ),
        (
            &[(function, ARN)],
            (false, false),
            "an account that only Lambda could compare",
        ),
    ];
    for (entries, wanted, why) in cases {
        let other = keys(entries);
        let shared = (first.function == other.function, first.account == other.account);
        assert_eq!(shared, wanted, "{why}");
    }
    let (full, partial) = (
        keys(&[(function, ARN)]),
        keys(&[(function, "123456789012:function:f:prod"), (region, "us-east-2")]),
    );
    assert_eq!(full, partial, "both forms of an ARN");
    assert!(!format!("{full:?}").contains("123456789012"), "keys are not shown");
    // The same function under two names had two limits.
    let role = ("aws.role.arn", "arn:aws:iam::123456789012:role/caller");
    let by_name = keys(&[(function, "f"), (region, "us-east-2"), role]);
    let own = keys(&[
        (function, "arn:aws:lambda:us-east-2:123456789012:function:f:prod"),
        role,
    ]);
    assert_eq!(by_name, own, "the role's account is the function's");
    let foreign = keys(&[(function, "arn:aws:lambda:us-east-2:210987654321:function:f"), role]);
    assert_ne!(by_name.account, foreign.account, "another account");
}
