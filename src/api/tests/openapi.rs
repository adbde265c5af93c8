//! The OpenAPI document is true to the code.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::contract::{DOCUMENT, resolved, validator};
use super::server::Server;
use crate::api::problem::Kind;
use crate::api::router::Route;
use crate::manual;

/// Every operation: its path, its method in capitals, and itself.
fn operations() -> Vec<(&'static str, String, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    let of_path = |(path, methods): (&'static String, &'static Value)| {
        let methods = methods.as_object().expect("methods");
        methods.iter().map(move |(method, operation)| (path.as_str(), method.to_uppercase(), operation))
    };
    paths.iter().flat_map(of_path).collect()
}

/// Every value in the document, with the name under which it stands.
fn walk(name: &str, value: &'static Value, visit: &mut impl FnMut(&str, &'static Value)) {
    visit(name, value);
    match value {
        Value::Object(members) => members.iter().for_each(|(name, member)| walk(name, member, visit)),
        Value::Array(items) => items.iter().for_each(|item| walk(name, item, visit)),
        _ => {}
    }
}

#[test]
fn has_every_route_with_every_method_and_nothing_else() {
    let documented: BTreeSet<String> =
        operations().into_iter().map(|(path, method, _)| format!("{method} {path}")).collect();
    let methods = |route: Route<'static>| route.allow().split(", ").map(move |m| format!("{m} {}", route.pattern()));
    let served: BTreeSet<String> = Route::ALL.into_iter().flat_map(methods).collect();
    assert_eq!(documented, served);
    let names: BTreeSet<&str> =
        operations().iter().map(|(_, _, operation)| operation["operationId"].as_str().expect("a name")).collect();
    assert_eq!(names.len(), documented.len(), "names are unique");
}

#[test]
fn has_every_query_key_and_nothing_else() {
    for (path, method, operation) in operations() {
        let parameters = operation["parameters"].as_array().into_iter().flatten().map(resolved);
        let query: Vec<&str> =
            parameters.filter(|one| one["in"] == "query").filter_map(|one| one["name"].as_str()).collect();
        let route = Route::of(path).expect("a route");
        assert_eq!(query, route.query_keys(), "{method} {path}");
    }
}

/// A header that makes no sense is refused where the document has it, and does not matter elsewhere.
#[tokio::test]
async fn has_every_header_that_a_route_reads() {
    let server = Server::start().await;
    for (path, method, operation) in operations().into_iter().filter(|(_, method, _)| method != "HEAD") {
        let parameters = operation["parameters"].as_array().into_iter().flatten().map(resolved);
        let headers: Vec<&str> =
            parameters.filter(|one| one["in"] == "header").filter_map(|one| one["name"].as_str()).collect();
        if path == "/events" {
            // No text is wrong there; what it does is tested with the events.
            assert_eq!(headers, ["Last-Event-ID"]);
            continue;
        }
        for name in ["If-Match", "Idempotency-Key"] {
            let reply = server.send(&format!("{method} {path}"), &format!("{name}: a b\r\n"), "").await;
            let refused =
                reply.status == 400 && reply.json()["detail"].as_str().is_some_and(|text| text.contains(name));
            assert_eq!(refused, headers.contains(&name), "{method} {path} {name}: {reply:?}");
        }
        assert!(headers.iter().all(|name| ["If-Match", "Idempotency-Key"].contains(name)), "{headers:?}");
    }
    server.end().await;
}

#[test]
fn has_every_problem_under_its_status() {
    let mut types = BTreeSet::new();
    for response in DOCUMENT["components"]["responses"].as_object().expect("responses").values() {
        let parts = &response["content"]["application/problem+json"]["schema"]["allOf"];
        for kind in parts[1]["properties"]["type"]["enum"].as_array().into_iter().flatten() {
            let kind = Kind::ALL
                .into_iter()
                .find(|known| kind.as_str() == Some(known.urn().as_str()))
                .expect("a type of ours");
            assert_eq!(parts[1]["properties"]["status"]["enum"], json!([kind.status().as_u16()]), "{kind:?}");
            types.insert(kind.name());
        }
    }
    assert_eq!(types, Kind::ALL.into_iter().map(Kind::name).collect());
    for (path, method, operation) in operations() {
        for (status, response) in operation["responses"].as_object().expect("responses") {
            let schema = &resolved(response)["content"]["application/problem+json"]["schema"]["allOf"][1];
            let own = &schema["properties"]["status"]["enum"][0];
            assert!(own.is_null() || own.as_u64() == status.parse().ok(), "{method} {path} {status}: {own}");
        }
    }
}

#[test]
fn the_manual_has_every_route_and_every_problem_and_no_other() {
    let listed = manual::items(&manual::section(manual::PROGRAM, ".Sh CONTROL API"));
    let listed = listed.iter().filter_map(|item| item.head.strip_prefix("Li "));
    let (problems, rest): (Vec<_>, Vec<_>) = listed.partition(|head| head.contains(" No ("));
    let known = Kind::ALL.map(|kind| format!("{} No ({})", kind.name(), kind.status().as_u16()));
    assert_eq!(problems.into_iter().collect::<BTreeSet<_>>(), known.iter().map(String::as_str).collect());
    let routes = rest.iter().filter(|head| head.contains(" /")).filter_map(|head| head.split('?').next());
    let known = operations().into_iter().filter(|(_, method, _)| method != "HEAD");
    let known: BTreeSet<_> =
        known.map(|(path, method, _)| format!("{method} {}", path.replace("{id}", "ID"))).collect();
    assert_eq!(routes.map(str::to_owned).collect::<BTreeSet<_>>(), known);
}

