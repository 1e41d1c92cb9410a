//! System calls that no job needs and many attacks do.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, sock_filter,
};

/// Refused whatever their arguments.
const REFUSED: &[i64] = &[
    // Ways into the kernel with a long record of holes.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_kcmp,
    // The kernel's keys belong to the user, not to the box.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // The view of the file system.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_setns,
    // The machine itself.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

/// New namespaces give privileges inside them, and so more of the kernel to attack.
const NAMESPACES: &[i32] = &[
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
    0x80, // CLONE_NEWTIME
];

/// Kinds of sockets beyond local ones, the internet and the routing table.
const SOCKETS: &[i32] = &[
    libc::AF_PACKET,
    libc::AF_ALG,
    libc::AF_VSOCK,
    libc::AF_KEY,
    libc::AF_BLUETOOTH,
    libc::AF_CAN,
    libc::AF_TIPC,
    libc::AF_RDS,
    libc::AF_XDP,
];

/// Terminal requests that type in another's place.
const TERMINAL: &[u64] = &[0x5412, 0x541c]; // TIOCSTI, TIOCLINUX

/// Builds the filter; without `internet` there are no internet sockets either.
pub(crate) fn build(internet: bool) -> Result<BpfProgram, seccompiler::BackendError> {
    use SeccompCmpOp::{Eq, MaskedEq};
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().map(|call| (*call, Vec::new())).collect();

    let flags: Vec<u64> = NAMESPACES.iter().map(|flag| *flag as u64).collect();
    // The kernel takes the low byte of a clone's flags for a signal, and no time namespace there.
    let clone_flags = flags.iter().filter(|flag| **flag > 0xff);
    let with = |flag: &u64| rule(0, MaskedEq(*flag), *flag);
    rules.insert(libc::SYS_clone, clone_flags.map(with).collect::<Result<_, _>>()?);
    rules.insert(libc::SYS_unshare, flags.iter().map(with).collect::<Result<_, _>>()?);

    let internet_families = [libc::AF_INET, libc::AF_INET6];
    let families = SOCKETS.iter().chain(if internet { &[][..] } else { &internet_families });
    let family = |family: &i32| rule(0, Eq, *family as u64);
    rules.insert(libc::SYS_socket, families.map(family).collect::<Result<_, _>>()?);
    let terminal = |request: &u64| rule(1, Eq, *request);
    rules.insert(libc::SYS_ioctl, TERMINAL.iter().map(terminal).collect::<Result<_, _>>()?);

    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
        std::env::consts::ARCH.try_into()?,
    )?;
    let program: BpfProgram = filter.try_into()?;
    Ok(unknowable().into_iter().chain(program).collect())
}

fn rule(
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompRule, seccompiler::BackendError> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?;
    SeccompRule::new(vec![condition])
}

/// Says "no such call" to `clone3`, whose flags a filter cannot see (C libraries then use `clone`),
/// and to the x32 numbers, which would pass by the others.
fn unknowable() -> [sock_filter; 4] {
    let load_number = 0x20; // BPF_LD | BPF_W | BPF_ABS, offset 0 of `seccomp_data`
    let if_equal = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    let if_at_least = 0x35; // BPF_JMP | BPF_JGE | BPF_K
    let answer = 0x06; // BPF_RET | BPF_K
    [
        sock_filter { code: load_number, jt: 0, jf: 0, k: 0 },
        sock_filter { code: if_equal, jt: 1, jf: 0, k: libc::SYS_clone3 as u32 },
        sock_filter { code: if_at_least, jt: 0, jf: 1, k: 0x4000_0000 },
        sock_filter {
            code: answer,
            jt: 0,
            jf: 0,
            k: libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32,
        },
    ]
}
