#!/bin/sh
# Regenerates the tables of system calls from this machine:
#   ../tracingpolicy-crd/src/value/syscall/numbers.tsv
#                   ABI, number, name     from the kernel headers (package linux-libc-dev)
#   src/syscall/prototypes.tsv
#                   name, arguments       from the formats of the syscall tracepoints
# Needs root, because it mounts a private tracefs, and a kernel with CONFIG_FTRACE_SYSCALLS.
# Run it on a newer kernel to learn newer system calls: lines already there are kept.
set -eu
cd "$(dirname "$0")/src/syscall"
tracefs=$(mktemp -d)
trap 'umount "$tracefs"; rmdir "$tracefs"' EXIT
mount -t tracefs tracefs "$tracefs"

# The header tells the numbers for an ABI when preprocessed for it.
numbers() {
    printf '#include %s\n' "$2" | cc -E -dM $3 - |
        sed -n "s/^#define \(__NR\(3264\)\{0,1\}_[a-z0-9_]*\) \(.*\)$/$1 \1 \3/p" |
        awk '{ abi = $1 }
             $2 ~ /^__NR3264_/ { generic[$2] = $3; next }
             { number[$2] = $3 }
             END {
                 for (name in number) {
                     value = number[name] in generic ? generic[number[name]] : number[name]
                     sub(/^__NR_/, "", name)
                     if (value ~ /^[0-9]+$/ && name !~ /^(syscalls|arch_specific_syscall)$/)
                         print abi "\t" value "\t" name
                 }
             }'
    # Younger than Debian 12's headers. Since 424 a number is the same in every ABI.
    for entry in 451:cachestat 452:fchmodat2 453:map_shadow_stack 454:futex_wake 455:futex_wait \
        456:futex_requeue 457:statmount 458:listmount 459:lsm_get_self_attr 460:lsm_set_self_attr \
        461:lsm_list_modules 462:mseal 463:setxattrat 464:getxattrat 465:listxattrat \
        466:removexattrat 467:open_tree_attr 468:file_getattr 469:file_setattr; do
        printf '%s\t%s\t%s\n' "$1" "${entry%%:*}" "${entry##*:}"
    done
}
{
    numbers x64 '<asm/unistd_64.h>' ''
    printf 'x64\t335\turetprobe\nx64\t336\tuprobe\n'
    numbers i386 '<asm/unistd_32.h>' ''
    numbers arm64 '<asm-generic/unistd.h>' \
        '-D__BITS_PER_LONG=64 -D__ARCH_WANT_NEW_STAT -D__ARCH_WANT_SET_GET_RLIMIT -D__ARCH_WANT_TIME32_SYSCALLS -D__ARCH_WANT_SYS_CLONE3 -D__ARCH_WANT_MEMFD_SECRET'
} | sort -u -t "$(printf '\t')" -k1,1 -k2,2n -k3,3 > numbers.new
mv numbers.new ../../../tracingpolicy-crd/src/value/syscall/numbers.tsv

# Tracepoints are named after the function, which is not always named after the system call.
touch prototypes.tsv
{
    for format in "$tracefs"/events/syscalls/sys_enter_*/format; do
        name=${format%/format}
        name=${name##*/sys_enter_}
        case $name in
        newstat | newfstat | newlstat | newuname) name=${name#new} ;;
        sendfile64) name=sendfile ;;
        umount) name=umount2 ;;
        esac
        awk -v name="$name" '
            /^\tfield:/ && !/ (common_|__syscall_nr)/ {
                sub(/^\tfield:/, ""); sub(/;.*/, ""); arguments = arguments "\t" $0
            }
            END { print name arguments }' "$format"
    done
    cat prototypes.tsv
} | sort -s -t "$(printf '\t')" -k1,1 -u > prototypes.new
mv prototypes.new prototypes.tsv