#[test]
fn has_valid_schemas_and_examples_and_no_dangling_reference() {
    let schemas = DOCUMENT["components"]["schemas"].as_object().expect("schemas");
    for (name, schema) in schemas {
        jsonschema::draft202012::meta::validate(schema).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let mut examples = 0;
    walk("", &DOCUMENT, &mut |name, value| {
        resolved(value);
        for example in value["examples"].as_array().into_iter().flatten() {
            examples += 1;
            let validator = validator(value);
            assert!(
                validator.is_valid(example),
                "{name}: {example}: {:?}",
                validator.iter_errors(example).collect::<Vec<_>>()
            );
        }
    });
    assert!(examples > 20, "found {examples}");
    let mut referenced = BTreeSet::new();
    walk("", &DOCUMENT, &mut |name, value| {
        if name == "$ref" {
            referenced.insert(value.as_str().expect("a reference"));
        }
    });
    for kind in ["schemas", "parameters", "requestBodies", "headers"] {
        for name in DOCUMENT["components"][kind].as_object().expect("parts").keys() {
            let reference = format!("#/components/{kind}/{name}");
            assert!(referenced.contains(reference.as_str()), "nothing refers to {reference}");
        }
    }
}

#[tokio::test]
async fn a_body_is_accepted_exactly_if_its_schema_says_so() {
    let texts = ["null", "\"\"", "\"x\"", "0", "1", "-1", "2.5", "true", "false", "[]", "{}"];
    let of = |name: &str, more: &[&str]| -> Vec<String> {
        texts.iter().chain(more).map(|value| format!("{{\"{name}\":{value}}}")).collect()
    };
    let mut run =
        [of("mode", &["\"full\"", "\"delta\"", "\"Full\""]), of("dry_run", &[]), of("allow_deletes", &[])].concat();
    run.extend(of("source", &["\"main\""]).into_iter().filter(|body| !body.contains("\"x\"")));
    let long = format!("\"{}\"", "é".repeat(501));
    let reason = of("reason", &[&long, "\"a\\u0085b\"", "\"two words\"", "\"a\\nb\""]);
    let time = of("for", &["31622400", "31622401", "\"2h\"", "\"1h 30m\"", "3600.0", "86400.5", "1e400"]);
    let interval = of("interval_sec", &["86400", "3e2", "86401", "99999999999999999999"]);
    let more = [
        "{\"cron\":\"0 3 * * *\"}",
        "{\"cron\":\"0 3 * * *\",\"time_zone\":\"Asia/Seoul\"}",
        "{\"cron\":\"0 3 * * *\",\"time_zone\":null,\"interval_sec\":null}",
        "{\"cron\":\"0 3 * * *\",\"interval_sec\":5}",
        "{\"cron\":null,\"interval_sec\":5}",
        "{\"cron\":null}",
        "{\"cron\":7}",
        "{\"interval_sec\":5,\"time_zone\":\"UTC\"}",
        "{\"time_zone\":\"UTC\"}",
    ];
    let schedule = [interval, more.map(str::to_owned).to_vec()].concat();
    let time_of_level = ["\"2h\"", "3600.0", "86400", "86401", "0", "null", "true"];
    let time_of_level = time_of_level.map(|time| format!("{{\"level\":\"info\",\"for\":{time}}}"));
    let level = of("level", &["\"debug\"", "\"info,rbac_sync::api=debug\""]);
    let level: Vec<String> = level
        .into_iter()
        .filter(|body| !body.contains("\"x\"") && !body.contains("\"\""))
        .chain(time_of_level)
        .collect();
    let other = ["{\"other\":1}", "{}", "[]", "null", "1", "\"{}\"", "{\"a\":", ""].map(str::to_owned);
    let server = Server::start().await;
    for (request, schema, bodies) in [
        ("POST /sync/run", "RunRequest", run),
        ("POST /sync/pause", "PauseRequest", [reason, time].concat()),
        ("PUT /sync/schedule", "ScheduleRequest", schedule),
        ("PUT /log/level", "LogLevelRequest", level),
    ] {
        let validator = validator(&DOCUMENT["components"]["schemas"][schema]);
        let (path, method) = (&request[request.find('/').expect("a path")..], request.split(' ').next().expect("one"));
        let optional = DOCUMENT["paths"][path][method.to_lowercase()]["requestBody"]["required"] == false;
        for body in bodies.iter().chain(&other) {
            let promised = match serde_json::from_str(body) {
                Ok(value) => validator.is_valid(&value) && !is_no_time_span(&value),
                Err(_) => body.is_empty() && optional,
            };
            let reply = server.send(request, "", body).await;
            assert_eq!(reply.status < 300, promised, "{request} {body}: {reply:?}");
        }
    }
    server.end().await;
}

/// The format `time-span` is ours, so that the validator does not know it.
fn is_no_time_span(body: &Value) -> bool {
    body["for"].as_str().is_some_and(|text| !["2h", "1h 30m"].contains(&text))
}

#[tokio::test]
async fn is_served_without_more_credentials_than_any_read() {
    let server = Server::start().await;
    let reply = server.get("/openapi.json").await;
    assert_eq!((reply.status, &reply.json()), (200, &*DOCUMENT));
    assert_eq!(reply.json()["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(server.send_unix("GET /openapi.json", "").await.status, 200);
    server.end().await;
}
