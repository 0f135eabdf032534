//! What each op does: a function for each kind, which ends by going on to the next op's.
//!
//! Each function has the machine's registers to itself, and the jump to the next one is a tail
//! call: nothing is kept on the stack between two ops. (Where a compiler makes it a plain call,
//! a block's few ops are what it nests.)

use crate::Env;
use crate::exec::Flow;
use crate::flags::Flags;
use crate::machine::Machine;
use crate::op::{Kind, Op, flag};
use crate::state::{Cpu, Stop, Trap, gpr, is_canonical};
use crate::word::Word;

/// Runs an op, and then the rest of its block.
type Handler<M> = fn(&mut Cpu, &mut Env<'_, '_, M>, &Op, &[Op]) -> Flow;

/// Runs the ops of one block.
#[inline(always)]
pub(crate) fn start<M: Machine>(cpu: &mut Cpu, env: &mut Env<'_, '_, M>, ops: &[Op]) -> Flow {
    match ops.split_first() {
        Some((op, rest)) => Handlers::<M>::TABLE[op.kind as usize](cpu, env, op, rest),
        None => Flow::RETURN,
    }
}

/// Goes on behind `op`.
#[inline(always)]
fn next<M: Machine>(cpu: &mut Cpu, env: &mut Env<'_, '_, M>, op: &Op, rest: &[Op]) -> Flow {
    match rest.split_first() {
        Some((op, rest)) => Handlers::<M>::TABLE[op.kind as usize](cpu, env, op, rest),
        None => {
            cpu.rip = cpu.regs[16].wrapping_add(op.next());
            // Outside of 64-bit mode the outer loop cuts it.
            Flow::CHAIN
        }
    }
}

/// `op` trapped.
#[cold]
#[inline(never)]
fn trapped(cpu: &mut Cpu, op: &Op) -> Flow {
    cpu.trapped = *op;
    cpu.rip = cpu.wrap(cpu.regs[16].wrapping_add(op.offset as u64));
    Flow::TRAP.leaving(op.place.instructions_after() + op.instructions())
}

/// The handlers of a machine's CPUs.
struct Handlers<M>(core::marker::PhantomData<M>);

/// Makes the table. Each line is a kind and what it does: `run` can't trap, `try` can, `branch`
/// leaves the block for an offset from its start, or goes on; `end` ends it and says how.
/// `after` and `leave` end it for a look of the outer loop, `string` may.
macro_rules! table {
    (($cpu:ident, $env:ident, $op:ident), $($how:ident $($kind:ident)|+ => $body:expr;)*) => {{
        let mut table: [Handler<M>; Kind::COUNT] = [undefined; Kind::COUNT];
        $($(table[Kind::$kind as usize] = |$cpu, $env, $op, rest| {
            let _ = (&$env, rest); // Not every op needs them.
            table!(@$how $cpu, $env, $op, rest, $body)
        };)+)*
        table
    }};
    (@run $cpu:ident, $env:ident, $op:ident, $rest:ident, $body:expr) => {{
        $body;
        next($cpu, $env, $op, $rest)
    }};
    (@try $cpu:ident, $env:ident, $op:ident, $rest:ident, $body:expr) => {
        match $body {
            Ok(_) => next($cpu, $env, $op, $rest),
            Err(Trap) => trapped($cpu, $op),
        }
    };
    (@branch $cpu:ident, $env:ident, $op:ident, $rest:ident, $body:expr) => {
        match $body {
            Ok(Some(target)) => {
                $cpu.rip = $cpu.regs[16].wrapping_add(target);
                Flow::CHAIN.leaving($op.place.instructions_after())
            }
            Ok(None) => next($cpu, $env, $op, $rest),
            Err(Trap) => trapped($cpu, $op),
        }
    };
    (@end $cpu:ident, $env:ident, $op:ident, $rest:ident, $body:expr) => {{
        match $body {
            Ok(flow) => flow,
            Err(Trap) => trapped($cpu, $op),
        }
    }};
    // The block ends, and the outer loop has a look: at the next instruction…
    (@after $cpu:ident, $env:ident, $op:ident, $rest:ident, $body:expr) => {
        match $body {
            Ok(_) => {
                $cpu.rip = $cpu.regs[16].wrapping_add($op.next());
                Flow::RETURN
            }
            Err(Trap) => trapped($cpu, $op),
        }
    };
    // …or where the instruction has set RIP to.
    (@leave $cpu:ident, $env:ident, $op:ident, $rest:ident, $body:expr) => {
        match $body {
            Ok(()) => Flow::RETURN,
            Err(Trap) => trapped($cpu, $op),
        }
    };
    // A string instruction: complete, or to be looked at in between.
    (@string $cpu:ident, $env:ident, $op:ident, $rest:ident, $body:expr) => {
        match $body {
            Ok(true) => next($cpu, $env, $op, $rest),
            Ok(false) => Flow::RETURN.leaving($op.place.instructions_after()),
            Err(Trap) => trapped($cpu, $op),
        }
    };
}

