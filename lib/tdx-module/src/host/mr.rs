//! TDH.MR.*: measurement at build time.

use gpa::Hpa;
use memory::PhysMemory;
use tdx_abi::{HostLeaf, OpState, Operand, Status, sept};

use crate::call::{Call, is_valid_gpa, leaf_hpa};
use crate::lock::Mode;
use crate::machine::{Machine, reg::*};
use crate::measure::{self, BLOCK};
use crate::module::{Done, SUCCESS};
use crate::page::tdcs_offset;

impl<M: Machine> Call<'_, M> {
    pub fn mr_extend(&mut self) -> Result<Done, Status> {
        let leaf = HostLeaf::MrExtend;
        let (gpa, tdr) = self.take_mapping();
        let td = self.lock_td(tdr, Operand::RDX, Mode::Exclusive, None, leaf)?;
        if gpa & 255 != 0 || !is_valid_gpa(gpa, td.tdcs.gpaw(), true) {
            return Err(Status::OPERAND_INVALID.with(Operand::RCX));
        }
        let walk = self.walk_to_leaf(td.tdcs, gpa)?;
        if !sept::host_leaf_allows(leaf, walk.state()) {
            return Err(Status::EPT_ENTRY_NOT_PRESENT);
        }
        let mut blocks = [measure::mr_extend(gpa), [0; BLOCK], [0; BLOCK]];
        let hpa = Hpa::new(leaf_hpa(walk.entry, gpa, walk.level));
        self.mem().read_bytes(hpa, blocks[1..].as_flattened_mut());
        measure::extend(td.tdcs, &blocks);
        SUCCESS
    }

    pub fn mr_finalize(&mut self) -> Result<Done, Status> {
        let leaf = HostLeaf::MrFinalize;
        let td = self.lock_td(self.r[RCX], Operand::RCX, Mode::Exclusive, None, leaf)?;
        if td.tdcs.num_vcpus() == 0 {
            return Err(Status::NO_VCPUS);
        }
        measure::finalize(td.tdcs);
        td.tdcs.set_measurement(tdcs_offset::SERVTD_HASH, &[0; 48]);
        td.tdcs.set_op_state(OpState::Runnable);
        SUCCESS
    }
}
