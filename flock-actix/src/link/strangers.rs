//! Those who stand in the door: they have connected, and not shown yet who they are.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};

use tokio::task::AbortHandle;

/// Connections on which nobody has said who he is. When there are too many, the oldest of the address
/// with the most of them has to go, not the newest: peers are quick, so it is none.
#[derive(Debug)]
pub(super) struct Strangers {
    most: usize,
    most_each: usize,
    waiting: VecDeque<(IpAddr, AbortHandle)>,
}

impl Strangers {
    /// At most so many of them, and so many from each address.
    pub(super) fn new(most: usize, most_each: usize) -> Self {
        Self { most, most_each, waiting: VecDeque::new() }
    }

    /// Sends away whoever must go before one from here may come in; says whether somebody must.
    pub(super) fn make_room(&mut self, from: IpAddr) -> bool {
        self.waiting.retain(|(_, task)| !task.is_finished());
        let origin = origin(from);
        // This machine's nests all come from one address, and start at one time.
        let too_many = self.count(origin) >= self.most_each && !origin.is_loopback();
        let crowd = if too_many {
            Some(origin)
        } else if self.waiting.len() >= self.most {
            let origins = self.waiting.iter().map(|(origin, _)| *origin);
            origins.max_by_key(|origin| self.count(*origin))
        } else {
            None
        };
        let oldest = self.waiting.iter().position(|(origin, _)| Some(*origin) == crowd);
        let Some((_, task)) = oldest.and_then(|at| self.waiting.remove(at)) else { return false };
        task.abort();
        true
    }

    /// One more, whom this task hears.
    pub(super) fn add(&mut self, from: IpAddr, task: AbortHandle) {
        self.waiting.push_back((origin(from), task));
    }

    fn count(&self, origin: IpAddr) -> usize {
        self.waiting.iter().filter(|(other, _)| *other == origin).count()
    }
}

/// Whoever has one IPv6 address has all 2⁶⁴ of its network.
fn origin(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Door {
        strangers: Strangers,
        tasks: Vec<(IpAddr, tokio::task::JoinHandle<()>)>,
    }

    impl Door {
        fn new() -> Self {
            Self { strangers: Strangers::new(64, 8), tasks: Vec::new() }
        }

        async fn come(&mut self, from: &str) {
            let from = from.parse().unwrap();
            self.strangers.make_room(from);
            let task = tokio::spawn(std::future::pending());
            self.strangers.add(from, task.abort_handle());
            self.tasks.push((from, task));
            // Those that were sent away go.
            tokio::task::yield_now().await;
        }

        fn still_in(&self, from: &str) -> usize {
            let from: IpAddr = from.parse().unwrap();
            self.tasks.iter().filter(|(of, task)| *of == from && !task.is_finished()).count()
        }

        fn all(&self) -> usize {
            self.tasks.iter().filter(|(_, task)| !task.is_finished()).count()
        }
    }

    #[tokio::test]
    async fn eight_come_from_one_address_and_then_the_oldest_goes() {
        let mut door = Door::new();
        for _ in 0..20 {
            door.come("192.0.2.1").await;
            door.come("::ffff:192.0.2.1").await;
        }
        door.come("192.0.2.2").await;
        assert_eq!(door.all(), 9);
        assert!(!door.tasks[39].1.is_finished() && door.tasks[0].1.is_finished());
    }

    #[tokio::test]
    async fn a_whole_ipv6_network_is_one_address() {
        let mut door = Door::new();
        for n in 0..30 {
            door.come(&format!("2001:db8::{n:x}")).await;
        }
        door.come("2001:db8:0:1::1").await;
        assert_eq!(door.all(), 9);
    }

    #[tokio::test]
    async fn of_64_in_all_those_of_the_largest_crowd_go_and_a_single_one_stays() {
        let mut door = Door::new();
        door.come("192.0.2.1").await;
        for n in 0..500 {
            door.come(&format!("198.51.100.{}", n % 20)).await;
        }
        assert_eq!((door.all(), door.still_in("192.0.2.1")), (64, 1));
    }

    #[tokio::test]
    async fn the_nests_of_this_machine_share_an_address_and_may_be_more() {
        let mut door = Door::new();
        for _ in 0..100 {
            door.come("127.0.0.1").await;
        }
        assert_eq!(door.all(), 64);
    }
}
