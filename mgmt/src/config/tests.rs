//! Whole files: what is read, what is reported, and that nothing panics.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::*;

mod networks;

const EXAMPLE: &str = r#"
[node]
name = "n1"
on_idle = "poweroff"        # power off when the last VM has stopped; default "stay"
address = "dhcp"

[console]
attach = "debian"           # optional

[[network]]
name = "lan"
uplink = "eth0"
vlan = 10

[[vm]]
name = "debian"
vcpus = 2
memory = "512M"
kernel = "vmlinuz"
initrd = "initrd.img"
cmdline = "console=ttyS0"
autostart = true
weight = 100
restart = "on-crash"
disks = [{ source = "nvme0n1", offset = "1G", size = "2G" }, { source = "file:data.img", readonly = true }]
nics = [{ network = "lan", mac = "52:54:00:12:34:56", limit = "1Gbit", addresses = ["10.0.0.5"] }]

[[vm]]
name = "bench"
memory = "1G"
kernel = 'bench\vmlinuz'
initrd = "initrd.img"
autostart = false
cap = 50
affinity = [1]
rng = false
virtio_console = true
return_free_memory = true
"#;

fn problems(file: &str) -> Vec<String> {
    Config::parse(file.as_bytes()).problems.iter().map(ToString::to_string).collect()
}

/// A sound VM of this name, five lines.
fn vm(name: &str) -> String {
    format!("[[vm]]\nname = \"{name}\"\nmemory = \"64M\"\nkernel = \"k\"\n\n")
}

#[test]
fn the_example_is_read_as_it_says() {
    let parsed = Config::parse(EXAMPLE.as_bytes());
    assert_eq!(parsed.problems, []);
    let config = parsed.config;
    let node = Node { name: "n1".into(), on_idle: OnIdle::PowerOff, ..Node::default() };
    assert_eq!(config.node, Node { address: NodeAddress::Dhcp, network: Some("lan".into()), ..node });
    assert_eq!(config.console.attach.as_deref(), Some("debian"));
    let debian = &config.vms[0];
    assert_eq!((debian.vcpus, debian.memory), (2, 512 << 20));
    assert_eq!(debian.cmdline, "console=ttyS0");
    assert_eq!((debian.weight, debian.cap, debian.affinity.clone()), (100, None, None));
    assert_eq!(debian.restart, Restart::OnCrash);
    let bench = &config.vms[1];
    assert!(debian.autostart && !bench.autostart);
    assert_eq!((bench.vcpus, bench.weight, bench.restart), (1, 100, Restart::Never));
    assert_eq!((bench.cap, bench.affinity.as_deref()), (Some(50), Some(&[1][..])));
    assert_eq!((debian.balloon, debian.return_free_memory), (true, false), "by default");
    assert!(bench.balloon && bench.return_free_memory);
    assert_eq!((debian.rng, debian.virtio_console), (true, false), "by default");
    assert_eq!((bench.rng, bench.virtio_console), (false, true));
    assert_eq!(config.files(), ["vmlinuz", "initrd.img", "data.img", "bench/vmlinuz"]);
}

#[test]
fn the_documented_file_is_sound() {
    let text = include_str!("../../../docs/configuration.md");
    let (_, file) = text.split_once("```toml\n").expect("the document has a file");
    let (file, _) = file.split_once("```").expect("the file has an end");
    let parsed = Config::parse(file.as_bytes());
    assert_eq!(parsed.problems, []);
    assert_eq!((parsed.config.vms.len(), parsed.config.networks.len()), (1, 1));
}

#[test]
fn an_empty_file_is_a_node_without_vms() {
    let parsed = Config::parse(b"");
    assert_eq!(parsed, Parsed::default());
    assert_eq!(parsed.config.node.name, "node");
}

#[test]
fn every_problem_is_reported_with_its_line_and_what_is_allowed() {
    let file = "[node]\nnaem = \"x\"\non_idle = \"sleep\"\n[[vm]]\nname = \"A\"\nvcpus = 17\nmemory = \"1X\"\n\
                autostart = 1\nrestart = \"maybe\"\nrng = \"on\"\n\
                virtio-console = true\n[nodes]\n[networks]\n[storage]\n";
    assert_eq!(
        problems(file),
        [
            "purevisor.toml:2: unknown key naem in [node]; did you mean name?",
            "purevisor.toml:3: on_idle = \"sleep\" is none of the choices; allowed: \"stay\", \"poweroff\"",
            "purevisor.toml:4: this [[vm]] has no kernel; allowed: kernel = … is required",
            "purevisor.toml:5: name = \"A\" is not a name; allowed: 1 to 63 of a-z, 0-9, '-', '_' and '.', in quotes",
            "purevisor.toml:6: vcpus = 17 is out of range; allowed: an integer from 1 to 16",
            "purevisor.toml:7: memory = \"1X\" is not a size; allowed: a string of a number and K, M, G or T, \
             such as \"512M\": at least 16M, in whole MiB",
            "purevisor.toml:8: autostart = 1 is neither true nor false; allowed: true, false",
            "purevisor.toml:9: restart = \"maybe\" is none of the choices; allowed: \"never\", \"on-crash\", \"always\"",
            "purevisor.toml:10: rng = \"on\" is neither true nor false; allowed: true, false",
            "purevisor.toml:11: unknown key virtio-console in [[vm]]; did you mean virtio_console?",
            "purevisor.toml:12: unknown section nodes; did you mean [node]?",
            "purevisor.toml:13: unknown section networks; did you mean [[network]]?",
            "purevisor.toml:14: unknown section storage; allowed: [node], [console], [[network]], [[vm]]",
        ]
    );
}