fn undefined<M>(cpu: &mut Cpu, _: &mut Env<'_, '_, M>, op: &Op, _: &[Op]) -> Flow {
    let _ = cpu.undefined::<()>();
    trapped(cpu, op)
}

impl<M: Machine> Handlers<M> {
    #[rustfmt::skip]
    const TABLE: [Handler<M>; Kind::COUNT] = table! { (cpu, env, op),
        try Nop => Ok::<_, Trap>(());
        run MovRr32 => cpu.set_reg(op.a, cpu.reg::<u32>(op.b));
        run MovRr64 => cpu.set_reg(op.a, cpu.reg::<u64>(op.b));
        run MovRi => cpu.set_reg(op.a, op.immediate);
        try Load8 => cpu.load::<u8, u8, M>(env, op, |v| v);
        try Load32 => cpu.load::<u32, u64, M>(env, op, |v| v as u64);
        try Load64 => cpu.load::<u64, u64, M>(env, op, |v| v);
        try LoadZx8 => cpu.load::<u8, u64, M>(env, op, |v| v as u64);
        try LoadZx16 => cpu.load::<u16, u64, M>(env, op, |v| v as u64);
        try LoadSx32 => cpu.load::<u32, u64, M>(env, op, |v| v.sext());
        try Store8 => cpu.write(env, cpu.address(op), cpu.reg::<u8>(op.b));
        try Store16 => cpu.write(env, cpu.address(op), cpu.reg::<u16>(op.b));
        try Store32 => cpu.write(env, cpu.address(op), cpu.reg::<u32>(op.b));
        try Store64 => cpu.write(env, cpu.address(op), cpu.reg::<u64>(op.b));
        try StoreI8 => cpu.write(env, cpu.address(op), op.immediate as u8);
        try StoreI32 => cpu.write(env, cpu.address(op), op.immediate as u32);
        try StoreI64 => cpu.write(env, cpu.address(op), op.immediate);
        run MovzxRr8 => cpu.set_reg(op.a, cpu.reg::<u8>(op.b) as u64);
        run MovzxRr16 => cpu.set_reg(op.a, cpu.reg::<u16>(op.b) as u64);
        run MovsxRr32 => cpu.set_reg(op.a, cpu.reg::<u32>(op.b).sext());
        run Lea32 => cpu.set_reg(op.a, cpu.lea(op) as u32);
        run Lea64 => cpu.set_reg(op.a, cpu.lea(op));
        run Lea => cpu.set_reg(op.a, cpu.lea(op) as u16);

        run AddRr32 => cpu.rr(op, Flags::add::<u32>);
        run AddRr64 => cpu.rr(op, Flags::add::<u64>);
        run AddRi32 => cpu.ri(op, Flags::add::<u32>);
        run AddRi64 => cpu.ri(op, Flags::add::<u64>);
        try AddRm32 => cpu.rm(env, op, Flags::add::<u32>);
        try AddRm64 => cpu.rm(env, op, Flags::add::<u64>);
        try AddMr32 => cpu.mr(env, op, Flags::add::<u32>);
        try AddMr64 => cpu.mr(env, op, Flags::add::<u64>);
        try AddMi32 => cpu.mi(env, op, Flags::add::<u32>);
        try AddMi64 => cpu.mi(env, op, Flags::add::<u64>);

        run OrRr32 => cpu.rr(op, Flags::or::<u32>);
        run OrRr64 => cpu.rr(op, Flags::or::<u64>);
        run OrRi32 => cpu.ri(op, Flags::or::<u32>);
        run OrRi64 => cpu.ri(op, Flags::or::<u64>);
        try OrRm32 => cpu.rm(env, op, Flags::or::<u32>);
        try OrRm64 => cpu.rm(env, op, Flags::or::<u64>);

        run AndRr32 => cpu.rr(op, Flags::and::<u32>);
        run AndRr64 => cpu.rr(op, Flags::and::<u64>);
        run AndRi32 => cpu.ri(op, Flags::and::<u32>);
        run AndRi64 => cpu.ri(op, Flags::and::<u64>);
        try AndRm32 => cpu.rm(env, op, Flags::and::<u32>);
        try AndRm64 => cpu.rm(env, op, Flags::and::<u64>);

        run SubRr32 => cpu.rr(op, Flags::sub::<u32>);
        run SubRr64 => cpu.rr(op, Flags::sub::<u64>);
        run SubRi32 => cpu.ri(op, Flags::sub::<u32>);
        run SubRi64 => cpu.ri(op, Flags::sub::<u64>);
        try SubRm32 => cpu.rm(env, op, Flags::sub::<u32>);
        try SubRm64 => cpu.rm(env, op, Flags::sub::<u64>);
        try SubMi32 => cpu.mi(env, op, Flags::sub::<u32>);

        run XorRr32 => cpu.rr(op, Flags::xor::<u32>);
        run XorRr64 => cpu.rr(op, Flags::xor::<u64>);
        run XorRi32 => cpu.ri(op, Flags::xor::<u32>);
        run XorRi64 => cpu.ri(op, Flags::xor::<u64>);
        try XorRm32 => cpu.rm(env, op, Flags::xor::<u32>);
        try XorRm64 => cpu.rm(env, op, Flags::xor::<u64>);

        run CmpRr8 => cpu.compare_rr(op, Flags::sub::<u8>);
        run CmpRr32 => cpu.compare_rr(op, Flags::sub::<u32>);
        run CmpRr64 => cpu.compare_rr(op, Flags::sub::<u64>);
        run CmpRi8 => cpu.compare_ri(op, Flags::sub::<u8>);
        run CmpRi32 => cpu.compare_ri(op, Flags::sub::<u32>);
        run CmpRi64 => cpu.compare_ri(op, Flags::sub::<u64>);
        try CmpRm32 => cpu.compare_rm(env, op, Flags::sub::<u32>);
        try CmpRm64 => cpu.compare_rm(env, op, Flags::sub::<u64>);
        try CmpMr32 => cpu.compare_mr(env, op, Flags::sub::<u32>);
        try CmpMr64 => cpu.compare_mr(env, op, Flags::sub::<u64>);
        try CmpMi8 => cpu.compare_mi(env, op, Flags::sub::<u8>);
        try CmpMi16 => cpu.compare_mi(env, op, Flags::sub::<u16>);
        try CmpMi32 => cpu.compare_mi(env, op, Flags::sub::<u32>);
        try CmpMi64 => cpu.compare_mi(env, op, Flags::sub::<u64>);
        run TestRr8 => cpu.compare_rr(op, Flags::and::<u8>);
        run TestRr32 => cpu.compare_rr(op, Flags::and::<u32>);
        run TestRr64 => cpu.compare_rr(op, Flags::and::<u64>);
        run TestRi8 => cpu.compare_ri(op, Flags::and::<u8>);
        run TestRi32 => cpu.compare_ri(op, Flags::and::<u32>);
        run TestRi64 => cpu.compare_ri(op, Flags::and::<u64>);
        try TestMi8 => cpu.compare_mi(env, op, Flags::and::<u8>);
        try TestMi32 => cpu.compare_mi(env, op, Flags::and::<u32>);

        branch CmpRr8Jcc => { cpu.compare_rr(op, Flags::sub::<u8>); Ok(cpu.fused(op)) };
        branch CmpRr32Jcc => { cpu.compare_rr(op, Flags::sub::<u32>); Ok(cpu.fused(op)) };
        branch CmpRr64Jcc => { cpu.compare_rr(op, Flags::sub::<u64>); Ok(cpu.fused(op)) };
        branch CmpRi8Jcc => { cpu.compare_ri(op, Flags::sub::<u8>); Ok(cpu.fused(op)) };
        branch CmpRi32Jcc => { cpu.compare_ri(op, Flags::sub::<u32>); Ok(cpu.fused(op)) };
        branch CmpRi64Jcc => { cpu.compare_ri(op, Flags::sub::<u64>); Ok(cpu.fused(op)) };
        branch CmpRm32Jcc => cpu.compare_rm(env, op, Flags::sub::<u32>).map(|()| cpu.fused(op));
        branch CmpRm64Jcc => cpu.compare_rm(env, op, Flags::sub::<u64>).map(|()| cpu.fused(op));
        branch CmpMr32Jcc => cpu.compare_mr(env, op, Flags::sub::<u32>).map(|()| cpu.fused(op));
        branch CmpMr64Jcc => cpu.compare_mr(env, op, Flags::sub::<u64>).map(|()| cpu.fused(op));
        branch CmpMi8Jcc => cpu.compare_mi(env, op, Flags::sub::<u8>).map(|()| cpu.fused(op));
        branch CmpMi32Jcc => cpu.compare_mi(env, op, Flags::sub::<u32>).map(|()| cpu.fused(op));
        branch CmpMi64Jcc => cpu.compare_mi(env, op, Flags::sub::<u64>).map(|()| cpu.fused(op));
        branch TestRr8Jcc => { cpu.compare_rr(op, Flags::and::<u8>); Ok(cpu.fused(op)) };
        branch TestRr32Jcc => { cpu.compare_rr(op, Flags::and::<u32>); Ok(cpu.fused(op)) };
        branch TestRr64Jcc => { cpu.compare_rr(op, Flags::and::<u64>); Ok(cpu.fused(op)) };
        branch TestRi8Jcc => { cpu.compare_ri(op, Flags::and::<u8>); Ok(cpu.fused(op)) };
        branch TestRi32Jcc => { cpu.compare_ri(op, Flags::and::<u32>); Ok(cpu.fused(op)) };
        branch TestMi8Jcc => cpu.compare_mi(env, op, Flags::and::<u8>).map(|()| cpu.fused(op));

        run ShlRi32 => cpu.shift_ri(op, Flags::shl::<u32>);
        run ShlRi64 => cpu.shift_ri(op, Flags::shl::<u64>);
        run ShrRi32 => cpu.shift_ri(op, Flags::shr::<u32>);
        run ShrRi64 => cpu.shift_ri(op, Flags::shr::<u64>);
        run SarRi32 => cpu.shift_ri(op, Flags::sar::<u32>);
        run SarRi64 => cpu.shift_ri(op, Flags::sar::<u64>);
        run RolRi32 => cpu.shift_ri(op, Flags::rol::<u32>);
        run RolRi64 => cpu.shift_ri(op, Flags::rol::<u64>);
        run RorRi32 => cpu.shift_ri(op, Flags::ror::<u32>);
        run RorRi64 => cpu.shift_ri(op, Flags::ror::<u64>);
        run ShlRc32 => cpu.shift_rc(op, Flags::shl::<u32>);
        run ShlRc64 => cpu.shift_rc(op, Flags::shl::<u64>);
        run ShrRc32 => cpu.shift_rc(op, Flags::shr::<u32>);
        run ShrRc64 => cpu.shift_rc(op, Flags::shr::<u64>);
        run Inc32 => cpu.unary_r(op, Flags::inc::<u32>);
        try IncM32 => cpu.unary_m(env, op, Flags::inc::<u32>);
        run Inc64 => cpu.unary_r(op, Flags::inc::<u64>);
        try IncM64 => cpu.unary_m(env, op, Flags::inc::<u64>);
        run Dec32 => cpu.unary_r(op, Flags::dec::<u32>);
        try DecM32 => cpu.unary_m(env, op, Flags::dec::<u32>);
        run Dec64 => cpu.unary_r(op, Flags::dec::<u64>);
        try DecM64 => cpu.unary_m(env, op, Flags::dec::<u64>);
        run Not32 => cpu.unary_r(op, |_, x: u32| !x);
        run Neg32 => cpu.unary_r(op, |f, x: u32| f.sub(0, x));
        run Not64 => cpu.unary_r(op, |_, x: u64| !x);
        run Neg64 => cpu.unary_r(op, |f, x: u64| f.sub(0, x));

        try PushR64 => cpu.push64(env, cpu.reg::<u64>(op.a));
        try PushI64 => cpu.push64(env, op.immediate);
        try PopR64 => cpu.pop64(env, op);

        end Jmp => Ok(cpu.jump(op));
        branch Jo => Ok(op.target(cpu.flags.of()));
        branch Jno => Ok(op.target(!cpu.flags.of()));
        branch Jb => Ok(op.target(cpu.flags.cf()));
        branch Jae => Ok(op.target(!cpu.flags.cf()));
        branch Je => Ok(op.target(cpu.flags.zf()));
        branch Jne => Ok(op.target(!cpu.flags.zf()));
        branch Jbe => Ok(op.target(cpu.flags.cf() | cpu.flags.zf()));
        branch Ja => Ok(op.target(!(cpu.flags.cf() | cpu.flags.zf())));
        branch Js => Ok(op.target(cpu.flags.sf()));
        branch Jns => Ok(op.target(!cpu.flags.sf()));
        branch Jp => Ok(op.target(cpu.flags.pf()));
        branch Jnp => Ok(op.target(!cpu.flags.pf()));
        branch Jl => Ok(op.target(cpu.flags.less()));
        branch Jge => Ok(op.target(!cpu.flags.less()));
        branch Jle => Ok(op.target(cpu.flags.zf() | cpu.flags.less()));
        branch Jg => Ok(op.target(!(cpu.flags.zf() | cpu.flags.less())));
        end Call => cpu.call(env, op);
        end Ret => cpu.ret(env, op);
        end JmpR => cpu.go(cpu.reg::<u64>(op.a));
        end JmpM => cpu.read(env, cpu.address(op)).and_then(|to| cpu.go(to));
        end CallR => cpu.call_to(env, op, cpu.reg::<u64>(op.a));
        end CallM => cpu.read(env, cpu.address(op)).and_then(|to| cpu.call_to(env, op, to));

        run SetccR => cpu.setcc_r(op);
        run Cmov64R => if cpu.flags.condition(op.sub) { cpu.set_reg(op.a, cpu.reg::<u64>(op.b)) };
        try Mov => cpu.mov(env, op);
        try Movzx | Movsx => cpu.mov_extend(env, op);
        try Alu => cpu.alu(env, op);
        try Unary => cpu.unary(env, op);
        try Shift => cpu.shift(env, op);
        try ShiftDouble => cpu.shift_double(env, op);
        try Imul => cpu.imul(env, op);
        try ImulImmediate => cpu.imul_immediate(env, op);
        try Wide => cpu.wide(env, op);
        try BitTest => cpu.bit_test(env, op);
        try BitScan => cpu.bit_scan(env, op);
        run Bswap => cpu.bswap(op);
        run SignExtendA => cpu.sign_extend_a(op);
        run SignExtendD => cpu.sign_extend_d(op);
        try Setcc => cpu.setcc(env, op);
        try Cmov => cpu.cmov(env, op);
        try Xchg => cpu.xchg(env, op);
        try Xadd => cpu.xadd(env, op);
        try Cmpxchg => cpu.cmpxchg(env, op);
        try CmpxchgWide => cpu.cmpxchg_wide(env, op);
        try Adx => cpu.adx(env, op);
        try Bmi => cpu.bmi(env, op);
        run FlagOp => cpu.flag_op(op);
        try Push => cpu.push_operand(env, op);
        try Pop => cpu.pop_operand(env, op);
        try PushFlags => cpu.push_flags(env, op);
        try Leave => cpu.leave(env, op);
        try Enter => cpu.enter(env, op);
        string Movs => cpu.movs(env, op);
        string Stos => cpu.stos(env, op);
        string Lods | Scas | Cmps => cpu.scan_string(env, op);
        try Cli => cpu.cli();
        try Swapgs => cpu.swapgs();
        try Rdtsc => cpu.rdtsc(env, op);
        run Rdpid => cpu.set_reg(op.a, cpu.msrs.tsc_aux);
        run Rdrand => { let value = env.machine.random(); cpu.rdrand(op, value) };
        try FsGsBase => cpu.fs_gs_base(op);
        try Sse => cpu.sse(env, op);
        try SseMove => cpu.sse_move(env, op);
        try X87 => cpu.x87(env, op);
        try Crc32 => cpu.crc32(env, op);
        try PcmpStr => cpu.pcmpstr(env, op);
        try FpuImage => cpu.fpu_image(env, op);
        try MxCsr => cpu.mxcsr(env, op);
        try Xgetbv => cpu.xgetbv();
        try Emms => cpu.emms();
        try MaskMov => cpu.mask_mov(env, op);
        try Flush => cpu.cache_line_flush(env, op);

        after PopFlags => cpu.pop_flags(env, op);
        after Sti => cpu.sti();
        after Clac => cpu.set_ac(false);
        after Stac => cpu.set_ac(true);
        after Rdmsr => cpu.rdmsr(env);
        after Wrmsr => cpu.wrmsr();
        after MovCr => cpu.mov_cr(op);
        after MovDr => cpu.mov_dr(op);
        after Rare => cpu.rare(env, op);
        leave ExitOp => cpu.exit_op(op);
        leave Io => cpu.io(env, op);
        leave Xsetbv => cpu.xsetbv(op);
        leave Loop => cpu.loop_(op);
        leave JmpNarrow => cpu.jmp_narrow(env, op);
        leave CallNarrow => cpu.call_narrow(env, op);
        leave RetNarrow => cpu.ret_narrow(env, op);
        leave Syscall => cpu.syscall(op);
        leave Sysret => cpu.sysret(op);
        leave Sysenter => cpu.sysenter();
        leave Sysexit => cpu.sysexit(op);
        leave Iret => cpu.iret(env, op);
        leave SoftwareInterrupt => cpu.software_interrupt(op);
        leave FarJmp => cpu.far_jmp(env, op);
        leave FarCall => cpu.far_call(env, op);
        leave FarRet => cpu.far_ret(env, op);
        leave Undefined => cpu.undefined();
        leave Unknown => { cpu.stop = Stop::Unknown; Err(Trap) };
    };
}

