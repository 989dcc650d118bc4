//! BTF that the writer made, and that of the kernel the tests run on, where there is one.

use super::write::{BtfWriter, Linkage};
use super::{Btf, BtfError, Kind, TypeId};

/// `struct outer { int a; union { struct inner { long b; } in; struct { char *c; } ; }; }`
fn sample() -> Btf {
    let mut w = BtfWriter::new();
    let int = w.int("int", 4, true);
    let long = w.int("long int", 8, true);
    let char_type = w.int("char", 1, true);
    let chars = w.ptr(char_type);
    let inner = w.struct_type("inner", 8, &[("b", long, 0)]);
    let nameless = w.struct_type("", 8, &[("c", chars, 0)]);
    let in_name = w.string("in");
    let union = w.push_record(&[0, 5 << 24 | 2, 8, in_name, inner.0, 0, 0, nameless.0, 0]);
    let outer = w.struct_type("outer", 16, &[("a", int, 0), ("", union, 64)]);
    let pointer = w.ptr(outer);
    let proto = w.func_proto(int, &[("o", pointer), ("n", long)]);
    w.func("f", proto, Linkage::Global);
    Btf::parse(w.finish()).expect("what the writer wrote")
}

#[test]
fn members_are_found_through_anonymous_unions() {
    let btf = sample();
    let outer = btf.struct_by_name("outer").expect("outer");
    assert_eq!(btf.member(outer, "a").map(|m| m.bit_offset), Some(0));
    assert_eq!(btf.member(outer, "in.b").map(|m| m.byte_offset()), Some(8));
    assert_eq!(btf.member(outer, "c").map(|m| m.byte_offset()), Some(8));
    assert_eq!(btf.member(outer, "in.c"), None);
    assert_eq!(btf.member(outer, ""), None);
    // a pointer is not passed through
    assert_eq!(btf.member(outer, "c.x"), None);
}

#[test]
fn functions_have_prototypes() {
    let btf = sample();
    let function = btf.function("f").expect("f");
    let proto = btf.prototype(function.proto);
    assert_eq!(proto.params.iter().map(|p| p.name).collect::<Vec<_>>(), ["o", "n"]);
    assert_eq!(btf.c_declaration(proto.params[0].type_id), "struct outer *");
    assert_eq!(btf.c_declaration(function.id), "int f(struct outer *, long int)");
    assert_eq!(btf.function("outer"), None);
    assert_eq!(btf.function("g"), None);
}

#[test]
fn declarations_read_like_c() {
    let mut w = BtfWriter::new();
    let int = w.int("int", 4, true);
    let constant = w.push_record(&[0, 10 << 24, int.0]);
    let pointer = w.ptr(constant);
    let constant_pointer = w.push_record(&[0, 10 << 24, pointer.0]);
    let array = w.array(pointer, int, 4);
    let array_pointer = w.ptr(array);
    let proto = w.func_proto(TypeId::VOID, &[]);
    let function_pointer = w.ptr(proto);
    let void_pointer = w.ptr(TypeId::VOID);
    let btf = Btf::parse(w.finish()).expect("what the writer wrote");
    let check = |id, text: &str| assert_eq!(btf.c_declaration(id), text);
    check(pointer, "const int *");
    check(constant_pointer, "const int * const");
    check(array, "const int *[4]");
    check(array_pointer, "const int *(*)[4]");
    check(function_pointer, "void (*)(void)");
    check(void_pointer, "void *");
    check(TypeId(99), "void");
}

#[test]
fn hostile_bytes_are_errors_or_answer_nothing() {
    assert!(matches!(Btf::parse(Vec::new()), Err(BtfError::Truncated { .. })));
    let good = {
        let mut w = BtfWriter::new();
        w.push_record(&[0, 8 << 24, 2]); // typedef of 2
        w.push_record(&[77, 8 << 24, 1]); // typedef of 1: a cycle, and a name beyond the strings
        w.finish()
    };
    let btf = Btf::parse(good.clone()).expect("extents are right");
    assert_eq!(btf.resolve(TypeId(1)), TypeId::VOID);
    assert_eq!(btf.name(TypeId(2)), "");
    assert!(btf.size(TypeId(1)).is_none());
    for end in 0..good.len() {
        assert!(Btf::parse(&good[..end]).is_err(), "cut at {end}");
    }
    for at in 0..good.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = value;
            if let Ok(btf) = Btf::parse(bytes) {
                for id in btf.ids() {
                    btf.c_declaration(id);
                    btf.size(id);
                    assert_eq!(btf.members(id).filter(|m| m.name == "x").count(), 0);
                }
            }
        }
    }
}

#[test]
fn kernel_types_are_read() {
    let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        assert!(
            std::env::var_os("REQUIRE_KERNEL").is_none(),
            "no /sys/kernel/btf/vmlinux"
        );
        return;
    };
    let btf = Btf::parse(bytes).expect("the kernel's BTF");
    let task = btf.struct_by_name("task_struct").expect("task_struct");
    let tgid = btf.member(task, "tgid").expect("task_struct.tgid");
    assert_eq!(btf.c_declaration(tgid.type_id), "pid_t");
    assert_eq!(
        btf.kind(btf.resolve(tgid.type_id)),
        Kind::Int {
            size: 4,
            signed: true,
            bool: false
        }
    );
    let file = btf.struct_by_name("file").expect("file");
    let dentry = btf.member(file, "f_path.dentry").expect("file.f_path.dentry");
    assert_eq!(btf.c_declaration(dentry.type_id), "struct dentry *");
    assert_eq!(dentry.byte_offset() % 8, 0);
    let sock = btf.struct_by_name("sock").expect("sock");
    assert!(btf.member(sock, "__sk_common.skc_family").is_some());
    let open = btf.function("security_file_open").expect("security_file_open");
    let proto = btf.prototype(open.proto);
    assert_eq!(btf.c_declaration(proto.params[0].type_id), "struct file *");
    assert_eq!(btf.enum_value("bpf_map_type", "BPF_MAP_TYPE_RINGBUF"), Some(27));
    let raw = btf.typedef("btf_trace_sched_process_exec").expect("tracepoint typedef");
    assert!(btf.prototype(raw).params.len() >= 3);
    let exact = btf
        .ids()
        .filter(|id| btf.name(*id) == "task_struct")
        .collect::<Vec<_>>();
    assert_eq!(btf.ids_by_name("task_struct").collect::<Vec<_>>(), exact);
}
