//! Parts that need no controller: pages of data, statuses, pointers, which CPU has which queue.
use super::*;
use crate::nvme::command::{Command, DataPointer, Opcode};
use crate::nvme::completion::Status;
use crate::nvme::identify::{BadNamespace, CommandLimits, ControllerData, NamespaceData, Page, Sgl};
use crate::nvme::lifecycle::{deal, server};
use crate::nvme::pointers::{LIST_BYTES, List, describe};
use crate::nvme::registers::Capabilities;
use crate::nvme::ring::MOST_ENTRIES;
use crate::nvme::shadow::passes;
use crate::request::Cursor;
use core::time::Duration;
use std::string::ToString;

fn page(fields: &[(usize, &[u8])]) -> Page {
    let mut page = Page(Box::new([0; 4096]));
    for (at, bytes) in fields {
        page.0[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    page
}

#[test]
fn identify_controller_is_read_by_its_offsets() {
    let data = ControllerData::read(&page(&[
        (4, b"S1234567890123456789"),
        (24, b"A drive                                 "),
        (64, b"1.2\0\xff\xff\xff\xff"),
        (77, &[3]),
        (80, &[0, 4, 1, 0]),
        (88, &1_500_000u32.to_le_bytes()),
        (122, &[1, 0, 2, 0, 0xff, 0xff]),
        (520, &[4]),
        (536, &[2]),
    ]));
    assert_eq!(
        (data.serial.as_str(), data.model.as_str(), data.firmware.as_str()),
        ("S1234567890123456789", "A drive", "1.2")
    );
    assert_eq!((data.most_bytes, data.version.to_string().as_str()), (Some(32 << 10), "1.4"));
    assert_eq!(data.shutdown, Duration::from_millis(1500));
    assert_eq!(data.retry_delays.map(|d| d.as_millis()), [100, 200, 6_553_500]);
    assert!(data.dataset_management && !data.write_zeroes && !data.volatile_cache && data.does_io);
    assert_eq!(data.sgl, Sgl::Dwords);
}

#[test]
fn identify_namespace_is_read_by_its_offsets_or_refused_with_why() {
    let good = [(0, &[0, 16][..]), (128 + 4 * 2, &[0, 0, 12]), (25, &[2]), (26, &[2])];
    let read = |extra: &[(usize, &[u8])]| NamespaceData::read(&page(&[&good, extra].concat()));
    let data = read(&[(24, &[16]), (64, &[3, 0]), (99, &[1])]).unwrap();
    assert_eq!(
        (data.blocks, data.block_shift, data.physical_block_size, data.read_only),
        (4096, 12, 16384, true)
    );
    assert_eq!(read(&[(24, &[16]), (64, &[2, 0])]).unwrap().physical_block_size, 4096, "no power of two");
    assert_eq!(read(&[(24, &[16]), (64, &[255, 255])]).unwrap().physical_block_size, 4096, "256 MiB");
    assert_eq!(read(&[(0, &[0; 8])]), Err(BadNamespace::Empty));
    assert_eq!(read(&[(26, &[3])]), Err(BadNamespace::NoFormat(3)));
    assert_eq!(read(&[(138, &[13])]), Err(BadNamespace::BlockSize(13)));
    assert_eq!(read(&[(138, &[63])]), Err(BadNamespace::BlockSize(63)));
    assert_eq!(read(&[(136, &[8])]), Err(BadNamespace::Metadata(8)));
    assert_eq!(read(&[(0, &[255; 8])]), Err(BadNamespace::TooLarge(u64::MAX)));
    // Formats beyond 16 have two more bits of their number.
    let many = read(&[(25, &[63]), (26, &[0x71 | 0x10]), (128 + 4 * 0x31 + 2, &[9])]).unwrap();
    assert_eq!(many.block_shift, 9);
    assert_eq!(
        BadNamespace::Metadata(8).to_string(),
        "its blocks have 8 bytes of metadata each: format it without"
    );
}

#[test]
fn limits_of_commands_are_none_where_nothing_is_said() {
    assert_eq!(CommandLimits::read(&page(&[])), CommandLimits::NONE);
    let limits = CommandLimits::read(&page(&[(1, &[2]), (4, &[100]), (8, &[50])]));
    assert_eq!(limits, CommandLimits { zero_bytes: Some(16384), discard_blocks: 50 });
    assert_eq!(CommandLimits::read(&page(&[(1, &[255])])).zero_bytes, None);
}

#[test]
fn capabilities_are_read_by_their_bits() {
    let cap = Capabilities(0x0080_0020_f501_00ff | 3 << 32);
    assert_eq!((cap.most_entries(), cap.doorbell_stride()), (256, 32));
    assert_eq!(cap.ready_time(), Duration::from_millis(500 * 0xf6));
    assert_eq!((cap.command_set(), cap.smallest_page()), (Some(0), 4096));
    assert_eq!(Capabilities(1 << 43).command_set(), Some(6 << 4));
    assert_eq!(Capabilities(1 << 44).command_set(), None);
}

#[test]
fn a_status_is_printed_as_the_specification_writes_it() {
    assert_eq!(Status(0x4281).to_string(), "2/81h");
    assert_eq!(Status(0x0802).to_string(), "0/02h");
}

#[test]
fn every_cpu_has_a_queue_and_every_queue_a_cpu_of_its_own() {
    for cpus in 1..70 {
        for queues in 1..=cpus {
            let map = deal(cpus, queues);
            assert_eq!(map.len(), cpus);
            for queue in 0..queues {
                let server = server(cpus, queues, queue);
                assert_eq!(usize::from(map[server]), queue, "{cpus} {queues}");
                assert!(map[..server].iter().all(|q| usize::from(*q) < queue));
            }
        }
    }
}

#[test]
fn every_description_is_whole_blocks_within_its_limit_and_its_list() {
    let kernel = TestKernel::new(1);
    let lists = kernel.allocate_dma(usize::from(MOST_ENTRIES) * LIST_BYTES, false).unwrap();
    let mut random = Random(0x1234_5678_9abc_def1);
    for _ in 0..20_000 {
        let unit = [1, 4, 512, 4096][random.below(4) as usize];
        let count = 1 + random.below(300) as usize;
        let segments: Vec<Segment> = (0..count)
            .map(|_| Segment {
                address: mm::Hpa::new(random.below(1 << 30) * unit % (1 << 40)),
                bytes: ((1 + random.below(40)) * unit) as u32,
            })
            .collect();
        let total: u64 = segments.iter().map(|s| u64::from(s.bytes)).sum();
        let block = if random.below(2) == 0 { 512 } else { 4096 };
        let limit = total.min(1 << 20) / block * block;
        if limit == 0 {
            continue;
        }
        let sgl = [Sgl::No, Sgl::Dwords, Sgl::Bytes][random.below(3) as usize];
        let list = List::of(&lists, random.below(255) as u8);
        let Some(described) = describe(&segments, Cursor::default(), limit, block, sgl, list) else {
            // Only where no way names a block.
            assert!(sgl != Sgl::Bytes || count > 128);
            continue;
        };
        assert!(described.bytes <= limit && described.bytes % block == 0 && described.bytes != 0);
        match described.pointer {
            DataPointer::Prp(first, _) => assert_eq!(first % 4, 0),
            DataPointer::Sgl(_, rest) => assert!(sgl != Sgl::No && rest as u32 != 0),
        }
        let end = Cursor::default().advance(&segments, described.bytes);
        let left: u64 = end.pieces(&segments, u64::MAX).map(|p| p.1).sum();
        assert_eq!(left + described.bytes, total);
    }
}

#[test]
fn a_doorbell_is_rung_for_where_it_passes_what_the_controller_waits_for() {
    const ENTRIES: u16 = 7;
    for old in 0..ENTRIES {
        for steps in 1..ENTRIES {
            for event in 0..ENTRIES {
                let new = (old + steps) % ENTRIES;
                // The controller knows of `event`, and wants to hear when the doorbell is moved from there.
                let passed = (0..steps).any(|step| (old + step) % ENTRIES == event);
                assert_eq!(passes(event, old, new), passed, "{event}: {old} to {new}");
            }
        }
    }
}

#[test]
fn a_command_is_named_in_the_log_by_its_namespace_and_block() {
    let read = Command::blocks(Opcode::READ, 3, 2048, 8, 0).identifier(0x1234);
    assert_eq!(std::format!("nvme0{read}"), "nvme0n3: read at block 2048");
    assert_eq!(Command::new(Opcode::FLUSH, 1).to_string(), "n1: flush");
}
