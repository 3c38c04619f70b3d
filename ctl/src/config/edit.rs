//! Imperative changes, made in the text of the configuration file: comments, order and layout of all the rest stay.
//!
//! What a change must find, or must not, is looked up in the running configuration, which the text is known to say. The text
//! that comes out is read again as a whole before anything is saved, so an edit can't make a file that does not load.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use api::change::Change as Kind;
use api::{Change, InterfaceSpec};
use ipnet::IpNet;
use net::{Label, MacAddr};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, RawString, Table};

use super::diff::Forget;
use super::error::Problem;
use super::model::{LabelRoute, Target, Valid};
use super::vrf::Dest;
use super::{print, spec, terms};

/// Why a change can't be made.
type Edited<T> = Result<T, Problem>;

/// The text with `changes` made to it, in order, and the learned neighbours that they name.
pub(super) fn edit(
    text: &str,
    running: &Valid,
    changes: &[Change],
) -> Edited<(String, Vec<Forget>)> {
    let mut editor = Editor::new(text, running)?;
    for change in changes {
        match &change.change {
            Some(kind) => editor.change(kind)?,
            None => {
                return Err(wrong(
                    "",
                    "the change says nothing; is the client newer than the appliance?",
                ));
            }
        }
    }
    let forgotten = std::mem::take(&mut editor.forgotten);
    Ok((editor.finish(), forgotten))
}

fn wrong(key: impl ToString, message: impl Into<String>) -> Problem {
    Problem {
        file: None,
        line: 0,
        key: key.to_string(),
        message: message.into(),
    }
}

type Lookup<'r, K, V> = Box<dyn Fn(&K) -> Option<V> + 'r>;

/// What the changes made so far mean for one kind of entries: the running ones, with those on top.
struct Overlay<'r, K, V> {
    running: Lookup<'r, K, V>,
    changed: HashMap<K, Option<V>>,
}

impl<'r, K: std::hash::Hash + Eq, V: Clone> Overlay<'r, K, V> {
    fn new(running: impl Fn(&K) -> Option<V> + 'r) -> Self {
        Self {
            running: Box::new(running),
            changed: HashMap::new(),
        }
    }

    fn get(&self, key: &K) -> Option<V> {
        self.changed
            .get(key)
            .cloned()
            .unwrap_or_else(|| (self.running)(key))
    }

    fn set(&mut self, key: K, value: Option<V>) {
        self.changed.insert(key, value);
    }
}

/// The `[[entries]]` of one kind. Removed ones stay until the end, so that places keep their meaning.
struct List<K> {
    name: &'static str,
    /// From key to place; made when it is first needed.
    places: Option<HashMap<K, usize>>,
    key: fn(&Table) -> Option<K>,
    removed: HashSet<usize>,
}

impl<K: std::hash::Hash + Eq + Clone> List<K> {
    fn new(name: &'static str, key: fn(&Table) -> Option<K>) -> Self {
        Self {
            name,
            places: None,
            key,
            removed: HashSet::new(),
        }
    }

    /// The entries, made if there are none; an inline list becomes one of tables.
    fn entries<'d>(&self, parent: &'d mut Table) -> Option<&'d mut ArrayOfTables> {
        let item = parent
            .entry(self.name)
            .or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
        if item.is_value() {
            *item = std::mem::take(item)
                .into_array_of_tables()
                .map_or_else(|item| item, Item::ArrayOfTables);
        }
        item.as_array_of_tables_mut()
    }

    fn places<'s>(&'s mut self, entries: &ArrayOfTables) -> &'s mut HashMap<K, usize> {
        let key = self.key;
        self.places.get_or_insert_with(|| {
            entries
                .iter()
                .enumerate()
                .filter_map(|(place, table)| Some((key(table)?, place)))
                .collect()
        })
    }

    fn add(&mut self, parent: &mut Table, key: K, table: Table) {
        let Some(entries) = self.entries(parent) else {
            return;
        };
        let place = entries.len();
        entries.push(table);
        if let Some(places) = &mut self.places {
            places.insert(key, place);
        }
    }

    /// Writes another entry in the place of one.
    fn replace(&mut self, parent: &mut Table, key: &K, table: Table) {
        let Some(entries) = self.entries(parent) else {
            return;
        };
        let place = self.places(entries).get(key).copied();
        let Some(old) = place.and_then(|place| entries.get_mut(place)) else {
            return self.add(parent, key.clone(), table);
        };
        let gone: Vec<String> = old
            .iter()
            .map(|(k, _)| k.to_owned())
            .filter(|k| !table.contains_key(k))
            .collect();
        for key in gone {
            old.remove(&key);
        }
        for (key, item) in table {
            match (old.get_mut(&key), item) {
                // The comment behind a value stays with its key.
                (Some(Item::Value(have)), Item::Value(mut value)) => {
                    *value.decor_mut() = have.decor().clone();
                    *have = value;
                }
                (_, item) => {
                    old.insert(&key, item);
                }
            }
        }
    }

    fn remove(&mut self, parent: &mut Table, key: &K) {
        let Some(entries) = self.entries(parent) else {
            return;
        };
        if let Some(place) = self.places(entries).remove(key) {
            self.removed.insert(place);
        }
    }

    /// Takes the removed entries out; gives the comments that stood before them without being theirs, each with its position.
    fn sweep(&self, parent: &mut Table) -> Vec<(isize, String)> {
        if self.removed.is_empty() {
            return Vec::new();
        }
        let mut orphans = Vec::new();
        if let Some(entries) = self.entries(parent) {
            let mut kept = ArrayOfTables::new();
            for (place, table) in std::mem::take(entries).into_iter().enumerate() {
                if !self.removed.contains(&place) {
                    kept.push(table);
                } else if let (Some(orphan), Some(position)) = (orphan(&table), table.position()) {
                    orphans.push((position, orphan));
                }
            }
            let none = kept.is_empty();
            *entries = kept;
            if none {
                parent.remove(self.name);
            }
        }
        orphans
    }
}

