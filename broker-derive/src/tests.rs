//! What does not compile, and what the message says.

use syn::{DeriveInput, parse_quote};

use crate::attributes::TypeAttributes;
use crate::{log_field, log_record};

type Derive = fn(&DeriveInput, &TypeAttributes) -> syn::Result<proc_macro2::TokenStream>;

fn message(derive: Derive, input: DeriveInput) -> String {
    TypeAttributes::of(&input)
        .and_then(|attributes| derive(&input, &attributes))
        .expect_err("it is refused")
        .to_string()
}

#[test]
fn messages_about_columns_name_the_field() {
    for (input, expected) in [
        (
            parse_quote! { struct X { a: u64, #[broker(rename = "a")] b: u64 } },
            "field `b`: another field has the column `a` already",
        ),
        (
            parse_quote! { struct X { #[broker(skip, rename = "a")] b: u64, c: u64 } },
            "field `b`: `skip` leaves it out, so that `rename` and `flatten` have no effect",
        ),
        (
            parse_quote! { struct X { #[broker(flatten, rename = "a")] r#type: Y } },
            "field `type`: with `flatten` it has no name of its own that could be renamed",
        ),
        (
            parse_quote! { struct X { straße: u64 } },
            "field `straße`: is no name of a column: give it one with `rename`",
        ),
    ] {
        assert_eq!(message(log_record::written, input), expected);
    }
}

#[test]
fn messages_about_types_say_what_to_do() {
    for (derive, input, expected) in [
        (
            log_record::written as Derive,
            parse_quote! { #[broker(path = "a/b")] struct X { a: u64 } },
            "\"a/b\" names no log file",
        ),
        (
            log_record::written,
            parse_quote! { #[broker(stream = "a b")] struct X { a: u64 } },
            "\"a b\" is no stream id, such as \"Conn::LOG\"",
        ),
        (
            log_record::written,
            parse_quote! { struct X { #[broker(optional)] a: u64 } },
            "unknown; a field takes `default`, and for logs `rename`, `flatten` and `skip`",
        ),
        (
            log_record::written,
            parse_quote! { struct X { #[broker(skip)] a: u64 } },
            "a record without columns cannot be logged",
        ),
        (
            log_record::read,
            parse_quote! { enum X { A } },
            "a log record is a struct; an enum that is a column derives `LogField`",
        ),
        (
            log_field::written,
            parse_quote! { enum X { A(u64) } },
            "a Zeek enum has names only: variants with fields cannot be data",
        ),
        (
            log_field::read,
            parse_quote! { struct X(u64, u64); },
            "one column holds one value: only an enum or a struct of one can be a plain value of a log",
        ),
    ] {
        assert_eq!(message(derive, input), expected);
    }
}
