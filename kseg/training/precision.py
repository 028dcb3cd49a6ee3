"""What must be settled before a model is built: seeds, determinism, and the precision it computes in."""

import keras
import tensorflow as tf

from kseg.models.precision import fastest_safe_precision
from kseg.settings import Settings


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
