//! System calls that no job needs and many attacks do.

use nix::libc::{self, sock_filter};

use crate::seccomp::{Half, Program, allow, by_number, fail, guarded, if_any, if_equal, load};

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

/// The internet.
const INTERNET: &[i32] = &[libc::AF_INET, libc::AF_INET6];

/// Terminal requests that type in another's place.
const TERMINAL: &[u32] = &[0x5412, 0x541c]; // TIOCSTI, TIOCLINUX

/// Builds the filter; without `internet` there are no internet sockets either.
pub(crate) fn build(internet: bool) -> Program {
    let mut parts: Vec<(i64, Program)> =
        REFUSED.iter().map(|call| (*call, vec![refuse()])).collect();
    let all = NAMESPACES.iter().fold(0, |all, flag| all | *flag as u32);
    parts.push((libc::SYS_unshare, refuse_any(all)));
    // The kernel takes the low byte of a clone's flags for a signal, and no time namespace there.
    parts.push((libc::SYS_clone, refuse_any(all & !0xff)));
    // A filter cannot see the flags of this one. C libraries use `clone` where it is not there.
    parts.push((libc::SYS_clone3, vec![fail(libc::ENOSYS)]));
    let families = SOCKETS.iter().chain(if internet { &[][..] } else { INTERNET });
    let families = families.map(|family| *family as u32);
    parts.push((libc::SYS_socket, refuse_each(0, families)));
    parts.push((libc::SYS_ioctl, refuse_each(1, TERMINAL.iter().copied())));
    guarded(by_number(parts))
}

fn refuse() -> sock_filter {
    fail(libc::EPERM)
}

/// Refuses a call whose first argument has one of these bits.
fn refuse_any(bits: u32) -> Program {
    vec![load(0, Half::Low), if_any(bits, 0, 1), refuse(), allow()]
}

/// Refuses a call with one of these values in an argument.
fn refuse_each(argument: u32, values: impl Iterator<Item = u32>) -> Program {
    let each = values.flat_map(|value| [if_equal(value, 0, 1), refuse()]);
    [load(argument, Half::Low)].into_iter().chain(each).chain([allow()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::tests::run;

    #[test]
    fn what_no_job_needs_is_refused_and_the_rest_is_not() {
        let answer = |internet, number, argument: usize, value: u64| {
            let mut arguments = [0; 6];
            arguments[argument] = value;
            run(&build(internet), number, arguments).0
        };
        let (allowed, refused) = (allow().k, refuse().k);
        for number in 0..600 {
            let expected = if REFUSED.contains(&number) {
                refused
            } else if number == libc::SYS_clone3 {
                fail(libc::ENOSYS).k
            } else {
                allowed
            };
            assert_eq!(answer(true, number, 0, 0), expected, "{number}");
        }
        for flag in NAMESPACES {
            let flag = *flag as u64;
            assert_eq!(answer(true, libc::SYS_unshare, 0, flag | 0x200), refused, "{flag:#x}");
            let expected = if flag > 0xff { refused } else { allowed };
            assert_eq!(answer(true, libc::SYS_clone, 0, flag | 0x11), expected, "{flag:#x}");
        }
        for family in SOCKETS {
            assert_eq!(answer(true, libc::SYS_socket, 0, *family as u64), refused, "{family}");
        }
        for family in INTERNET {
            assert_eq!(answer(true, libc::SYS_socket, 0, *family as u64), allowed, "{family}");
            assert_eq!(answer(false, libc::SYS_socket, 0, *family as u64), refused, "{family}");
        }
        assert_eq!(answer(false, libc::SYS_socket, 0, libc::AF_UNIX as u64), allowed);
        for request in TERMINAL {
            let request = u64::from(*request);
            assert_eq!(answer(true, libc::SYS_ioctl, 1, request), refused, "{request:#x}");
            // The kernel looks at the lower half only.
            assert_eq!(answer(true, libc::SYS_ioctl, 1, request | 1 << 32), refused);
        }
    }
}
