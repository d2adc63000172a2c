//! Which fields answers always have. A field that may be null is written as null, so it is there; one that may be left out is
//! described as never null. The derives know the types alone, and call every `Option` one that may be left out.

use serde_json::{Map, Value};
use std::collections::BTreeSet;
use utoipa::openapi::schema::{ArrayItems, Schema, SchemaType, Type};
use utoipa::openapi::{OpenApi, RefOr};

/// Requires the fields that may be null, in all schemas that an answer refers to.
pub(super) fn require_nullable(api: &mut OpenApi) {
    let names = names(&serde_json::to_value(&*api).unwrap_or_default());
    let schemas = api.components.iter_mut().flat_map(|components| &mut components.schemas);
    schemas.filter(|(name, _)| names.contains(*name)).for_each(|(_, schema)| require(schema));
}

/// The names of the schemas that answers are made of.
fn names(api: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let operations = api.get("paths").and_then(Value::as_object).into_iter().flat_map(Map::values);
    let operations = operations.filter_map(Value::as_object).flat_map(Map::values);
    let responses = operations.filter_map(|operation| operation.get("responses"));
    let mut todo: Vec<&Value> = responses.chain(api.pointer("/components/responses")).collect();
    while let Some(value) = todo.pop() {
        match value {
            Value::Object(map) => {
                let reference = map.get("$ref").and_then(Value::as_str);
                let name = reference.and_then(|reference| reference.strip_prefix("#/components/schemas/"));
                if let Some(name) = name.filter(|name| found.insert((*name).to_owned())) {
                    todo.extend(api.pointer(&format!("/components/schemas/{name}")));
                }
                todo.extend(map.values());
            }
            Value::Array(list) => todo.extend(list),
            _ => {}
        }
    }
    found
}

fn require(schema: &mut RefOr<Schema>) {
    let RefOr::T(schema) = schema else { return };
    match schema {
        Schema::Object(object) => {
            for (name, property) in &mut object.properties {
                if is_nullable(property) && !object.required.contains(name) {
                    object.required.push(name.clone());
                }
                require(property);
            }
        }
        Schema::Array(array) => {
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                require(items);
            }
        }
        Schema::OneOf(of) => of.items.iter_mut().for_each(require),
        Schema::AllOf(of) => of.items.iter_mut().for_each(require),
        Schema::AnyOf(of) => of.items.iter_mut().for_each(require),
        _ => {}
    }
}

pub(super) fn is_nullable(schema: &RefOr<Schema>) -> bool {
    let is_null = |of: &SchemaType| match of {
        SchemaType::Type(of) => *of == Type::Null,
        SchemaType::Array(all) => all.contains(&Type::Null),
        SchemaType::AnyValue => false,
    };
    match schema {
        RefOr::Ref(_) => false,
        RefOr::T(Schema::Object(object)) => is_null(&object.schema_type),
        RefOr::T(Schema::Array(array)) => is_null(&array.schema_type),
        RefOr::T(Schema::OneOf(of)) => of.items.iter().any(is_nullable),
        RefOr::T(Schema::AnyOf(of)) => of.items.iter().any(is_nullable),
        RefOr::T(_) => false,
    }
}
