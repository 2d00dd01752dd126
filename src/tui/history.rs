//! The views that were looked at, with all that was set in them: back, forward, and the one before this.

use super::pages::Page;

/// Views kept.
const KEPT: usize = 100;

/// Where the operator has been. The view in sight is kept only once it is left.
#[derive(Debug, Default)]
pub struct History {
    back: Vec<Page>,
    forward: Vec<Page>,
}

impl History {
    /// Whether nothing was looked at before.
    pub fn is_empty(&self) -> bool {
        self.back.is_empty() && self.forward.is_empty()
    }

    /// `page` is left for a new one: what lay ahead is gone.
    pub fn leave(&mut self, page: &Page) {
        self.forward.clear();
        push(&mut self.back, page);
    }

    /// `page` is left for the one below it, whose line is `line`: it lies ahead now, and the one below no longer behind.
    pub fn retreat(&mut self, page: &Page, line: &str) {
        if self.back.last().is_some_and(|back| back.line() == line) {
            self.back.pop();
        }
        push(&mut self.forward, page);
    }

    /// Goes one view back from `page`.
    pub fn back(&mut self, page: &Page) -> Option<Page> {
        let to = self.back.pop()?;
        push(&mut self.forward, page);
        Some(to)
    }

    pub fn forward(&mut self, page: &Page) -> Option<Page> {
        let to = self.forward.pop()?;
        push(&mut self.back, page);
        Some(to)
    }
}

fn push(pages: &mut Vec<Page>, page: &Page) {
    if pages.len() == KEPT {
        pages.remove(0);
    }
    pages.push(page.memo());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::pages::TableKind;
    use crate::tui::pages::table::TablePage;

    fn page(filter: &str) -> Page {
        let mut page = TablePage::new(TableKind::Agents);
        page.set_filter(filter);
        Page::Table(Box::new(page))
    }

    #[test]
    fn a_view_comes_back_with_its_filter_and_a_new_one_cuts_what_lay_ahead() {
        let mut history = History::default();
        history.leave(&page("one"));
        history.leave(&page("two"));
        let back = history.back(&page("three")).unwrap();
        assert_eq!(back.line(), "agents /two");
        assert_eq!(history.forward(&back).unwrap().line(), "agents /three");
        let back = history.back(&page("three")).unwrap();
        history.leave(&back);
        assert!(history.forward(&back).is_none());
        for n in 0..300 {
            history.leave(&page(&n.to_string()));
        }
        assert_eq!(history.back.len(), KEPT);
    }
}
