//! Backends by name, as a cluster layout or a command line gives them.

use crate::backend::{Backend, BackendError};

/// Opens the backend called `kind` with options written as `(name, value)` texts.
///
/// | kind | options | cargo feature |
/// |---|---|---|
/// | `memory` | none | always there |
/// | `sqlite` | `path`, `synchronous`, `journal_mode`, `failure_mode`, `integrity_check` | `sqlite` (default) |
/// | `sled` | `path`, `cache_bytes` | `sled` |
///
/// # Errors
/// There is no such backend, or not in this build; an option is wrong; or the storage cannot be opened.
pub fn open_backend(
    kind: &str,
    options: &[(&str, &str)],
) -> Result<Box<dyn Backend>, BackendError> {
    match kind {
        "memory" => match options.first() {
            None => Ok(Box::new(crate::Memory::new())),
            Some((option, _)) => Err(BackendError::UnknownOption {
                backend: "memory",
                option: (*option).to_owned(),
                accepted: "no options",
            }),
        },
        #[cfg(feature = "sqlite")]
        "sqlite" => Ok(Box::new(crate::Sqlite::open(
            &crate::SqliteOptions::parse(options.iter().copied())?,
        )?)),
        #[cfg(not(feature = "sqlite"))]
        "sqlite" => Err(BackendError::NotBuilt {
            kind: "sqlite",
            feature: "sqlite",
        }),
        #[cfg(feature = "sled")]
        "sled" => Ok(Box::new(crate::Sled::from_options(
            options.iter().copied(),
        )?)),
        #[cfg(not(feature = "sled"))]
        "sled" => Err(BackendError::NotBuilt {
            kind: "sled",
            feature: "sled",
        }),
        _ => Err(BackendError::UnknownBackend {
            kind: kind.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_found_by_name_or_the_error_says_why_not() {
        assert_eq!(open_backend("memory", &[]).unwrap().name(), "memory");
        assert!(matches!(
            open_backend("memory", &[("path", "x")]),
            Err(BackendError::UnknownOption { .. })
        ));
        assert!(matches!(
            open_backend("rocksdb", &[]),
            Err(BackendError::UnknownBackend { .. })
        ));
    }

    #[test]
    fn a_backend_that_is_not_built_names_its_feature() {
        let opened = open_backend("sled", &[]).map(|backend| backend.name().to_owned());
        if cfg!(feature = "sled") {
            assert!(matches!(opened, Err(BackendError::MissingOption { .. })));
        } else {
            assert!(
                opened
                    .unwrap_err()
                    .to_string()
                    .contains("cargo feature \"sled\"")
            );
        }
    }
}
