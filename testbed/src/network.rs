//! Interfaces, addresses, routes and neighbours of a network namespace, made over rtnetlink.
//!
//! Everything is asked of the crates `rtnetlink` and `netlink-packet-route`, not of the exporter's
//! own netlink: a test can hold one against the other.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Mutex, PoisonError},
};

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream::BoxStream};
use nix::unistd::Pid;
pub use rtnetlink::packet_route::{
    AddressFamily as Family, link::LinkMessage, neighbour::NeighbourState as State,
};
use rtnetlink::{
    Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_core::{
        NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
    },
    packet_route::{
        RouteNetlinkMessage,
        address::AddressHeaderFlags,
        link::LinkAttribute,
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage},
        route::{RouteMessage, RouteScope, RouteType},
    },
    proto::{ConnectionHandle, ReplyExpectation},
    sys::{SocketAddr, protocols::NETLINK_ROUTE},
};
use tokio::runtime::Runtime;

/// A request that the kernel has refused.
#[derive(Debug, thiserror::Error)]
#[error("{request}: {reason}")]
pub struct Error {
    request: String,
    reason: String,
}

impl From<Error> for String {
    fn from(error: Error) -> Self {
        error.to_string()
    }
}

/// The result of a request.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// Changes that interfaces may be given, for [`Network::change`].
pub type Change = LinkMessageBuilder<LinkUnspec>;

/// The link-layer address of neighbours that are given none.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// How many requests about neighbours are sent at once. If all fail, their answers have room in the
/// socket.
const AT_ONCE: usize = 64;

/// The number of the table with the kernel's own routes: `RT_TABLE_LOCAL`.
const LOCAL: u32 = 255;

/// Two sockets of one network namespace, which they hold: it does not end before.
pub struct Network {
    runtime: Runtime,
    handle: Handle,
    /// Sends many requests at once, which `rtnetlink` does not.
    many: ConnectionHandle<RouteNetlinkMessage>,
    /// The answers to those of the many requests that fail.
    refusals: Mutex<BoxStream<'static, (NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>>,
}

