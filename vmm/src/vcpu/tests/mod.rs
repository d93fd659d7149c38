//! vCPUs on the host: exits played by a fake back end, their effects looked at in registers, memory,
//! devices and the next entry.
mod answers;
mod clock;
mod devices;
mod end_of_interrupt;
mod ends;
mod events;
mod fake;
mod hardware_apic;
mod hostile;
mod instructions;
mod memory;
mod random_exits;
mod registers;
mod rig;
mod timers;
mod vmcb;
mod vmcs;
