//! What has to go.

use std::path::Path;

use crate::Millis;

/// What blocks are measured against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// A block whose last sample is older goes.
    pub oldest: Millis,
    /// The most bytes of all blocks.
    pub bytes: Option<u64>,
    /// Bytes that the disk lacks to have its free share.
    pub lacking: u64,
}

/// Returns how many blocks, oldest first, have to go; each with its last sample and its bytes.
///
/// The newest block stays whatever the limits say: a full disk must not empty the store.
pub(crate) fn over(blocks: &[(Millis, u64)], limits: &Limits) -> usize {
    let mut total: u64 = blocks.iter().map(|(_, bytes)| bytes).sum();
    let mut lacking = limits.lacking;
    let mut count = 0;
    for (index, (last, bytes)) in blocks.iter().enumerate() {
        let is_newest = index + 1 == blocks.len();
        let is_old = *last < limits.oldest;
        let is_too_much = limits.bytes.is_some_and(|most| total > most) || lacking > 0;
        if !is_old && (!is_too_much || is_newest) {
            break;
        }
        total -= bytes;
        lacking = lacking.saturating_sub(*bytes);
        count += 1;
    }
    count
}

/// Returns how many bytes a disk lacks to have a share of it free; 0 when it cannot be asked.
pub(crate) fn lacking(directory: &Path, share: f64) -> u64 {
    let Ok(disk) = rustix::fs::statvfs(directory) else {
        return 0;
    };
    let wanted = disk.f_blocks as f64 * disk.f_frsize as f64 * share.clamp(0.0, 1.0);
    (wanted as u64).saturating_sub(disk.f_bavail * disk.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKS: [(Millis, u64); 4] = [(10, 100), (20, 100), (30, 100), (40, 100)];

    fn over_with(oldest: Millis, bytes: Option<u64>, lacking: u64) -> usize {
        over(&BLOCKS, &Limits { oldest, bytes, lacking })
    }

    #[test]
    fn the_oldest_blocks_go_by_time_by_bytes_and_by_what_the_disk_lacks() {
        assert_eq!(over_with(0, None, 0), 0);
        assert_eq!(over_with(21, None, 0), 2);
        assert_eq!(over_with(0, Some(250), 0), 2);
        assert_eq!(over_with(0, None, 101), 2);
        assert_eq!(over_with(11, Some(250), 101), 2);
    }

    #[test]
    fn the_newest_block_goes_only_by_time() {
        assert_eq!(over_with(0, Some(0), u64::MAX), 3);
        assert_eq!(over_with(41, None, 0), 4);
    }
}