/// The comments before an entry that a blank line parts from it: they are about more than this entry.
fn orphan(table: &Table) -> Option<String> {
    let before = table.decor().prefix().and_then(RawString::as_str)?;
    let end = before.rfind("\n\n").or_else(|| before.rfind("\n\r\n"))?;
    let kept = &before[..end + 1];
    kept.contains('#').then(|| kept.to_owned())
}

struct Editor<'r> {
    doc: DocumentMut,
    routes: List<Dest>,
    labels: List<u32>,
    neighbors: List<(String, IpAddr)>,
    route: Overlay<'r, Dest, Arc<Target>>,
    label: Overlay<'r, Label, Arc<LabelRoute>>,
    neighbor: Overlay<'r, (String, IpAddr), MacAddr>,
    interface: Overlay<'r, String, ()>,
    forgotten: Vec<Forget>,
    running: &'r Valid,
    orphans: Vec<(isize, String)>,
}

/// A route, as messages call it.
fn route_name(spec: &api::RouteSpec) -> String {
    match spec.vrf.as_str() {
        "" => format!("route {}", spec.prefix),
        vrf => format!("route {} vrf {vrf}", spec.prefix),
    }
}

fn route_key(table: &Table) -> Option<Dest> {
    let vrf = table.get("vrf").and_then(Item::as_str).map(Into::into);
    let prefix = route_prefix(table)?;
    Some(Dest { vrf, prefix })
}

fn route_prefix(table: &Table) -> Option<IpNet> {
    let text = table.get("prefix")?.as_str()?;
    if text != "default" {
        return terms::route_prefix(text).ok();
    }
    let six = |item: &Item| match item.as_str() {
        Some(via) => via.contains(':'),
        None => item
            .as_array()
            .and_then(|all| all.get(0))
            .and_then(|v| {
                v.as_str()
                    .or_else(|| v.as_inline_table()?.get("via")?.as_str())
            })
            .or_else(|| item.as_table_like()?.get("via")?.as_str())
            .is_some_and(|via| via.contains(':')),
    };
    let six = table.get("via").is_some_and(six);
    Some(if six {
        ipnet::Ipv6Net::default().into()
    } else {
        ipnet::Ipv4Net::default().into()
    })
}

fn label_key(table: &Table) -> Option<u32> {
    table
        .get("in")?
        .as_integer()
        .and_then(|n| u32::try_from(n).ok())
}

fn neighbor_key(table: &Table) -> Option<(String, IpAddr)> {
    let dev = table.get("dev")?.as_str()?;
    Some((
        dev.to_owned(),
        table.get("address")?.as_str()?.parse().ok()?,
    ))
}

impl<'r> Editor<'r> {
    fn new(text: &str, running: &'r Valid) -> Edited<Self> {
        let doc: DocumentMut = text
            .parse()
            .map_err(|e: toml_edit::TomlError| wrong("", e.message().replace('\n', "; ")))?;
        Ok(Self {
            doc,
            routes: List::new("route", route_key),
            labels: List::new("label", label_key),
            neighbors: List::new("static", neighbor_key),
            route: Overlay::new(|key| running.routes.get(key).cloned()),
            label: Overlay::new(|key| running.labels.get(key).cloned()),
            neighbor: Overlay::new(|key| running.neighbors.get(key).copied()),
            interface: Overlay::new(|key| running.interfaces.get(key).map(|_| ())),
            forgotten: Vec::new(),
            running,
            orphans: Vec::new(),
        })
    }

