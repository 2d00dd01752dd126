//! A row of values as bars of eighths: the shape of the last minute at a glance.

use super::Look;

/// The bars of the last `width` of `values`, scaled to the largest shown; nothing at all where all are zero.
pub fn bars(values: &[u32], width: usize, look: Look<'_>) -> String {
    let shown = &values[values.len().saturating_sub(width)..];
    let most = shown.iter().copied().max().unwrap_or(0);
    if most == 0 {
        return String::new();
    }
    let steps = look.glyphs.spark;
    let bar = |value: &u32| {
        let step = u64::from(*value) * 7;
        let step = usize::try_from(step.div_ceil(u64::from(most))).unwrap_or(7);
        steps[step.min(7)]
    };
    shown.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::testing::plain_look;

    #[test]
    fn bars_are_scaled_to_the_largest_in_sight() {
        assert_eq!(bars(&[0, 1, 7, 3], 4, plain_look()), "▁▂█▄");
        assert_eq!(
            bars(&[900, 0, 2, 4], 3, plain_look()),
            "▁▅█",
            "what is out of sight does not count"
        );
        assert_eq!(bars(&[0, 0], 4, plain_look()), "", "a quiet fleet has a quiet screen");
        assert_eq!(bars(&[], 4, plain_look()), "");
        assert_eq!(bars(&[u32::MAX, 1], 2, plain_look()), "█▂");
    }
}