#[test]
fn free_memory_is_returned_by_the_balloon_alone() {
    let file = vm("a").replace("\n\n", "\nballoon = false\nreturn_free_memory = true\n");
    assert_eq!(
        problems(&file),
        ["purevisor.toml:1: return_free_memory = true with balloon = false; allowed: it needs the balloon"]
    );
}

#[test]
fn a_vm_with_a_problem_is_left_out_and_the_others_stay() {
    let file = format!("{}[[vm]]\nname = \"b\"\nmemory = \"1\"\nkernel = \"k\"\n{}", vm("a"), vm("c"));
    let parsed = Config::parse(file.as_bytes());
    let names: Vec<&str> = parsed.config.vms.iter().map(|vm| vm.name.as_str()).collect();
    assert_eq!(names, ["a", "c"]);
    assert_eq!(parsed.left_out, ["b"]);
    assert_eq!(parsed.problems.len(), 1);
}

#[test]
fn a_wrong_node_key_keeps_its_default_and_the_rest_of_the_node() {
    let parsed = Config::parse(b"[node]\nname = 5\non_idle = \"poweroff\"\n");
    assert_eq!(parsed.config.node, Node { on_idle: OnIdle::PowerOff, ..Node::default() });
    assert_eq!(parsed.problems.len(), 1);
}

#[test]
fn a_syntax_error_spares_the_other_sections() {
    let file = format!("[node]\nname = \"n1\"\n{}[[vm]]\nname = \"b\nmemory = \n{}", vm("a"), vm("c"));
    let parsed = Config::parse(file.as_bytes());
    assert_eq!(parsed.config.node.name, "n1");
    assert_eq!(parsed.config.vms.len(), 2);
    assert!(parsed.problems.iter().all(|p| (8..=10).contains(&p.line)), "{:?}", parsed.problems);
    assert!(!parsed.problems.is_empty());
}

#[test]
fn a_key_given_twice_leaves_its_vm_out() {
    let file =
        format!("[[vm]]\nname = \"a\"\nmemory = \"64M\"\nmemory = \"65M\"\nkernel = \"k\"\n{}", vm("b"));
    let parsed = Config::parse(file.as_bytes());
    assert_eq!(parsed.config.vms.len(), 1);
    assert_eq!(
        parsed.problems[0].to_string(),
        "purevisor.toml:4: not valid TOML: duplicate key; this [[vm]] is left out"
    );
}

#[test]
fn a_second_vm_of_a_name_is_left_out() {
    let file = format!("{}{}", vm("a"), vm("a"));
    let parsed = Config::parse(file.as_bytes());
    assert_eq!(parsed.config.vms.len(), 1);
    assert_eq!(
        parsed.problems[0].to_string(),
        "purevisor.toml:6: VM \"a\" is defined on line 1; allowed: one VM of a name"
    );
    assert!(parsed.left_out.is_empty(), "the first VM of the name is there");
}

#[test]
fn a_second_node_section_is_reported_and_the_first_counts() {
    let parsed = Config::parse(b"[node]\nname = \"a\"\n[node]\nname = \"b\"\n");
    assert_eq!(parsed.config.node.name, "a");
    assert_eq!(
        problems("[node]\n[node]\n"),
        ["purevisor.toml:2: a second [node], the first is on line 1; allowed: one"]
    );
}

#[test]
fn attach_must_name_a_vm() {
    let parsed = Config::parse(format!("[console]\nattach = \"debain\"\n{}", vm("debian")).as_bytes());
    assert_eq!(parsed.config.console.attach, None);
    assert_eq!(
        parsed.problems[0].to_string(),
        "purevisor.toml:1: [console] attach = \"debain\" names no VM; did you mean \"debian\"?"
    );
    let left_out = problems("[console]\nattach = \"a\"\n[[vm]]\nname = \"a\"\n");
    assert!(left_out.iter().any(|p| p.contains("left out because of its own problem")), "{left_out:?}");
}

