//! What goes wrong, as a page.

use askama::Template;
use http::StatusCode;
use tidemark_catalog::CatalogError;
use tidemark_model::Role;

use crate::answer::{Answer, page};
use crate::explained::Explained;
use crate::shown::Frame;

/// Why there is no page of the wanted kind.
#[derive(Debug)]
pub(crate) enum Problem {
    /// There is nothing at this address, or nothing that this visitor may see.
    Unknown,
    /// The visitor has not this role.
    Forbidden(Role),
    /// A form that no page of ours sent, or one of a session that is over.
    Forged,
    /// It cannot be done as things are, and why.
    Refused(Explained),
    /// The API cannot do it now, and why in English.
    Failed(String),
    /// The records cannot be read or written.
    Catalog(CatalogError),
}

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        Self::Catalog(error)
    }
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    f: Frame,
    title: String,
    text: String,
    original: Option<String>,
}

impl Problem {
    /// The page that says so.
    pub(crate) fn page(self, f: Frame) -> Answer {
        let mut original = None;
        let (status, title, text) = match self {
            Self::Unknown => {
                (StatusCode::NOT_FOUND, f.t("problem-unknown"), f.t("problem-unknown-text"))
            }
            Self::Forbidden(role) => (
                StatusCode::FORBIDDEN,
                f.t("problem-forbidden"),
                f.with("problem-forbidden-text", "role", role.as_str()),
            ),
            Self::Forged => {
                (StatusCode::FORBIDDEN, f.t("problem-forged"), f.t("problem-forged-text"))
            }
            Self::Refused(why) => {
                original = why.original;
                (StatusCode::CONFLICT, f.t("problem-refused"), why.text)
            }
            Self::Failed(reason) => {
                original = Some(reason);
                (StatusCode::SERVICE_UNAVAILABLE, f.t("problem-failed"), f.t("problem-failed-text"))
            }
            Self::Catalog(error) => {
                tracing::error!(%error, "a page of the console could not be made");
                let status = StatusCode::SERVICE_UNAVAILABLE;
                (status, f.t("problem-catalog"), f.t("problem-catalog-text"))
            }
        };
        page(status, &ProblemPage { f, title, text, original })
    }
}