/// The immediate of arithmetic: 32 bits, sign-extended.
#[inline(always)]
fn immediate<T: Word>(op: &Op) -> T {
    T::new(op.immediate as i32 as i64 as u64)
}

/// The forms: `r` register, `i` immediate, `m` memory, the destination first.
impl Cpu {
    #[inline(always)]
    fn load<T: Word, D: Word, M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
        extend: impl Fn(T) -> D,
    ) -> Result<(), Trap> {
        let value = self.read(env, self.address(op))?;
        self.set_reg(op.a, extend(value));
        Ok(())
    }

    #[inline(always)]
    fn rr<T: Word>(&mut self, op: &Op, f: impl Fn(&mut Flags, T, T) -> T) {
        let (x, y) = (self.reg(op.a), self.reg(op.b));
        let r = f(&mut self.flags, x, y);
        self.set_reg(op.a, r);
    }
    #[inline(always)]
    fn ri<T: Word>(&mut self, op: &Op, f: impl Fn(&mut Flags, T, T) -> T) {
        let x = self.reg(op.a);
        let r = f(&mut self.flags, x, immediate(op));
        self.set_reg(op.a, r);
    }
    #[inline(always)]
    fn rm<T: Word, M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
        f: impl Fn(&mut Flags, T, T) -> T,
    ) -> Result<(), Trap> {
        let y = self.read(env, self.address(op))?;
        let x = self.reg(op.a);
        let r = f(&mut self.flags, x, y);
        self.set_reg(op.a, r);
        Ok(())
    }
    #[inline(always)]
    fn mr<T: Word, M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
        f: impl Fn(&mut Flags, T, T) -> T,
    ) -> Result<(), Trap> {
        let y = self.reg(op.b);
        self.unary_m(env, op, |flags, x| f(flags, x, y))
    }
    #[inline(always)]
    fn mi<T: Word, M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
        f: impl Fn(&mut Flags, T, T) -> T,
    ) -> Result<(), Trap> {
        self.unary_m(env, op, |flags, x| f(flags, x, immediate(op)))
    }
    #[inline(always)]
    fn unary_r<T: Word>(&mut self, op: &Op, f: impl Fn(&mut Flags, T) -> T) {
        let x = self.reg(op.a);
        let r = f(&mut self.flags, x);
        self.set_reg(op.a, r);
    }
    #[inline(always)]
    fn unary_m<T: Word, M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
        f: impl Fn(&mut Flags, T) -> T,
    ) -> Result<(), Trap> {
        self.modify(env, self.address(op), op.has(flag::LOCK), f)?;
        Ok(())
    }

    // Comparisons: flags alone.
    #[inline(always)]
    fn compare_rr<T: Word>(&mut self, op: &Op, f: impl Fn(&mut Flags, T, T) -> T) {
        let (x, y) = (self.reg(op.a), self.reg(op.b));
        f(&mut self.flags, x, y);
    }
    #[inline(always)]
    fn compare_ri<T: Word>(&mut self, op: &Op, f: impl Fn(&mut Flags, T, T) -> T) {
        let x = self.reg(op.a);
        f(&mut self.flags, x, immediate(op));
    }
    #[inline(always)]
    fn compare_rm<T: Word, M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
        f: impl Fn(&mut Flags, T, T) -> T,
    ) -> Result<(), Trap> {
        let y = self.read(env, self.address(op))?;
        let x = self.reg(op.a);
        f(&mut self.flags, x, y);
        Ok(())
    }
    #[inline(always)]
    fn compare_mr<T: Word, M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
        f: impl Fn(&mut Flags, T, T) -> T,
    ) -> Result<(), Trap> {
        let x = self.read(env, self.address(op))?;
        let y = self.reg(op.b);
        f(&mut self.flags, x, y);
        Ok(())
    }
    #[inline(always)]
    fn compare_mi<T: Word, M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
        f: impl Fn(&mut Flags, T, T) -> T,
    ) -> Result<(), Trap> {
        let x = self.read(env, self.address(op))?;
        f(&mut self.flags, x, immediate(op));
        Ok(())
    }

    #[inline(always)]
    fn shift_ri<T: Word>(&mut self, op: &Op, f: impl Fn(&mut Flags, T, u32) -> T) {
        let x = self.reg(op.a);
        let r = f(&mut self.flags, x, op.immediate as u32);
        self.set_reg(op.a, r);
    }
    #[inline(always)]
    fn shift_rc<T: Word>(&mut self, op: &Op, f: impl Fn(&mut Flags, T, u32) -> T) {
        let count = self.regs[gpr::RCX] as u32 & (T::BITS - 1);
        let mut r = self.reg(op.a);
        if count != 0 {
            r = f(&mut self.flags, r, count);
        }
        self.set_reg(op.a, r);
    }
    #[inline(always)]
    fn setcc_r(&mut self, op: &Op) {
        let value = if op.sub >> 1 == 5 {
            self.flags.condition(op.sub)
        } else {
            self.flags.condition_no_parity(op.sub)
        };
        self.set_reg(op.a, value as u8);
    }

    #[inline(always)]
    fn pop64<M: Machine>(&mut self, env: &mut Env<'_, '_, M>, op: &Op) -> Result<(), Trap> {
        let rsp = self.regs[gpr::RSP];
        let value = self.read::<u64, M>(env, rsp)?;
        self.regs[gpr::RSP] = rsp.wrapping_add(8);
        self.set_reg(op.a, value);
        Ok(())
    }

    #[inline(always)]
    fn jump(&mut self, op: &Op) -> Flow {
        self.rip = self.regs[16].wrapping_add(op.immediate);
        Flow::CHAIN
    }
    /// The target of a fused op, if it jumps.
    #[inline(always)]
    fn fused(&self, op: &Op) -> Option<u64> {
        let target = (op.immediate as i64 >> 32) as u64;
        self.flags.condition_no_parity(op.sub).then_some(target)
    }
    /// Goes to an address that an instruction computed.
    #[inline(always)]
    fn go(&mut self, target: u64) -> Result<Flow, Trap> {
        if !is_canonical(target) {
            return self.general_protection();
        }
        self.rip = target;
        Ok(Flow::CHAIN)
    }
    #[inline(always)]
    fn call<M: Machine>(&mut self, env: &mut Env<'_, '_, M>, op: &Op) -> Result<Flow, Trap> {
        self.push64(env, self.regs[16].wrapping_add(op.next()))?;
        Ok(self.jump(op))
    }
    #[inline(always)]
    fn call_to<M: Machine>(
        &mut self,
        env: &mut Env<'_, '_, M>,
        op: &Op,
        target: u64,
    ) -> Result<Flow, Trap> {
        // Processors push first, so a page fault there comes before the #GP.
        let rsp = self.regs[gpr::RSP];
        self.push64(env, self.regs[16].wrapping_add(op.next()))?;
        if !is_canonical(target) {
            self.regs[gpr::RSP] = rsp;
        }
        self.go(target)
    }
    #[inline(always)]
    fn ret<M: Machine>(&mut self, env: &mut Env<'_, '_, M>, op: &Op) -> Result<Flow, Trap> {
        let rsp = self.regs[gpr::RSP];
        let target = self.read::<u64, M>(env, rsp)?;
        if is_canonical(target) {
            self.regs[gpr::RSP] = rsp.wrapping_add(8).wrapping_add(op.immediate);
        }
        self.go(target)
    }
}
