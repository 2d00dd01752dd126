//! The lines of a text page as they are read out: counted, copied, saved.

use super::{COUNTED, Content, TextPage};
use crate::model::text::Safe;
use crate::tui::clipboard::Room;
use crate::tui::widgets::Look;
use crate::tui::widgets::text::{Lines, Pieces};

impl TextPage {
    /// Which line of the content stands at `position` among those shown.
    pub fn line_at(&self, position: usize) -> usize {
        self.shown.as_ref().map_or(position, |shown| shown[position] as usize)
    }

    /// Which hit this is, and how many there are; not in texts so long that counting would be felt.
    pub(super) fn count_hits(&self, hit: usize, look: Look<'_>) -> Option<(u64, u64)> {
        let search = self.state.search.as_ref()?;
        if self.count() > COUNTED {
            return None;
        }
        let mut pieces = Pieces::default();
        let (mut at, mut all) = (0, 0);
        for position in 0..self.count() {
            pieces.clear();
            self.content.line(self.line_at(position), look, &mut pieces);
            if search.is_match(pieces.as_str()) {
                all += 1;
                at += u64::from(position <= hit);
            }
        }
        Some((at, all))
    }

    /// The lines shown, for the clipboard, as many as it takes: the last ones of a log, the first ones of anything else.
    pub fn copy(&self, look: Look<'_>) -> Vec<Safe> {
        let mut room = Room::default();
        let mut taken = |line: &Safe| room.take(line);
        if !matches!(self.content, Content::Log(_)) {
            return self.read(look).take_while(&mut taken).collect();
        }
        let mut lines: Vec<Safe> = self.read(look).rev().take_while(&mut taken).collect();
        lines.reverse();
        lines
    }

    /// Every line shown.
    pub fn read(&self, look: Look<'_>) -> impl DoubleEndedIterator<Item = Safe> {
        let mut pieces = Pieces::default();
        (0..self.count()).map(move |position| {
            pieces.clear();
            self.content.line(self.line_at(position), look, &mut pieces);
            Safe::new(pieces.as_str())
        })
    }
}
