//! Executes the ops of one block. One dense match; the frequent forms have arms of their own,
//! everything else is a call.

use crate::Env;
use crate::code_cache::{Block, key};
use crate::decode::mode;
use crate::machine::Machine;
use crate::op::{Kind, Op, flag};
use crate::state::{Cpu, NO_FRAME, Stop, Trap, gpr, is_canonical};
use crate::word::Word;
use gpa::{PAGE_SHIFT, PAGE_SIZE};

const PAGE_MASK: u64 = !(PAGE_SIZE - 1);

/// How a block ended.
enum Flow {
    /// RIP is set, and the next block may follow.
    Chain,
    /// RIP is set, and the outer loop must have a look.
    Return,
    /// An op trapped; so many were left after it.
    Trap(usize),
}

impl Cpu {
    /// A general register (or the high byte of one) as an operand.
    #[inline(always)]
    pub(crate) fn reg<T: Word>(&self, number: u8) -> T {
        if T::BITS == 8 && number & crate::op::REG_HIGH != 0 {
            return T::new(self.regs[(number & 3) as usize] >> 8);
        }
        T::new(self.regs[(number & 31) as usize])
    }

    /// Writes a general register: 32 bits zero the rest, 8 and 16 keep it.
    #[inline(always)]
    pub(crate) fn set_reg<T: Word>(&mut self, number: u8, value: T) {
        let high = T::BITS == 8 && number & crate::op::REG_HIGH != 0;
        let reg = &mut self.regs[(number & if high { 3 } else { 31 }) as usize];
        let value = value.get();
        *reg = match T::BITS {
            8 if high => *reg & !0xff00 | value << 8,
            8 => *reg & !0xff | value,
            16 => *reg & !0xffff | value,
            _ => value,
        };
    }

    /// The linear address of the memory operand.
    #[inline(always)]
    pub(crate) fn address(&self, op: &Op) -> u64 {
        if op.has(flag::ODD_ADDRESS) {
            return self.odd_address(op);
        }
        self.regs[(op.base & 31) as usize]
            .wrapping_add(self.regs[(op.index & 31) as usize] << (op.scale_segment & 3))
            .wrapping_add(op.displacement as i64 as u64)
            .wrapping_add(self.seg_base[(op.segment() & 7) as usize])
    }

    /// The offset of the memory operand in its segment, cut to the address size.
    pub(crate) fn offset(&self, op: &Op) -> u64 {
        let sum = self.regs[(op.base & 31) as usize]
            .wrapping_add(self.regs[(op.index & 31) as usize] << (op.scale_segment & 3))
            .wrapping_add(op.displacement as i64 as u64);
        if op.has(flag::ADDRESS32) {
            sum & 0xffff_ffff
        } else if op.has(flag::ADDRESS16) {
            sum & 0xffff
        } else {
            sum
        }
    }

    #[cold]
    fn odd_address(&self, op: &Op) -> u64 {
        let base = self.seg_base[(op.segment() & 7) as usize];
        if op.base == crate::op::REG_ABSOLUTE {
            return self.wrap(op.immediate.wrapping_add(base));
        }
        self.wrap(self.offset(op).wrapping_add(base))
    }

    /// RIP after the op.
    #[inline(always)]
    pub(crate) fn next_rip(&self, op: &Op) -> u64 {
        self.wrap(self.regs[16].wrapping_add(op.next()))
    }

