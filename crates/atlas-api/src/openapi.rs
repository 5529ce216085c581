//! The published description of the API, made from the table of operations.
//!
//! Paths, versions, roles and status codes come from the table; `openapi/schemas.json` holds what
//! bodies look like, in our own words. Source of the form: OpenAPI 3.0.3.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::operation::{Handler, Operation, Shape, Taken};
use crate::operations::OPERATIONS;
use crate::render::compact;

const SCHEMAS: &str = include_str!("openapi/schemas.json");
/// Statuses that every operation can answer with an error.
const ERRORS: &[(&str, &str)] = &[
    ("400", "The request is wrong; `errorCode` and `detail` say how."),
    ("401", "The caller is unknown, or lacks the role."),
    ("403", "Forbidden from this address, or not offered."),
    ("404", "Something that the path names does not exist."),
    ("406", "The Accept header names no version that exists."),
    ("409", "Something else is in the way."),
    ("410", "The version was switched off."),
    ("413", "The body is too large."),
    ("415", "The body is not JSON."),
    ("429", "Too many requests."),
    ("500", "An unexpected error."),
    ("503", "The request took too long."),
];

/// The document as text.
pub(crate) fn text() -> String {
    static TEXT: LazyLock<String> = LazyLock::new(|| compact(document()));
    TEXT.clone()
}

fn document() -> Value {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let path = paths
            .entry(format!("/api/atlas/v2{}", operation.path))
            .or_insert_with(|| Value::Object(Map::new()));
        if let Some(verbs) = path.as_object_mut() {
            verbs.insert(operation.verb.as_str().to_ascii_lowercase(), describe(operation));
        }
    }
    let schemas: Value = serde_json::from_str(SCHEMAS).unwrap_or_default();
    json!({
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "digest": { "scheme": "digest", "type": "http" },
                "token": { "scheme": "bearer", "type": "http" },
            },
        },
        "info": {
            "description": "Backup and restore for MongoDB behind the Atlas Administration API v2.",
            "license": { "name": "Apache-2.0" },
            "title": "Tidemark",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "openapi": "3.0.3",
        "paths": paths,
        "security": [{ "digest": [] }, { "token": [] }],
    })
}

fn describe(operation: &Operation) -> Value {
    let roles: Vec<&str> = operation.roles().iter().map(|role| role.as_str()).collect();
    let mut body = json!({
        "operationId": operation.id,
        "parameters": parameters(operation),
        "responses": responses(operation),
        "x-tidemark-offered": operation.is_offered(),
        "x-tidemark-roles": roles,
    });
    let is_deprecated = operation.versions.iter().all(|version| version.deprecated.is_some());
    if let Some(fields) = body.as_object_mut() {
        if is_deprecated {
            fields.insert("deprecated".to_owned(), true.into());
        }
        if let Some(taken) = request_body(operation) {
            fields.insert("requestBody".to_owned(), taken);
        }
    }
    body
}

