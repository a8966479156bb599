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
    pub(super) fn due(&mut self, phase: impl Fn(&str) -> u64, workers: &[String]) -> Vec<String> {
        if self.begun
            || workers
                .iter()
                .any(|worker| phase(worker) < Phase::Dawdling as u64)
        {
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
        let workers = ["worker-1".to_owned(), "worker-2".to_owned()];
        let mut chaos = Chaos::new(vec!["logger-1".to_owned()]);
        let late = |name: &str| {
            if name == "worker-1" {
                Phase::Dawdling as u64
            } else {
                Phase::Reading as u64
            }
        };
        assert!(chaos.due(late, &workers).is_empty());
        assert_eq!(
            chaos.due(|_| Phase::Dawdling as u64, &workers),
            ["logger-1"]
        );
        assert!(chaos.due(|_| Phase::Dawdling as u64, &workers).is_empty());
    }
}
