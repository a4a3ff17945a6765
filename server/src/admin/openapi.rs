//! The OpenAPI document, made from the table of routes; and its page, which fetches nothing from outside.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use actix_web::{HttpResponse, http::header, web};
use serde_json::{Map, Value, json};
use utoipa::{
    IntoParams, PartialSchema as _, ToSchema,
    openapi::{
        Components, ContentBuilder, HttpMethod, InfoBuilder, OpenApiBuilder, PathItem,
        PathsBuilder, Ref, RefOr, Required, ResponseBuilder, ResponsesBuilder, Schema,
        path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
        request_body::{RequestBody, RequestBodyBuilder},
        schema::{ArrayBuilder, KnownFormat, ObjectBuilder, SchemaFormat, SchemaType, Type},
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_swagger_ui::{Config, Url};
use weir_api_types::{manage::Page, orders::Detail, problem::Problem};

use super::{
    access::{Mark, Needs},
    route::Route,
    routes::TABLE,
};

/// What every path begins with.
const ROOT: &str = "/v1/admin";
/// In the document's own words for how callers are known.
const BEARER: &str = "bearer";
/// Which permission an operation needs, beside what OpenAPI has words for.
pub const PERMISSION: &str = "x-weir-permission";
/// That it asks for a session in which its owner showed lately who they are.
pub const FRESH: &str = "x-weir-fresh-proof";

/// The parameters of a query.
pub type Params = fn() -> Vec<Parameter>;

/// The parameters that a type's fields are.
pub fn params<Q: IntoParams>() -> Vec<Parameter> {
    Q::into_params(|| Some(ParameterIn::Query))
}

/// What goes over the wire: a type, by its schema.
#[derive(Debug, Clone, Copy)]
pub struct Wire {
    /// None: it has no name of its own.
    name: Option<fn() -> String>,
    schema: fn() -> RefOr<Schema>,
    /// Those that the schema refers to.
    others: fn(&mut Vec<(String, RefOr<Schema>)>),
}

impl Wire {
    pub const fn of<T: ToSchema>() -> Self {
        Self {
            name: Some(|| T::name().into_owned()),
            schema: T::schema,
            others: T::schemas,
        }
    }

    /// A page of such things.
    pub const fn page<T: ToSchema>() -> Self {
        Self {
            name: Some(|| format!("{}Page", T::name())),
            schema: Page::<T>::schema,
            others: with_itself::<T>,
        }
    }

    /// Such a thing with its id and times.
    pub const fn detail<T: ToSchema>() -> Self {
        Self {
            name: Some(|| format!("{}Shown", T::name())),
            schema: Detail::<T>::schema,
            others: with_itself::<T>,
        }
    }

    /// A list of such things.
    pub const fn list<T: ToSchema>() -> Self {
        Self {
            name: None,
            schema: list_of::<T>,
            others: with_itself::<T>,
        }
    }

    /// A reference to it; its schema and all that this one refers to are collected.
    fn used(&self, schemas: &mut BTreeMap<String, RefOr<Schema>>) -> RefOr<Schema> {
        schemas.extend(self.all());
        match self.name {
            Some(name) => RefOr::Ref(Ref::from_schema_name(name())),
            None => (self.schema)(),
        }
    }

    /// Its schema, if it has a name, and all that it refers to.
    fn all(&self) -> Vec<(String, RefOr<Schema>)> {
        let mut all = Vec::new();
        (self.others)(&mut all);
        all.extend(self.name.map(|name| (name(), (self.schema)())));
        all
    }
}

fn list_of<T: ToSchema>() -> RefOr<Schema> {
    let item = RefOr::Ref(Ref::from_schema_name(T::name()));
    ArrayBuilder::new().items(item).into()
}

/// What a schema refers to, and itself.
fn with_itself<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    T::schemas(schemas);
    schemas.push((T::name().into_owned(), T::schema()));
}

/// What an operation takes.
#[derive(Debug, Clone, Copy)]
pub struct Body {
    format: &'static str,
    wire: Wire,
}

impl Body {
    pub const fn json(wire: Wire) -> Self {
        Self {
            format: "application/json",
            wire,
        }
    }

    pub const fn yaml(wire: Wire) -> Self {
        Self {
            format: "application/yaml",
            wire,
        }
    }
}

static DOCUMENT: LazyLock<Value> = LazyLock::new(made);

/// The document.
pub fn value() -> &'static Value {
    &DOCUMENT
}

