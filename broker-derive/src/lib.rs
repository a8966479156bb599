//! `#[derive(ToData, FromData)]` for the types of the Zeek Broker framework.
//!
//! Use it through `broker-core` with the feature `derive`. What is written is what Zeek writes (zeek-cluster reference, 5):
//!
//! | Rust | data | Zeek |
//! |---|---|---|
//! | struct with named fields | vector of the fields, in order | record |
//! | field of type `Option` that is `None` | none | unset optional field |
//! | tuple struct of one | the inner value | the inner type |
//! | tuple struct of several, at most 8 | vector of the parts | composite index |
//! | enum of unit variants | enum value | enum |
//!
//! Reading is as strict as Zeek's: a record may have more fields than are known here, since newer ones are appended, but
//! not fewer; a part of another type is an error that names the field.
//!
//! # Attributes
//!
//! | where | attribute | effect |
//! |---|---|---|
//! | type | `#[broker(module = "Conn")]` | in front of the names of the type and of variants: `Conn::S0` |
//! | type | `#[broker(name = "Conn::Info")]` | what errors call the type; default: module and the name in Rust |
//! | type | `#[broker(rename_all = "SCREAMING_SNAKE_CASE")]` | variants as Zeek writes them: `WeirdEntry` is `WEIRD_ENTRY` |
//! | type | `#[broker(crate = "path::to::broker_core")]` | where the traits are; default `::broker_core` |
//! | variant | `#[broker(name = "Conn::S0")]` | the full name, module and renaming left aside |
//! | field | `#[broker(default)]` | none is read as the type's default, as Zeek does for fields with `&default` |
//!
//! # Logs
//!
//! `#[derive(LogRecord, FromLogRecord)]` makes records of logs of structs, and `#[derive(LogField, FromLogField)]` columns of
//! enums and structs of one. Use them through broker-cluster, whose module `log::typed` says what becomes of what. They have
//! attributes of their own beside these; each derive reads all of them and takes no notice of what is for others.

mod attributes;
mod enumeration;
mod log_field;
mod log_record;
mod names;
mod structure;
#[cfg(test)]
mod tests;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::{Data, DeriveInput, Error, Generics, parse_macro_input};

use crate::attributes::TypeAttributes;

/// Writes a value as data; see the crate.
#[proc_macro_derive(ToData, attributes(broker))]
pub fn derive_to_data(input: TokenStream) -> TokenStream {
    expand(parse_macro_input!(input as DeriveInput), Which::ToData)
}

/// Reads a value from data; see the crate.
#[proc_macro_derive(FromData, attributes(broker))]
pub fn derive_from_data(input: TokenStream) -> TokenStream {
    expand(parse_macro_input!(input as DeriveInput), Which::FromData)
}

/// Makes a struct the record of a log; see `log::typed` of broker-cluster.
#[proc_macro_derive(LogRecord, attributes(broker))]
pub fn derive_log_record(input: TokenStream) -> TokenStream {
    expand_log(
        parse_macro_input!(input as DeriveInput),
        log_record::written,
    )
}

/// Reads the record of a log into a struct; see `log::typed` of broker-cluster.
#[proc_macro_derive(FromLogRecord, attributes(broker))]
pub fn derive_from_log_record(input: TokenStream) -> TokenStream {
    expand_log(parse_macro_input!(input as DeriveInput), log_record::read)
}

/// Makes an enum or a struct of one the column of a log; see `log::typed` of broker-cluster.
#[proc_macro_derive(LogField, attributes(broker))]
pub fn derive_log_field(input: TokenStream) -> TokenStream {
    expand_log(parse_macro_input!(input as DeriveInput), log_field::written)
}

/// Reads an enum or a struct of one from the column of a log; see `log::typed` of broker-cluster.
#[proc_macro_derive(FromLogField, attributes(broker))]
pub fn derive_from_log_field(input: TokenStream) -> TokenStream {
    expand_log(parse_macro_input!(input as DeriveInput), log_field::read)
}

fn expand_log(
    input: DeriveInput,
    derive: fn(&DeriveInput, &TypeAttributes) -> syn::Result<Tokens>,
) -> TokenStream {
    TypeAttributes::of(&input)
        .and_then(|attributes| derive(&input, &attributes))
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

/// Which of the two traits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    ToData,
    FromData,
}

fn expand(input: DeriveInput, which: Which) -> TokenStream {
    implementation(&input, which)
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

fn implementation(input: &DeriveInput, which: Which) -> syn::Result<Tokens> {
    let attributes = TypeAttributes::of(input)?;
    let bodies = match &input.data {
        Data::Struct(data) => structure::bodies(input, data, &attributes)?,
        Data::Enum(data) => enumeration::bodies(input, data, &attributes)?,
        Data::Union(data) => {
            return Err(Error::new(
                data.union_token.span,
                "a union cannot be data: nothing says which of its fields is valid",
            ));
        }
    };
    let krate = &attributes.krate;
    let generics = bounded(&input.generics, krate, which);
    let (parameters, arguments, conditions) = generics.split_for_impl();
    let name = &input.ident;
    let Bodies {
        to_data,
        from_data,
        type_name,
    } = bodies;
    Ok(match which {
        Which::ToData => quote! {
            #[automatically_derived]
            impl #parameters #krate::convert::ToData for #name #arguments #conditions {
                fn to_data(&self) -> #krate::Data {
                    #to_data
                }
            }
        },
        Which::FromData => quote! {
            #[automatically_derived]
            impl #parameters #krate::convert::FromData for #name #arguments #conditions {
                fn from_data(
                    data: &#krate::Data,
                ) -> ::core::result::Result<Self, #krate::convert::ConversionError> {
                    #from_data
                }

                fn type_name() -> ::std::borrow::Cow<'static, str> {
                    #type_name
                }
            }
        },
    })
}

/// What the methods of both traits do.
struct Bodies {
    to_data: Tokens,
    from_data: Tokens,
    type_name: Tokens,
}

/// Every type parameter has to be convertible itself.
fn bounded(generics: &Generics, krate: &syn::Path, which: Which) -> Generics {
    bounded_by(
        generics,
        &match which {
            Which::ToData => quote! { #krate::convert::ToData },
            Which::FromData => quote! { #krate::convert::FromData },
        },
    )
}

/// Every type parameter has the trait.
fn bounded_by(generics: &Generics, of: &Tokens) -> Generics {
    let mut generics = generics.clone();
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(syn::parse_quote!(#of));
    }
    generics
}
