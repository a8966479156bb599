//! What topics are called where events are counted by topic: those with a random part in them would make a row of their
//! own each (zeek-cluster reference, 2.7).

/// Which topics count under another name, or not at all. The default is Zeek's: everything below `zeek/cluster/nodeid/`
/// is `zeek/cluster/nodeid/__normalized__`.
///
/// Zeek matches patterns in order; here it is prefixes, and the longest one holds. Rules are looked at one after the
/// other for each event, so they should be few.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicLabels {
    /// Those with the longest prefix first.
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    prefix: Vec<u8>,
    label: Vec<u8>,
}

impl TopicLabels {
    /// Counts topics that begin with `prefix` as `label`, in the place of an earlier rule for the same prefix; with an
    /// empty `label` they are not counted.
    #[must_use]
    pub fn with(mut self, prefix: impl AsRef<[u8]>, label: impl AsRef<[u8]>) -> Self {
        let rule = Rule {
            prefix: prefix.as_ref().to_vec(),
            label: label.as_ref().to_vec(),
        };
        self.rules.retain(|other| other.prefix != rule.prefix);
        self.rules.push(rule);
        self.rules
            .sort_by_key(|rule| std::cmp::Reverse(rule.prefix.len()));
        self
    }

    /// What `topic` is counted as; `None`: it is not.
    pub(super) fn of<'a>(&'a self, topic: &'a [u8]) -> Option<&'a [u8]> {
        match self
            .rules
            .iter()
            .find(|rule| topic.starts_with(&rule.prefix))
        {
            None => Some(topic),
            Some(rule) => Some(&*rule.label).filter(|label| !label.is_empty()),
        }
    }
}

impl Default for TopicLabels {
    fn default() -> Self {
        Self { rules: Vec::new() }
            .with("zeek/cluster/nodeid/", "zeek/cluster/nodeid/__normalized__")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_says_what_a_topic_is_called_and_nothing_leaves_it_out() {
        let labels = TopicLabels::default()
            .with("site/", "site/*")
            .with("site/own/", "own")
            .with("noise", "")
            .with("site/own/", "mine");
        for (topic, label) in [
            (
                "zeek/cluster/nodeid/1234/",
                Some("zeek/cluster/nodeid/__normalized__"),
            ),
            (
                "zeek/cluster/node/worker-1/",
                Some("zeek/cluster/node/worker-1/"),
            ),
            ("site/a", Some("site/*")),
            ("site/own/a", Some("mine")),
            ("noise/a", None),
            ("", Some("")),
        ] {
            assert_eq!(
                labels.of(topic.as_bytes()),
                label.map(str::as_bytes),
                "{topic}"
            );
        }
        let changed = TopicLabels::default().with("zeek/cluster/nodeid/", "");
        assert_eq!(changed.of(b"zeek/cluster/nodeid/1/"), None);
    }
}
