//! Reads, writes and look-ups of a guest's memory.
use super::*;
use crate::memory::on_heap::HeapMemory;

#[test]
fn what_was_written_is_read_back_across_pages_and_chunks() {
    let memory = HeapMemory::new(4);
    let data: Vec<u8> = (0..10_000u32).map(|i| i as u8).collect();
    let at = Gpa::new(LARGE_PAGE - 5_000);
    memory.write(at, &data).unwrap();
    let mut back = alloc::vec![0; data.len()];
    memory.read(at, &mut back).unwrap();
    assert_eq!(back, data);
}

#[test]
fn the_video_window_and_what_lies_beyond_the_end_are_not_ram() {
    let memory = HeapMemory::new(2);
    assert!(memory.host(Gpa::new(0x9_ffff)).is_some());
    assert!(memory.host(Gpa::new(0xa_0000)).is_none());
    assert!(memory.host(Gpa::new(0xb_ffff)).is_none());
    assert!(memory.host(Gpa::new(0xc_0000)).is_some());
    assert!(memory.host(Gpa::new(2 << 20)).is_none());
    assert!(memory.host(Gpa::new_truncate(u64::MAX)).is_none());
    let mut across = [0; 16];
    assert!(memory.read(Gpa::new((2 << 20) - 8), &mut across).is_err());
    assert!(memory.write(Gpa::new_truncate(u64::MAX - 3), &across).is_err());
}

#[test]
fn ram_beyond_the_hole_continues_at_4_gib() {
    let layout = Layout::new(5 << 30);
    assert_eq!(layout.low_end, 3 << 30);
    assert_eq!(layout.high_end, 6 << 30);
    assert_eq!(Layout::new(1 << 30).high_end, 4 << 30);
}

#[test]
fn a_word_looked_up_once_reads_what_is_there_now() {
    let memory = HeapMemory::new(4);
    for at in [0, 0x9_fff8, 0xc_0000, LARGE_PAGE - 8, LARGE_PAGE, 2 * LARGE_PAGE - 8] {
        let word = memory.word(Gpa::new(at)).unwrap();
        assert_eq!(memory.load_word(word), Some(0));
        memory.write(Gpa::new(at), &(at + 1).to_le_bytes()).unwrap();
        assert_eq!(memory.load_word(word), Some(at + 1));
        assert_eq!(HeapMemory::new(2).load_word(word).is_some(), at < LARGE_PAGE);
    }
    for at in [4, 0xa_0000, 2 * LARGE_PAGE] {
        assert!(memory.word(Gpa::new(at)).is_err());
    }
}

#[test]
fn a_misaligned_atomic_is_refused() {
    let memory = HeapMemory::new(2);
    assert!(memory.atomic_u64(Gpa::new(4)).is_err());
    assert!(memory.load_u32(Gpa::new(2)).is_err());
    assert!(memory.compare_exchange(Gpa::new(1), 2, 0, 1).is_err());
    assert_eq!(memory.compare_exchange(Gpa::new(8), 4, 0, 7), Ok(0));
    assert_eq!(memory.compare_exchange(Gpa::new(8), 4, 0, 9), Ok(7));
    assert_eq!(memory.read_uint(Gpa::new(8), 8), Ok(7));
}

#[test]
fn code_at_the_end_of_a_page_is_fetched_up_to_it() {
    let memory = HeapMemory::new(2);
    memory.write(Gpa::new(0xff8), &[1, 2, 3, 4, 5, 6, 7, 8, 9]).unwrap();
    let (bytes, len) = memory.fetch(Gpa::new(0xff8)).unwrap();
    assert_eq!((len, bytes[7]), (8, 8));
    assert_eq!(memory.fetch(Gpa::new(0xff0)).unwrap().1, 16);
}

#[test]
fn zeroing_ends_where_it_should() {
    let memory = HeapMemory::new(2);
    memory.write(Gpa::new(0x1000), &[0xff; 32]).unwrap();
    memory.zero(Gpa::new(0x1001), 21).unwrap();
    assert_eq!(memory.read_uint(Gpa::new(0x1000), 1), Ok(0xff));
    assert_eq!(memory.read_uint(Gpa::new(0x1015), 2), Ok(0xff00));
}
