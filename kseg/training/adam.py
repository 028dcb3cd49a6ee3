"""Adam with a rate and a beginning of its own for every weight: what transfer learning needs, in one pass per weight.

Keras's Adam has one rate and counts its steps once for all weights. A weight that joins at step 1000 would so be
updated as if its running means, which are still at zero, were a thousand steps old: its first updates would come out
three times too large (0.1 / sqrt(0.001)). Here every weight counts from its own first step.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf


class Pace(NamedTuple):
    """How a weight takes part: its share of the learning rate, and the training step (from 0) at which it joins."""

    rate: float = 1.0
    first_step: int = 0


class PacedAdam(keras.optimizers.Adam):
    """Adam (Kingma & Ba 2015), with decoupled decay (Loshchilov & Hutter 2019) of the weights it is asked for.

    With g the gradient at a weight's own step t, its rate a, and decay d:

        w <- w - a d w
        m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
        w <- w - a sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + epsilon)

    Args:
        pace: From a variable's path to its pace.
        gather: From a worker's gradients to those of all, where several share a batch; before they are clipped.
        decay: Of the weights whose name is not in ``undecayed``; 0 for none.
        undecayed: Names of weights, such as "bias".
        statistics: The network's BatchNorm statistics, to be averaged along with the weights by ``use_ema``. Averaged
            weights with the statistics of the latest ones are a network that nobody trained: its scores were found
            to be those of chance in the first epochs.
        **options: Keras's own: ``learning_rate``, ``global_clipnorm``, ``use_ema`` and so on.
    """

    def __init__(
        self,
        pace: Callable[[str], Pace] = lambda _: Pace(),
        *,
        gather: Callable[[Sequence[tf.Tensor]], Sequence[tf.Tensor]] = list,
        decay: float = 0.0,
        undecayed: tuple[str, ...] = (),
        statistics: Sequence[keras.Variable] = (),
        **options: object,
    ) -> None:
        super().__init__(**options)
        self.pace = pace
        self._gather = gather
        self.decay = decay
        self.undecayed = undecayed
        self._shared: dict[Pace, dict[str, tf.Tensor]] = {}
        # Wrapped, or Keras would take the network's statistics for variables of the optimizer.
        self._statistics: Callable[[], Sequence[keras.Variable]] = lambda: statistics
        self._statistics_averages: Callable[[], Sequence[keras.Variable]] = lambda: ()

    def build(self, variables: list[keras.Variable]) -> None:
        """Make the means, and with ``use_ema`` the averages, of all weights that will ever be trained."""
        super().build(variables)
        if self.use_ema:
            averages = self.add_optimizer_variables(list(self._statistics()), "average")
            self._statistics_averages = lambda: averages

    def apply(self, grads: list[tf.Tensor], trainable_variables: list[keras.Variable] | None = None) -> None:
        """One step of all given weights; then the averages follow."""
        self._shared = {}
        super().apply(self._gather(grads), trainable_variables)
        if not self.use_ema:
            return
        follow = tf.where(self.iterations.value == 1, 1.0, 1.0 - self.ema_momentum)  # the first step copies
        for statistic, average in zip(self._statistics(), self._statistics_averages(), strict=True):
            average.assign_add(follow * (statistic - average))

    def averages(self) -> Iterator[tuple[keras.Variable, keras.Variable]]:
        """Every weight and statistic of the network that changes, with its moving average."""
        if not self.use_ema:
            return
        # Keras has no public name for the weights' averages; they are in the order of the weights.
        for weight, average in zip(self._trainable_variables, self._model_variables_moving_average, strict=True):
            if weight.trainable:  # the average of a frozen one is itself, but for rounding
                yield weight, average
        yield from zip(self._statistics(), self._statistics_averages(), strict=True)

    def decayed(self, variable: tf.Variable, learning_rate: tf.Tensor) -> dict[str, tf.Tensor]:
        """Apply the weight's decay, if it has one; return what the kernel is told of it, its rate ``lr`` included."""
        path = self._trainable_variables[self._get_variable_index(variable)].path
        told = self._shared_by(self.pace(path), learning_rate)
        if self.decay and path.rpartition("/")[2] not in self.undecayed:
            variable.assign_sub(variable * (told["lr"] * self.decay))
        return told

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """One step of one weight: TensorFlow's own kernel, which reads and writes weight and means once each."""
        told = self.decayed(variable, learning_rate)
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            grad=tf.cast(gradient, variable.dtype),
            **told,
        )

    def _shared_by(self, pace: Pace, learning_rate: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the kernel is told of all weights of a pace, made once a step: there are 150, and each takes a while."""
        if pace not in self._shared:
            step = tf.cast(self.iterations.value - pace.first_step + 1, tf.float32)
            beta_1, beta_2 = tf.constant(self.beta_1), tf.constant(self.beta_2)
            self._shared[pace] = {
                "lr": tf.cast(learning_rate, tf.float32) * pace.rate,
                "beta1_power": tf.pow(beta_1, step),
                "beta2_power": tf.pow(beta_2, step),
                "beta1": beta_1,
                "beta2": beta_2,
                "epsilon": tf.constant(self.epsilon),
            }
        return self._shared[pace]

    def finalize_variable_values(self, var_list: object) -> None:
        """Leave the weights as they are at the end of ``fit``; ``averaged_weights`` puts the averages in their place.

        Keras would overwrite them with the averages here, pairing the two lists by position, which goes wrong as soon
        as a weight is frozen.
        """
