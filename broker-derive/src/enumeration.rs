//! Enums of unit variants.

use proc_macro2::Ident;
use quote::quote;
use syn::{DataEnum, DeriveInput, Error, Fields, LitByteStr};

use crate::Bodies;
use crate::attributes::TypeAttributes;

/// The variants of an enum, and what Zeek calls them.
pub(crate) struct Variants<'d> {
    pub(crate) idents: Vec<&'d Ident>,
    pub(crate) names: Vec<String>,
}

impl<'d> Variants<'d> {
    pub(crate) fn of(
        input: &DeriveInput,
        data: &'d DataEnum,
        attributes: &TypeAttributes,
    ) -> syn::Result<Self> {
        if data.variants.is_empty() {
            return Err(Error::new_spanned(
                &input.ident,
                "an enum without variants has no values",
            ));
        }
        let (mut idents, mut names) = (Vec::new(), Vec::<String>::new());
        for variant in &data.variants {
            if !matches!(variant.fields, Fields::Unit) {
                return Err(Error::new_spanned(
                    variant,
                    "a Zeek enum has names only: variants with fields cannot be data",
                ));
            }
            let name = attributes.variant_name(variant)?;
            if names.contains(&name) {
                return Err(Error::new_spanned(
                    variant,
                    format!("another variant is called {name} already"),
                ));
            }
            idents.push(&variant.ident);
            names.push(name);
        }
        Ok(Self { idents, names })
    }

    /// The names as bytes.
    pub(crate) fn literals(&self) -> impl Iterator<Item = LitByteStr> {
        let pairs = self.idents.iter().zip(&self.names);
        pairs.map(|(ident, name)| LitByteStr::new(name.as_bytes(), ident.span()))
    }
}

pub(crate) fn bodies(
    input: &DeriveInput,
    data: &DataEnum,
    attributes: &TypeAttributes,
) -> syn::Result<Bodies> {
    let krate = &attributes.krate;
    let type_name = &attributes.name;
    let variants = Variants::of(input, data, attributes)?;
    let patterns = variants.literals();
    let Variants { idents, names } = &variants;
    Ok(Bodies {
        to_data: quote! {
            #krate::Data::Enum(#krate::EnumValue::new(match self { #(Self::#idents => #names),* }))
        },
        from_data: quote! {
            let #krate::Data::Enum(value) = data else {
                return ::core::result::Result::Err(
                    #krate::convert::ConversionError::mismatch(#type_name, data),
                );
            };
            match value.name() {
                #(#patterns => ::core::result::Result::Ok(Self::#idents),)*
                _ => ::core::result::Result::Err(
                    #krate::convert::ConversionError::new(#type_name, ::std::format!("enum {data}")),
                ),
            }
        },
        type_name: quote! { ::std::borrow::Cow::Borrowed(#type_name) },
    })
}
