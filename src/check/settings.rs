//! The administrator's configuration, and what stands in it that should not.

use crate::api::reworded;
use crate::config::{Config, ProblemKind};

use super::codes::{documents, settings as codes};
use super::culprit;
use super::page::Page;
use super::policy::{help_of, label_of};

/// Checks a configuration document.
pub(super) fn check(page: &mut Page<'_>) {
    let config = match Config::parse(page.text) {
        Ok(config) => config,
        Err(error) => {
            let at = page.token(error.line, error.column);
            let (what, help) = culprit::split(&reworded(&error.message));
            let help = help.unwrap_or_else(|| {
                help_of(&error.message, "`deploy/guide/configuration.md` has all of them")
            });
            page.report(&documents::FIELD, at, label_of(&error.message), what)
                .help(help);
            return;
        }
    };
    for problem in config.problems() {
        let entry = match problem.kind {
            ProblemKind::Setting => &codes::SETTING,
            ProblemKind::Secret => &codes::SECRET,
            ProblemKind::PlainHttp => &codes::PLAIN_HTTP,
            ProblemKind::LinkLocal => &codes::LINK_LOCAL,
        };
        let (what, help) = culprit::split(&problem.message);
        let finding = page.about(entry, &problem.path, "here", what);
        if let Some(help) = help {
            finding.help(help);
        }
    }
    if config.freeze {
        let message = "no policy changes anything while this is true";
        page.about(&codes::FROZEN, "freeze", "everything holds", message);
    }
}
