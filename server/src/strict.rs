//! What serde takes and nobody means. Its derive reads a struct from a list too, in the order in which the code happens to have
//! its fields, and from an empty one if all of them have defaults. And a text may have U+0000 in it, which PostgreSQL cannot
//! keep, nor compare with what it keeps.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// Around a source, and then around all that is read from it: asks for a map wherever a struct is wanted, and refuses U+0000.
///
/// What a type buffers first (a tagged or untagged enum, a flattened struct) is read from lists all the same.
pub struct Strict<T>(pub T);

macro_rules! forwarded {
    ($($method:ident($($name:ident: $kind:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $kind,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($name,)* Strict(visitor))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<D> {
    type Error = D::Error;

    forwarded! {
        deserialize_any() deserialize_bool()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_char() deserialize_str() deserialize_string()
        deserialize_bytes() deserialize_byte_buf() deserialize_option() deserialize_unit()
        deserialize_seq() deserialize_map() deserialize_identifier() deserialize_ignored_any()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Strict(visitor))
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

macro_rules! visited {
    ($($method:ident($kind:ty))*) => {$(
        fn $method<E: serde::de::Error>(self, value: $kind) -> Result<V::Value, E> {
            self.0.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Strict<V> {
    type Value = V::Value;

    visited! {
        visit_bool(bool)
        visit_i8(i8) visit_i16(i16) visit_i32(i32) visit_i64(i64) visit_i128(i128)
        visit_u8(u8) visit_u16(u16) visit_u32(u32) visit_u64(u64) visit_u128(u128)
        visit_f32(f32) visit_f64(f64) visit_char(char)
        visit_bytes(&[u8]) visit_borrowed_bytes(&'de [u8]) visit_byte_buf(Vec<u8>)
    }

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(formatter)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<V::Value, E> {
        self.0.visit_str(without_nul(text)?)
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<V::Value, E> {
        self.0.visit_borrowed_str(without_nul(text)?)
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<V::Value, E> {
        without_nul(&text)?;
        self.0.visit_string(text)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, source: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Strict(source))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, source: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Strict(source))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Strict(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Strict(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, which: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(Strict(which))
    }
}

fn without_nul<E: serde::de::Error>(text: &str) -> Result<&str, E> {
    match text.contains('\0') {
        true => Err(E::custom("has the character U+0000")),
        false => Ok(text),
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Strict<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Strict(source))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Strict(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(Strict(seed))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Strict(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Strict<A> {
    type Error = A::Error;
    type Variant = Strict<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, rest) = self.0.variant_seed(Strict(seed))?;
        Ok((value, Strict(rest)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(Strict(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(len, Strict(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.struct_variant(fields, Strict(ByName(visitor)))
    }
}

/// Around the visitor of a variant with fields, which is offered a list without having asked for one.
struct ByName<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for ByName<V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(formatter)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(map)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, de::DeserializeOwned};

    use super::*;

    #[derive(Deserialize, Debug, PartialEq)]
    struct Inner {
        at: u8,
        #[serde(default)]
        named: Option<String>,
    }

    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Which {
        None,
        One(Inner),
        Two { of: Vec<Inner> },
    }

    #[derive(Deserialize, Debug, PartialEq, Default)]
    #[serde(default)]
    struct Outer {
        pair: (i32, f64),
        inner: Option<Inner>,
        which: Option<Which>,
    }

    fn json<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
        T::deserialize(Strict(&mut serde_json::Deserializer::from_str(text)))
    }

    #[test]
    fn what_has_names_is_read_by_them() {
        for text in [
            "{}",
            r#"{"pair": [-1, 0.5], "inner": {"at": 1, "named": "x"}}"#,
            r#"{"which": "none"}"#,
            r#"{"which": {"one": {"at": 2}}, "inner": null}"#,
            r#"{"which": {"two": {"of": [{"at": 3}, {"at": 4, "named": null}]}}}"#,
        ] {
            let plain: Outer = serde_json::from_str(text).expect("it is well");
            assert_eq!(json::<Outer>(text).expect(text), plain);
            // The other format has its own way of writing a variant that carries something.
            if plain.which.is_none() {
                let tree = serde_yaml_ng::from_str::<serde_yaml_ng::Value>(text).expect("a tree");
                assert_eq!(Outer::deserialize(Strict(tree)).expect(text), plain);
            }
        }
    }

    #[test]
    fn a_list_is_no_struct_however_deep_it_lies() {
        for text in [
            "[]",
            "[[1, 2.0]]",
            r#"{"inner": [1, "x"]}"#,
            r#"{"which": {"one": [2]}}"#,
            r#"{"which": {"two": {"of": [[3]]}}}"#,
            r#"{"which": {"two": [[{"at": 3}]]}}"#,
        ] {
            serde_json::from_str::<Outer>(text).expect("serde itself takes it");
            let refused = json::<Outer>(text).expect_err(text).to_string();
            assert!(refused.contains("invalid type: sequence"), "{refused}");
            let tree = serde_yaml_ng::from_str::<serde_yaml_ng::Value>(text).expect("a tree");
            Outer::deserialize(Strict(tree)).expect_err(text);
        }
    }
    #[test]
    fn what_no_store_keeps_is_refused_in_values_and_names() {
        for text in [
            r#"{"inner": {"at": 1, "named": "a\u0000b"}}"#,
            r#"{"inner\u0000": null}"#,
        ] {
            serde_json::from_str::<Outer>(text).expect("serde itself takes it");
            let refused = json::<Outer>(text).expect_err(text).to_string();
            assert!(refused.contains("U+0000"), "{refused}");
        }
    }
}