    fn change(&mut self, kind: &Kind) -> Edited<()> {
        match kind {
            Kind::RouteAdd(spec) => self.set_route(spec, false),
            Kind::RouteReplace(spec) => self.set_route(spec, true),
            Kind::RouteDelete(spec) => self.delete_route(spec),
            Kind::LabelAdd(spec) => self.set_label(spec, false),
            Kind::LabelReplace(spec) => self.set_label(spec, true),
            Kind::LabelDelete(spec) => self.delete_label(spec),
            Kind::NeighborAdd(spec) => self.add_neighbor(spec),
            Kind::NeighborDelete(spec) => self.delete_neighbor(spec),
            Kind::InterfaceAdd(spec) => self.add_interface(spec),
            Kind::InterfaceDelete(spec) => self.delete_interface(&spec.name),
        }
    }

    /// A route of the route file is edited there.
    fn not_in_file(&self, key: &str, dest: &Dest) -> Edited<()> {
        match &self.running.route_file {
            Some(file) if file.get(dest).is_some() => {
                let path = file.path.display();
                Err(wrong(
                    key,
                    format!(
                        "comes from {path}, which commands do not edit; change it there, then config apply"
                    ),
                ))
            }
            _ => Ok(()),
        }
    }

    fn set_route(&mut self, spec: &api::RouteSpec, replace: bool) -> Edited<()> {
        let key = route_name(spec);
        let (dest, target) = spec::route(spec).map_err(|e| wrong(&key, e))?;
        self.not_in_file(&key, &dest)?;
        let table = print::route(&dest, &target);
        let root = self.doc.as_table_mut();
        match self.route.get(&dest) {
            Some(_) if !replace => {
                return Err(wrong(
                    key,
                    "is there already; use \"route replace\" to change it",
                ));
            }
            Some(_) => self.routes.replace(root, &dest, table),
            None => self.routes.add(root, dest.clone(), table),
        }
        self.route.set(dest, Some(Arc::new(target)));
        Ok(())
    }

    fn delete_route(&mut self, spec: &api::RouteSpec) -> Edited<()> {
        let key = route_name(spec);
        let dest = spec::dest(spec).map_err(|e| wrong(&key, e))?;
        self.not_in_file(&key, &dest)?;
        let Some(have) = self.route.get(&dest) else {
            return Err(wrong(
                key,
                "is not there; \"route show protocol static\" lists what is",
            ));
        };
        let ways = spec::ways(spec).map_err(|e| wrong(&key, e))?;
        let left = left_over(&have, spec, &ways).map_err(|e| wrong(&key, e))?;
        let root = self.doc.as_table_mut();
        match &left {
            Some(target) => self
                .routes
                .replace(root, &dest, print::route(&dest, target)),
            None => self.routes.remove(root, &dest),
        }
        self.route.set(dest, left.map(Arc::new));
        Ok(())
    }

    fn set_label(&mut self, spec: &api::LabelSpec, replace: bool) -> Edited<()> {
        let key = format!("label {}", spec.label);
        let (label, route) = spec::label(spec).map_err(|e| wrong(&key, e))?;
        let table = print::label(label, &route);
        let root = self.doc.as_table_mut();
        match self.label.get(&label) {
            Some(_) if !replace => {
                return Err(wrong(
                    key,
                    "is there already; use \"label replace\" to change it",
                ));
            }
            Some(_) => self.labels.replace(root, &label.get(), table),
            None => self.labels.add(root, label.get(), table),
        }
        self.label.set(label, Some(Arc::new(route)));
        Ok(())
    }

    fn delete_label(&mut self, spec: &api::LabelSpec) -> Edited<()> {
        let key = format!("label {}", spec.label);
        let label = spec::incoming(spec).map_err(|e| wrong(&key, e))?;
        if self.label.get(&label).is_none() {
            return Err(wrong(key, "is not there; \"label show\" lists what is"));
        }
        self.labels.remove(self.doc.as_table_mut(), &label.get());
        self.label.set(label, None);
        Ok(())
    }

