//! `--chaos`: who is killed, and when.

use super::figures::Phase;

/// Kills its victims once, when every worker is in the middle of its work.
#[derive(Debug)]
pub(super) struct Chaos {
    victims: Vec<String>,
    begun: bool,
}

impl Chaos {
    /// Will kill these.
    pub(super) const fn new(victims: Vec<String>) -> Self {
        Self {
            victims,
            begun: false,
        }
    }

    /// Whom to kill now, given how far each worker is.
    pub(super) fn due(&mut self, phases: &[u64]) -> Vec<String> {
        if self.begun || phases.iter().any(|phase| *phase < Phase::Dawdling as u64) {
            return Vec::new();
        }
        self.begun = true;
        self.victims.clone()
    }

    /// Whether the killing has happened.
    pub(super) const fn has_begun(&self) -> bool {
        self.begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_victims_are_named_once_and_only_when_every_worker_is_in_the_middle() {
        let mut chaos = Chaos::new(vec!["logger-1".to_owned()]);
        let (reading, dawdling) = (Phase::Reading as u64, Phase::Dawdling as u64);
        assert!(chaos.due(&[dawdling, reading]).is_empty());
        assert_eq!(chaos.due(&[dawdling, dawdling]), ["logger-1"]);
        assert!(chaos.due(&[dawdling, dawdling]).is_empty());
    }
}
