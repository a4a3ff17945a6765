//! The schemas of what is written by hand: types whose text has a form of its own.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{
            AdditionalProperties, ArrayBuilder, KnownFormat, ObjectBuilder, OneOfBuilder, Ref,
            SchemaFormat, SchemaType, Type,
        },
    },
};

use crate::{
    channel::RetryOn,
    resources::{DatedRates, Prices},
    secret::{Credential, Secret, Sensitive},
    span::Span,
};

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::Type(Type::String))
}

/// A text of a form.
fn patterned(pattern: &str, example: &str) -> RefOr<Schema> {
    let text = text().pattern(Some(pattern)).examples([example]);
    text.into()
}

fn id() -> ObjectBuilder {
    text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
}

fn kept() -> ObjectBuilder {
    ObjectBuilder::new()
        .property("keep", id())
        .required("keep")
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
}

impl PartialSchema for Span {
    fn schema() -> RefOr<Schema> {
        patterned("^[0-9]+ ?(ms|s|m|h|d)$", "90s")
    }
}

impl ToSchema for Span {}

impl PartialSchema for RetryOn {
    fn schema() -> RefOr<Schema> {
        patterned("^(connect|timeout|4xx|5xx|[45][0-9][0-9])$", "429")
    }
}

impl ToSchema for RetryOn {}

impl PartialSchema for Sensitive {
    fn schema() -> RefOr<Schema> {
        let text = text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Password)));
        text.into()
    }
}

impl ToSchema for Sensitive {}

impl PartialSchema for Secret {
    fn schema() -> RefOr<Schema> {
        let forms = OneOfBuilder::new().item(Sensitive::schema()).item(kept());
        forms.into()
    }
}

impl ToSchema for Secret {}

impl PartialSchema for Credential {
    fn schema() -> RefOr<Schema> {
        let boolean = ObjectBuilder::new().schema_type(SchemaType::Type(Type::Boolean));
        let named = ObjectBuilder::new()
            .property("value", Sensitive::schema())
            .property("keep", id())
            .property("name", text())
            .property("enabled", boolean)
            .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
        let forms = OneOfBuilder::new().item(Sensitive::schema()).item(named);
        forms.into()
    }
}

impl ToSchema for Credential {}

impl PartialSchema for Prices {
    fn schema() -> RefOr<Schema> {
        let rates = ObjectBuilder::new().additional_properties(Some(text()));
        let dated = ArrayBuilder::new().items(RefOr::Ref(Ref::from_schema_name("DatedRates")));
        let forms = OneOfBuilder::new().item(rates).item(dated);
        forms.into()
    }
}

impl ToSchema for Prices {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push(("DatedRates".to_owned(), DatedRates::schema()));
    }
}
