//! What just happened, in one line at the right end of the hint line, with a sign and a colour by weight.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::{Look, paint};
use crate::model::text::Safe;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    Info,
    Warn,
    Alarm,
}

impl Weight {
    pub fn style(self, look: Look<'_>) -> Style {
        match self {
            Self::Info => look.theme.toast_info,
            Self::Warn => look.theme.toast_warn,
            Self::Alarm => look.theme.toast_alarm,
        }
    }

    pub fn sign(self, look: Look<'_>) -> &'static str {
        match self {
            Self::Info => look.glyphs.done,
            Self::Warn => "!",
            Self::Alarm => look.glyphs.failed,
        }
    }
}

/// Draws `text` right-aligned into one line; returns how many columns are left of it.
pub fn draw(buf: &mut Buffer, line: Rect, weight: Weight, text: &Safe, look: Look<'_>) -> u16 {
    let line = line.intersection(buf.area);
    let wanted = u16::try_from(text.width() + 3).unwrap_or(u16::MAX).min(line.width);
    if line.is_empty() || wanted < 4 {
        return line.width;
    }
    let x = line.right() - wanted;
    let style = weight.style(look);
    let parts = [(weight.sign(look), style), (" ", style), (text.as_str(), style)];
    paint::pieces(buf, (x, line.y), wanted, &parts, look.glyphs.ellipsis);
    line.width - wanted
}
