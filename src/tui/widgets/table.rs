//! The table: only the rows in sight are ever asked for, so a frame costs the same at a hundred rows and at a hundred
//! thousand. The selection and the marks are ids, never places.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::{Look, paint};
use crate::model::text::{Align, Safe};

/// How wide a column is. Never by its content: data that arrives moves no column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    Fixed(u16),
    /// At least `min`, and its share of what is left over.
    Flex {
        min: u16,
        weight: u16,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Names it in view lines: `sort:queue:desc`.
    pub key: &'static str,
    pub title: &'static str,
    pub width: Width,
    pub align: Align,
    /// Shown only in the wide view.
    pub wide: bool,
}

/// One cell's text and style; used again for every cell.
#[derive(Debug, Default)]
pub struct CellText {
    text: String,
    style: Option<Style>,
}

impl CellText {
    pub fn safe(&mut self, text: &Safe) -> &mut Self {
        self.text.push_str(text.as_str());
        self
    }

    pub fn word(&mut self, text: &'static str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// For numbers and other things of ours; anything but plain characters is dropped on the way.
    pub fn put(&mut self, arguments: fmt::Arguments<'_>) -> &mut Self {
        let written = fmt::Write::write_fmt(&mut Plain(&mut self.text), arguments);
        debug_assert!(written.is_ok(), "writing to a String cannot fail");
        self
    }

    pub fn style(&mut self, style: Style) -> &mut Self {
        self.style = Some(style);
        self
    }

    /// Puts a sign before what stands there.
    pub fn sign(&mut self, sign: &'static str) -> &mut Self {
        self.text.insert_str(0, sign);
        self
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The style it was given.
    pub fn own_style(&self) -> Option<Style> {
        self.style
    }

    pub fn clear(&mut self) {
        self.text.clear();
        self.style = None;
    }
}

/// Lets only printable characters through.
struct Plain<'a>(&'a mut String);

impl fmt::Write for Plain<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
            self.0.push_str(text);
        } else {
            self.0.push_str(Safe::new(text).as_str());
        }
        Ok(())
    }
}

/// Where the rows come from.
pub trait Cells {
    /// The row's id, for ever.
    fn id(&self, row: usize) -> &str;
    /// Writes one cell.
    fn cell(&self, row: usize, column: &Column, out: &mut CellText);
    /// A style under every cell of the row that has none of its own.
    fn row_style(&self, row: usize) -> Option<Style>;
    /// Whether a figure has just gone up (`true`) or down.
    fn delta(&self, _row: usize, _column: &Column) -> Option<bool> {
        None
    }
}

/// What a table remembers between frames.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableState {
    /// The id under the cursor.
    pub selected: Option<Arc<str>>,
    /// Its place in the order shown last, for when its row is gone.
    pub position: usize,
    /// The first row in sight.
    pub offset: usize,
    pub marks: BTreeSet<Arc<str>>,
    /// Where a range of marks begins.
    pub anchor: Option<Arc<str>>,
    /// How many columns after the first are scrolled out on the left.
    pub scrolled: usize,
    /// The column that `sort-column` and `copy-cell` mean.
    pub picked: usize,
}

impl TableState {
    /// Moves the cursor by `by` rows within `count`.
    pub fn step(&mut self, by: isize, count: usize) {
        self.position = self.position.saturating_add_signed(by).min(count.saturating_sub(1));
    }

    /// The first row in sight of `height` such that the cursor is among them.
    pub fn first(&self, count: usize, height: usize) -> usize {
        let last = count.saturating_sub(height);
        let lowest = (self.position + 1).saturating_sub(height);
        self.offset.max(lowest).min(self.position).min(last)
    }
}

/// What is drawn in one frame.
pub struct Table<'a> {
    pub cells: &'a dyn Cells,
    /// Rows in the order to show them; places in `cells`.
    pub rows: &'a [u32],
    pub columns: &'a [&'a Column],
    pub state: &'a TableState,
    /// The sorted column's key, and whether it descends.
    pub sorted: Option<(&'a str, bool)>,
    /// Which parts of a cell to emphasize.
    pub hits: &'a dyn Fn(&str) -> Vec<Range<usize>>,
    pub focused: bool,
    pub look: Look<'a>,
}

/// What a table looked like, for the next key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableHits {
    /// Rows in sight, without the head.
    pub height: u16,
    pub first: usize,
    /// Columns that did not fit on the right.
    pub hidden: usize,
}

/// The columns before the first: cursor and mark.
const GUTTER: u16 = 2;

