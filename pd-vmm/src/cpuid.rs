//! The CPUID leaves that the TDX module leaves to the host: Linux asks for the hypervisor's
//! leaves only (0x4000_0000 on), all others are the module's or zero.

/// The hypervisor's first leaf: the last one there is, and who it is.
pub const HYPERVISOR: u32 = 0x4000_0000;
/// Signature of the hypervisor, in EBX, ECX and EDX.
pub const SIGNATURE: &[u8; 12] = b"SeptumSeptum";

/// EAX, EBX, ECX, EDX.
pub fn cpuid(leaf: u32) -> [u32; 4] {
    if leaf != HYPERVISOR {
        return [0; 4];
    }
    let mut values = [HYPERVISOR, 0, 0, 0];
    for (value, bytes) in values[1..].iter_mut().zip(SIGNATURE.chunks_exact(4)) {
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
    fn signature() {
        let [eax, ebx, ecx, edx] = cpuid(HYPERVISOR);
        assert_eq!(eax, HYPERVISOR);
        let text: std::vec::Vec<u8> = [ebx, ecx, edx]
            .iter()
            .flat_map(|w| w.to_le_bytes())
            .collect();
        assert_eq!(text, SIGNATURE);
        assert_eq!(cpuid(0x4000_0001), [0; 4]);
        assert_eq!(cpuid(u32::MAX), [0; 4]);
    }
}