/// `GET /v1/admin/openapi.json`
pub async fn document() -> HttpResponse {
    HttpResponse::Ok().json(value())
}

fn made() -> Value {
    let mut schemas = BTreeMap::new();
    let mut paths = PathsBuilder::new();
    for route in TABLE {
        let item = PathItem::new(method(route), operation(route, &mut schemas));
        paths = paths.path(format!("{ROOT}{}", route.path), item);
    }
    let info = InfoBuilder::new()
        .title("Weir management API")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(INTRODUCTION))
        .build();
    let mut components = Components::new();
    components.schemas.extend(schemas);
    components.add_security_scheme(
        BEARER,
        SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
    );
    let document = OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components))
        .build();
    let mut document = serde_json::to_value(document).unwrap_or_default();
    permissions(&mut document);
    flatten(&mut document);
    document
}

const INTRODUCTION: &str = "Send `authorization: Bearer` with an access token of a sign-in, a service token or the admin token; \
people who are in several tenants name one in `x-weir-tenant`. Whoever has `tenants:view` and names a tenant in `x-weir-view-as` is \
answered as its owner would be, and changes nothing. Lists come in pages: `next_cursor` is what `cursor` asks for the next one. \
A `PATCH` changes the fields that it has and leaves the others; `If-Match` with the `ETag` of an earlier answer makes sure \
that nobody else changed it meanwhile (412). Errors are problem documents (RFC 9457) with a stable `code`.";

fn method(route: &Route) -> HttpMethod {
    match route.method {
        "GET" => HttpMethod::Get,
        "POST" => HttpMethod::Post,
        "PATCH" => HttpMethod::Patch,
        "PUT" => HttpMethod::Put,
        _ => HttpMethod::Delete,
    }
}

fn operation(route: &Route, schemas: &mut BTreeMap<String, RefOr<Schema>>) -> Operation {
    let mut operation = OperationBuilder::new()
        .tag(tag(route))
        .summary(Some(route.summary))
        .operation_id(Some(id(route)))
        .responses(responses(route, schemas));
    for name in places(route.path) {
        operation = operation.parameter(in_path(name));
    }
    for query in route.query {
        for parameter in query() {
            operation = operation.parameter(parameter);
        }
    }
    let goes = route.method == "DELETE" && !places(route.path).is_empty();
    if route.method == "PATCH" || goes && !NEVER_CHANGE.contains(&route.path) {
        let meaning = "The `ETag` that it had; 412 if it has another one by now.";
        operation = operation.parameter(header("If-Match", meaning));
    }
    let is_kept = route.method == "POST" && route.mark != Mark::Secret;
    if is_kept && route.path != WITH_A_COOKIE && route.needs != Needs::Nothing {
        let meaning = "Of this request; it comes again with the same one, and is not done again. At most 255 bytes.";
        operation = operation.parameter(header("Idempotency-Key", meaning));
    }
    if let Some(body) = &route.order {
        operation = operation.request_body(Some(request_body(body, schemas)));
    }
    if route.needs != Needs::Nothing {
        let none: [&str; 0] = [];
        operation = operation.security(SecurityRequirement::new(BEARER, none));
    }
    operation.build()
}

/// Under what it stands: the first piece of its path.
fn tag(route: &Route) -> &'static str {
    let mut pieces = route.path.split('/').skip(1);
    pieces.next().unwrap_or_default()
}

/// `post_keys_id_rotate`
fn id(route: &Route) -> String {
    let path = route.path.replace(['{', '}'], "");
    let path = path.replace(['/', '-', '.'], "_");
    format!("{}{path}", route.method.to_ascii_lowercase())
}

/// What stands in braces.
fn places(path: &str) -> Vec<&str> {
    let pieces = path.split('/');
    pieces
        .filter_map(|piece| piece.strip_prefix('{')?.strip_suffix('}'))
        .collect()
}

fn in_path(name: &str) -> Parameter {
    let uuid = ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)));
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(uuid))
        .build()
}

/// Half of its answer is a cookie for the browser that asked: nothing of it is kept.
const WITH_A_COOKIE: &str = "/me/identities";

/// What is there or gone, and never another.
const NEVER_CHANGE: [&str; 5] = [
    "/users/{id}/second-factor",
    "/users/{id}/sessions",
    "/invitations/{id}",
    "/me/sessions/{id}",
    "/me/identities/{id}",
];

