//! Programs that decide about system calls.
//!
//! When a filter is installed the kernel runs it once for every number of a system call, to learn
//! which it always allows (`seccomp_cache_prepare` in `kernel/seccomp.c`). A program that compares
//! one number after the other makes that cost more than starting a shell, for each step anew. So
//! the numbers are found by halving.

use nix::libc::{self, sock_filter};

/// A program for the kernel's packet filter, as `seccomp` takes it.
pub(crate) type Program = Vec<sock_filter>;

/// Where `struct seccomp_data` has the architecture.
const ARCHITECTURE: u32 = 4;

#[cfg(target_arch = "x86_64")]
const OURS: u32 = 0xc000_003e; // AUDIT_ARCH_X86_64
#[cfg(target_arch = "aarch64")]
const OURS: u32 = 0xc000_00b7; // AUDIT_ARCH_AARCH64

/// The numbers of the x32 calls begin here.
const X32: u32 = 0x4000_0000;

/// Which half of an argument is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Half {
    /// The lower 32 bits.
    Low,
    /// The upper 32 bits.
    High,
}

/// Loads half of an argument.
pub(crate) fn load(argument: u32, half: Half) -> sock_filter {
    let is_second = matches!(half, Half::High) != cfg!(target_endian = "big");
    load_at(16 + 8 * argument + if is_second { 4 } else { 0 })
}

/// Loads the number of the call.
fn load_number() -> sock_filter {
    load_at(0)
}

fn load_at(offset: u32) -> sock_filter {
    code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
}

/// Skips so many instructions if what was loaded is this value, or else so many.
pub(crate) fn if_equal(value: u32, then: u8, or_else: u8) -> sock_filter {
    code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, then, or_else, value)
}

/// Skips so many instructions if what was loaded has one of these bits, or else so many.
pub(crate) fn if_any(bits: u32, then: u8, or_else: u8) -> sock_filter {
    code(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, then, or_else, bits)
}

fn if_at_least(value: u32, then: u8, or_else: u8) -> sock_filter {
    code(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, then, or_else, value)
}

/// Answers the call.
pub(crate) fn answer(action: u32) -> sock_filter {
    code(libc::BPF_RET | libc::BPF_K, 0, 0, action)
}

/// Lets the call through.
pub(crate) fn allow() -> sock_filter {
    answer(libc::SECCOMP_RET_ALLOW)
}

/// Fails the call with an error number.
pub(crate) fn fail(errno: i32) -> sock_filter {
    answer(libc::SECCOMP_RET_ERRNO | errno as u32)
}

fn code(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

/// Puts before a program what kills who calls in the form of another architecture, and says "no
/// such call" to the numbers of x32, which would pass by the others.
pub(crate) fn guarded(program: Program) -> Program {
    let mut guarded = vec![
        load_at(ARCHITECTURE),
        if_equal(OURS, 1, 0),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
        load_number(),
        if_at_least(X32, 0, 1),
        fail(libc::ENOSYS),
    ];
    guarded.extend(program);
    guarded
}

/// Decides by the number of the call: with its own part of a program, which must answer, or by
/// letting it through.
///
/// Of several parts for a number the first counts.
pub(crate) fn by_number(mut parts: Vec<(i64, Program)>) -> Program {
    parts.sort_by_key(|(number, _)| *number);
    parts.dedup_by_key(|(number, _)| *number);
    let mut program = vec![load_number()];
    program.extend(halved(&parts));
    program
}

fn halved(parts: &[(i64, Program)]) -> Program {
    match parts {
        [] => vec![allow()],
        [(number, part)] => {
            let mut program = vec![if_equal(*number as u32, 0, part.len() as u8)];
            program.extend(part);
            program.push(allow());
            program
        }
        _ => {
            let (lower, upper) = parts.split_at(parts.len() / 2);
            let (lower, first) = (halved(lower), upper[0].0 as u32);
            let mut program = match u8::try_from(lower.len()) {
                Ok(over) => vec![if_at_least(first, over, 0)],
                Err(_) => vec![if_at_least(first, 0, 1), skip(lower.len() as u32)],
            };
            program.extend(lower);
            program.extend(halved(upper));
            program
        }
    }
}

fn skip(count: u32) -> sock_filter {
    code(libc::BPF_JMP | libc::BPF_JA, 0, 0, count)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Runs a program as the kernel would; returns its answer and how many instructions it took.
    pub(crate) fn run(program: &[sock_filter], number: i64, arguments: [u64; 6]) -> (u32, usize) {
        let mut data = Vec::new();
        data.extend((number as u32).to_ne_bytes());
        data.extend(OURS.to_ne_bytes());
        data.extend(0_u64.to_ne_bytes());
        data.extend(arguments.iter().flat_map(|argument| argument.to_ne_bytes()));
        let (mut at, mut loaded) = (0, 0_u32);
        for count in 1.. {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let mut jump = |holds: bool| at += usize::from(if holds { jt } else { jf });
            match u32::from(code) {
                0x20 => {
                    let bytes = data[k as usize..k as usize + 4].try_into().expect("four bytes");
                    loaded = u32::from_ne_bytes(bytes);
                }
                0x05 => at += k as usize,
                0x15 => jump(loaded == k),
                0x35 => jump(loaded >= k),
                0x45 => jump(loaded & k != 0),
                0x06 => return (k, count),
                other => panic!("no instruction of ours: {other:#x}"),
            }
        }
        unreachable!("a program ends")
    }

    #[test]
    fn every_number_finds_its_part_in_a_few_instructions() {
        for count in [0, 1, 2, 3, 50, 400] {
            let own = |number: i64| number % 3 == 1 && number / 3 < count;
            let parts = (0..count).map(|at| (3 * at + 1, vec![fail(1)])).rev().collect();
            let program = by_number(parts);
            for number in 0..3 * count + 5 {
                let (answer, steps) = run(&program, number, [0; 6]);
                let expected = if own(number) { fail(1).k } else { libc::SECCOMP_RET_ALLOW };
                assert_eq!(answer, expected, "{number} of {count}");
                assert!(steps <= 24, "{number} of {count}: {steps} instructions");
            }
        }
    }

    #[test]
    fn other_architectures_are_killed_and_x32_is_not_there() {
        let program = guarded(by_number(Vec::new()));
        assert_eq!(run(&program, 1, [0; 6]).0, libc::SECCOMP_RET_ALLOW);
        assert_eq!(run(&program, i64::from(X32) + 1, [0; 6]).0, fail(libc::ENOSYS).k);
        let mut foreign = program;
        foreign[1].k ^= 1;
        assert_eq!(run(&foreign, 1, [0; 6]).0, libc::SECCOMP_RET_KILL_PROCESS);
    }
}
