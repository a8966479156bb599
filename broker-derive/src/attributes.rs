//! What `#[broker(..)]` says. All derives read all of it, since a type may have several: each takes no notice of what is for
//! others.

use syn::meta::ParseNestedMeta;
use syn::{Attribute, DeriveInput, Field, LitStr, Path, Variant};

use crate::names;

/// Attributes of the type.
pub(crate) struct TypeAttributes {
    /// Where the traits for data are.
    pub(crate) krate: Path,
    /// Where those for logs are.
    pub(crate) cluster: Path,
    /// The path of the log.
    pub(crate) path: Option<String>,
    /// The stream of the log.
    pub(crate) stream: Option<String>,
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
        let (mut cluster, mut path, mut stream) = (None, None, None);
        each(&input.attrs, |meta| {
            if meta.path.is_ident("crate") {
                once(&meta, &mut krate, text(&meta)?.parse()?)
            } else if meta.path.is_ident("cluster") {
                once(&meta, &mut cluster, text(&meta)?.parse()?)
            } else if meta.path.is_ident("path") {
                let value = checked(&meta, names::is_log_path, "names no log file")?;
                once(&meta, &mut path, value)
            } else if meta.path.is_ident("stream") {
                let wanted = "is no stream id, such as \"Conn::LOG\"";
                once(
                    &meta,
                    &mut stream,
                    checked(&meta, names::is_stream, wanted)?,
                )
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
                Err(meta.error(
                    "unknown; a type takes `module`, `name`, `rename_all` and `crate`, and for logs `path`, `stream` and \
                     `cluster`",
                ))
            }
        })?;
        let name = name.unwrap_or_else(|| qualified(module.as_deref(), &input.ident.to_string()));
        Ok(Self {
            krate: krate.unwrap_or_else(|| syn::parse_quote!(::broker_core)),
            cluster: cluster.unwrap_or_else(|| syn::parse_quote!(::broker_cluster)),
            path,
            stream,
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
                names::screaming(&ident)
            } else {
                ident
            };
            qualified(self.module.as_deref(), &own)
        }))
    }
}

/// Attributes of a field.
#[derive(Default)]
pub(crate) struct FieldAttributes {
    /// None, or an unset column, is read as the default of the field's type.
    pub(crate) default: bool,
    /// It is in no column.
    pub(crate) skip: bool,
    /// The columns of a record without the field's name in front.
    pub(crate) flatten: bool,
    /// The name of its column.
    pub(crate) rename: Option<String>,
}

impl FieldAttributes {
    pub(crate) fn of(field: &Field) -> syn::Result<Self> {
        let mut found = Self::default();
        each(&field.attrs, |meta| {
            if meta.path.is_ident("default") {
                found.default = true;
                Ok(())
            } else if meta.path.is_ident("skip") {
                found.skip = true;
                Ok(())
            } else if meta.path.is_ident("flatten") {
                found.flatten = true;
                Ok(())
            } else if meta.path.is_ident("rename") {
                let wanted = "names no column; use letters, digits, `_` and dots between them";
                once(
                    &meta,
                    &mut found.rename,
                    checked(&meta, names::is_column, wanted)?,
                )
            } else {
                Err(meta.error(
                    "unknown; a field takes `default`, and for logs `rename`, `flatten` and `skip`",
                ))
            }
        })?;
        Ok(found)
    }
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

/// A text that `holds`, or it `wanted`.
fn checked(
    meta: &ParseNestedMeta<'_>,
    holds: fn(&str) -> bool,
    wanted: &str,
) -> syn::Result<String> {
    let text = text(meta)?;
    let value = text.value();
    if holds(&value) {
        Ok(value)
    } else {
        Err(syn::Error::new(text.span(), format!("{value:?} {wanted}")))
    }
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
