//! Finds a band of lines that the terminal can move by itself (DECSTBM with SU or SD), so that a list scrolled by one line
//! costs the bytes of one line. Pure; it only proposes what is cheaper than writing the lines anew.

use std::hash::{BuildHasher, RandomState};

use ratatui::buffer::{Buffer, Cell};

/// Lines `top..bottom` move up or down by `by`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shift {
    pub top: u16,
    pub bottom: u16,
    pub by: u16,
    pub up: bool,
}

/// Fewer lines than this are not worth a look.
const FEWEST: usize = 4;
/// The bytes that a move must save to be worth its own, some twenty, and the lost cursor.
const LEAST: usize = 60;
/// What it costs to go somewhere else on a line.
const MOVE: usize = 7;

/// The move that saves most, if one is worth it. `changed` are the lines that are not as they were.
pub(super) fn find(before: &Buffer, after: &Buffer, changed: &[u16]) -> Option<Shift> {
    let width = usize::from(after.area.width);
    if width == 0 || changed.len() < FEWEST {
        return None;
    }
    let old: Vec<&[Cell]> = before.content.chunks(width).collect();
    let new: Vec<&[Cell]> = after.content.chunks(width).collect();
    let mut cost = vec![0; new.len()];
    for y in changed.iter().map(|y| usize::from(*y)) {
        cost[y] = rewriting(old[y], new[y]);
    }
    if cost.iter().sum::<usize>() < LEAST {
        return None;
    }
    let hasher = RandomState::new();
    let hash = |line: &&[Cell]| hasher.hash_one(*line);
    let (old_hashes, new_hashes): (Vec<u64>, Vec<u64>) =
        (old.iter().map(hash).collect(), new.iter().map(hash).collect());
    let height = new.len();
    let mut best: Option<(usize, Shift)> = None;
    for by in 1..height.saturating_sub(1) {
        for up in [true, false] {
            // Line `y` of the new picture was line `y + by` (up) or `y - by` (down) of the old one.
            let came_from = |y: usize| if up { y.checked_add(by) } else { y.checked_sub(by) };
            let fits = |y: usize| {
                came_from(y).is_some_and(|from| from < height && old_hashes[from] == new_hashes[y])
            };
            for (first, last) in runs(height, fits) {
                let saved: usize = cost[first..=last].iter().sum();
                // What comes in is written anyway; what the move takes away elsewhere must be written again.
                let lost =
                    if up { last + 1..last + 1 + by } else { first.saturating_sub(by)..first };
                let lost: usize =
                    lost.filter_map(|y| Some(filled(new.get(y)?).saturating_sub(cost[y]))).sum();
                let gain = saved.saturating_sub(lost);
                if gain >= LEAST && best.is_none_or(|(most, _)| gain > most) {
                    let (top, bottom) =
                        if up { (first, last + 1 + by) } else { (first - by, last + 1) };
                    let Some(shift) = narrow(top, bottom, by, up) else { continue };
                    best = Some((gain, shift));
                }
            }
        }
    }
    best.map(|(_, shift)| shift)
}

/// Runs of lines (first, last) for which `fits` holds.
fn runs(height: usize, fits: impl Fn(usize) -> bool) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut begin = None;
    for y in 0..=height {
        match (begin, y < height && fits(y)) {
            (None, true) => begin = Some(y),
            (Some(first), false) => {
                found.push((first, y - 1));
                begin = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }
    found
}

fn narrow(top: usize, bottom: usize, by: usize, up: bool) -> Option<Shift> {
    let cell = |n: usize| u16::try_from(n).ok();
    Some(Shift { top: cell(top)?, bottom: cell(bottom)?, by: cell(by)?, up })
}

/// About how many bytes turn one line into the other.
fn rewriting(old: &[Cell], new: &[Cell]) -> usize {
    let mut bytes = 0;
    let mut on = false;
    for (old, new) in old.iter().zip(new) {
        let differs = old != new;
        bytes += usize::from(differs) + if differs && !on { MOVE } else { 0 };
        on = differs;
    }
    bytes
}

/// The cells up to the last that is not blank.
fn filled(line: &[Cell]) -> usize {
    line.iter().rposition(|cell| *cell != Cell::EMPTY).map_or(0, |last| last + 1)
}

impl Shift {
    /// Moves the lines of `buffer` as the terminal moves its own; blank ones come in.
    pub(super) fn apply(self, buffer: &mut Buffer) {
        let width = usize::from(buffer.area.width);
        let place = |line: u16| usize::from(line) * width;
        let (top, bottom, by) = (place(self.top), place(self.bottom), place(self.by));
        let band = &mut buffer.content[top..bottom];
        let by = by.min(band.len());
        if self.up {
            band.rotate_left(by);
            let kept = band.len() - by;
            band[kept..].iter_mut().for_each(Cell::reset);
        } else {
            band.rotate_right(by);
            band[..by].iter_mut().for_each(Cell::reset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Buffer {
        Buffer::with_lines(lines.iter().map(|line| format!("{line}{}", "-".repeat(30))))
    }

    #[test]
    fn a_list_moved_by_one_is_found_with_its_head_left_alone() {
        let before = lines(&["head", "a", "b", "c", "d", "e", "foot"]);
        let after = lines(&["head", "b", "c", "d", "e", "f", "foot"]);
        // Every line but its letter is alike: too little to save.
        let every: Vec<u16> = (0..7).collect();
        assert_eq!(find(&before, &after, &every), None);
        let long = |letter: &str| letter.repeat(30);
        let picture = |letters: &str| {
            let rows = letters.chars().map(|c| long(&c.to_string()));
            Buffer::with_lines(std::iter::once(long("H")).chain(rows).chain([long("F")]))
        };
        let (before, after) = (picture("abcde"), picture("bcdef"));
        let shift = find(&before, &after, &every).unwrap();
        assert_eq!(shift, Shift { top: 1, bottom: 6, by: 1, up: true });
        let back = find(&after, &before, &every).unwrap();
        assert_eq!(back, Shift { top: 1, bottom: 6, by: 1, up: false });
    }
}
