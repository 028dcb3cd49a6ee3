"""Which precision a network computes fastest in, on this machine, without its answers suffering."""

from pathlib import Path

import tensorflow as tf

# Without these instructions bfloat16 is emulated, and slower than float32.
CPU_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


def fastest_safe_precision() -> str:
    """``bfloat16`` where the processor or the graphics card has instructions for it, else ``float32``.

    bfloat16 has float32's range, so that a loss needs no scaling; float16 does not, and is only used when named.
    """
    cards = tf.config.list_physical_devices("GPU")
    if cards:
        details = [tf.config.experimental.get_device_details(card) for card in cards]
        ampere_or_later = all(detail.get("compute_capability", (0, 0)) >= (8, 0) for detail in details)
        return "bfloat16" if ampere_or_later else "float32"
    return "bfloat16" if CPU_BFLOAT16_FLAGS & _cpu_flags() else "float32"


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return set()
    return {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split()}