impl Network {
    /// Opens the sockets in this thread's namespace, and stays there.
    pub fn open() -> Result<Self> {
        let opened = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
            let inside = runtime.enter();
            let (connection, handle, _) = rtnetlink::new_connection()?;
            drop(runtime.spawn(connection));
            let (connection, many, refusals) = rtnetlink::proto::new_connection(NETLINK_ROUTE)?;
            drop(runtime.spawn(connection));
            drop(inside);
            Ok(Self { runtime, handle, many, refusals: Mutex::new(refusals.boxed()) })
        };
        opened().map_err(|error: std::io::Error| failed("sockets of rtnetlink", error))
    }

    fn run<T, E: ToString>(
        &self,
        request: impl Into<String>,
        run: impl Future<Output = std::result::Result<T, E>>,
    ) -> Result<T> {
        self.runtime.block_on(run).map_err(|error| failed(request, error))
    }

    /// All interfaces, by index.
    pub fn names(&self) -> Result<BTreeMap<u32, String>> {
        let links = self.handle.link().get().execute();
        let name = |link: LinkMessage| {
            let name = link.attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            });
            (link.header.index, name.unwrap_or_default())
        };
        self.run("interfaces", links.map_ok(name).try_collect())
    }

    /// The index of an interface.
    pub fn index(&self, name: &str) -> Result<u32> {
        let links = self.handle.link().get().match_name(name).execute();
        let found = self.run(name, async { std::pin::pin!(links).try_next().await })?;
        found.map(|link| link.header.index).ok_or_else(|| failed(name, "no answer"))
    }

    /// Makes the interface that a builder of rtnetlink describes.
    pub fn add(&self, link: LinkMessage) -> Result {
        let request = format!("an interface {:?}", link.attributes);
        self.run(request, self.handle.link().add(link).execute())
    }

    /// Makes a wire with these ends.
    pub fn wire(&self, name: &str, peer: &str) -> Result {
        self.add(LinkVeth::new(name, peer).build())
    }

    /// Removes an interface.
    pub fn remove(&self, name: &str) -> Result {
        let link = LinkUnspec::new_with_name(name).build();
        self.run(format!("{name} removed"), self.handle.link().del_with_message(link).execute())
    }

    /// Changes an interface.
    pub fn change(&self, name: &str, change: impl FnOnce(Change) -> Change) -> Result {
        // By its index, so that a new name may be among the changes.
        let link = change(LinkUnspec::new_with_index(self.index(name)?)).build();
        let request = format!("{name}, changed by {:?} {:?}", link.header, link.attributes);
        self.run(request, self.handle.link().set(link).execute())
    }

    /// Sets interfaces up.
    pub fn up(&self, names: &[&str]) -> Result {
        names.iter().try_for_each(|name| self.change(name, Change::up))
    }

    /// Sets an interface down.
    pub fn down(&self, name: &str) -> Result {
        self.change(name, Change::down)
    }

    /// Gives an interface another name.
    pub fn rename(&self, name: &str, to: &str) -> Result {
        self.change(name, |link| link.name(to))
    }

    /// Gives an interface one more name.
    pub fn add_name(&self, name: &str, more: &str) -> Result {
        let link = self.handle.link().property_add(self.index(name)?).alt_ifname(&[more]);
        self.run(format!("{name} is also {more}"), link.execute())
    }

    /// Moves an interface into the namespace of a thread.
    pub fn move_to(&self, name: &str, thread: Pid) -> Result {
        self.change(name, |link| link.setns_by_pid(thread.as_raw().cast_unsigned()))
    }

    /// Gives an interface an address, at once: the network is not asked whether another has it.
    pub fn address(&self, name: &str, address: impl Into<IpAddr>, prefix: u8) -> Result {
        let (index, address) = (self.index(name)?, address.into());
        let mut add = self.handle.address().add(index, address, prefix).replace();
        if address.is_ipv6() {
            add.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        self.run(format!("{name}: address {address}/{prefix}"), add.execute())
    }

    /// Sends packets for these addresses by a gateway.
    pub fn route(&self, to: [u8; 4], prefix: u8, gateway: [u8; 4]) -> Result {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(to.into(), prefix)
            .gateway(gateway.into());
        self.add_route(route.build())
    }

    /// Takes packets for this address in, by the interface `lo`.
    pub fn accept(&self, address: [u8; 4]) -> Result {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(address.into(), 32)
            .output_interface(self.index("lo")?)
            .table_id(LOCAL)
            .kind(RouteType::Local)
            .scope(RouteScope::Host);
        self.add_route(route.build())
    }

    fn add_route(&self, route: RouteMessage) -> Result {
        let request = format!("a route {:?}", route.attributes);
        self.run(request, self.handle.route().add(route).execute())
    }

    /// All neighbours of a family.
    pub fn neighbours(&self, family: Family) -> Result<Vec<NeighbourMessage>> {
        let neighbours = self.handle.neighbours().get().set_address_family(family).execute();
        self.run("neighbours", neighbours.try_collect())
    }

    /// Makes neighbours, or sets the state of those that are there. All are tried; the first
    /// refusal is returned.
    pub fn set_neighbours<A: Into<IpAddr>>(
        &self,
        name: &str,
        addresses: impl IntoIterator<Item = A>,
        state: State,
    ) -> Result {
        self.set_stations(name, addresses.into_iter().map(|address| (address, MAC)), state)
    }

    /// As [`Network::set_neighbours`], each with a link-layer address of its own.
    pub fn set_stations<A: Into<IpAddr>>(
        &self,
        name: &str,
        stations: impl IntoIterator<Item = (A, [u8; 6])>,
        state: State,
    ) -> Result {
        let index = self.index(name)?;
        let requests = stations.into_iter().map(|(address, link)| {
            let mut neighbour = neighbour(index, address.into());
            neighbour.header.state = state;
            neighbour.attributes.push(NeighbourAttribute::LinkLayerAddress(link.to_vec()));
            RouteNetlinkMessage::NewNeighbour(neighbour)
        });
        self.all(&format!("{name}: neighbours"), NLM_F_CREATE | NLM_F_REPLACE, requests)
    }

    /// Removes neighbours. All are tried; the first refusal is returned.
    pub fn remove_neighbours<A: Into<IpAddr>>(
        &self,
        name: &str,
        addresses: impl IntoIterator<Item = A>,
    ) -> Result {
        let index = self.index(name)?;
        let requests = addresses
            .into_iter()
            .map(|address| RouteNetlinkMessage::DelNeighbour(neighbour(index, address.into())));
        self.all(&format!("{name}: neighbours removed"), 0, requests)
    }

    /// Removes the neighbours of a family, but those in a state to `keep`.
    pub fn flush(&self, name: &str, family: Family, keep: &[State]) -> Result {
        let index = self.index(name)?;
        let mut neighbours = self.neighbours(family)?;
        neighbours.retain(|NeighbourMessage { header, .. }| {
            header.ifindex == index && !keep.contains(&header.state)
        });
        let requests = neighbours.into_iter().map(RouteNetlinkMessage::DelNeighbour);
        self.all(&format!("{name}: neighbours flushed"), 0, requests)
    }

    /// Sends the requests in their order. The last of those that are sent at once is answered, and
    /// before it those that fail.
    fn all(
        &self,
        request: &str,
        flags: u16,
        messages: impl Iterator<Item = RouteNetlinkMessage>,
    ) -> Result {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let mut result = Ok(());
        let mut messages = messages.peekable();
        while messages.peek().is_some() {
            let mut part: Vec<_> = messages
                .by_ref()
                .take(AT_ONCE)
                .map(|message| {
                    let mut message = NetlinkMessage::from(message);
                    message.header.flags = NLM_F_REQUEST | flags;
                    (message, ReplyExpectation::NotExpected)
                })
                .collect();
            if let Some((last, expected)) = part.last_mut() {
                last.header.flags |= NLM_F_ACK;
                *expected = ReplyExpectation::Expected;
            }
            let kernel = SocketAddr::new(0, 0);
            let answer = self.many.request_batch_with_expectation(part, kernel);
            let answer = answer.map_err(|error| failed(request, error))?;
            let last: Vec<_> = self.runtime.block_on(answer.collect());
            let refused = std::iter::from_fn(|| refusals.next().now_or_never().flatten());
            for answer in refused.map(|(refusal, _)| refusal).chain(last) {
                let reason = match answer.payload {
                    NetlinkPayload::Error(error) => error.to_string(),
                    other => format!("an unexpected answer: {other:?}"),
                };
                result = result.and(Err(failed(request, reason)));
            }
        }
        result
    }
}

/// The message that names a neighbour of an interface.
fn neighbour(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut neighbour = NeighbourMessage::default();
    neighbour.header.ifindex = index;
    let (family, address) = match address {
        IpAddr::V4(address) => (Family::Inet, NeighbourAddress::Inet(address)),
        IpAddr::V6(address) => (Family::Inet6, NeighbourAddress::Inet6(address)),
    };
    neighbour.header.family = family;
    neighbour.attributes.push(NeighbourAttribute::Destination(address));
    neighbour
}

fn failed(request: impl Into<String>, reason: impl ToString) -> Error {
    Error { request: request.into(), reason: reason.to_string() }
}