    /// Runs the block `block`, which starts at RIP and at host physical `hpa`, and the blocks
    /// that follow it as long as they are found in the cache and `budget` instructions aren't
    /// done. Sets RIP to where to go on. Gives the instructions done, in `Err` if the last one
    /// trapped: it is in `self.trapped`, RIP is at it.
    ///
    /// Nothing that could need a look between two blocks (interrupts, modes, shadows) changes
    /// in here: the instructions that change it return.
    pub(crate) fn execute<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        all: &[Op],
        block: Block,
        hpa: u64,
        budget: u64,
    ) -> Result<u64, u64> {
        let mut done = block.instructions as u64;
        // The page of the running code: linear, and where it is.
        let mut page = self.rip & PAGE_MASK;
        let mut frame = hpa & PAGE_MASK;
        let first = block.first as usize;
        let mut ops = all.get(first..first + block.ops as usize).unwrap_or(&[]);
        self.regs[16] = self.rip;
        self.running_frame = if hpa == NO_FRAME { NO_FRAME } else { frame };
        self.running_second = if block.second == 0 || hpa == NO_FRAME {
            NO_FRAME
        } else {
            (block.second as u64) << PAGE_SHIFT
        };
        loop {
            match self.execute_block(env, ops) {
                Flow::Chain => {}
                Flow::Return => return Ok(done),
                Flow::Trap(rest) => return Err(done.saturating_sub(rest as u64 + 1)),
            }
            if done >= budget {
                return Ok(done);
            }
            let rip = self.rip;
            if rip & PAGE_MASK != page {
                let Some(hpa) = self.tlb.get(rip, 1, self.mask_fetch) else {
                    return Ok(done);
                };
                page = rip & PAGE_MASK;
                frame = hpa & PAGE_MASK;
                self.running_frame = frame;
            }
            let key = key(frame | rip & !PAGE_MASK, mode::LONG);
            match env.index.find(key) {
                Some(block) if block.second == 0 => {
                    let first = block.first as usize;
                    ops = all.get(first..first + block.ops as usize).unwrap_or(&[]);
                    done += block.instructions as u64;
                }
                _ => return Ok(done),
            }
            self.regs[16] = rip;
            self.running_second = NO_FRAME;
        }
    }

    /// Runs a block that isn't in the cache: its writes concern no decoded code.
    #[inline(never)]
    #[cold]
    pub(crate) fn execute_alone<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        ops: &[Op],
        block: Block,
    ) -> Result<u64, u64> {
        self.execute(env, ops, block, NO_FRAME, 0)
    }

    /// Runs the ops of one block.
    #[inline(always)]
    fn execute_block<M: Machine>(&mut self, env: &mut Env<'_, '_, M>, ops: &[Op]) -> Flow {
        let mut rest = ops.iter();
        while let Some(op) = rest.next() {
            // What can trap.
            macro_rules! t {
                ($e:expr) => {
                    match $e {
                        Ok(value) => value,
                        Err(Trap) => {
                            self.trapped = *op;
                            self.rip = self.wrap(self.regs[16].wrapping_add(op.offset as u64));
                            return Flow::Trap(rest.len());
                        }
                    }
                };
            }
            macro_rules! jump {
                ($condition:expr) => {{
                    let to = if $condition { op.immediate } else { op.next() };
                    self.rip = self.regs[16].wrapping_add(to);
                    return Flow::Chain;
                }};
            }
            // The jump of a fused op.
            macro_rules! fused {
                () => {{
                    let to = if self.flags.condition_no_parity(op.sub) {
                        (op.immediate as i64 >> 32) as u64
                    } else {
                        op.next()
                    };
                    self.rip = self.regs[16].wrapping_add(to);
                    return Flow::Chain;
                }};
            }
            // Goes to an address that an instruction computed.
            macro_rules! go {
                ($target:expr) => {{
                    let target: u64 = $target;
                    if !is_canonical(target) {
                        t!(self.general_protection());
                    }
                    self.rip = target;
                    return Flow::Chain;
                }};
            }
            macro_rules! immediate {
                ($t:ty) => {
                    op.immediate as i32 as i64 as u64 as $t
                };
            }
            macro_rules! rr {
                ($t:ty, $f:ident) => {{
                    let r = self.flags.$f(self.reg::<$t>(op.a), self.reg(op.b));
                    self.set_reg(op.a, r);
                }};
            }
            macro_rules! ri {
                ($t:ty, $f:ident) => {{
                    let r = self.flags.$f(self.reg::<$t>(op.a), immediate!($t));
                    self.set_reg(op.a, r);
                }};
            }
            macro_rules! rm {
                ($t:ty, $f:ident) => {{
                    let y = t!(self.read::<$t, M>(env, self.address(op)));
                    let r = self.flags.$f(self.reg::<$t>(op.a), y);
                    self.set_reg(op.a, r);
                }};
            }
            macro_rules! mr {
                ($t:ty, $f:ident) => {{
                    let y = self.reg::<$t>(op.b);
                    let lock = op.has(flag::LOCK);
                    t!(self.modify::<$t, M>(env, self.address(op), lock, |f, x| f.$f(x, y)));
                }};
            }
            macro_rules! mi {
                ($t:ty, $f:ident) => {{
                    let y = immediate!($t);
                    let lock = op.has(flag::LOCK);
                    t!(self.modify::<$t, M>(env, self.address(op), lock, |f, x| f.$f(x, y)));
                }};
            }
            // Compares and tests: flags alone.
            macro_rules! frr {
                ($t:ty, $f:ident) => {{
                    self.flags.$f(self.reg::<$t>(op.a), self.reg(op.b));
                }};
            }
            macro_rules! fri {
                ($t:ty, $f:ident) => {{
                    self.flags.$f(self.reg::<$t>(op.a), immediate!($t));
                }};
            }
            macro_rules! frm {
                ($t:ty, $f:ident) => {{
                    let y = t!(self.read::<$t, M>(env, self.address(op)));
                    self.flags.$f(self.reg::<$t>(op.a), y);
                }};
            }
            macro_rules! fmr {
                ($t:ty, $f:ident) => {{
                    let x = t!(self.read::<$t, M>(env, self.address(op)));
                    self.flags.$f(x, self.reg(op.b));
                }};
            }
            macro_rules! fmi {
                ($t:ty, $f:ident) => {{
                    let x = t!(self.read::<$t, M>(env, self.address(op)));
                    self.flags.$f(x, immediate!($t));
                }};
            }
            macro_rules! load {
                ($t:ty, |$v:ident| $e:expr) => {{
                    let $v = t!(self.read::<$t, M>(env, self.address(op)));
                    self.regs[(op.a & 31) as usize] = $e;
                }};
            }
            macro_rules! shift {
                ($t:ty, $f:ident) => {{
                    let x = self.reg::<$t>(op.a);
                    let r = self.flags.$f(x, op.immediate as u32);
                    self.set_reg(op.a, r);
                }};
            }
            macro_rules! shift_cl {
                ($t:ty, $f:ident) => {{
                    let count = self.regs[gpr::RCX] as u32 & (<$t>::BITS - 1);
                    let x = self.reg::<$t>(op.a);
                    let r = if count == 0 {
                        x
                    } else {
                        self.flags.$f(x, count)
                    };
                    self.set_reg(op.a, r);
                }};
            }
            macro_rules! unary_memory {
                ($t:ty, $f:ident) => {{
                    let lock = op.has(flag::LOCK);
                    t!(self.modify::<$t, M>(env, self.address(op), lock, |f, x| f.$f(x)));
                }};
            }
            // An op that ends the block and sets RIP itself.
            macro_rules! ends {
                ($e:expr) => {{
                    t!($e);
                    return Flow::Return;
                }};
            }
            // An op after which the block ends, and RIP is the next instruction.
            macro_rules! ends_after {
                ($e:expr) => {{
                    t!($e);
                    self.rip = self.regs[16].wrapping_add(op.next());
                    return Flow::Return;
                }};
            }
            match op.kind {
                Kind::Nop => {}
                Kind::MovRr32 => self.set_reg(op.a, self.reg::<u32>(op.b)),
                Kind::MovRr64 => self.set_reg(op.a, self.reg::<u64>(op.b)),
                Kind::MovRi => self.set_reg(op.a, op.immediate),
                Kind::Load8 => {
                    let value = t!(self.read::<u8, M>(env, self.address(op)));
                    self.set_reg(op.a, value);
                }
                Kind::Load32 => load!(u32, |v| v as u64),
                Kind::Load64 => load!(u64, |v| v),
                Kind::LoadZx8 => load!(u8, |v| v as u64),
                Kind::LoadZx16 => load!(u16, |v| v as u64),
                Kind::LoadSx32 => load!(u32, |v| v.sext()),
                Kind::Store8 => t!(self.write(env, self.address(op), self.reg::<u8>(op.b))),
                Kind::Store16 => t!(self.write(env, self.address(op), self.reg::<u16>(op.b))),
                Kind::Store32 => t!(self.write(env, self.address(op), self.reg::<u32>(op.b))),
                Kind::Store64 => t!(self.write(env, self.address(op), self.reg::<u64>(op.b))),
                Kind::StoreI8 => t!(self.write(env, self.address(op), op.immediate as u8)),
                Kind::StoreI32 => t!(self.write(env, self.address(op), op.immediate as u32)),
                Kind::StoreI64 => t!(self.write(env, self.address(op), op.immediate)),
                Kind::MovzxRr8 => self.set_reg(op.a, self.reg::<u8>(op.b) as u64),
                Kind::MovzxRr16 => self.set_reg(op.a, self.reg::<u16>(op.b) as u64),
                Kind::MovsxRr32 => self.set_reg(op.a, self.reg::<u32>(op.b).sext()),
                Kind::Lea32 => self.set_reg(op.a, self.lea(op) as u32),
                Kind::Lea64 => self.set_reg(op.a, self.lea(op)),

                Kind::AddRr32 => rr!(u32, add),
                Kind::AddRr64 => rr!(u64, add),
                Kind::AddRi32 => ri!(u32, add),
                Kind::AddRi64 => ri!(u64, add),
                Kind::AddRm32 => rm!(u32, add),
                Kind::AddRm64 => rm!(u64, add),
                Kind::AddMr32 => mr!(u32, add),
                Kind::AddMr64 => mr!(u64, add),
                Kind::AddMi32 => mi!(u32, add),
                Kind::AddMi64 => mi!(u64, add),
                Kind::OrRr32 => rr!(u32, or),
                Kind::OrRr64 => rr!(u64, or),
                Kind::OrRi32 => ri!(u32, or),
                Kind::OrRi64 => ri!(u64, or),
                Kind::OrRm32 => rm!(u32, or),
                Kind::OrRm64 => rm!(u64, or),
                Kind::AndRr32 => rr!(u32, and),
                Kind::AndRr64 => rr!(u64, and),
                Kind::AndRi32 => ri!(u32, and),
                Kind::AndRi64 => ri!(u64, and),
                Kind::AndRm32 => rm!(u32, and),
                Kind::AndRm64 => rm!(u64, and),
                Kind::SubRr32 => rr!(u32, sub),
                Kind::SubRr64 => rr!(u64, sub),
                Kind::SubRi32 => ri!(u32, sub),
                Kind::SubRi64 => ri!(u64, sub),
                Kind::SubRm32 => rm!(u32, sub),
                Kind::SubRm64 => rm!(u64, sub),
                Kind::SubMi32 => mi!(u32, sub),
                Kind::XorRr32 => rr!(u32, xor),
                Kind::XorRr64 => rr!(u64, xor),
                Kind::XorRi32 => ri!(u32, xor),
                Kind::XorRi64 => ri!(u64, xor),
                Kind::XorRm32 => rm!(u32, xor),
                Kind::XorRm64 => rm!(u64, xor),

                Kind::CmpRr8 => frr!(u8, sub),
                Kind::CmpRr32 => frr!(u32, sub),
                Kind::CmpRr64 => frr!(u64, sub),
                Kind::CmpRi8 => fri!(u8, sub),
                Kind::CmpRi32 => fri!(u32, sub),
                Kind::CmpRi64 => fri!(u64, sub),
                Kind::CmpRm32 => frm!(u32, sub),
                Kind::CmpRm64 => frm!(u64, sub),
                Kind::CmpMr32 => fmr!(u32, sub),
                Kind::CmpMr64 => fmr!(u64, sub),
                Kind::CmpMi8 => fmi!(u8, sub),
                Kind::CmpMi16 => fmi!(u16, sub),
                Kind::CmpMi32 => fmi!(u32, sub),
                Kind::CmpMi64 => fmi!(u64, sub),
                Kind::TestRr8 => frr!(u8, and),
                Kind::TestRr32 => frr!(u32, and),
                Kind::TestRr64 => frr!(u64, and),
                Kind::TestRi8 => fri!(u8, and),
                Kind::TestRi32 => fri!(u32, and),
                Kind::TestRi64 => fri!(u64, and),
                Kind::TestMi8 => fmi!(u8, and),
                Kind::TestMi32 => fmi!(u32, and),

                Kind::CmpRr8Jcc => {
                    frr!(u8, sub);
                    fused!()
                }
                Kind::CmpRr32Jcc => {
                    frr!(u32, sub);
                    fused!()
                }
                Kind::CmpRr64Jcc => {
                    frr!(u64, sub);
                    fused!()
                }
                Kind::CmpRi8Jcc => {
                    fri!(u8, sub);
                    fused!()
                }
                Kind::CmpRi32Jcc => {
                    fri!(u32, sub);
                    fused!()
                }
                Kind::CmpRi64Jcc => {
                    fri!(u64, sub);
                    fused!()
                }
                Kind::CmpRm32Jcc => {
                    frm!(u32, sub);
                    fused!()
                }
                Kind::CmpRm64Jcc => {
                    frm!(u64, sub);
                    fused!()
                }
                Kind::CmpMr32Jcc => {
                    fmr!(u32, sub);
                    fused!()
                }
                Kind::CmpMr64Jcc => {
                    fmr!(u64, sub);
                    fused!()
                }
                Kind::CmpMi8Jcc => {
                    fmi!(u8, sub);
                    fused!()
                }
                Kind::CmpMi32Jcc => {
                    fmi!(u32, sub);
                    fused!()
                }
                Kind::CmpMi64Jcc => {
                    fmi!(u64, sub);
                    fused!()
                }
                Kind::TestRr8Jcc => {
                    frr!(u8, and);
                    fused!()
                }
                Kind::TestRr32Jcc => {
                    frr!(u32, and);
                    fused!()
                }
                Kind::TestRr64Jcc => {
                    frr!(u64, and);
                    fused!()
                }
                Kind::TestRi8Jcc => {
                    fri!(u8, and);
                    fused!()
                }
                Kind::TestRi32Jcc => {
                    fri!(u32, and);
                    fused!()
                }
                Kind::TestMi8Jcc => {
                    fmi!(u8, and);
                    fused!()
                }

                Kind::ShlRi32 => shift!(u32, shl),
                Kind::ShlRi64 => shift!(u64, shl),
                Kind::ShrRi32 => shift!(u32, shr),
                Kind::ShrRi64 => shift!(u64, shr),
                Kind::SarRi32 => shift!(u32, sar),
                Kind::SarRi64 => shift!(u64, sar),
                Kind::ShlRc32 => shift_cl!(u32, shl),
                Kind::ShlRc64 => shift_cl!(u64, shl),
                Kind::ShrRc32 => shift_cl!(u32, shr),
                Kind::ShrRc64 => shift_cl!(u64, shr),
                Kind::RolRi32 => shift!(u32, rol),
                Kind::RolRi64 => shift!(u64, rol),
                Kind::RorRi32 => shift!(u32, ror),
                Kind::RorRi64 => shift!(u64, ror),
                Kind::IncM32 => unary_memory!(u32, inc),
                Kind::IncM64 => unary_memory!(u64, inc),
                Kind::DecM32 => unary_memory!(u32, dec),
                Kind::DecM64 => unary_memory!(u64, dec),
                Kind::Inc32 => {
                    let r = self.flags.inc(self.reg::<u32>(op.a));
                    self.set_reg(op.a, r);
                }
                Kind::Inc64 => {
                    let r = self.flags.inc(self.reg::<u64>(op.a));
                    self.set_reg(op.a, r);
                }
                Kind::Dec32 => {
                    let r = self.flags.dec(self.reg::<u32>(op.a));
                    self.set_reg(op.a, r);
                }
                Kind::Dec64 => {
                    let r = self.flags.dec(self.reg::<u64>(op.a));
                    self.set_reg(op.a, r);
                }

                Kind::PushR64 => {
                    let value = self.reg::<u64>(op.a);
                    t!(self.push64(env, value));
                }
                Kind::PushI64 => t!(self.push64(env, op.immediate)),
                Kind::PopR64 => {
                    let rsp = self.regs[gpr::RSP];
                    let value = t!(self.read::<u64, M>(env, rsp));
                    self.regs[gpr::RSP] = rsp.wrapping_add(8);
                    self.set_reg(op.a, value);
                }

                Kind::Jmp => jump!(true),
                Kind::Jo => jump!(self.flags.of()),
                Kind::Jno => jump!(!self.flags.of()),
                Kind::Jb => jump!(self.flags.cf()),
                Kind::Jae => jump!(!self.flags.cf()),
                Kind::Je => jump!(self.flags.zf()),
                Kind::Jne => jump!(!self.flags.zf()),
                Kind::Jbe => jump!(self.flags.cf() | self.flags.zf()),
                Kind::Ja => jump!(!(self.flags.cf() | self.flags.zf())),
                Kind::Js => jump!(self.flags.sf()),
                Kind::Jns => jump!(!self.flags.sf()),
                Kind::Jp => jump!(self.flags.pf()),
                Kind::Jnp => jump!(!self.flags.pf()),
                Kind::Jl => jump!(self.flags.less()),
                Kind::Jge => jump!(!self.flags.less()),
                Kind::Jle => jump!(self.flags.zf() | self.flags.less()),
                Kind::Jg => jump!(!(self.flags.zf() | self.flags.less())),
                Kind::Call => {
                    let back = self.regs[16].wrapping_add(op.next());
                    t!(self.push64(env, back));
                    jump!(true)
                }
                Kind::Ret => {
                    let rsp = self.regs[gpr::RSP];
                    let target = t!(self.read::<u64, M>(env, rsp));
                    if is_canonical(target) {
                        self.regs[gpr::RSP] = rsp.wrapping_add(8).wrapping_add(op.immediate);
                    }
                    go!(target)
                }
                Kind::JmpR => go!(self.reg::<u64>(op.a)),
                Kind::JmpM => go!(t!(self.read::<u64, M>(env, self.address(op)))),
                Kind::CallR | Kind::CallM => {
                    let target = if op.kind == Kind::CallR {
                        self.reg::<u64>(op.a)
                    } else {
                        t!(self.read::<u64, M>(env, self.address(op)))
                    };
                    let back = self.regs[16].wrapping_add(op.next());
                    // Processors push first, so a page fault there comes before the #GP.
                    let rsp = self.regs[gpr::RSP];
                    t!(self.push64(env, back));
                    if !is_canonical(target) {
                        self.regs[gpr::RSP] = rsp;
                    }
                    go!(target)
                }
                Kind::Not32 => self.set_reg(op.a, !self.reg::<u32>(op.a)),
                Kind::Not64 => self.set_reg(op.a, !self.reg::<u64>(op.a)),
                Kind::Neg32 => {
                    let r = self.flags.sub(0, self.reg::<u32>(op.a));
                    self.set_reg(op.a, r);
                }
                Kind::Neg64 => {
                    let r = self.flags.sub(0, self.reg::<u64>(op.a));
                    self.set_reg(op.a, r);
                }
                Kind::SetccR => {
                    let value = if op.sub >> 1 == 5 {
                        self.flags.condition(op.sub)
                    } else {
                        self.flags.condition_no_parity(op.sub)
                    } as u8;
                    self.set_reg(op.a, value);
                }
                Kind::Cmov64R => {
                    if self.flags.condition(op.sub) {
                        self.set_reg(op.a, self.reg::<u64>(op.b));
                    }
                }

                Kind::Mov => t!(self.mov(env, op)),
                Kind::Movzx | Kind::Movsx => t!(self.mov_extend(env, op)),
                Kind::Lea => self.set_reg(op.a, self.lea(op) as u16),
                Kind::Alu => t!(self.alu(env, op)),
                Kind::Unary => t!(self.unary(env, op)),
                Kind::Shift => t!(self.shift(env, op)),
                Kind::ShiftDouble => t!(self.shift_double(env, op)),
                Kind::Imul => t!(self.imul(env, op)),
                Kind::ImulImmediate => t!(self.imul_immediate(env, op)),
                Kind::Wide => t!(self.wide(env, op)),
                Kind::BitTest => t!(self.bit_test(env, op)),
                Kind::BitScan => t!(self.bit_scan(env, op)),
                Kind::Bswap => self.bswap(op),
                Kind::SignExtendA => self.sign_extend_a(op),
                Kind::SignExtendD => self.sign_extend_d(op),
                Kind::Setcc => t!(self.setcc(env, op)),
                Kind::Cmov => t!(self.cmov(env, op)),
                Kind::Xchg => t!(self.xchg(env, op)),
                Kind::Xadd => t!(self.xadd(env, op)),
                Kind::Cmpxchg => t!(self.cmpxchg(env, op)),
                Kind::CmpxchgWide => t!(self.cmpxchg_wide(env, op)),
                Kind::Adx => t!(self.adx(env, op)),
                Kind::Bmi => t!(self.bmi(env, op)),
                Kind::FlagOp => self.flag_op(op),
                Kind::Push => t!(self.push_operand(env, op)),
                Kind::Pop => t!(self.pop_operand(env, op)),
                Kind::PushFlags => t!(self.push_flags(env, op)),
                Kind::Leave => t!(self.leave(env, op)),
                Kind::Enter => t!(self.enter(env, op)),
                Kind::Movs => {
                    if t!(self.movs(env, op)) {
                        continue;
                    }
                    return Flow::Return;
                }
                Kind::Stos => {
                    if t!(self.stos(env, op)) {
                        continue;
                    }
                    return Flow::Return;
                }
                Kind::Lods | Kind::Scas | Kind::Cmps => {
                    if t!(self.scan_string(env, op)) {
                        continue;
                    }
                    return Flow::Return;
                }
                Kind::Cli => t!(self.cli()),
                Kind::Swapgs => t!(self.swapgs()),
                Kind::Rdtsc => t!(self.rdtsc(env, op)),
                Kind::Rdpid => self.set_reg(op.a, self.msrs.tsc_aux),
                Kind::Rdrand => {
                    let value = env.machine.random();
                    self.rdrand(op, value);
                }
                Kind::FsGsBase => t!(self.fs_gs_base(op)),
                Kind::Sse => t!(self.sse(env, op)),
                Kind::SseMove => t!(self.sse_move(env, op)),
                Kind::X87 => t!(self.x87(env, op)),
                Kind::Crc32 => t!(self.crc32(env, op)),
                Kind::PcmpStr => t!(self.pcmpstr(env, op)),
                Kind::FpuImage => t!(self.fpu_image(env, op)),
                Kind::MxCsr => t!(self.mxcsr(env, op)),
                Kind::Xgetbv => t!(self.xgetbv()),
                Kind::Emms => t!(self.emms()),
                Kind::MaskMov => t!(self.mask_mov(env, op)),
                Kind::Flush => t!(self.cache_line_flush(env, op)),

                Kind::PopFlags => ends_after!(self.pop_flags(env, op)),
                Kind::Sti => ends_after!(self.sti()),
                Kind::Clac => ends_after!(self.set_ac(false)),
                Kind::Stac => ends_after!(self.set_ac(true)),
                Kind::Rdmsr => ends_after!(self.rdmsr(env)),
                Kind::Wrmsr => ends_after!(self.wrmsr()),
                Kind::ExitOp => ends!(self.exit_op(op)),
                Kind::Io => ends!(self.io(env, op)),
                Kind::MovCr => ends_after!(self.mov_cr(op)),
                Kind::MovDr => ends_after!(self.mov_dr(op)),
                Kind::Xsetbv => ends!(self.xsetbv(op)),
                Kind::Rare => ends_after!(self.rare(env, op)),
                Kind::Loop => ends!(self.loop_(op)),
                Kind::JmpNarrow => ends!(self.jmp_narrow(env, op)),
                Kind::CallNarrow => ends!(self.call_narrow(env, op)),
                Kind::RetNarrow => ends!(self.ret_narrow(env, op)),
                Kind::Syscall => ends!(self.syscall(op)),
                Kind::Sysret => ends!(self.sysret(op)),
                Kind::Sysenter => ends!(self.sysenter()),
                Kind::Sysexit => ends!(self.sysexit(op)),
                Kind::Iret => ends!(self.iret(env, op)),
                Kind::SoftwareInterrupt => ends!(self.software_interrupt(op)),
                Kind::FarJmp => ends!(self.far_jmp(env, op)),
                Kind::FarCall => ends!(self.far_call(env, op)),
                Kind::FarRet => ends!(self.far_ret(env, op)),
                Kind::Undefined => ends!(self.undefined()),
                Kind::Unknown => {
                    self.stop = Stop::Unknown;
                    ends!(Err(Trap))
                }
            }
        }
        let end = ops.last().map_or(0, Op::next);
        self.rip = self.regs[16].wrapping_add(end);
        Flow::Chain
    }

    #[inline(always)]
    fn lea(&self, op: &Op) -> u64 {
        if op.has(flag::ODD_ADDRESS) {
            return self.offset(op);
        }
        self.regs[(op.base & 31) as usize]
            .wrapping_add(self.regs[(op.index & 31) as usize] << (op.scale_segment & 3))
            .wrapping_add(op.displacement as i64 as u64)
    }

    /// Pushes in 64-bit mode.
    #[inline(always)]
    pub(crate) fn push64<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        value: u64,
    ) -> Result<(), Trap> {
        let rsp = self.regs[gpr::RSP].wrapping_sub(8);
        let result = self.write(env, rsp, value);
        self.on_stack(result)?;
        self.regs[gpr::RSP] = rsp;
        Ok(())
    }
}
