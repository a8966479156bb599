//! `[relays.NAME]`: events that managers or proxies publish again, since workers do not see each other.

use broker_core::Topic;

use super::error::{LayoutError, LayoutProblem};
use super::table::Table;
use crate::pools::PoolSpec;
use crate::role::Role;
use crate::topics;

/// An event that some nodes publish again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelaySpec {
    /// What the file calls it.
    pub name: String,
    /// The event's name.
    pub event: String,
    /// The roles of the nodes that publish it again.
    pub by: Vec<Role>,
    /// Where to.
    pub topic: Topic,
}

const KEYS: &[&str] = &["event", "by", "topic"];

/// Reads the tables. No event may come back to those who publish it again.
pub(super) fn read(root: &Table<'_>, pools: &[PoolSpec]) -> Result<Vec<RelaySpec>, LayoutError> {
    let relays = root.named("relays", |table, name| {
        Ok((relay(&table, name)?, table.line()))
    })?;
    for (at, (relay, line)) in relays.iter().enumerate() {
        if let Some(role) = comes_back(at, &relays, pools) {
            let problem = LayoutProblem::RelayLoop {
                table: format!("[relays.{}]", relay.name),
                topic: relay.topic.to_string(),
                role,
            };
            return Err(root.source.at_line(Some(*line), problem));
        }
    }
    Ok(relays.into_iter().map(|(relay, _)| relay).collect())
}

fn relay(table: &Table<'_>, name: &str) -> Result<RelaySpec, LayoutError> {
    table.only(KEYS)?;
    let Some(event) = table
        .string("event")?
        .filter(|event| !event.text.is_empty())
    else {
        return Err(table.missing("event", "event = \"Module::name\""));
    };
    let mut by = Vec::new();
    for word in table.strings("by")? {
        match word.parse::<Role>() {
            Ok(role) => by.push(role),
            Err(source) => {
                let table_name = table.name.clone();
                let problem = LayoutProblem::UnknownRole {
                    table: table_name,
                    source,
                };
                return Err(table.source.error(table.span_of("by"), problem));
            }
        }
    }
    if by.is_empty() {
        return Err(table.missing("by", "by = [\"manager\"]"));
    }
    let topic = match table.string("topic")? {
        None => topics::role_topic(Role::Worker),
        Some(text) => match Topic::copy_from(text.text.as_bytes()) {
            Ok(topic) if !topic.is_empty() && !topic.has_prefix(b"<$>") => topic,
            _ => {
                let problem = LayoutProblem::OutOfRange {
                    table: table.name.clone(),
                    key: "topic".to_owned(),
                    value: format!("{:?}", super::table::shortened(text.text)),
                    expected: "a topic that does not start with <$>",
                };
                return Err(table.source.error(text.span, problem));
            }
        },
    };
    Ok(RelaySpec {
        name: name.to_owned(),
        event: event.text.to_owned(),
        by,
        topic,
    })
}

/// Whether what a relay publishes comes back to it, by way of others too; and by which role it goes on first.
fn comes_back(at: usize, relays: &[(RelaySpec, usize)], pools: &[PoolSpec]) -> Option<Role> {
    let next = |from: usize| {
        let (from, _) = &relays[from];
        relays
            .iter()
            .enumerate()
            .filter(|(_, (to, _))| to.event == from.event)
            .filter_map(|(index, (to, _))| {
                let reached = |role: &&Role| reaches(&from.topic, **role, pools);
                Some((index, *to.by.iter().find(reached)?))
            })
    };
    next(at).find_map(|(first, role)| {
        let (mut seen, mut open) = (vec![false; relays.len()], vec![first]);
        while let Some(one) = open.pop() {
            if one == at {
                return Some(role);
            }
            if !std::mem::replace(&mut seen[one], true) {
                open.extend(next(one).map(|(index, _)| index));
            }
        }
        None
    })
}

/// Whether nodes of a role get what is published to a topic because of that role or of a pool.
fn reaches(topic: &Topic, role: Role, pools: &[PoolSpec]) -> bool {
    let of_role = topic.has_prefix(topics::role_topic(role).as_bytes());
    let of_pool = |pool: &PoolSpec| pool.role == role && topic.has_prefix(pool.topic.as_bytes());
    of_role || pools.iter().any(of_pool)
}

#[cfg(test)]
mod tests {
    use crate::layout::Layout;

    use super::*;

    fn layout(relays: &str) -> Result<Layout, String> {
        let text = format!("[node.m]\nrole = \"manager\"\nlisten = [\"mem://m\"]\n{relays}");
        Layout::parse(&text, "lab.toml").map_err(|error| error.to_string())
    }

    #[test]
    fn a_relay_says_which_event_who_publishes_again_and_where() {
        let read = layout(
            "[relays.a]\nevent = \"M::a\"\nby = [\"manager\", \"proxy\"]\n\
             [relays.b]\nevent = \"M::a\"\nby = [\"worker\"]\ntopic = \"site/x\"\n",
        )
        .unwrap();
        let spec = |name: &str, by: &[Role], topic: &'static str| RelaySpec {
            name: name.to_owned(),
            event: "M::a".to_owned(),
            by: by.to_vec(),
            topic: Topic::from_static(topic),
        };
        let expected = [
            spec("a", &[Role::Manager, Role::Proxy], "zeek/cluster/worker"),
            spec("b", &[Role::Worker], "site/x"),
        ];
        // The workers of `b` would send on what `a` sends them, and that goes nowhere further.
        assert_eq!(read.relays(), expected);
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, line, says) in [
            ("[relays.a]\nby = [\"manager\"]\n", 4, "event"),
            ("[relays.a]\nevent = \"e\"\n", 4, "by = "),
            ("[relays.a]\nevent = \"e\"\nby = [\"boss\"]\n", 6, "boss"),
            (
                "[relays.a]\nevent = \"e\"\nby = [\"manager\"]\ntopic = \"<$>/x\"\n",
                7,
                "<$>",
            ),
            (
                "[relays.a]\nevent = \"e\"\nby = [\"manager\"]\nto = \"x\"\n",
                7,
                "unknown key",
            ),
        ] {
            let error = layout(text).unwrap_err();
            assert!(
                error.starts_with(&format!("lab.toml:{line}: ")) && error.contains(says),
                "{error}"
            );
        }
    }

    #[test]
    fn an_event_may_not_come_back_to_those_who_publish_it_again() {
        let circle = "[relays.a]\nevent = \"e\"\nby = [\"manager\"]\ntopic = \"zeek/cluster/proxy\"\n\
                      [relays.b]\nevent = \"e\"\nby = [\"proxy\"]\ntopic = \"zeek/cluster/manager\"\n";
        let error = layout(circle).unwrap_err();
        assert!(
            error.starts_with("lab.toml:4: ") && error.contains("proxy"),
            "{error}"
        );
        let other = circle.replacen("event = \"e\"", "event = \"f\"", 1);
        assert!(layout(&other).is_ok());
        let pool =
            "[relays.a]\nevent = \"e\"\nby = [\"proxy\"]\ntopic = \"zeek/cluster/pool/proxy\"\n";
        assert!(layout(pool).unwrap_err().contains("comes back"));
    }
}
