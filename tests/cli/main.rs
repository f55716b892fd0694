//! The program as people run it: its sentences and exit codes, its daemon, and the service that it brings.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bed;
mod credentials;
mod doctor;
mod doctor_causes;
mod encryption;
mod given;
mod issuer;
mod logging;
mod manual;
mod mounting;
mod refusals;
mod seeing;
mod service_manager;
mod serving;
mod showing;
mod signals;
mod unmounting;
mod uploads;
