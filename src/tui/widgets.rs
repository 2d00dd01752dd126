//! What pages are made of. Widgets know themes, glyphs and safe text; never a domain type, an action or a key binding.

pub mod dialog;
pub mod edit;
pub mod hints;
pub mod json;
pub mod paint;
pub mod plan;
pub mod prompt;
pub mod spark;
pub mod table;
pub mod text;
pub mod toast;

use super::theme::{Glyphs, Theme};

/// How everything on the screen looks.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    pub theme: &'a Theme,
    pub glyphs: &'a Glyphs,
}
