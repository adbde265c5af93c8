//! Holds replies to the OpenAPI document: status, content type, headers and every member of the body.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::server::Reply;
use crate::api::openapi;
use crate::api::router::Route;

/// The document as it is served.
pub(super) static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_slice(&openapi::document()).expect("the document is JSON"));

/// The document, but a member that it does not name is an error: clients are to ignore such members, and we
/// are to document them.
static STRICT: LazyLock<Value> = LazyLock::new(|| {
    let mut document = DOCUMENT.clone();
    for (_, schema) in document["components"]["schemas"].as_object_mut().expect("schemas") {
        schema.as_object_mut().expect("a schema").values_mut().for_each(close);
    }
    document["components"]["responses"].as_object_mut().expect("responses").values_mut().for_each(close);
    close(&mut document["paths"]);
    document
});

/// Closes the schemas inside a value. A part of `allOf` stays open, for its siblings have members too.
fn close(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                match member.as_array_mut() {
                    Some(parts) if name == "allOf" => {
                        let inside = parts.iter_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut);
                        inside.for_each(close);
                    }
                    _ => close(member),
                }
            }
            let is_schema = ["$ref", "properties", "allOf"].iter().any(|name| members.contains_key(*name));
            if is_schema && !members.contains_key("additionalProperties") {
                members.insert("unevaluatedProperties".into(), json!(false));
            }
        }
        _ => {}
    }
}

/// Follows references until there is none.
pub(super) fn resolved(mut value: &Value) -> &Value {
    while let Some(reference) = value["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').expect("references stay inside the document");
        let document: &Value = if reference.contains("/schemas/") { &DOCUMENT } else { &STRICT };
        value = document.pointer(pointer).unwrap_or_else(|| panic!("nothing is at {reference}"));
    }
    value
}

/// A validator for a schema of the document.
pub(super) fn validator(schema: &Value) -> Validator {
    let root = json!({ "components": STRICT["components"], "allOf": [schema], "unevaluatedProperties": true });
    let options = jsonschema::draft202012::options().should_validate_formats(true);
    options.build(&root).unwrap_or_else(|error| panic!("{error}: {schema}"))
}

/// Panics unless the document promises such a reply to such a request.
pub(super) fn check(method: &str, target: &str, reply: &Reply) {
    let request = format!("{method} {target}");
    let route = Route::of(target.split('?').next().expect("a path"));
    let operation = route.map(|route| &STRICT["paths"][route.pattern()][method.to_lowercase()]);
    let responses = &STRICT["components"]["responses"];
    let response = match (reply.status, operation) {
        (404, None) => &responses["NotFound"],
        (405, Some(Value::Null)) => &responses["MethodNotAllowed"],
        (400, None | Some(Value::Null)) => &responses["Malformed"],
        (401, None | Some(Value::Null)) => &responses["Unauthorized"],
        (403, None | Some(Value::Null)) => &responses["Forbidden"],
        (status, operation) => {
            let found = operation.map(|operation| resolved(&operation["responses"][status.to_string()]));
            found.unwrap_or(&Value::Null)
        }
    };
    assert!(response.is_object(), "{request}: the document has no such reply: {reply:?}");
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        let is_there = reply.head.contains(&format!("\r\n{}: ", name.to_lowercase()));
        assert!(is_there || resolved(header)["required"] != true, "{request}: no {name} in {reply:?}");
    }
    if method == "HEAD" {
        assert_eq!(reply.body, "", "{request}");
        return;
    }
    let content = response["content"].as_object().expect("every other reply has a body");
    let (media_type, content) = content.iter().next().expect("of one type");
    let line = format!("\r\ncontent-type: {media_type}");
    assert!(reply.head.contains(&line), "{request}: not {media_type}: {reply:?}");
    if media_type.contains("json") {
        let body = reply.json();
        let errors: Vec<String> = validator(&content["schema"])
            .iter_errors(&body)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{request}: {errors:#?}\n{body:#}");
    }
}
