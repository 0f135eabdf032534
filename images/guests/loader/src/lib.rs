//! The TD loader's one decision: in which pages to accept memory.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use core::ops::Range;
use tdcall::PageSize;
use tdx_abi::Status;

/// How many pages of each size were accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Accepted {
    /// 2 MiB pages.
    pub large: u64,
    /// 4 KiB pages.
    pub small: u64,
}

/// Accepts the memory `range` (4 KiB aligned) through `accept`: 2 MiB pages where the
/// range holds all of one, 4 KiB pages elsewhere and where the host mapped those.
///
/// # Errors
/// The address of the page that couldn't be accepted and why.
pub fn accept_range(
    range: Range<u64>,
    accepted: &mut Accepted,
    accept: &mut impl FnMut(u64, PageSize) -> Result<(), Status>,
) -> Result<(), (u64, Status)> {
    let large = PageSize::Size2M.bytes();
    let mut at = range.start;
    while at < range.end {
        let all_of_one = at.is_multiple_of(large) && range.end - at >= large;
        if all_of_one {
            match accept(at, PageSize::Size2M) {
                Ok(()) => {
                    accepted.large += 1;
                    at += large;
                    continue;
                }
                Err(status) if status.is(Status::PAGE_SIZE_MISMATCH) => {}
                Err(status) => return Err((at, status)),
            }
        }
        let end = range.end.min((at + 1).next_multiple_of(large));
        while at < end {
            accept(at, PageSize::Size4K).map_err(|status| (at, status))?;
            accepted.small += 1;
            at += PageSize::Size4K.bytes();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pages that were accepted, given which 2 MiB pages the host split.
    fn run(range: Range<u64>, split: &[u64]) -> (Accepted, Vec<(u64, u64)>) {
        let mut accepted = Accepted::default();
        let mut pages = Vec::new();
        accept_range(range, &mut accepted, &mut |gpa, size| {
            assert!(gpa.is_multiple_of(size.bytes()));
            if size == PageSize::Size2M && split.contains(&gpa) {
                return Err(Status::PAGE_SIZE_MISMATCH.with_details(1));
            }
            pages.push((gpa, size.bytes()));
            Ok(())
        })
        .unwrap();
        (accepted, pages)
    }

    /// Whether the pages are the range, each byte once, in order.
    fn cover(pages: &[(u64, u64)], range: Range<u64>) -> bool {
        let mut at = range.start;
        pages.iter().all(|&(gpa, size)| {
            let next = gpa == at;
            at += size;
            next
        }) && at == range.end
    }

    const M: u64 = 1 << 20;

    #[test]
    fn large_pages_where_possible() {
        let (accepted, pages) = run(0..256 * M, &[]);
        assert_eq!((accepted.large, accepted.small), (128, 0));
        assert!(cover(&pages, 0..256 * M));
    }

    #[test]
    fn small_pages_at_the_edges() {
        let range = 2 * M - 8192..6 * M + 4096;
        let (accepted, pages) = run(range.clone(), &[]);
        assert_eq!((accepted.large, accepted.small), (2, 3));
        assert!(cover(&pages, range));
        let (accepted, _) = run(4096..8192, &[]);
        assert_eq!((accepted.large, accepted.small), (0, 1));
        assert_eq!(run(4096..4096, &[]).0, Accepted::default());
    }

    #[test]
    fn small_pages_where_the_host_mapped_them() {
        let (accepted, pages) = run(0..6 * M, &[2 * M]);
        assert_eq!((accepted.large, accepted.small), (2, 512));
        assert!(cover(&pages, 0..6 * M));
    }

    #[test]
    fn other_errors_end_it() {
        let fail = |gpa: u64| {
            accept_range(0..6 * M, &mut Accepted::default(), &mut |at, _| {
                if at == gpa {
                    Err(Status::PAGE_ALREADY_ACCEPTED)
                } else if at > gpa {
                    panic!("went on after an error")
                } else {
                    Ok(())
                }
            })
        };
        assert_eq!(fail(2 * M), Err((2 * M, Status::PAGE_ALREADY_ACCEPTED)));
    }
}
