//! The system calls by which a process learns from files and from the network, and the filter that
//! stops them until the observer has looked.

use nix::libc;

use crate::seccomp::{Half, Program, allow, answer, by_number, if_equal, load};

/// Marks the one message with which a child hands its listener over, so that it passes the filter.
pub(crate) const HAND_OVER: i32 = libc::MSG_NOSIGNAL | libc::MSG_EOR | libc::MSG_CONFIRM;

/// What a call does with the path it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Opens it; the flags are in this argument.
    Open(usize),
    /// Opens it; the flags are in the structure that this argument points to.
    OpenHow(usize),
    /// Creates or empties it.
    Create,
    /// Looks at it, or at what it leads to.
    Look,
    /// Looks at the link itself.
    LookAtLink,
    /// Looks at the link itself if this argument has `AT_SYMLINK_NOFOLLOW`.
    LookBy(usize),
    Execute,
    /// Makes it; fails if it is there.
    Make,
    Remove,
    /// Changes what is known about it, such as its permissions.
    Change,
    /// Gives it another name: directory and path of the other are in these arguments.
    Rename(Option<usize>, usize),
    Link(Option<usize>, usize),
    /// Makes a link to the text in this argument.
    Symlink(usize),
}

/// A call that names a path: the argument with the directory, if there is one, and that of the path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub number: i64,
    pub dir: Option<usize>,
    pub path: usize,
    pub act: Act,
}

const fn at(number: i64, dir: usize, path: usize, act: Act) -> Call {
    Call { number, dir: Some(dir), path, act }
}

#[cfg(target_arch = "x86_64")]
const fn plain(number: i64, path: usize, act: Act) -> Call {
    Call { number, dir: None, path, act }
}

/// Every call that names a path.
pub(super) const CALLS: &[Call] = &[
    at(libc::SYS_openat, 0, 1, Act::Open(2)),
    at(libc::SYS_newfstatat, 0, 1, Act::LookBy(3)),
    at(libc::SYS_statx, 0, 1, Act::LookBy(2)),
    at(libc::SYS_faccessat, 0, 1, Act::Look),
    at(libc::SYS_faccessat2, 0, 1, Act::Look),
    at(libc::SYS_readlinkat, 0, 1, Act::LookAtLink),
    Call { number: libc::SYS_execve, dir: None, path: 0, act: Act::Execute },
    at(libc::SYS_execveat, 0, 1, Act::Execute),
    at(libc::SYS_openat2, 0, 1, Act::OpenHow(2)),
    Call { number: libc::SYS_chdir, dir: None, path: 0, act: Act::Look },
    at(libc::SYS_mkdirat, 0, 1, Act::Make),
    at(libc::SYS_mknodat, 0, 1, Act::Make),
    at(libc::SYS_unlinkat, 0, 1, Act::Remove),
    at(libc::SYS_renameat, 0, 1, Act::Rename(Some(2), 3)),
    at(libc::SYS_renameat2, 0, 1, Act::Rename(Some(2), 3)),
    at(libc::SYS_linkat, 0, 1, Act::Link(Some(2), 3)),
    at(libc::SYS_symlinkat, 1, 2, Act::Symlink(0)),
    at(libc::SYS_fchmodat, 0, 1, Act::Change),
    at(FCHMODAT2, 0, 1, Act::Change),
    at(libc::SYS_fchownat, 0, 1, Act::Change),
    at(libc::SYS_utimensat, 0, 1, Act::Change),
    Call { number: libc::SYS_truncate, dir: None, path: 0, act: Act::Change },
    Call { number: libc::SYS_getxattr, dir: None, path: 0, act: Act::Look },
    Call { number: libc::SYS_lgetxattr, dir: None, path: 0, act: Act::LookAtLink },
    Call { number: libc::SYS_setxattr, dir: None, path: 0, act: Act::Change },
    #[cfg(target_arch = "x86_64")]
    plain(libc::SYS_open, 0, Act::Open(1)),
    #[cfg(target_arch = "x86_64")]
    plain(libc::SYS_creat, 0, Act::Create),
    #[cfg(target_arch = "x86_64")]
    plain(libc::SYS_stat, 0, Act::Look),
    #[cfg(target_arch = "x86_64")]
    plain(libc::SYS_lstat, 0, Act::LookAtLink),
    #[cfg(target_arch = "x86_64")]
    plain(libc::SYS_access, 0, Act::Look),
    #[cfg(target_arch = "x86_64")]
    plain(libc::SYS_readlink, 0, Act::LookAtLink),
    #[cfg(target_arch = "x86_64")]
    plain(libc::SYS_mkdir, 0, Act::Make),
    #[cfg(target_arch = "x86_64")]
    plain(libc::SYS_mknod, 0, Act::Make),
    #[cfg(target_arch = "x86_64")]
    plain(libc::SYS_unlink, 0, Act::Remove),
    #[cfg(target_arch = "x86_64")]
    plain(libc::SYS_rmdir, 0, Act::Remove),
    #[cfg(target_arch = "x86_64")]
    plain(libc::SYS_rename, 0, Act::Rename(None, 1)),
    #[cfg(target_arch = "x86_64")]
    plain(libc::SYS_link, 0, Act::Link(None, 1)),
    #[cfg(target_arch = "x86_64")]
    plain(libc::SYS_symlink, 1, Act::Symlink(0)),
    #[cfg(target_arch = "x86_64")]
    plain(libc::SYS_chmod, 0, Act::Change),
    #[cfg(target_arch = "x86_64")]
    plain(libc::SYS_chown, 0, Act::Change),
    #[cfg(target_arch = "x86_64")]
    plain(libc::SYS_lchown, 0, Act::Change),
    #[cfg(target_arch = "x86_64")]
    plain(libc::SYS_utime, 0, Act::Change),
    #[cfg(target_arch = "x86_64")]
    plain(libc::SYS_utimes, 0, Act::Change),
    #[cfg(target_arch = "x86_64")]
    plain(libc::SYS_futimesat, 1, Act::Change),
];

