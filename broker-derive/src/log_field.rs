//! Enums, and structs of one, as plain values of logs.

use proc_macro2::TokenStream as Tokens;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Fields, Type};

use crate::attributes::TypeAttributes;
use crate::bounded_by;
use crate::enumeration::Variants;

/// What the type is.
enum Plain<'d> {
    Enum(Variants<'d>),
    Around(&'d Type),
}

/// `LogField` and `LogElement`.
pub(crate) fn written(input: &DeriveInput, attributes: &TypeAttributes) -> syn::Result<Tokens> {
    let log = &attributes.cluster;
    let log = quote! { #log::log };
    let (ty, value) = match plain(input, attributes)? {
        Plain::Enum(variants) => {
            let (idents, literals) = (&variants.idents, variants.literals());
            (
                quote! { #log::LogType::Enum },
                quote! {
                    let name: &[u8] = match self { #(Self::#idents => #literals),* };
                    #log::LogValue::Enum(name.to_vec())
                },
            )
        }
        Plain::Around(inner) => (
            quote_spanned! { inner.span()=> <#inner as #log::LogElement>::TYPE },
            quote_spanned! { inner.span()=> <#inner as #log::LogElement>::value(&self.0) },
        ),
    };
    let generics = bounded_by(&input.generics, &quote! { #log::LogElement });
    let (parameters, arguments, conditions) = generics.split_for_impl();
    let name = &input.ident;
    Ok(quote! {
        #[automatically_derived]
        impl #parameters #log::LogField for #name #arguments #conditions {
            fn columns(name: &str, optional: bool, columns: &mut ::std::vec::Vec<#log::Column>) {
                columns.push(<Self as #log::LogElement>::column(name, optional));
            }

            fn values(&self, record: &mut #log::Record) {
                record.push(<Self as #log::LogElement>::value(self));
            }
        }

        #[automatically_derived]
        impl #parameters #log::LogElement for #name #arguments #conditions {
            const TYPE: #log::LogType = #ty;

            fn value(&self) -> #log::LogValue {
                #value
            }
        }
    })
}

/// `FromLogField` and `FromLogElement`.
pub(crate) fn read(input: &DeriveInput, attributes: &TypeAttributes) -> syn::Result<Tokens> {
    let log = &attributes.cluster;
    let log = quote! { #log::log };
    let value = match plain(input, attributes)? {
        Plain::Enum(variants) => {
            let (idents, literals) = (&variants.idents, variants.literals());
            let wanted = format!("a value of enum {}", attributes.name);
            quote! {
                match value {
                    #log::LogValue::Enum(name) => match name.as_slice() {
                        #(#literals => ::core::result::Result::Ok(Self::#idents),)*
                        other => ::core::result::Result::Err(#log::LogValueError::content(
                            #wanted,
                            &::std::string::String::from_utf8_lossy(other),
                        )),
                    },
                    other => ::core::result::Result::Err(
                        #log::LogValueError::type_of(other, #log::LogType::Enum),
                    ),
                }
            }
        }
        Plain::Around(inner) => quote_spanned! { inner.span()=>
            <#inner as #log::FromLogElement>::from_value(value).map(Self)
        },
    };
    let generics = bounded_by(&input.generics, &quote! { #log::FromLogElement });
    let (parameters, arguments, conditions) = generics.split_for_impl();
    let name = &input.ident;
    Ok(quote! {
        #[automatically_derived]
        impl #parameters #log::FromLogField for #name #arguments #conditions {
            fn from_log(
                values: &mut #log::LogValues<'_>,
            ) -> ::core::result::Result<Self, #log::LogFieldError> {
                values.element()
            }
        }

        #[automatically_derived]
        impl #parameters #log::FromLogElement for #name #arguments #conditions {
            fn from_value(
                value: &#log::LogValue,
            ) -> ::core::result::Result<Self, #log::LogValueError> {
                #value
            }
        }
    })
}

fn plain<'d>(input: &'d DeriveInput, attributes: &TypeAttributes) -> syn::Result<Plain<'d>> {
    match &input.data {
        Data::Enum(data) => Variants::of(input, data, attributes).map(Plain::Enum),
        Data::Struct(data) => match (&data.fields, data.fields.iter().next()) {
            (Fields::Unnamed(fields), Some(field)) if fields.unnamed.len() == 1 => {
                Ok(Plain::Around(&field.ty))
            }
            (Fields::Named(_), _) => Err(Error::new_spanned(
                &input.ident,
                "a struct with named fields derives `LogRecord`, and may be a field of another one then",
            )),
            _ => Err(Error::new_spanned(
                &input.ident,
                "one column holds one value: only an enum or a struct of one can be a plain value of a log",
            )),
        },
        Data::Union(_) => Err(Error::new_spanned(
            &input.ident,
            "a union cannot be logged: nothing says which of its fields is valid",
        )),
    }
}
