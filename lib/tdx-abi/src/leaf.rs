//! Leaf numbers of SEAMCALL (`TDH.*`) and TDCALL (`TDG.*`), TDX module 1.5.

macro_rules! leaves {
    ($(#[$doc:meta])* $ty:ident { $($variant:ident = $number:literal, $name:literal, $version:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum $ty {
            $(
                #[doc = concat!("`", $name, "`")]
                $variant = $number,
            )*
        }

        impl $ty {
            /// Every leaf, ascending.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The leaf with this number (bits 15:0 of RAX), if there is one.
            pub const fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }
            /// The leaf number, bits 15:0 of RAX.
            pub const fn number(self) -> u16 {
                self as u16
            }
            /// The name the module specification uses.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
            /// The highest version (bits 23:16 of RAX) module 1.5 accepts.
            pub const fn max_version(self) -> u8 {
                match self {
                    $(Self::$variant => $version,)*
                }
            }
        }

        impl core::fmt::Display for $ty {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

leaves! {
    /// A host leaf: what SEAMCALL dispatches.
    HostLeaf {
        VpEnter = 0, "TDH.VP.ENTER", 0;
        MngAddcx = 1, "TDH.MNG.ADDCX", 0;
        MemPageAdd = 2, "TDH.MEM.PAGE.ADD", 0;
        MemSeptAdd = 3, "TDH.MEM.SEPT.ADD", 1;
        VpAddcx = 4, "TDH.VP.ADDCX", 0;
        MemPageRelocate = 5, "TDH.MEM.PAGE.RELOCATE", 0;
        MemPageAug = 6, "TDH.MEM.PAGE.AUG", 0;
        MemRangeBlock = 7, "TDH.MEM.RANGE.BLOCK", 0;
        MngKeyConfig = 8, "TDH.MNG.KEY.CONFIG", 0;
        MngCreate = 9, "TDH.MNG.CREATE", 0;
        VpCreate = 10, "TDH.VP.CREATE", 0;
        MngRd = 11, "TDH.MNG.RD", 1;
        MemRd = 12, "TDH.MEM.RD", 0;
        MngWr = 13, "TDH.MNG.WR", 0;
        MemWr = 14, "TDH.MEM.WR", 0;
        MemPageDemote = 15, "TDH.MEM.PAGE.DEMOTE", 0;
        MrExtend = 16, "TDH.MR.EXTEND", 0;
        MrFinalize = 17, "TDH.MR.FINALIZE", 0;
        VpFlush = 18, "TDH.VP.FLUSH", 0;
        MngVpflushdone = 19, "TDH.MNG.VPFLUSHDONE", 0;
        MngKeyFreeid = 20, "TDH.MNG.KEY.FREEID", 0;
        MngInit = 21, "TDH.MNG.INIT", 0;
        VpInit = 22, "TDH.VP.INIT", 0;
        MemPagePromote = 23, "TDH.MEM.PAGE.PROMOTE", 1;
        PhymemPageRdmd = 24, "TDH.PHYMEM.PAGE.RDMD", 0;
        MemSeptRd = 25, "TDH.MEM.SEPT.RD", 0;
        VpRd = 26, "TDH.VP.RD", 1;
        MngKeyReclaimid = 27, "TDH.MNG.KEY.RECLAIMID", 0;
        PhymemPageReclaim = 28, "TDH.PHYMEM.PAGE.RECLAIM", 0;
        MemPageRemove = 29, "TDH.MEM.PAGE.REMOVE", 0;
        MemSeptRemove = 30, "TDH.MEM.SEPT.REMOVE", 1;
        SysKeyConfig = 31, "TDH.SYS.KEY.CONFIG", 0;
        SysInfo = 32, "TDH.SYS.INFO", 0;
        SysInit = 33, "TDH.SYS.INIT", 0;
        SysRd = 34, "TDH.SYS.RD", 0;
        SysLpInit = 35, "TDH.SYS.LP.INIT", 0;
        SysTdmrInit = 36, "TDH.SYS.TDMR.INIT", 0;
        SysRdall = 37, "TDH.SYS.RDALL", 0;
        MemTrack = 38, "TDH.MEM.TRACK", 0;
        MemRangeUnblock = 39, "TDH.MEM.RANGE.UNBLOCK", 0;
        PhymemCacheWb = 40, "TDH.PHYMEM.CACHE.WB", 0;
        PhymemPageWbinvd = 41, "TDH.PHYMEM.PAGE.WBINVD", 0;
        VpWr = 43, "TDH.VP.WR", 0;
        SysLpShutdown = 44, "TDH.SYS.LP.SHUTDOWN", 0;
        SysConfig = 45, "TDH.SYS.CONFIG", 0;
        ServtdBind = 48, "TDH.SERVTD.BIND", 0;
        ServtdPrebind = 49, "TDH.SERVTD.PREBIND", 0;
        SysShutdown = 52, "TDH.SYS.SHUTDOWN", 0;
        SysUpdate = 53, "TDH.SYS.UPDATE", 0;
        ExportAbort = 64, "TDH.EXPORT.ABORT", 0;
        ExportBlockw = 65, "TDH.EXPORT.BLOCKW", 0;
        ExportRestore = 66, "TDH.EXPORT.RESTORE", 0;
        ExportMem = 68, "TDH.EXPORT.MEM", 0;
        ExportPause = 70, "TDH.EXPORT.PAUSE", 0;
        ExportTrack = 71, "TDH.EXPORT.TRACK", 0;
        ExportStateImmutable = 72, "TDH.EXPORT.STATE.IMMUTABLE", 0;
        ExportStateTd = 73, "TDH.EXPORT.STATE.TD", 0;
        ExportStateVp = 74, "TDH.EXPORT.STATE.VP", 0;
        ExportUnblockw = 75, "TDH.EXPORT.UNBLOCKW", 0;
        ImportAbort = 80, "TDH.IMPORT.ABORT", 0;
        ImportEnd = 81, "TDH.IMPORT.END", 0;
        ImportCommit = 82, "TDH.IMPORT.COMMIT", 0;
        ImportMem = 83, "TDH.IMPORT.MEM", 0;
        ImportTrack = 84, "TDH.IMPORT.TRACK", 0;
        ImportStateImmutable = 85, "TDH.IMPORT.STATE.IMMUTABLE", 0;
        ImportStateTd = 86, "TDH.IMPORT.STATE.TD", 0;
        ImportStateVp = 87, "TDH.IMPORT.STATE.VP", 0;
        MigStreamCreate = 96, "TDH.MIG.STREAM.CREATE", 0;
    }
}

leaves! {
    /// A guest leaf: what TDCALL dispatches.
    GuestLeaf {
        VpVmcall = 0, "TDG.VP.VMCALL", 0;
        VpInfo = 1, "TDG.VP.INFO", 0;
        MrRtmrExtend = 2, "TDG.MR.RTMR.EXTEND", 0;
        VpVeinfoGet = 3, "TDG.VP.VEINFO.GET", 0;
        MrReport = 4, "TDG.MR.REPORT", 0;
        VpCpuidveSet = 5, "TDG.VP.CPUIDVE.SET", 0;
        MemPageAccept = 6, "TDG.MEM.PAGE.ACCEPT", 0;
        VmRd = 7, "TDG.VM.RD", 1;
        VmWr = 8, "TDG.VM.WR", 0;
        VpRd = 9, "TDG.VP.RD", 0;
        VpWr = 10, "TDG.VP.WR", 0;
        SysRd = 11, "TDG.SYS.RD", 0;
        SysRdall = 12, "TDG.SYS.RDALL", 0;
        ServtdRd = 18, "TDG.SERVTD.RD", 0;
        ServtdWr = 20, "TDG.SERVTD.WR", 0;
        MrVerifyreport = 22, "TDG.MR.VERIFYREPORT", 0;
        MemPageAttrRd = 23, "TDG.MEM.PAGE.ATTR.RD", 0;
        MemPageAttrWr = 24, "TDG.MEM.PAGE.ATTR.WR", 0;
        VpEnter = 25, "TDG.VP.ENTER", 0;
        VpInvept = 26, "TDG.VP.INVEPT", 0;
        VpInvvpid = 27, "TDG.VP.INVVPID", 0;
    }
}
