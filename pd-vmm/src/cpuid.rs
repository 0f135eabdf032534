//! The CPUID leaves that the TDX module leaves to the host: the hypervisor's leaves
//! (0x4000_0000 on); all others are the module's or zero.
//!
//! Interfaces stand 0x100 leaves apart. The first is KVM's with no feature at all: what it says
//! to Linux is that x2APIC works here without interrupt remapping, which Linux believes of known
//! hypervisors only (and the module shows no IA32_ARCH_CAPABILITIES.XAPIC_DISABLE that would say
//! the same). The second is our own name.

/// First leaf of KVM's interface.
pub const KVM: u32 = 0x4000_0000;
/// Its signature, in EBX, ECX and EDX.
pub const KVM_SIGNATURE: &[u8; 12] = b"KVMKVMKVM\0\0\0";
/// First leaf of our own. The next one says in EAX which bit of a guest physical address is the
/// execute-only bit; 0: none.
pub const SEPTUM: u32 = 0x4000_0100;
/// The leaf of the execute-only bit.
const EXECUTE_ONLY: u32 = SEPTUM + 1;
/// Our signature.
pub const SEPTUM_SIGNATURE: &[u8; 12] = b"SeptumSeptum";

/// EAX, EBX, ECX, EDX, for a guest with this execute-only bit.
pub fn cpuid(leaf: u32, execute_only: u8) -> [u32; 4] {
    let (last, signature) = match leaf {
        // The leaf of features comes behind: all zero.
        KVM => (KVM + 1, KVM_SIGNATURE),
        SEPTUM => (EXECUTE_ONLY, SEPTUM_SIGNATURE),
        EXECUTE_ONLY => return [execute_only.into(), 0, 0, 0],
        _ => return [0; 4],
    };
    let mut values = [last, 0, 0, 0];
    for (value, bytes) in values[1..].iter_mut().zip(signature.chunks_exact(4)) {
        *value = bytes
            .iter()
            .rev()
            .fold(0, |word, &b| word << 8 | u32::from(b));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures() {
        for (first, last, signature) in [
            (KVM, KVM + 1, KVM_SIGNATURE),
            (SEPTUM, SEPTUM + 1, SEPTUM_SIGNATURE),
        ] {
            let [eax, rest @ ..] = cpuid(first, 0);
            assert_eq!(eax, last);
            let text: std::vec::Vec<u8> = rest.iter().flat_map(|w| w.to_le_bytes()).collect();
            assert_eq!(text, signature);
        }
        assert_eq!(cpuid(KVM + 1, 46), [0; 4], "no feature of KVM's");
        assert_eq!(cpuid(SEPTUM + 1, 46), [46, 0, 0, 0]);
        assert_eq!(cpuid(u32::MAX, 46), [0; 4]);
    }
}
