//! Pages that the TDX module keeps its own state in: TDR, TDCX, TDVPR, Secure EPT pages.

use crate::error::{Error, Resource};
use gpa::{Hpa, PAGE_SHIFT};

/// The number of a control page.
pub type Control = u16;
/// No control page.
pub const NO_CONTROL: Control = u16::MAX;

/// What a control page is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Free.
    Free,
    /// Root of a TD.
    Tdr,
    /// Child page of a TD's control structure.
    Tdcx,
    /// Root of a vCPU.
    Tdvpr,
    /// Child page of a vCPU's state.
    VcpuPage,
    /// Secure EPT page.
    Sept,
}

/// What is known about one control page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ControlMeta {
    next: Control,
    vm: u8,
    role: Role,
    /// The module has taken the page: it must be reclaimed before it is free.
    owned: bool,
}

impl ControlMeta {
    /// What to fill the array with.
    pub const NEW: Self = Self {
        next: NO_CONTROL,
        vm: 0,
        role: Role::Free,
        owned: false,
    };
}

/// The pool of control pages.
#[derive(Debug)]
pub struct ControlPages<'a> {
    base: Hpa,
    pages: &'a mut [ControlMeta],
    free: Control,
    used: usize,
}

impl<'a> ControlPages<'a> {
    /// The pages from `base` on, one for each item.
    ///
    /// # Errors
    /// `BadRange` where `base` isn't page aligned.
    pub fn new(base: Hpa, pages: &'a mut [ControlMeta]) -> Result<Self, Error> {
        if base.offset() != 0 {
            return Err(Error::BadRange);
        }
        let count = pages.len().min(NO_CONTROL as usize);
        let (pages, _) = pages.split_at_mut(count);
        for (i, page) in pages.iter_mut().enumerate() {
            let next = if i + 1 < count { i + 1 } else { usize::MAX };
            *page = ControlMeta {
                next: next as Control,
                ..ControlMeta::NEW
            };
        }
        Ok(Self {
            base,
            free: if count == 0 { NO_CONTROL } else { 0 },
            pages,
            used: 0,
        })
    }
    /// Pages in use.
    pub fn used(&self) -> usize {
        self.used
    }
    /// Free pages.
    pub fn available(&self) -> usize {
        self.pages.len() - self.used
    }
    /// How many pages there are.
    pub fn count(&self) -> usize {
        self.pages.len()
    }
    /// All of them, as host physical addresses.
    pub(crate) fn stretch(&self) -> core::ops::Range<u64> {
        let bytes = (self.pages.len() as u64) << PAGE_SHIFT;
        self.base.get()..self.base.get() + bytes
    }
    /// Where a page is.
    pub fn hpa(&self, page: Control) -> Hpa {
        Hpa::new(self.base.get() + (u64::from(page) << PAGE_SHIFT))
    }
    /// The page at an address.
    pub fn page_at(&self, hpa: Hpa) -> Option<Control> {
        let page = hpa.get().checked_sub(self.base.get())? >> PAGE_SHIFT;
        (page < self.pages.len() as u64).then_some(page as Control)
    }
    /// Whose page that is and what for; `None` for a free one.
    pub fn owner(&self, page: Control) -> Option<(u8, Role)> {
        let meta = self.pages.get(page as usize)?;
        (meta.role != Role::Free).then_some((meta.vm, meta.role))
    }
    /// Whether the module has the page.
    pub fn is_owned(&self, page: Control) -> bool {
        self.pages.get(page as usize).is_some_and(|meta| meta.owned)
    }
    pub(crate) fn take(&mut self, vm: u8, role: Role) -> Result<Control, Error> {
        let page = self.free;
        let Some(meta) = self.pages.get_mut(page as usize) else {
            return Err(Error::NoMemory(Resource::Control));
        };
        self.free = meta.next;
        *meta = ControlMeta {
            next: NO_CONTROL,
            vm,
            role,
            owned: false,
        };
        self.used += 1;
        Ok(page)
    }
    pub(crate) fn set_owned(&mut self, page: Control) {
        if let Some(meta) = self.pages.get_mut(page as usize) {
            meta.owned = true;
        }
    }
    pub(crate) fn give(&mut self, page: Control) {
        if let Some(meta) = self.pages.get_mut(page as usize)
            && meta.role != Role::Free
        {
            *meta = ControlMeta {
                next: self.free,
                ..ControlMeta::NEW
            };
            self.free = page;
            self.used -= 1;
        }
    }
    /// The first page at or after `from` that is the VM's.
    pub(crate) fn next_of(&self, vm: u8, from: Control) -> Option<(Control, Role, bool)> {
        let rest = self.pages.get(from as usize..)?;
        let found = rest
            .iter()
            .position(|meta| meta.role != Role::Free && meta.vm == vm)?;
        let page = from + found as Control;
        let meta = self.pages[page as usize];
        Some((page, meta.role, meta.owned))
    }
}
