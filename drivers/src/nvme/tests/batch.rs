//! Requests that are done are told once, whatever becomes of their batch.
use super::*;
use crate::request::Batch;

#[test]
fn a_batch_tells_each_once_in_order_and_what_is_left_when_it_goes() {
    let told = Arc::new(Told::default());
    let mut batch = Batch::<3>::new();
    let done = |tag| Done { to: told.clone(), tag };
    batch.push(done(1), Ok(()));
    batch.push(done(2), Err(BlockError::Removed));
    batch.tell();
    batch.tell();
    assert_eq!(*told.0.lock(), [(1, Ok(())), (2, Err(BlockError::Removed))]);
    batch.push(done(3), Ok(()));
    drop(batch);
    assert_eq!(told.0.lock()[2..], [(3, Ok(()))]);
    assert_eq!(Arc::strong_count(&told), 1);
}
