//! What the console costs, for whoever wonders why it is slow: a box over the page with the time of a frame, the bytes
//! written, what waits in which queue, and how old the picture is. It asks for no frame of its own: what it shows is as
//! of the frame before, and costs nothing while it is hidden.

use std::collections::VecDeque;
use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::widgets::{Look, dialog, paint};
use super::writer;

/// Frames that percentiles are taken of.
const KEPT: usize = 128;
const WIDTH: u16 = 44;

/// Times of the last frames.
#[derive(Debug, Default)]
pub struct Meter {
    times: VecDeque<Duration>,
    drawn: u64,
}

impl Meter {
    /// Takes in that preparing and drawing a frame took so long.
    pub fn note(&mut self, took: Duration) {
        if self.times.len() == KEPT {
            self.times.pop_front();
        }
        self.times.push_back(took);
        self.drawn += 1;
    }

    /// The figures to show.
    pub fn figures(&self, writer: writer::Figures, halvings: u8, queues: Queues) -> Figures {
        let mut times: Vec<Duration> = self.times.iter().copied().collect();
        times.sort();
        let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
        let worst = times.last().copied().unwrap_or_default();
        Figures { drawn: self.drawn, p50: at(50), p95: at(95), worst, writer, halvings, queues }
    }
}

/// How much waits where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queues {
    /// Keys and pastes; answers of the engine; questions that it has not answered yet; journal entries.
    pub keys: usize,
    pub answers: usize,
    pub questions: usize,
    pub journal: usize,
    /// From the moment a view was made to the moment it was drawn.
    pub lag: Duration,
    /// Views so far.
    pub view: u64,
}

/// What the box shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    pub drawn: u64,
    pub p50: Duration,
    pub p95: Duration,
    pub worst: Duration,
    pub writer: writer::Figures,
    pub halvings: u8,
    pub queues: Queues,
}

impl Figures {
    fn lines(&self) -> [String; 6] {
        let Self { drawn, p50, p95, worst, writer, halvings, queues } = self;
        let [p50, p95, worst, last] = [*p50, *p95, *worst, writer.last].map(millis);
        let rate = match halvings {
            0 => "full rate".to_owned(),
            n => format!("rate 1/{}", 1_u32 << n),
        };
        let mean = writer.bytes.checked_div(writer.frames).unwrap_or(0);
        [
            format!("frame   p50 {p50}  p95 {p95}  worst {worst}"),
            format!(
                "frames  {drawn} drawn, {} written, {} replaced",
                writer.frames, writer.replaced
            ),
            format!("bytes   last {}  mean {mean}  all {}", writer.last_bytes, writer.bytes),
            format!("drain   last {last}, {rate}"),
            format!(
                "queues  keys {}  answers {}  asked {}  journal {}",
                queues.keys, queues.answers, queues.questions, queues.journal
            ),
            format!("feed    view {}, drawn {} after it was made", queues.view, millis(queues.lag)),
        ]
    }
}

fn millis(span: Duration) -> String {
    format!("{:.2}ms", span.as_secs_f64() * 1e3)
}

/// Draws the box at the upper right of `area`, as far as it fits.
pub fn draw(figures: &Figures, area: Rect, look: Look<'_>, buf: &mut Buffer) {
    let lines = figures.lines();
    let wanted = lines.iter().map(std::string::String::len).max().unwrap_or(0) + 4;
    let width = u16::try_from(wanted).unwrap_or(u16::MAX).max(WIDTH).min(area.width);
    let height = (u16::try_from(lines.len()).unwrap_or(0) + 2).min(area.height);
    if width < 6 || height < 3 {
        return;
    }
    let place = Rect { x: area.right() - width, y: area.y, width, height };
    paint::fill(buf, place, look.theme.dialog);
    dialog::frame(buf, place, "perf", "", look.theme.dialog_border, look);
    for (line, y) in lines.iter().zip(place.top() + 1..place.bottom() - 1) {
        let style = look.theme.dialog;
        paint::text(buf, (place.x + 2, y), width - 4, line, style, look.glyphs.ellipsis);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::testing::{plain_look, symbols};

    #[test]
    fn the_box_tells_times_bytes_and_queues() {
        let mut meter = Meter::default();
        for n in 1..=200 {
            meter.note(Duration::from_micros(n * 10));
        }
        let writer = writer::Figures {
            frames: 40,
            replaced: 3,
            bytes: 18_000,
            last_bytes: 447,
            last: Duration::from_micros(120),
        };
        let queues =
            Queues { answers: 2, lag: Duration::from_millis(4), view: 7, ..Queues::default() };
        let figures = meter.figures(writer, 2, queues);
        let mut buf = Buffer::empty(Rect::new(0, 0, 60, 8));
        let area = buf.area;
        draw(&figures, area, plain_look(), &mut buf);
        let shown = symbols(&buf);
        for word in [
            "p50 1.37ms", // of the last 128
            "worst 2.00ms",
            "200 drawn, 40 written, 3 replaced",
            "last 447  mean 450  all 18000",
            "rate 1/4",
            "answers 2",
            "view 7, drawn 4.00ms",
        ] {
            assert!(shown.contains(word), "{word}: {shown}");
        }
    }

    #[test]
    fn a_screen_without_room_shows_none() {
        for (width, height) in [(0, 0), (1, 1), (5, 20), (40, 2)] {
            let mut buf = Buffer::empty(Rect::new(0, 0, width, height));
            let area = buf.area;
            draw(&Figures::default(), area, plain_look(), &mut buf);
            assert_eq!(symbols(&buf).trim(), "");
        }
    }
}
