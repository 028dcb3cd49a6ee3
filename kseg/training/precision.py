"""What must be settled before a model is built: seeds, determinism, and the precision it computes in."""

from pathlib import Path

import keras
import tensorflow as tf

from kseg.settings import Settings

# Without these instructions bfloat16 is emulated, and slower than float32.
CPU_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


def prepare_keras(settings: Settings) -> str:
    """Seed all random numbers, switch determinism on if asked for, and set the dtype policy, which is returned.

    Weights are float32 under every policy; with ``bfloat16`` and ``float16`` the layers compute in those.
    """
    keras.utils.set_random_seed(settings.seed)
    if settings.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    precision = settings.training.precision
    chosen = fastest_safe_precision() if precision == "auto" else precision
    policy = "float32" if chosen == "float32" else f"mixed_{chosen}"
    keras.mixed_precision.set_global_policy(policy)
    return policy


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
