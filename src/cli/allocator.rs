//! What the allocator needs of a process that may have nothing to do for hours after it had a million names.
//!
//! It gives back to the system what was freed a second ago, but looks for that only when it is asked for something large or
//! gets something large back. Who frees most of what there was, and then waits for the next request, would keep all of it.

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;

/// How often it is made to look. The look costs some microseconds where nothing was freed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Large enough that the allocator takes it from the system's pages and not from a pool. Nobody touches it.
const LARGE_BYTES: usize = 4 << 20;

/// Makes the allocator give back what was freed, for as long as this is polled.
pub(super) async fn keep_giving_back() -> Infallible {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        drop(black_box(Vec::<u8>::with_capacity(black_box(LARGE_BYTES))));
    }
}