#[test]
fn sections_of_the_wrong_type_are_reported() {
    assert_eq!(
        problems("node = 1\n"),
        ["purevisor.toml:1: 1 is not a table; allowed: a line [node] with its keys below"]
    );
    assert_eq!(
        problems("[vm]\nname = \"a\"\n"),
        ["purevisor.toml:1: [vm] is one table; allowed: [[vm]] before each VM"]
    );
    assert_eq!(problems("vm = 1\n"), ["purevisor.toml:1: vm = 1; allowed: [[vm]] before each VM"]);
    assert_eq!(problems("vm = [1]\n").len(), 1);
    assert_eq!(problems("[vms]\n"), ["purevisor.toml:1: unknown section vms; did you mean [[vm]]?"]);
}

#[test]
fn a_cap_beyond_the_vcpus_is_reported() {
    let file = "[[vm]]\nname = \"a\"\nmemory = \"64M\"\nkernel = \"k\"\nvcpus = 2\ncap = 201\n";
    assert!(problems(file)[0].contains("at most 200"), "{:?}", problems(file));
    assert!(problems(&file.replace("201", "200")).is_empty());
}

#[test]
fn a_kernel_sized_stack_is_enough_for_any_file() {
    extern crate std;
    let deep = format!("x = {}1{}\n", "[".repeat(8), "]".repeat(8));
    let dotted = "[[vm]]\na.b.c.d.e.f.g.h.i = { j = { k.l.m.n = [[1]] } }\n";
    for file in [EXAMPLE.to_string(), deep, dotted.to_string(), "[\n".repeat(1000), "[".repeat(1 << 20)] {
        let small = std::thread::Builder::new().stack_size(32 << 10);
        let parse = move || Config::parse(file.as_bytes()).problems.len();
        small.spawn(parse).expect("a thread starts").join().expect("it parsed");
    }
}

#[test]
fn messages_carry_no_control_characters_and_stay_short() {
    let file =
        format!("[node]\nname = \"\\u001b[2J{}\"\n\"k\\u0007{}\" = 1\n", "x".repeat(5000), "y".repeat(5000));
    for problem in problems(&file) {
        assert!(!problem.chars().any(char::is_control), "{problem}");
        assert!(problem.len() < 300, "{problem}");
    }
}

#[test]
fn a_flood_of_problems_is_counted_not_kept() {
    let parsed = Config::parse(format!("{}{}", "[\n".repeat(100_000), vm("a")).as_bytes());
    assert_eq!(parsed.config.vms.len(), 1, "the VM behind them is still read");
    assert!(parsed.problems.len() <= 101);
    assert!(parsed.problems.last().is_some_and(|p| p.text.contains("more problems are not shown")));
}

/// A VM with these disks on its line 5.
fn with_disks(disks: &str) -> String {
    format!("[[vm]]\nname = \"a\"\nmemory = \"64M\"\nkernel = \"k\"\ndisks = [{disks}]\n")
}

#[test]
fn disks_are_read_in_their_order_with_defaults() {
    let file = with_disks(
        "{ source = \"nvme0n1\" },\n\
         { source = \"sata0\", offset = \"1G\", size = \"8G\", bus = \"virtio-blk\", readonly = true },\n\
         { source = \"file:d\\\\data.img\" }",
    );
    let parsed = Config::parse(file.as_bytes());
    assert_eq!(parsed.problems, []);
    let plain = DiskConfig {
        source: Source::Device("nvme0n1".into()),
        offset: 0,
        size: None,
        bus: Bus::VirtioBlk,
        readonly: false,
    };
    let second = DiskConfig {
        source: Source::Device("sata0".into()),
        offset: 1 << 30,
        size: Some(8 << 30),
        readonly: true,
        ..plain.clone()
    };
    let third = DiskConfig { source: Source::File("d/data.img".into()), ..plain.clone() };
    assert_eq!(parsed.config.vms[0].disks, [plain, second, third]);
    assert_eq!(parsed.config.files(), ["k", "d/data.img"]);
}

#[test]
fn the_long_way_to_write_a_disk_is_read_as_well() {
    let file = format!("{}[[vm.disks]]\nsource = \"nvme0n1\"\n[[vm.disks]]\nsource = \"nvme1n1\"\n", vm("a"));
    assert_eq!(Config::parse(file.as_bytes()).config.vms[0].disks.len(), 2);
}

