//! The API as an OpenAPI 3.1 document, made of the table that requests are matched with and of the types of answers.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::error::ErrorBody;
use crate::operations::{Answer, Body, Content, Operation, PATHS, Path, Query};

/// The document of a worker of this version.
#[must_use]
pub fn openapi(version: &str) -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let error = schemas.subschema_for::<ErrorBody<'static>>();
    let mut paths = Map::new();
    for path in PATHS {
        let operations = path.operations.iter().map(|operation| {
            let method = operation.method.as_str().to_ascii_lowercase();
            (method, described(path, operation, &mut schemas))
        });
        paths.insert(path.template.to_owned(), Value::Object(operations.collect()));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Klamm",
            "version": version,
            "summary": "Kafka Connect's REST API, and what Klamm adds to it",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:8083"}],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "responses": {
                "Error": {
                    "description": "It was refused or failed, as `error_code`, the HTTP status, and `message` say",
                    "content": {"application/json": {"schema": error}},
                },
            },
        },
    })
}

fn described(path: &Path, operation: &Operation, schemas: &mut SchemaGenerator) -> Value {
    let mut responses: Map<String, Value> = operation
        .answers
        .iter()
        .map(|answer| (answer.status.to_string(), response(answer, schemas)))
        .collect();
    responses.insert("default".to_owned(), json!({"$ref": "#/components/responses/Error"}));
    let names = path
        .parts()
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let names = names.map(|name| {
        let kind = if name == "task" { "integer" } else { "string" };
        json!({"name": name, "in": "path", "required": true, "schema": {"type": kind}})
    });
    let query = operation.query.iter().map(
        |Query { name, kind, doc }| json!({"name": name, "in": "query", "description": doc, "schema": {"type": kind}}),
    );
    let parameters: Vec<Value> = names.chain(query).collect();
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "responses": responses,
    });
    if let Value::Object(members) = &mut described {
        if !parameters.is_empty() {
            members.insert("parameters".to_owned(), parameters.into());
        }
        if let Some(body) = operation.body {
            members.insert("requestBody".to_owned(), request(&body));
        }
    }
    described
}

fn request(body: &Body) -> Value {
    // Both are JSON: a test reads all of them.
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    json!({
        "description": body.doc,
        "required": body.is_required,
        "content": {"application/json": {"schema": read(body.schema), "example": read(body.example)}},
    })
}

fn response(answer: &Answer, schemas: &mut SchemaGenerator) -> Value {
    let content = match answer.content {
        Content::None => return json!({"description": answer.doc}),
        Content::Json(schema) => json!({"application/json": {"schema": schema(schemas)}}),
        Content::Text => json!({"text/plain": {"schema": {"type": "string"}}}),
    };
    json!({"description": answer.doc, "content": content})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    found.insert(reference);
                }
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn references_lead_somewhere_and_operations_have_names_of_their_own() {
        let document = openapi("1");
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.contains("#/components/schemas/ConnectorAnswer"), "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        let mut ids = BTreeSet::new();
        for path in PATHS {
            for operation in path.operations {
                assert!(ids.insert(operation.id), "{} stands twice", operation.id);
            }
        }
    }

    #[test]
    fn bodies_are_json_and_what_a_status_answers_is_described() {
        for body in PATHS
            .iter()
            .flat_map(|path| path.operations)
            .filter_map(|operation| operation.body)
        {
            for text in [body.schema, body.example] {
                serde_json::from_str::<Value>(text).unwrap();
            }
        }
        let document = openapi("1");
        let status = &document["paths"]["/connectors/{connector}/status"]["get"];
        assert_eq!(status["parameters"][0]["name"], "connector");
        let reference = status["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
            .as_str()
            .unwrap();
        let schema = document.pointer(reference.strip_prefix('#').unwrap()).unwrap();
        assert!(schema["properties"]["extensions"].is_object(), "{schema}");
        assert!(schema.to_string().contains("\"tasks\""), "{schema}");
    }
}
