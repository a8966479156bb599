//! Enums of unit variants.

use quote::quote;
use syn::{DataEnum, DeriveInput, Error, Fields};

use crate::Bodies;
use crate::attributes::TypeAttributes;

pub(crate) fn bodies(
    input: &DeriveInput,
    data: &DataEnum,
    attributes: &TypeAttributes,
) -> syn::Result<Bodies> {
    if data.variants.is_empty() {
        return Err(Error::new_spanned(
            &input.ident,
            "an enum without variants has no values",
        ));
    }
    let krate = &attributes.krate;
    let type_name = &attributes.name;
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
    let patterns = names
        .iter()
        .map(|name| syn::LitByteStr::new(name.as_bytes(), input.ident.span()));
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
