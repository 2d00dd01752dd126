//! Which rows differ between two views. Both slices are in the order of ids, and a row that is the same object is the same:
//! ten thousand unchanged ones cost ten thousand comparisons of pointers.

use std::sync::Arc;

/// Calls `differs` with each row that came, went or became another object: before and after.
pub fn each<R, I: Ord>(
    before: &[Arc<R>],
    after: &[Arc<R>],
    id: impl Fn(&R) -> &I,
    mut differs: impl FnMut(Option<&R>, Option<&R>),
) {
    let mut old = before.iter().peekable();
    for row in after {
        while let Some(gone) = old.next_if(|was| id(was) < id(row)) {
            differs(Some(gone), None);
        }
        match old.next_if(|was| id(was) == id(row)) {
            Some(was) if Arc::ptr_eq(was, row) => {}
            was => differs(was.map(AsRef::as_ref), Some(row)),
        }
    }
    old.for_each(|gone| differs(Some(gone), None));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_came_went_or_changed_are_told_and_no_others() {
        let row = |id: u32, text: &'static str| Arc::new((id, text));
        let (kept, replaced) = (row(2, "kept"), row(3, "old"));
        let before = [row(1, "gone"), kept.clone(), replaced, row(9, "last")];
        let after = [row(0, "first"), kept, row(3, "new"), row(4, "fresh")];
        let mut told = Vec::new();
        each(
            &before,
            &after,
            |row| &row.0,
            |was, is| told.push((was.map(|r| r.1), is.map(|r| r.1))),
        );
        assert_eq!(
            told,
            [
                (None, Some("first")),
                (Some("gone"), None),
                (Some("old"), Some("new")),
                (None, Some("fresh")),
                (Some("last"), None),
            ]
        );
    }
}
