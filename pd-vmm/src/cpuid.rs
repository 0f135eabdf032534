//! The CPUID leaves that the TDX module leaves to the host: Linux asks for the hypervisors'
//! leaves only (0x4000_0000 on), all others are the module's or zero.
//!
//! The second block says that KVM's interface is there, with none of its features. Linux stays
//! in x2APIC mode without interrupt remapping only under a hypervisor that it knows, and a TD
//! has no other mode.

/// The hypervisor's first leaf: the last one of its block, and who it is.
pub const HYPERVISOR: u32 = 0x4000_0000;
/// Signature of the hypervisor, in EBX, ECX and EDX.
pub const SIGNATURE: &[u8; 12] = b"SeptumSeptum";

/// The block of KVM's interface; guests look at every 256th leaf for the signature they know.
const KVM: u32 = HYPERVISOR + 0x100;
const KVM_SIGNATURE: &[u8; 12] = b"KVMKVMKVM\0\0\0";
/// The features of KVM's interface, none.
const KVM_FEATURES: u32 = KVM + 1;

/// EAX, EBX, ECX, EDX.
pub fn cpuid(leaf: u32) -> [u32; 4] {
    match leaf {
        HYPERVISOR => block(HYPERVISOR, SIGNATURE),
        KVM => block(KVM_FEATURES, KVM_SIGNATURE),
        _ => [0; 4],
    }
}

/// The first leaf of a block.
fn block(last: u32, signature: &[u8; 12]) -> [u32; 4] {
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
        for (leaf, last, signature) in [
            (HYPERVISOR, 0x4000_0000, SIGNATURE),
            (0x4000_0100, 0x4000_0101, KVM_SIGNATURE),
        ] {
            let [eax, ebx, ecx, edx] = cpuid(leaf);
            assert_eq!(eax, last);
            let text: Vec<u8> = [ebx, ecx, edx]
                .iter()
                .flat_map(|w| w.to_le_bytes())
                .collect();
            assert_eq!(text, signature);
        }
        for leaf in [0, 0x4000_0001, KVM_FEATURES, 0x4000_0200, u32::MAX] {
            assert_eq!(cpuid(leaf), [0; 4]);
        }
    }
}
