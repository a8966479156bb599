//! Structs: records, composite indices, and types around another.

use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::{DataStruct, DeriveInput, Error, Fields};

use crate::Bodies;
use crate::attributes::{FieldAttributes, TypeAttributes};

pub(crate) fn bodies(
    input: &DeriveInput,
    data: &DataStruct,
    attributes: &TypeAttributes,
) -> syn::Result<Bodies> {
    if attributes.screaming {
        return Err(Error::new_spanned(
            &input.ident,
            "`rename_all` is for enums: fields of a record are not named in data",
        ));
    }
    match &data.fields {
        Fields::Named(_) => record(data, attributes),
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => newtype(data, attributes),
        Fields::Unnamed(fields) if !fields.unnamed.is_empty() => tuple(data, attributes),
        _ => Err(Error::new_spanned(
            &input.ident,
            "a struct without fields has nothing to be data of",
        )),
    }
}

fn record(data: &DataStruct, attributes: &TypeAttributes) -> syn::Result<Bodies> {
    let krate = &attributes.krate;
    let type_name = &attributes.name;
    let count = data.fields.len();
    let names: Vec<_> = data
        .fields
        .iter()
        .filter_map(|field| field.ident.as_ref())
        .collect();
    let mut reads = Vec::new();
    for (index, field) in data.fields.iter().enumerate() {
        let name = &field.ident;
        let shown = field.ident.as_ref().map(|name| name.unraw().to_string());
        let place = format!("field `{}`", shown.unwrap_or_default());
        let read = quote! {
            #krate::convert::FromData::from_data(&fields[#index]).map_err(|error| error.within(#place))?
        };
        reads.push(if FieldAttributes::of(field)?.default {
            quote! {
                #name: match &fields[#index] {
                    #krate::Data::None => ::core::default::Default::default(),
                    _ => #read,
                }
            }
        } else {
            quote! { #name: #read }
        });
    }
    Ok(Bodies {
        to_data: quote! {
            #krate::Data::Vector(::std::vec![#(#krate::convert::ToData::to_data(&self.#names)),*])
        },
        from_data: quote! {
            let fields = #krate::convert::fields(data, #type_name, #count)?;
            ::core::result::Result::Ok(Self { #(#reads),* })
        },
        type_name: quote! { ::std::borrow::Cow::Borrowed(#type_name) },
    })
}

fn newtype(data: &DataStruct, attributes: &TypeAttributes) -> syn::Result<Bodies> {
    refuse_attributes(data)?;
    let krate = &attributes.krate;
    let inner = data.fields.iter().map(|field| &field.ty);
    let inner = quote! { #(#inner)* };
    Ok(Bodies {
        to_data: quote! { #krate::convert::ToData::to_data(&self.0) },
        from_data: quote! {
            <#inner as #krate::convert::FromData>::from_data(data).map(Self)
        },
        type_name: quote! { <#inner as #krate::convert::FromData>::type_name() },
    })
}

fn tuple(data: &DataStruct, attributes: &TypeAttributes) -> syn::Result<Bodies> {
    refuse_attributes(data)?;
    let krate = &attributes.krate;
    let types: Vec<_> = data.fields.iter().map(|field| &field.ty).collect();
    let count = data.fields.len();
    let parts: Vec<_> = (0..count).map(syn::Index::from).collect();
    let bindings: Vec<_> = (0..count)
        .map(|index| format_ident!("part{}", index))
        .collect();
    let places = (1..=count).map(|number| format!("part {number}"));
    let indices = 0..count;
    Ok(Bodies {
        to_data: quote! {
            #krate::Data::Vector(::std::vec![#(#krate::convert::ToData::to_data(&self.#parts)),*])
        },
        from_data: quote! {
            let parts = #krate::convert::parts(data, "tuple", #count)?;
            #(
                let #bindings = #krate::convert::FromData::from_data(&parts[#indices])
                    .map_err(|error| error.within(#places))?;
            )*
            ::core::result::Result::Ok(Self(#(#bindings),*))
        },
        // As that of a tuple: Zeek has no name for a composite index.
        type_name: quote! {
            <(#(#types,)*) as #krate::convert::FromData>::type_name()
        },
    })
}

/// Parts of a composite have no defaults: none of them can be unset.
fn refuse_attributes(data: &DataStruct) -> syn::Result<()> {
    for field in &data.fields {
        if FieldAttributes::of(field)?.default {
            return Err(Error::new_spanned(
                field,
                "`default` is for named fields: only those of a record can be unset",
            ));
        }
    }
    Ok(())
}
