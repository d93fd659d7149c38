//! All network cards of the node.
use crate::network;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use net::nic::Nic;
use spin::Mutex;

/// What all names begin with; a number follows.
pub const PREFIX: &str = "eth";

static ALL: Mutex<Vec<Arc<Card>>> = Mutex::new(Vec::new());

/// A network card: what its driver has made of it.
pub struct Card {
    pub nic: Arc<dyn Nic>,
    /// What drives it, and where it is.
    pub driver: &'static str,
    pub place: String,
}

/// Keeps a card known. When this is dropped nobody finds it any more, and no network uses it.
pub struct Published(Arc<Card>);

/// Makes a card known, to the networks that it is the uplink of too.
pub fn publish(nic: Arc<dyn Nic>, driver: &'static str, place: String) -> Published {
    let identity = nic.identity();
    log::info!("{}: {} at {place}, {}", identity.name, identity.model, identity.mac);
    let card = Arc::new(Card { nic, driver, place });
    let mut all = ALL.lock();
    all.push(card.clone());
    all.sort_by(|a, b| a.name().cmp(b.name()));
    drop(all);
    network::card_came(&card.nic);
    Published(card)
}

impl Card {
    /// By which it is named in `purevisor.toml`.
    pub fn name(&self) -> &str {
        &self.nic.identity().name
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        ALL.lock().retain(|card| !Arc::ptr_eq(card, &self.0));
        network::card_left(&self.0.nic);
    }
}

/// All cards, by name.
pub fn all() -> Vec<Arc<Card>> {
    ALL.lock().clone()
}
