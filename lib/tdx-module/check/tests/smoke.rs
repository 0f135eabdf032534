//! A TD from creation to teardown.

use tdx_abi::{GuestLeaf, HostLeaf, PageType};
use tdx_module::reg::*;
use tdx_module_check::{Bed, Ways, invariant};

const LEN: u64 = 16 << 20;

#[test]
fn a_td_lives_and_dies() {
    let mut bed = Bed::ready();
    let tdr = bed.init_td(40, Ways::default());
    bed.tables_to(tdr, 0, 0);
    let (page, source) = (bed.page(), 0x30_0000);
    let add = [(RCX, 0), (RDX, tdr), (R8, page), (R9, source)];
    bed.must(0, HostLeaf::MemPageAdd, &add);
    for chunk in 0..16 {
        bed.must(0, HostLeaf::MrExtend, &[(RCX, chunk << 8), (RDX, tdr)]);
    }
    let vcpu = bed.new_vcpu(0, tdr);
    bed.must(0, HostLeaf::MrFinalize, &[(RCX, tdr)]);
    let second = bed.page();
    let aug = [(RCX, 0x1000), (RDX, tdr), (R8, second)];
    bed.must(0, HostLeaf::MemPageAug, &aug);
    invariant::check(&mut bed, 0, LEN);
    let entry = bed.enter(0, vcpu).expect("the vCPU can be entered");
    assert_eq!(entry.tdvpr, vcpu);
    let (_, status) = bed.tdcall(0, GuestLeaf::MemPageAccept, &[(RCX, 0x1000)]);
    assert!(status.is_success(), "{status}");
    assert!(bed.leave(0).is_some());
    bed.must(0, HostLeaf::MemRangeBlock, &[(RCX, 0x1000), (RDX, tdr)]);
    bed.must(0, HostLeaf::MemTrack, &[(RCX, tdr)]);
    bed.must(0, HostLeaf::MemPageRemove, &[(RCX, 0x1000), (RDX, tdr)]);
    invariant::check(&mut bed, 0, LEN);
    bed.must(0, HostLeaf::VpFlush, &[(RCX, vcpu)]);
    bed.must(0, HostLeaf::MngVpflushdone, &[(RCX, tdr)]);
    for lp in [0, 2] {
        let mut first = true;
        loop {
            let (status, _) = bed.call(lp, HostLeaf::PhymemCacheWb, &[(RCX, u64::from(!first))]);
            first = false;
            if status.is_success() {
                break;
            }
        }
    }
    bed.must(0, HostLeaf::MngKeyFreeid, &[(RCX, tdr)]);
    for (at, meta) in invariant::pages(&mut bed, 0, LEN) {
        if meta.page_type != PageType::Tdr as u64 {
            bed.must(0, HostLeaf::PhymemPageReclaim, &[(RCX, at)]);
        }
    }
    bed.must(0, HostLeaf::PhymemPageReclaim, &[(RCX, tdr)]);
    assert!(invariant::pages(&mut bed, 0, LEN).is_empty());
}
