//! What `#[broker(..)]` says.

use syn::meta::ParseNestedMeta;
use syn::{Attribute, DeriveInput, Field, LitStr, Path, Variant};

/// Attributes of the type.
pub(crate) struct TypeAttributes {
    /// Where the traits are.
    pub(crate) krate: Path,
    /// What Zeek calls the type.
    pub(crate) name: String,
    /// In front of names, without the two colons.
    pub(crate) module: Option<String>,
    /// Whether variants are renamed as Zeek writes them.
    pub(crate) screaming: bool,
}

impl TypeAttributes {
    pub(crate) fn of(input: &DeriveInput) -> syn::Result<Self> {
        let (mut krate, mut name, mut module, mut screaming) = (None, None, None, false);
        each(&input.attrs, |meta| {
            if meta.path.is_ident("crate") {
                once(&meta, &mut krate, text(&meta)?.parse()?)
            } else if meta.path.is_ident("name") {
                once(&meta, &mut name, text(&meta)?.value())
            } else if meta.path.is_ident("module") {
                let text = text(&meta)?;
                let value = text.value();
                if value.is_empty() || value.ends_with(':') {
                    let reason = "a module is a name without colons behind it, such as \"Conn\"";
                    return Err(syn::Error::new(text.span(), reason));
                }
                once(&meta, &mut module, value)
            } else if meta.path.is_ident("rename_all") {
                let text = text(&meta)?;
                if text.value() != "SCREAMING_SNAKE_CASE" {
                    let reason = "the only renaming is \"SCREAMING_SNAKE_CASE\"";
                    return Err(syn::Error::new(text.span(), reason));
                }
                screaming = true;
                Ok(())
            } else {
                Err(meta.error("unknown; a type takes `module`, `name`, `rename_all` and `crate`"))
            }
        })?;
        let name = name.unwrap_or_else(|| qualified(module.as_deref(), &input.ident.to_string()));
        Ok(Self {
            krate: krate.unwrap_or_else(|| syn::parse_quote!(::broker_core)),
            name,
            module,
            screaming,
        })
    }

    /// What Zeek calls a variant.
    pub(crate) fn variant_name(&self, variant: &Variant) -> syn::Result<String> {
        let mut name = None;
        each(&variant.attrs, |meta| {
            if meta.path.is_ident("name") {
                once(&meta, &mut name, text(&meta)?.value())
            } else {
                Err(meta.error("unknown; a variant takes `name`"))
            }
        })?;
        Ok(name.unwrap_or_else(|| {
            let ident = syn::ext::IdentExt::unraw(&variant.ident).to_string();
            let own = if self.screaming {
                screaming(&ident)
            } else {
                ident
            };
            qualified(self.module.as_deref(), &own)
        }))
    }
}

/// Whether none is read as the default of the field's type.
pub(crate) fn has_default(field: &Field) -> syn::Result<bool> {
    let mut default = false;
    each(&field.attrs, |meta| {
        if meta.path.is_ident("default") {
            default = true;
            Ok(())
        } else {
            Err(meta.error("unknown; a field takes `default`"))
        }
    })?;
    Ok(default)
}

fn each(
    attributes: &[Attribute],
    mut act: impl FnMut(ParseNestedMeta<'_>) -> syn::Result<()>,
) -> syn::Result<()> {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("broker"))
        .try_for_each(|attribute| attribute.parse_nested_meta(&mut act))
}

fn text(meta: &ParseNestedMeta<'_>) -> syn::Result<LitStr> {
    meta.value()?.parse()
}

fn once<T>(meta: &ParseNestedMeta<'_>, place: &mut Option<T>, value: T) -> syn::Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(meta.error("given twice")),
    }
}

fn qualified(module: Option<&str>, name: &str) -> String {
    module.map_or_else(|| name.to_owned(), |module| format!("{module}::{name}"))
}

/// `WeirdEntry2` as `WEIRD_ENTRY2`, `HTTPOnly` as `HTTP_ONLY`; a name that is so already stays.
fn screaming(name: &str) -> String {
    let characters: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (index, &character) in characters.iter().enumerate() {
        let before = index.checked_sub(1).map(|index| characters[index]);
        let next = characters.get(index + 1);
        let begins_word = character.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase()
                    || before.is_ascii_digit()
                    || (before.is_uppercase() && next.is_some_and(|next| next.is_lowercase()))
            });
        if begins_word {
            out.push('_');
        }
        out.extend(character.to_uppercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::screaming;

    #[test]
    fn variants_are_renamed_word_by_word() {
        for (name, renamed) in [
            ("WeirdEntry", "WEIRD_ENTRY"),
            ("Weird", "WEIRD"),
            ("HTTPOnly", "HTTP_ONLY"),
            ("Utf8Text", "UTF8_TEXT"),
            ("ALREADY_SO", "ALREADY_SO"),
            ("S0", "S0"),
        ] {
            assert_eq!(screaming(name), renamed);
        }
    }
}