    /// The `[neighbor]` section, made if there is none.
    fn neighbor_section(doc: &mut DocumentMut) -> Edited<&mut Table> {
        let item = doc.as_table_mut().entry("neighbor").or_insert_with(|| {
            let mut table = Table::new();
            table.set_implicit(true);
            Item::Table(table)
        });
        if item.is_inline_table() {
            *item = std::mem::take(item)
                .into_table()
                .map_or_else(|item| item, Item::Table);
        }
        item.as_table_mut()
            .ok_or_else(|| wrong("neighbor", "is not a section of the file"))
    }

    fn add_neighbor(&mut self, spec: &api::NeighborSpec) -> Edited<()> {
        let key = format!("neigh {}", spec.address);
        let (dev, address, mac) = spec::neighbor(spec).map_err(|e| wrong(&key, e))?;
        let place = (dev.clone(), address);
        let table = print::neighbor(&dev, address, mac);
        let section = Self::neighbor_section(&mut self.doc)?;
        match self.neighbor.get(&place) {
            Some(have) if have == mac => return Err(wrong(key, "is there already")),
            Some(_) => self.neighbors.replace(section, &place, table),
            None => self.neighbors.add(section, place.clone(), table),
        }
        self.neighbor.set(place, Some(mac));
        Ok(())
    }

    /// Removes a static neighbour; any other is one that may have been learned, which the control thread knows.
    fn delete_neighbor(&mut self, spec: &api::NeighborSpec) -> Edited<()> {
        let key = format!("neigh {}", spec.address);
        let address = spec::neighbor_address(spec).map_err(|e| wrong(&key, e))?;
        let dev = match spec.interface.as_str() {
            "" => {
                let on: Vec<&String> = self.running.interfaces.keys().collect();
                let mut with = on
                    .into_iter()
                    .filter(|dev| self.neighbor.get(&((*dev).clone(), address)).is_some());
                match (with.next(), with.next()) {
                    (Some(dev), None) => dev.clone(),
                    (Some(_), Some(_)) => {
                        return Err(wrong(key, "is on several interfaces; say which: dev NAME"));
                    }
                    _ => String::new(),
                }
            }
            dev => dev.to_owned(),
        };
        let place = (dev, address);
        if self.neighbor.get(&place).is_none() {
            let interface = (!place.0.is_empty()).then_some(place.0);
            self.forgotten.push(Forget { interface, address });
            return Ok(());
        }
        let section = Self::neighbor_section(&mut self.doc)?;
        self.neighbors.remove(section, &place);
        self.neighbor.set(place, None);
        Ok(())
    }

    fn add_interface(&mut self, spec: &InterfaceSpec) -> Edited<()> {
        let key = format!("interface {}", spec.name);
        if self.interface.get(&spec.name).is_some() {
            return Err(wrong(
                key,
                "is there already; delete it first, or change it in the file and config apply",
            ));
        }
        terms::interface_name(&spec.name).map_err(|e| wrong(&key, e))?;
        let root = self.doc.as_table_mut();
        let all = root.entry("interface").or_insert_with(|| {
            let mut table = Table::new();
            table.set_implicit(true);
            Item::Table(table)
        });
        let Some(all) = all.as_table_like_mut() else {
            return Err(wrong(
                key,
                "can't be added: \"interface\" is not a table in the file",
            ));
        };
        all.insert(&spec.name, Item::Table(interface_entry(spec)));
        self.interface.set(spec.name.clone(), Some(()));
        Ok(())
    }

    fn delete_interface(&mut self, name: &str) -> Edited<()> {
        let key = format!("interface {name}");
        if self.interface.get(&name.to_owned()).is_none() {
            let names: Vec<&str> = self.running.interfaces.keys().map(String::as_str).collect();
            let hint = api::grammar::nearest(name, &names).map_or_else(
                || "\"interface show\" lists what is".to_owned(),
                |near| format!("did you mean \"{near}\"?"),
            );
            return Err(wrong(key, format!("is not there; {hint}")));
        }
        let child =
            |i: &&super::Interface| i.vlan.as_ref().is_some_and(|(parent, _)| parent == name);
        let alive = |i: &&super::Interface| self.interface.get(&i.name).is_some();
        let children: Vec<&str> = self
            .running
            .interfaces
            .values()
            .filter(child)
            .filter(alive)
            .map(|i| i.name.as_str())
            .collect();
        if !children.is_empty() {
            return Err(wrong(
                key,
                format!(
                    "carries the VLANs {}; delete them first",
                    children.join(", ")
                ),
            ));
        }
        let root = self.doc.as_table_mut();
        let all = root.get_mut("interface").and_then(Item::as_table_like_mut);
        if let Some(Item::Table(gone)) = all.and_then(|all| all.remove(name))
            && let (Some(orphan), Some(position)) = (orphan(&gone), gone.position())
        {
            self.orphans.push((position, orphan));
        }
        self.interface.set(name.to_owned(), None);
        Ok(())
    }

