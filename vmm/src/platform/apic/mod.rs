//! Interrupt controllers with messages: local APICs, the IOAPIC, and the fabric between them.
//!
//! ```text
//!  ICR of any vCPU ─┐
//!  IOAPIC pin ──────┼─► ApicFabric::deliver ─► mailbox of each vCPU named ─► Wake
//!  MSI of a device ─┘                                   │
//!                                     LocalApic::pull ◄─┘  IRR ─ deliverable ─► guest
//! ```
//!
//! The registers of a local APIC are a [`RegisterPage`], on which hardware may work, too, while the guest runs; and
//! hardware may take vectors from the mailbox into it.
//!
//! A [`LocalApic`] belongs to its vCPU and is not shared; the [`ApicFabric`] is shared and has no lock;
//! the [`IoApic`] is behind the lock of the interrupt controllers of the board.
mod fabric;
mod ioapic;
mod lapic;
mod message;
mod page;
mod registers;
mod timer;

pub use fabric::{ApicFabric, Wake};
pub use ioapic::IoApic;
pub use lapic::{ApicMode, GeneralProtection, LocalApic, Requests, Signals};
pub use message::{DeliveryMode, InterruptMessage, Msi};
pub use page::RegisterPage;
pub use registers::{X2APIC_MSR_FIRST, X2APIC_MSR_LAST};
pub use timer::GuestTsc;
