//! Structs as records of logs.

use proc_macro2::TokenStream as Tokens;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Fields, FieldsNamed, Ident, Type};

use crate::attributes::{FieldAttributes, TypeAttributes};
use crate::{bounded_by, names};

/// A field of a record, as far as logs see it.
struct LogColumn<'d> {
    ident: &'d Ident,
    ty: &'d Type,
    /// The name of its column.
    name: String,
    attributes: FieldAttributes,
}

/// `LogRecord`, and the `LogField` of a record.
pub(crate) fn written(input: &DeriveInput, attributes: &TypeAttributes) -> syn::Result<Tokens> {
    let columns = columns(input)?;
    let log = &attributes.cluster;
    let log = quote! { #log::log };
    let written = columns.iter().filter(|column| !column.attributes.skip);
    let (mut widths, mut adds, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for LogColumn {
        ident,
        ty,
        name,
        attributes,
    } in written
    {
        let span = ty.span();
        let optional = if attributes.default {
            quote! { true }
        } else {
            quote! { optional }
        };
        widths.push(quote_spanned! { span=> <#ty as #log::LogField>::WIDTH });
        adds.push(if attributes.flatten {
            quote_spanned! { span=>
                #log::typed::flat_columns::<#ty>(name, #optional, columns);
            }
        } else {
            quote_spanned! { span=>
                <#ty as #log::LogField>::columns(
                    &#log::typed::column_name(name, #name),
                    #optional,
                    columns,
                );
            }
        });
        values.push(quote_spanned! { span=>
            <#ty as #log::LogField>::values(&self.#ident, record);
        });
    }
    let path = attributes
        .path
        .clone()
        .unwrap_or_else(|| names::snake(&input.ident.unraw().to_string()));
    if !names::is_log_path(&path) {
        return Err(Error::new_spanned(
            &input.ident,
            format!("{path:?} names no log file: give the log another name with `path`"),
        ));
    }
    let stream = attributes.stream.as_ref().map(|stream| {
        quote! {
            fn stream() -> ::std::borrow::Cow<'static, str> {
                ::std::borrow::Cow::Borrowed(#stream)
            }
        }
    });
    let generics = bounded_by(&input.generics, &quote! { #log::LogField });
    let (parameters, arguments, conditions) = generics.split_for_impl();
    let name = &input.ident;
    Ok(quote! {
        #[automatically_derived]
        impl #parameters #log::LogField for #name #arguments #conditions {
            const WIDTH: usize = 0 #(+ #widths)*;

            fn columns(name: &str, optional: bool, columns: &mut ::std::vec::Vec<#log::Column>) {
                let _ = optional;
                #(#adds)*
            }

            fn values(&self, record: &mut #log::Record) {
                #(#values)*
            }
        }

        #[automatically_derived]
        impl #parameters #log::LogRecord for #name #arguments #conditions {
            const PATH: &'static str = #path;

            #stream
        }
    })
}

/// The `FromLogField` of a record.
pub(crate) fn read(input: &DeriveInput, attributes: &TypeAttributes) -> syn::Result<Tokens> {
    let log = &attributes.cluster;
    let log = quote! { #log::log };
    let columns = columns(input)?;
    let reads = columns.iter().map(|column| {
        let (ident, ty) = (column.ident, column.ty);
        let span = ty.span();
        if column.attributes.skip {
            quote_spanned! { span=> #ident: <#ty as ::core::default::Default>::default() }
        } else if column.attributes.default {
            quote_spanned! { span=> #ident: values.or_default::<#ty>()? }
        } else {
            quote_spanned! { span=> #ident: <#ty as #log::FromLogField>::from_log(values)? }
        }
    });
    let generics = bounded_by(&input.generics, &quote! { #log::FromLogField });
    let (parameters, arguments, conditions) = generics.split_for_impl();
    let name = &input.ident;
    Ok(quote! {
        #[automatically_derived]
        impl #parameters #log::FromLogField for #name #arguments #conditions {
            fn from_log(
                values: &mut #log::LogValues<'_>,
            ) -> ::core::result::Result<Self, #log::LogFieldError> {
                ::core::result::Result::Ok(Self { #(#reads),* })
            }
        }
    })
}

fn columns(input: &DeriveInput) -> syn::Result<Vec<LogColumn<'_>>> {
    let fields = named_fields(input)?;
    let mut all = Vec::<LogColumn<'_>>::new();
    for field in &fields.named {
        let Some(ident) = &field.ident else { continue };
        let attributes = FieldAttributes::of(field)?;
        let shown = ident.unraw().to_string();
        let clash = |reason: &str| {
            let text = format!("field `{shown}`: {reason}");
            Err(Error::new_spanned(field, text))
        };
        if attributes.skip && (attributes.flatten || attributes.rename.is_some()) {
            return clash("`skip` leaves it out, so that `rename` and `flatten` have no effect");
        }
        if attributes.flatten && attributes.rename.is_some() {
            return clash("with `flatten` it has no name of its own that could be renamed");
        }
        let name = attributes.rename.clone().unwrap_or_else(|| shown.clone());
        if !names::is_column(&name) {
            return clash("is no name of a column: give it one with `rename`");
        }
        let takes_name =
            |column: &LogColumn<'_>| !column.attributes.skip && !column.attributes.flatten;
        let taken = all
            .iter()
            .any(|other| takes_name(other) && other.name == name);
        if taken && !attributes.skip && !attributes.flatten {
            return clash(&format!("another field has the column `{name}` already"));
        }
        all.push(LogColumn {
            ident,
            ty: &field.ty,
            name,
            attributes,
        });
    }
    if all.iter().all(|column| column.attributes.skip) {
        return Err(Error::new_spanned(
            &input.ident,
            "a record without columns cannot be logged",
        ));
    }
    Ok(all)
}

fn named_fields(input: &DeriveInput) -> syn::Result<&FieldsNamed> {
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => Ok(fields),
            _ => Err(Error::new_spanned(
                &input.ident,
                "columns have names, so a log record is a struct with named fields; a struct of one that is a column derives \
                 `LogField`",
            )),
        },
        _ => Err(Error::new_spanned(
            &input.ident,
            "a log record is a struct; an enum that is a column derives `LogField`",
        )),
    }
}