    fn finish(mut self) -> String {
        let mut orphans = self.orphans;
        let root = self.doc.as_table_mut();
        if let Some(section) = root.get_mut("neighbor").and_then(Item::as_table_mut) {
            orphans.extend(self.neighbors.sweep(section));
        }
        orphans.extend(self.routes.sweep(root));
        orphans.extend(self.labels.sweep(root));
        // From the last on, so that comments of several stay in their order.
        orphans.sort_by_key(|(position, _)| std::cmp::Reverse(*position));
        for (position, comment) in orphans {
            adopt(&mut self.doc, position, &comment);
        }
        self.doc.to_string()
    }
}

/// What is left of a route without the next hops that a deletion names; all of it goes when it names none.
fn left_over(
    have: &Target,
    spec: &api::RouteSpec,
    ways: &[spec::Way],
) -> Result<Option<Target>, String> {
    match have {
        Target::Discard(how)
            if !ways.is_empty()
                || !(spec.discard.is_empty() || spec.discard == print::discard(*how)) =>
        {
            Err(format!("is {}, not what was named", print::discard(*how)))
        }
        Target::Via { .. } if !spec.discard.is_empty() => Err(format!("is not {}", spec.discard)),
        Target::Via {
            hops,
            mpls_ttl,
            via_table,
            entropy,
        } if !ways.is_empty() => {
            let mut left = hops.clone();
            for (address, interface) in ways {
                let before = left.len();
                left.retain(|hop| {
                    let same = hop.address == *address
                        && (interface.is_none() || hop.interface == *interface);
                    !same
                });
                if left.len() == before {
                    let name = address
                        .map_or_else(|| interface.clone().unwrap_or_default(), |a| a.to_string());
                    return Err(format!("has no next hop {name}"));
                }
            }
            terms::not_backups_alone(&left)
                .map_err(|e| format!("{e}: delete the backups too, or the whole route"))?;
            Ok((!left.is_empty()).then_some(Target::Via {
                hops: left,
                mpls_ttl: *mpls_ttl,
                via_table: via_table.clone(),
                entropy: *entropy,
            }))
        }
        _ => Ok(None),
    }
}

/// The entry of a new interface, with what was said and no more.
fn interface_entry(spec: &InterfaceSpec) -> Table {
    let mut table = Table::new();
    if !spec.device.is_empty() {
        table.insert("device", toml_edit::value(spec.device.as_str()));
    }
    if !spec.address.is_empty() {
        table.insert(
            "address",
            toml_edit::value(spec.address.iter().map(String::as_str).collect::<Array>()),
        );
    }
    if spec.mtu != 0 {
        table.insert("mtu", toml_edit::value(i64::from(spec.mtu)));
    }
    if spec.mpls {
        table.insert("mpls", toml_edit::value(true));
    }
    if spec.queues != 0 {
        table.insert("queues", toml_edit::value(i64::from(spec.queues)));
    }
    table
}

/// Puts a comment that lost its place before the next table of the file, or at its end.
fn adopt(doc: &mut DocumentMut, position: isize, comment: &str) {
    let mut next = None;
    each_table(doc.as_table_mut(), &mut |table| {
        if let Some(at) = table
            .position()
            .filter(|at| *at > position && !table.is_implicit())
        {
            next = Some(next.map_or(at, |best: isize| best.min(at)));
        }
    });
    let Some(next) = next else {
        let rest = doc.trailing().as_str().unwrap_or_default().to_owned();
        doc.set_trailing(format!("{comment}{rest}"));
        return;
    };
    each_table(doc.as_table_mut(), &mut |table| {
        if table.position() == Some(next) && !table.is_implicit() {
            let prefix = table
                .decor()
                .prefix()
                .and_then(RawString::as_str)
                .unwrap_or_default();
            let prefix = format!("{comment}{prefix}");
            table.decor_mut().set_prefix(prefix);
        }
    });
}

/// Every table below `table`.
fn each_table(table: &mut Table, f: &mut dyn FnMut(&mut Table)) {
    for (_, item) in table.iter_mut() {
        match item {
            Item::Table(inner) => {
                f(inner);
                each_table(inner, f);
            }
            Item::ArrayOfTables(all) => {
                for inner in all.iter_mut() {
                    f(inner);
                    each_table(inner, f);
                }
            }
            _ => {}
        }
    }
}
