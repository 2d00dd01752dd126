//! "Did you mean …?": the known name nearest to a mistyped one.

/// The name that begins with `word`, or else the one that differs least from it: in at most a third of
/// its letters, at least one. None if nothing is that near.
pub fn closest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    let limit = (length / 3).max(1);
    let near = names.into_iter().filter_map(|name| {
        if length > 1 && name.starts_with(word) {
            return Some((0, name));
        }
        let distance = distance(word, name);
        (distance <= limit && distance < length).then_some((distance, name))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal string
/// alignment distance).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, own) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in b.iter().enumerate() {
            let replaced = above[j] + usize::from(own != other);
            let mut least = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *other && *own == b[j - 1] {
                let two_back: &Vec<usize> = &before;
                least = least.min(two_back[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_finds_its_neighbour() {
        let names = ["queue", "state", "age", "cpu", "memory"];
        for (word, found) in [
            ("quue", Some("queue")),
            ("sate", Some("state")),
            ("mem", Some("memory")),
            ("cup", Some("cpu")),
            ("stat", Some("state")),
            ("colour", None),
            ("x", None),
        ] {
            assert_eq!(closest(word, names), found, "{word}");
        }
        assert_eq!((distance("abc", "acb"), distance("", "ab"), distance("abc", "abc")), (1, 2, 0));
    }
}
