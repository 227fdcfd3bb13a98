"""The arithmetic of a CPU: the one that is faster on it."""

import pytest

from distillery_trainer.student.device import computes_in_bfloat16


@pytest.mark.parametrize(
    ("processor", "faster"),
    [
        ("vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512f avx512_bf16 avx512_fp16 amx_bf16 amx_tile", True),
        ("vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512f avx512_bf16 avx512_fp16 avx_vnni", False),
        ("vendor_id\t: GenuineIntel\nflags\t\t: fpu avx2", False),
        ("vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx512f avx512_bf16 avx512_vnni", True),
        ("vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx512f avx512_vnni", False),
        ("CPU implementer\t: 0x41\nFeatures\t: fp asimd sve bf16 i8mm", True),
        ("CPU implementer\t: 0x41\nFeatures\t: fp asimd sve", False),
        ("", False),
    ],
)
def test_a_cpu_computes_in_bfloat16_where_that_is_faster(processor: str, *, faster: bool) -> None:
    assert computes_in_bfloat16(processor) is faster


def test_the_first_processor_speaks_for_all() -> None:
    first = "vendor_id : GenuineIntel\nflags : fpu avx512_bf16\n\n"
    assert not computes_in_bfloat16(first + "vendor_id : AuthenticAMD\nflags : fpu avx512_bf16\n")