fn header(name: &str, meaning: &str) -> Parameter {
    let text = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(meaning))
        .schema(Some(text))
        .build()
}

fn request_body(body: &Body, schemas: &mut BTreeMap<String, RefOr<Schema>>) -> RequestBody {
    let content = ContentBuilder::new().schema(Some(body.wire.used(schemas)));
    RequestBodyBuilder::new()
        .required(Some(Required::True))
        .content(body.format, content.build())
        .build()
}

fn responses(route: &Route, schemas: &mut BTreeMap<String, RefOr<Schema>>) -> ResponsesBuilder {
    let mut success = ResponseBuilder::new().description("Done.");
    if let Some(answer) = &route.answer {
        let content = ContentBuilder::new().schema(Some(answer.used(schemas)));
        success = success.content("application/json", content.build());
    } else if route.status == 200 {
        success = success.content("application/json", ContentBuilder::new().build());
    }
    let problem = ContentBuilder::new().schema(Some(Wire::of::<Problem>().used(schemas)));
    let problem = ResponseBuilder::new()
        .description("A problem document; `code` says which.")
        .content("application/problem+json", problem.build());
    ResponsesBuilder::new()
        .response(route.status.to_string(), success)
        .response("default", problem)
}

/// Writes to each operation what it needs.
fn permissions(document: &mut Value) {
    for route in TABLE {
        let method = route.method.to_ascii_lowercase();
        let path = format!("{ROOT}{}", route.path);
        if let Some(operation) = document["paths"][path][method].as_object_mut() {
            operation.insert(PERMISSION.to_owned(), route.needs.to_string().into());
            if route.mark == Mark::Fresh {
                operation.insert(FRESH.to_owned(), true.into());
            }
        }
    }
}

/// Makes one object of schemas that are several taken together: JSON Schema would have each of them refuse the fields of
/// the others.
fn flatten(document: &mut Value) {
    let schemas = document["components"]["schemas"].as_object().cloned();
    let schemas = schemas.unwrap_or_default();
    let flat: Map<String, Value> = schemas
        .iter()
        .map(|(name, schema)| (name.clone(), flat(schema, &schemas)))
        .collect();
    document["components"]["schemas"] = Value::Object(flat);
}

fn flat(schema: &Value, schemas: &Map<String, Value>) -> Value {
    let Some(parts) = schema.get("allOf").and_then(Value::as_array) else {
        return schema.clone();
    };
    let mut properties = Map::new();
    let mut required = Vec::new();
    let mut further = None;
    for part in parts {
        let part = flat(resolved(part, schemas), schemas);
        if let Some(more) = part.get("properties").and_then(Value::as_object) {
            properties.extend(more.clone());
        }
        let names = part.get("required").and_then(Value::as_array);
        required.extend(names.into_iter().flatten().cloned());
        if let Some(schema @ Value::Object(_)) = part.get("additionalProperties") {
            further = Some(schema.clone());
        }
    }
    let mut whole = json!({"type": "object", "properties": properties, "required": required});
    if let Some(text) = schema.get("description") {
        whole["description"] = text.clone();
    }
    if let Some(further) = further {
        whole["additionalProperties"] = further;
    }
    whole
}

fn resolved<'a>(part: &'a Value, schemas: &'a Map<String, Value>) -> &'a Value {
    let name = part.get("$ref").and_then(Value::as_str);
    let name = name.and_then(|name| name.strip_prefix("#/components/schemas/"));
    name.and_then(|name| schemas.get(name)).unwrap_or(part)
}

/// What the page of the document may load: itself, and styles that it sets.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /docs/api/…`: the document, to be read and tried out.
pub async fn page(file: web::Path<String>) -> HttpResponse {
    static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
        let config = Config::new([Url::from("/v1/admin/openapi.json")]);
        Arc::new(config.validator_url("none").try_it_out_enabled(true))
    });
    let found = utoipa_swagger_ui::serve(&file, Arc::clone(&CONFIG));
    match found.ok().flatten() {
        Some(file) => HttpResponse::Ok()
            .content_type(file.content_type)
            .insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_POLICY))
            .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((header::REFERRER_POLICY, "no-referrer"))
            .body(file.bytes.into_owned()),
        None => HttpResponse::NotFound().finish(),
    }
}

#[cfg(test)]
mod tests;