impl Table<'_> {
    /// Draws head and rows into `area`.
    pub fn draw(&self, area: Rect, buf: &mut Buffer) -> TableHits {
        let area = area.intersection(buf.area);
        if area.height == 0 || area.width <= GUTTER {
            return TableHits::default();
        }
        let (placed, hidden) = self.place(area);
        self.head(&placed, hidden, area, buf);
        let height = area.height - 1;
        let first = self.state.first(self.rows.len(), usize::from(height));
        let mut cell = CellText::default();
        let shown = self.rows.iter().enumerate().skip(first).take(usize::from(height));
        for ((position, row), y) in shown.zip(area.top() + 1..) {
            self.row(
                usize::try_from(*row).unwrap_or(usize::MAX),
                position,
                y,
                area,
                &placed,
                &mut cell,
                buf,
            );
        }
        TableHits { height, first, hidden }
    }

    /// Which columns are in sight, and where; the first always is.
    fn place(&self, area: Rect) -> (Vec<(&Column, u16, u16)>, usize) {
        let Some((first, rest)) = self.columns.split_first() else { return (Vec::new(), 0) };
        let scrolled = self.state.scrolled.min(rest.len().saturating_sub(1));
        let in_order: Vec<&Column> =
            std::iter::once(*first).chain(rest[scrolled..].iter().copied()).collect();
        let least = |column: &Column| match column.width {
            Width::Fixed(width) => width,
            Width::Flex { min, .. } => min,
        };
        let room = area.width - GUTTER;
        let mut used = 0_u16;
        let mut count = 0;
        for column in &in_order {
            let wanted = least(column) + u16::from(count > 0);
            if count > 0 && used + wanted > room {
                break;
            }
            used = used.saturating_add(wanted);
            count += 1;
        }
        let spare = room.saturating_sub(used);
        let weights: u16 = in_order[..count]
            .iter()
            .map(|column| match column.width {
                Width::Fixed(_) => 0,
                Width::Flex { weight, .. } => weight,
            })
            .sum();
        let mut x = area.left() + GUTTER;
        let mut placed = Vec::with_capacity(count);
        for column in &in_order[..count] {
            let width = match column.width {
                Width::Fixed(width) => width,
                Width::Flex { min, weight } => min + spare * weight / weights.max(1),
            };
            let width = width.min(area.right().saturating_sub(x));
            placed.push((*column, x, width));
            x = x.saturating_add(width + 1);
        }
        (placed, in_order.len() - count)
    }

    fn head(&self, placed: &[(&Column, u16, u16)], hidden: usize, area: Rect, buf: &mut Buffer) {
        let Look { theme, glyphs } = self.look;
        let y = area.top();
        for (column, x, width) in placed {
            let sorted = self.sorted.filter(|(key, _)| *key == column.key);
            let picked =
                self.columns.get(self.state.picked).is_some_and(|picked| picked.key == column.key);
            let mut style = if sorted.is_some() { theme.table_sorted } else { theme.table_head };
            if picked && self.state.picked > 0 {
                style = style.patch(theme.cell_picked);
            }
            let sign = match sorted {
                Some((_, true)) => glyphs.down,
                Some((_, false)) => glyphs.up,
                None => "",
            };
            let room = width.saturating_sub(u16::from(!sign.is_empty()));
            let begin = match column.align {
                Align::Left => *x,
                Align::Right => {
                    let title = u16::try_from(column.title.len()).unwrap_or(u16::MAX);
                    x + room.saturating_sub(title)
                }
            };
            let used = paint::text(buf, (begin, y), room, column.title, style, glyphs.ellipsis);
            paint::text(buf, (begin + used, y), width - room, sign, style, glyphs.ellipsis);
        }
        // Columns out of sight are told by a sign on their side.
        if let Some((_, x, width)) = placed.first().filter(|_| self.state.scrolled > 0) {
            paint::text(buf, (x + width, y), 1, glyphs.left, theme.accent, "");
        }
        if hidden > 0 {
            paint::text(buf, (area.right() - 1, y), 1, glyphs.right, theme.accent, "");
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the cell buffer is used again for speed")]
    fn row(
        &self,
        row: usize,
        position: usize,
        y: u16,
        area: Rect,
        placed: &[(&Column, u16, u16)],
        cell: &mut CellText,
        buf: &mut Buffer,
    ) {
        let Look { theme, glyphs } = self.look;
        let selected = position == self.state.position;
        let marked = self.state.marks.contains(self.cells.id(row));
        let mut base = self.cells.row_style(row).unwrap_or(theme.text);
        if marked {
            base = theme.row_marked;
        }
        let over = selected.then_some(theme.row_selected).filter(|_| self.focused);
        let line = Rect::new(area.left(), y, area.width, 1);
        if let Some(over) = over {
            paint::fill(buf, line, over);
        } else if theme.text.bg.is_some() {
            buf.set_style(line, theme.text);
        }
        if selected {
            let style = over.unwrap_or(theme.accent);
            paint::text(buf, (area.left(), y), 1, glyphs.selected, style, "");
        }
        if marked {
            paint::text(buf, (area.left() + 1, y), 1, glyphs.marked, over.unwrap_or(base), "");
        }
        for (column, x, width) in placed {
            cell.clear();
            self.cells.cell(row, column, cell);
            let mut hits = (self.hits)(&cell.text);
            if column.key == "name" {
                paint::shorten(&mut cell.text, &mut hits, *width, glyphs.ellipsis);
            }
            let style = over.unwrap_or_else(|| base.patch(cell.style.unwrap_or_default()));
            let begin = paint::aligned(
                buf,
                (*x, y),
                *width,
                &cell.text,
                column.align,
                style,
                glyphs.ellipsis,
            );
            let gap = x.saturating_add(*width);
            if let Some(up) = self.cells.delta(row, column).filter(|_| gap < area.right()) {
                let sign = if up { glyphs.more } else { glyphs.less };
                paint::text(buf, (gap, y), 1, sign, over.unwrap_or(theme.changed), "");
            }
            if !hits.is_empty() {
                paint::emphasize(
                    buf,
                    (begin, y),
                    width - (begin - x),
                    &cell.text,
                    &hits,
                    theme.hit,
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::testing::styled;
    use crate::tui::theme::Glyphs;

    const COLUMNS: [Column; 4] = [
        Column {
            key: "name",
            title: "NAME",
            width: Width::Flex { min: 8, weight: 1 },
            align: Align::Left,
            wide: false,
        },
        Column {
            key: "state",
            title: "STATE",
            width: Width::Fixed(7),
            align: Align::Left,
            wide: false,
        },
        Column {
            key: "queue",
            title: "QUEUE",
            width: Width::Fixed(6),
            align: Align::Right,
            wide: false,
        },
        Column {
            key: "age",
            title: "AGE",
            width: Width::Fixed(4),
            align: Align::Right,
            wide: false,
        },
    ];

    /// A hundred thousand rows that count how often they are asked for.
    struct Many(std::cell::Cell<usize>);

    impl Cells for Many {
        fn id(&self, row: usize) -> &str {
            ["a", "b", "c", "d", "e"][row % 5]
        }
        fn cell(&self, row: usize, column: &Column, out: &mut CellText) {
            self.0.set(self.0.get() + 1);
            match column.key {
                "name" => out.put(format_args!("agent-{row}")),
                "state" => out.word("running"),
                "queue" => out.put(format_args!("{}", row * 10)),
                _ => out.word("3h"),
            };
        }
        fn row_style(&self, _: usize) -> Option<Style> {
            None
        }
    }

    fn draw(
        state: &TableState,
        rows: &[u32],
        width: u16,
        height: u16,
    ) -> (Buffer, TableHits, usize) {
        let cells = Many(std::cell::Cell::new(0));
        let columns: Vec<&Column> = COLUMNS.iter().collect();
        let theme = crate::tui::theme::load::load("dark", None).0;
        let mut buf = Buffer::empty(Rect::new(0, 0, width, height));
        let table = Table {
            cells: &cells,
            rows,
            columns: &columns,
            state,
            sorted: Some(("queue", true)),
            hits: &|text| text.find("-2").map(|at| at..at + 2).into_iter().collect(),
            focused: true,
            look: Look { theme: &theme, glyphs: &Glyphs::UNICODE },
        };
        let hits = table.draw(buf.area, &mut buf);
        (buf, hits, cells.0.get())
    }

    #[test]
    fn head_cursor_marks_and_hits_are_drawn() {
        let state = TableState { position: 1, marks: ["c".into()].into(), ..TableState::default() };
        let (buf, ..) = draw(&state, &[0, 1, 2], 34, 5);
        insta::assert_snapshot!(styled(&buf));
    }

    #[test]
    fn a_frame_asks_only_for_the_rows_in_sight() {
        let rows: Vec<u32> = (0..100_000).collect();
        let state = TableState { position: 54_321, ..TableState::default() };
        let (_, hits, asked) = draw(&state, &rows, 60, 21);
        assert_eq!(asked, 20 * COLUMNS.len());
        assert_eq!(hits, TableHits { height: 20, first: 54_302, hidden: 0 });
    }

    #[test]
    fn scrolled_columns_leave_the_first_where_it_is() {
        let state = TableState { scrolled: 2, ..TableState::default() };
        let (buf, hits, _) = draw(&state, &[7], 20, 2);
        let head: String = (0..20).map(|x| buf[(x, 0)].symbol()).collect();
        assert_eq!(head, "  NAME         ← AGE", "and a sign says that others are on the left");
        assert_eq!(hits.hidden, 0);
        let (_, hits, _) = draw(&TableState::default(), &[7], 20, 2);
        assert_eq!(hits.hidden, 2);
    }

    #[test]
    fn the_cursor_is_always_in_sight() {
        let mut state = TableState { offset: 90, position: 3, ..TableState::default() };
        assert_eq!(state.first(100, 10), 3);
        state.position = 99;
        assert_eq!(state.first(100, 10), 90);
        state.step(5, 40);
        assert_eq!((state.position, state.first(40, 10)), (39, 30));
        state.step(-100, 40);
        assert_eq!((state.position, state.first(40, 10)), (0, 0));
        state.step(1, 0);
        assert_eq!((state.position, state.first(0, 10)), (0, 0));
    }

    #[test]
    fn no_size_is_too_small() {
        for width in 0..12 {
            for height in 0..4 {
                draw(&TableState::default(), &[0, 1, 2], width, height);
            }
        }
    }
}
