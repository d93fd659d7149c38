//! A bus in software, and what becomes of functions on it: sound ones, odd ones, and pure noise.
mod bus;
mod devices;
mod noise;
mod scanning;
mod slots;
