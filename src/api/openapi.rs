//! The OpenAPI document, for `GET /openapi.json`.
//!
//! `openapi.json` holds what each route has of its own. What is the same everywhere is added here, so that
//! it is said once: the problems that any request or any change can meet, `HEAD` beside `GET`, and the
//! replies of the problems, made from [`Kind`].

use std::sync::LazyLock;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::problem::Kind;

/// The document as it is sent.
pub(super) fn document() -> Bytes {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(complete().to_string() + "\n"));
    TEXT.clone()
}

/// What any request can meet, by status.
const OF_ALL: [(&str, &str); 3] = [("400", "Malformed"), ("403", "Forbidden"), ("431", "HeaderTooLarge")];
/// What a request without a token can meet, unless the route is open.
const OF_GUARDED: (&str, &str) = ("401", "Unauthorized");
/// What a request with a body can meet: every one that may change something, and that viewers may not send.
const OF_CHANGES: [(&str, &str); 4] =
    [("403", "ChangeForbidden"), ("408", "RequestTimeout"), ("413", "BodyTooLarge"), ("415", "UnsupportedMediaType")];

fn complete() -> Value {
    let mut document: Value = serde_json::from_str(include_str!("openapi.json")).expect("the tests read the same file");
    document["info"]["version"] = json!(env!("CARGO_PKG_VERSION"));
    for responses in members(&mut document["components"]["responses"]) {
        add_problem(responses);
    }
    let types: Vec<String> = Kind::ALL.into_iter().map(Kind::urn).collect();
    document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"] = json!(types);
    for path in members(&mut document["paths"]) {
        for (method, operation) in path.iter_mut() {
            add_responses(method != "get", operation);
        }
        if let Some(head) = path.get("get").cloned().map(head) {
            path.insert("head".into(), head);
        }
    }
    document
}

fn members(object: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    object.as_object_mut().into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut)
}

fn add_responses(is_change: bool, operation: &mut Value) {
    let is_open = operation["security"].as_array().is_some_and(Vec::is_empty);
    let changes = OF_CHANGES.iter().filter(|_| is_change);
    for (status, name) in OF_ALL.iter().chain(Some(&OF_GUARDED).filter(|_| !is_open)).chain(changes) {
        operation["responses"][*status] = json!({ "$ref": format!("#/components/responses/{name}") });
    }
}

/// Turns the names under `x-problems` into the schema, the examples and the headers of the reply; the
/// members of the schema under `x-members` come with it.
fn add_problem(response: &mut Map<String, Value>) {
    let Some(names) = response.remove("x-problems") else { return };
    let is_named = |kind: &Kind| names.as_array().is_some_and(|names| names.iter().any(|name| name == kind.name()));
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(is_named).collect();
    let types: Vec<String> = kinds.iter().map(|kind| kind.urn()).collect();
    let statuses: Vec<u16> = kinds.iter().map(|kind| kind.status().as_u16()).collect();
    let this = json!({ "properties": { "type": { "enum": types }, "status": { "enum": [statuses.first()] } } });
    let mut all = vec![json!({ "$ref": "#/components/schemas/Problem" }), this];
    if let Some(Value::String(more)) = response.remove("x-members") {
        all.push(json!({ "$ref": format!("#/components/schemas/{more}") }));
    }
    response.insert("content".into(), json!({ "application/problem+json": { "schema": { "allOf": all } } }));
    if statuses.contains(&503) {
        response.insert("headers".into(), json!({ "Retry-After": { "$ref": "#/components/headers/RetryAfter" } }));
    }
}

/// `HEAD`: as `GET`, but no reply has a body.
fn head(get: Value) -> Value {
    let mut head = get;
    let name = head["operationId"].as_str().unwrap_or_default().replacen("get", "head", 1);
    head["operationId"] = json!(name);
    head["summary"] = json!("The headers of the reply to GET");
    let statuses: Vec<String> = head["responses"].as_object().into_iter().flat_map(Map::keys).cloned().collect();
    for status in statuses {
        head["responses"][status] = json!({ "description": "As for GET, without a body." });
    }
    head
}