fn media_types(operation: &Operation) -> impl Iterator<Item = String> {
    operation.versions.iter().map(|version| format!("application/vnd.atlas.{}+json", version.date))
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn array(items: Value) -> Value {
    json!({ "items": items, "type": "array" })
}

/// A body, or the same body in an envelope.
fn enveloped(schema: Value) -> Value {
    let envelope = json!({
        "additionalProperties": false,
        "properties": { "content": schema, "status": { "type": "integer" } },
        "required": ["content", "status"],
        "type": "object",
    });
    json!({ "anyOf": [schema, envelope] })
}

fn page(schema: &str) -> Value {
    json!({
        "additionalProperties": false,
        "properties": {
            "links": array(reference("Link")),
            "results": array(reference(schema)),
            "status": { "type": "integer" },
            "totalCount": { "minimum": 0, "type": "integer" },
        },
        "required": ["links", "results", "totalCount"],
        "type": "object",
    })
}

fn request_body(operation: &Operation) -> Option<Value> {
    let schema = match operation.takes {
        Taken::Nothing => return None,
        Taken::One(schema) => reference(schema),
        Taken::Many(schema) => array(reference(schema)),
    };
    let content: Map<String, Value> = media_types(operation)
        .map(|media_type| (media_type, json!({ "schema": schema })))
        .collect();
    Some(json!({ "content": content, "required": true }))
}

fn responses(operation: &Operation) -> Value {
    let mut responses = Map::new();
    let can_succeed = !matches!(operation.handler, Handler::Cluster(_) | Handler::NotOffered(_));
    if can_succeed {
        let schema = match operation.answers {
            Shape::Nothing => None,
            Shape::One(schema) => Some(enveloped(reference(schema))),
            Shape::Many(schema) => Some(enveloped(array(reference(schema)))),
            Shape::Page(schema) => Some(page(schema)),
        };
        let mut success = json!({ "description": "Done." });
        if let (Some(schema), Some(fields)) = (schema, success.as_object_mut()) {
            let content: Map<String, Value> = media_types(operation)
                .map(|media_type| (media_type, json!({ "schema": schema })))
                .collect();
            fields.insert("content".to_owned(), content.into());
        }
        responses.insert(operation.status.to_string(), success);
    }
    for (status, description) in ERRORS {
        let content = json!({ "application/json": { "schema": enveloped(reference("Error")) } });
        let response = json!({ "content": content, "description": description });
        responses.insert((*status).to_owned(), response);
    }
    Value::Object(responses)
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let in_path = operation.path.split('{').skip(1).filter_map(|part| {
        let (name, _) = part.split_once('}')?;
        Some(json!({ "in": "path", "name": name, "required": true, "schema": path_schema(name) }))
    });
    let flag = json!({ "default": false, "type": "boolean" });
    let mut in_query = vec![("envelope", flag.clone()), ("pretty", flag)];
    if matches!(operation.answers, Shape::Page(_)) {
        in_query.extend([
            ("includeCount", json!({ "default": true, "type": "boolean" })),
            (
                "itemsPerPage",
                json!({ "default": 100, "maximum": 500, "minimum": 1, "type": "integer" }),
            ),
            ("pageNum", json!({ "default": 1, "minimum": 1, "type": "integer" })),
        ]);
    }
    in_query.extend(operation.query.iter().map(|name| {
        let is_flag = *name == "enable";
        (*name, json!({ "type": if is_flag { "boolean" } else { "string" } }))
    }));
    let in_query = in_query
        .into_iter()
        .map(|(name, schema)| json!({ "in": "query", "name": name, "schema": schema }));
    in_path.chain(in_query).collect()
}

fn path_schema(name: &str) -> Value {
    match name {
        "groupId" | "orgId" | "apiUserId" | "secretId" | "snapshotId" | "restoreJobId" => {
            json!({ "pattern": "^[a-f0-9]{24}$", "type": "string" })
        }
        "clientId" => json!({ "pattern": "^mdb_sa_id_[a-f0-9]{24}$", "type": "string" }),
        "name" | "clusterName" => {
            json!({ "pattern": "^[a-zA-Z0-9][a-zA-Z0-9-]*$", "type": "string" })
        }
        _ => json!({ "minLength": 1, "type": "string" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_stands_in_it_and_every_schema_it_names_exists() {
        let document = document();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for operation in OPERATIONS {
            let path = format!("/api/atlas/v2{}", operation.path);
            let verb = operation.verb.as_str().to_ascii_lowercase();
            assert_eq!(document["paths"][&path][&verb]["operationId"], operation.id);
        }
        let text = document.to_string();
        let named =
            text.split("#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap());
        for name in named {
            assert!(schemas.contains_key(name), "{name}");
        }
        for name in schemas.keys() {
            let reference = format!("#/components/schemas/{name}\"");
            assert!(text.contains(&reference), "nothing uses the schema {name}");
        }
    }

    #[test]
    fn what_is_offered_says_what_it_answers() {
        for operation in OPERATIONS.iter().filter(|operation| operation.is_offered()) {
            let answers_nothing = operation.answers == Shape::Nothing;
            let can_be_empty = matches!(operation.handler, Handler::Cluster(_))
                || operation.status == 204
                || operation.id == "setGroupServerlessPerformanceAdvisorAutoIndexing";
            assert_eq!(answers_nothing, can_be_empty, "{}", operation.id);
        }
    }
}
