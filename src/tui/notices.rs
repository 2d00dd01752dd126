//! What was said to the operator: the toast in sight and the last two hundred before it, in full.

use std::collections::VecDeque;
use std::time::Duration;

use super::widgets::toast::Weight;
use crate::model::text::Safe;
use crate::model::time::Time;

/// Notices kept for the list.
const KEPT: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub number: u64,
    pub at: Time,
    pub weight: Weight,
    pub text: Safe,
    /// It answers a key: with the next one that does something it has been read.
    answers: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Notices {
    list: VecDeque<Notice>,
    next: u64,
    /// Warnings and alarms since the list was looked at.
    unseen: u64,
    /// The number of the toast in sight.
    shown: Option<u64>,
}

impl Notices {
    /// Shows `text` as the toast; returns its number and how long it should stay.
    pub fn say(&mut self, at: Time, weight: Weight, text: Safe) -> (u64, Duration) {
        self.unseen += u64::from(weight != Weight::Info);
        self.show(at, weight, text, false)
    }

    /// The same to who has just pressed a key and is looking: nothing that has to be looked at later.
    pub fn answer(&mut self, at: Time, weight: Weight, text: Safe) -> (u64, Duration) {
        self.show(at, weight, text, true)
    }

    fn show(&mut self, at: Time, weight: Weight, text: Safe, answers: bool) -> (u64, Duration) {
        let number = self.next;
        self.next += 1;
        if self.list.len() == KEPT {
            self.list.pop_front();
        }
        self.list.push_back(Notice { number, at, weight, text, answers });
        self.shown = Some(number);
        let seconds = match weight {
            Weight::Info => 6,
            Weight::Warn => 10,
            Weight::Alarm => 20,
        };
        (number, Duration::from_secs(seconds))
    }

    /// The toast with this number has been seen; a later one stays.
    pub fn fade(&mut self, number: u64) {
        if self.shown == Some(number) {
            self.shown = None;
        }
    }

    pub fn toast(&self) -> Option<&Notice> {
        let number = self.shown?;
        self.list.iter().rev().find(|notice| notice.number == number)
    }

    /// The number of the toast in sight, if it answered a key.
    pub fn answered(&self) -> Option<u64> {
        self.toast().filter(|notice| notice.answers).map(|notice| notice.number)
    }

    /// How many warnings and alarms nobody has looked at in the list.
    pub fn unseen(&self) -> u64 {
        self.unseen
    }

    /// The list has been looked at.
    pub fn seen(&mut self) {
        self.unseen = 0;
    }

    /// Newest first.
    pub fn all(&self) -> impl Iterator<Item = &Notice> {
        self.list.iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_alarm_does_not_take_a_newer_toast_away() {
        let mut notices = Notices::default();
        let (first, _) = notices.say(Time::EPOCH, Weight::Info, Safe::new("one"));
        let (second, _) = notices.say(Time::EPOCH, Weight::Alarm, Safe::new("two"));
        notices.fade(first);
        assert_eq!(notices.toast().map(|notice| notice.text.as_str()), Some("two"));
        notices.fade(second);
        assert_eq!(notices.unseen(), 1, "an alarm was said, a remark is none");
        notices.seen();
        assert_eq!(notices.unseen(), 0);
        assert_eq!(notices.toast(), None);
        for n in 0..500 {
            notices.say(Time::EPOCH, Weight::Info, Safe::new(&n.to_string()));
        }
        assert_eq!(notices.all().count(), KEPT);
        assert_eq!(notices.all().next().map(|notice| notice.text.as_str()), Some("499"));
    }
}
