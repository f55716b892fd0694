//! The program as people run it: its sentences and exit codes, its daemon, and the service that it brings.

mod bed;
mod mounting;
mod refusals;
mod serving;
mod unmounting;