#[test]
fn every_wrong_disk_is_reported_with_its_line_and_what_is_allowed_and_its_vm_is_left_out() {
    let source = "allowed: the full name of a disk, such as \"nvme0n1\" ('disk list' shows them), or \"file:\" and a path";
    let size = "allowed: a string of a number and K, M, G or T, such as \"8G\"";
    for (disk, told) in [
        ("{ bus = \"virtio-blk\" }", "this disk has no source; allowed: source = … is required".to_string()),
        ("{ source = \"NVME\" }", format!("source = \"NVME\" names no disk; {source}")),
        ("{ source = \"nvme*\" }", format!("source = \"nvme*\" names no disk; {source}")),
        (
            "{ source = \"file:../x\" }",
            format!("source = \"file:../x\" leaves the folder by \"..\"; {source}"),
        ),
        ("{ source = 1 }", format!("source = 1 is not a string; {source}")),
        ("{ source = \"a\", offset = \"1\" }", format!("offset = \"1\" is not a size; {size}")),
        ("{ source = \"a\", size = 5 }", format!("size = 5 is not a string; {size}")),
        (
            "{ source = \"a\", size = \"0K\" }",
            "size = 0 is no disk; allowed: a size, or none for all up to the end".into(),
        ),
        (
            "{ source = \"a\", offset = \"16777215T\", size = \"16777215T\" }",
            "offset and size are more than any disk has".into(),
        ),
        (
            "{ source = \"file:x\", size = \"1M\" }",
            "the disk file:x has an offset or a size; allowed: these for a device, a file is used whole"
                .into(),
        ),
        (
            "{ source = \"a\", bus = \"ide\" }",
            "bus = \"ide\" is none of the choices; allowed: \"virtio-blk\", \"virtio-scsi\"".into(),
        ),
        (
            "{ source = \"a\", readonly = 1 }",
            "readonly = 1 is neither true nor false; allowed: true, false".into(),
        ),
        ("{ sorce = \"a\", source = \"b\" }", "unknown key sorce in disk; did you mean source?".into()),
        (
            "\"nvme0n1\"",
            "disks has \"nvme0n1\", no disk; allowed: a list of disks, such as [{ source = \"nvme0n1\" }]"
                .into(),
        ),
    ] {
        let parsed = Config::parse(with_disks(disk).as_bytes());
        let problems: Vec<String> = parsed.problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, [format!("purevisor.toml:5: {told}")]);
        assert_eq!((parsed.config.vms.len(), parsed.left_out.len()), (0, 1), "{disk}");
    }
    let scalar = format!("{}disks = \"nvme0n1\"\n", vm("a").trim_end().to_string() + "\n");
    assert!(problems(&scalar)[0].contains("disks = \"nvme0n1\" is not a list"), "{:?}", problems(&scalar));
    let many = with_disks(&"{ source = \"a\" },".repeat(17));
    assert!(problems(&many)[0].contains("a VM with 17 disks; allowed: at most 16"), "{:?}", problems(&many));
}

/// A small generator: the tests repeat exactly (xorshift64, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn next(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let alphabet = b"[]{}=\"'#.,\n\r\t \\abvmnode01-_\xff\xc3\xa9\0\x7f";
    for _ in 0..20_000 {
        let length = random.next(60);
        let file: Vec<u8> = (0..length).map(|_| alphabet[random.next(alphabet.len())]).collect();
        let parsed = Config::parse(&file);
        assert!(parsed.problems.iter().all(|p| p.line >= 1));
    }
}

#[test]
fn mutations_of_a_sound_file_never_panic_and_what_is_read_is_sound() {
    let mut random = Random(42);
    for _ in 0..5_000 {
        let mut file = EXAMPLE.as_bytes().to_vec();
        for _ in 0..1 + random.next(4) {
            let at = random.next(file.len());
            match random.next(4) {
                0 => file[at] = random.next(256) as u8,
                1 => drop(file.remove(at)),
                2 => file.insert(at, b"[]=\"'.#\n"[random.next(8)]),
                _ => {
                    let end = (at + random.next(80)).min(file.len());
                    let piece = file[at..end].to_vec();
                    let to = random.next(file.len());
                    file.splice(to..to, piece);
                }
            }
        }
        let parsed = Config::parse(&file);
        let lines = file.iter().filter(|b| **b == b'\n').count() + 1;
        assert!(parsed.problems.iter().all(|p| (1..=lines).contains(&p.line)), "{:?}", parsed.problems);
        let known = |name: &str| parsed.config.networks.iter().any(|network| network.name == name);
        for vm in &parsed.config.vms {
            assert!(vm.nics.iter().all(|nic| nic.mac.is_station() && known(&nic.network)));
            assert!((1..=MAX_VCPUS).contains(&vm.vcpus) && vm.memory >= 16 << 20 && !vm.kernel.is_empty());
        }
        let node = &parsed.config.node;
        assert!(node.network.as_deref().map_or(node.address == NodeAddress::None, known));
        if let Some(attach) = &parsed.config.console.attach {
            assert!(parsed.config.vms.iter().any(|vm| vm.name == *attach));
        }
    }
}
