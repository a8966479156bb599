//! A site where clones of C++ follow a master of ours that is restarted now and then.

use broker_core::{DataKind, EntityId, StoreOperation};
use broker_store::command::Content;
use broker_store::conformance::Shared;
use broker_store::{Backend, Memory, Mutation};

use super::cpp_clone::CppClone;
use super::world::{OurMaster, World, add, entity};

pub(crate) type Disk = Shared<Memory>;

/// A master of ours over a disk, and clones of C++.
pub(crate) struct Site {
    pub(crate) world: World<OurMaster, CppClone>,
    pub(crate) disk: Disk,
    starts: u64,
}

impl Site {
    pub(crate) fn new(clones: u8) -> Self {
        let disk = Shared::new(Memory::new());
        let clones = (1..=clones).map(|n| CppClone::new(entity(n))).collect();
        let master = OurMaster::new(entity(9), disk.clone());
        let mut site = Self {
            world: World::new(master, clones),
            disk,
            starts: 0,
        };
        site.world.ticks(1);
        site
    }

    /// The master's process ends, with all that was under way, and another one begins over the same storage.
    pub(crate) fn restart(&mut self) {
        let clones = self.world.clones.iter_mut();
        clones.for_each(|clone| clone.hears_again = true);
        self.starts += 1;
        let object = self.world.master.state.id().object + 1000 + self.starts;
        let id = EntityId::new(entity(9).endpoint, object);
        self.world.master.restart(id, self.disk.clone());
        self.world.settle();
    }

    pub(crate) fn put(&mut self, key: impl Into<broker_core::Data>, value: u64) {
        let put = StoreOperation::Put {
            key: key.into(),
            value: value.into(),
            expiry: None,
        };
        self.world.master.call(put).unwrap();
        self.world.settle();
    }

    pub(crate) fn write(&mut self, clone: usize, content: Content) {
        self.world.clones[clone].write(content);
        self.world.settle();
    }

    pub(crate) fn increment(&mut self, clone: usize, key: &str) {
        let me = self.world.clones[clone].id;
        let mut content = add(me, key, 1);
        if let Content::Add { init, .. } = &mut content {
            *init = DataKind::Count;
        }
        self.write(clone, content);
    }

    pub(crate) fn check_equal(&mut self) {
        let content = self.world.master.content();
        for (n, clone) in self.world.clones.iter().enumerate() {
            assert!(clone.is_initialised(), "clone {n} has not given up");
            let lacks = content
                .iter()
                .filter(|(key, value)| clone.content.get(key) != Some(value));
            let extra = clone
                .content
                .keys()
                .filter(|key| !content.contains_key(key));
            assert!(
                clone.content == content,
                "clone {n} equals the master: it lacks {:?} and has {:?} too many",
                lacks.take(3).collect::<Vec<_>>(),
                extra.take(3).collect::<Vec<_>>(),
            );
        }
    }

    /// Puts that go out together.
    pub(crate) fn put_all(&mut self, keys: impl IntoIterator<Item = u64>, value: u64) {
        for key in keys {
            let put = StoreOperation::Put {
                key: key.into(),
                value: value.into(),
                expiry: None,
            };
            self.world.master.call(put).unwrap();
        }
        self.world.settle();
    }

    pub(crate) fn erase(&mut self, key: u64) {
        let erase = StoreOperation::Erase(key.into());
        self.world.master.call(erase).unwrap();
        self.world.settle();
    }

    pub(crate) fn put_unique(&mut self, clone: usize, request: u64) {
        let who = self.world.clones[clone].requester();
        let publisher = self.world.clones[clone].id;
        self.write(
            clone,
            Content::PutUnique {
                key: "unique".into(),
                value: request.into(),
                expiry: None,
                who,
                request,
                publisher,
            },
        );
    }

    /// What a backup of the disk would hold.
    pub(crate) fn backup(&self) -> Disk {
        let mut batch = Vec::new();
        for (key, entry) in self.disk.scan(None, usize::MAX).unwrap() {
            batch.push(Mutation::Put {
                key,
                value: entry.value,
                expires_at: entry.expires_at,
            });
        }
        for name in ["master", "writers"] {
            batch.push(Mutation::Note {
                name: name.to_owned(),
                value: self.disk.note(name).unwrap(),
            });
        }
        let mut copy = Disk::new(Memory::new());
        copy.apply(&batch).unwrap();
        copy
    }
}