const FCHMODAT2: i64 = 452;

/// Builds the filter.
///
/// A call whose number alone decides is remembered by the kernel, so that reading and writing cost
/// nothing. `fstat` in the form of `fstatat(fd, "", AT_EMPTY_PATH)` tells nothing that opening the
/// file has not told, and is let through.
pub(crate) fn filter() -> Program {
    let notify = || answer(libc::SECCOMP_RET_USER_NOTIF);
    let unless = |argument, value: i32| {
        vec![load(argument, Half::Low), if_equal(value as u32, 0, 1), allow(), notify()]
    };
    let mut parts = vec![
        (libc::SYS_newfstatat, unless(3, libc::AT_EMPTY_PATH)),
        (libc::SYS_statx, unless(2, libc::AT_EMPTY_PATH)),
        (libc::SYS_sendmsg, unless(2, HAND_OVER)),
        // Without an address it goes where the socket is connected to.
        (
            libc::SYS_sendto,
            vec![
                load(4, Half::Low),
                if_equal(0, 0, 3),
                load(4, Half::High),
                if_equal(0, 0, 1),
                allow(),
                notify(),
            ],
        ),
    ];
    let others = [libc::SYS_connect, libc::SYS_sendmmsg];
    let numbers = CALLS.iter().map(|call| call.number).chain(others);
    parts.extend(numbers.map(|number| (number, vec![notify()])));
    by_number(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::tests::run;

    #[test]
    fn calls_with_a_path_or_an_address_are_stopped_and_others_are_not() {
        let program = filter();
        let stops = |number, arguments| {
            let (answer, steps) = run(&program, number, arguments);
            assert!(steps <= 20, "{number}: {steps} instructions");
            match answer {
                libc::SECCOMP_RET_USER_NOTIF => true,
                libc::SECCOMP_RET_ALLOW => false,
                other => panic!("{number}: {other:#x}"),
            }
        };
        let only = [libc::SYS_connect, libc::SYS_sendmmsg, libc::SYS_sendmsg];
        for number in 0..600 {
            let is_named = CALLS.iter().any(|call| call.number == number);
            assert_eq!(stops(number, [0; 6]), is_named || only.contains(&number), "{number}");
        }
        let empty = libc::AT_EMPTY_PATH as u64;
        assert!(!stops(libc::SYS_newfstatat, [3, 0, 0, empty, 0, 0]));
        assert!(!stops(libc::SYS_statx, [3, 0, empty, 0, 0, 0]));
        assert!(!stops(libc::SYS_sendmsg, [3, 0, HAND_OVER as u64, 0, 0, 0]));
        assert!(stops(libc::SYS_sendto, [3, 0, 0, 0, 8, 0]));
        assert!(stops(libc::SYS_sendto, [3, 0, 0, 0, 1 << 32, 0]));
    }
}
