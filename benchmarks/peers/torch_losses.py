"""Losses in PyTorch by the definitions of kseg.objectives, so that a peer can learn from the same one.

PyTorch only. Logits are float32 (B, C, H, W), ids int64 (B, H, W); one class is a sigmoid, more are a softmax.
"""

import re
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]
TERM = re.compile(r"(?P<weight>[\d.]+)?\s*(?P<name>bce|ce|dice|jaccard)(?P<per_image>\(per_image=true\))?")
PRICES = {"dice": 0.5, "jaccard": 1.0}
"""What a false positive takes, and a miss."""


def parse_loss(text: str) -> Loss:
    """The loss of a sum such as ``ce + 0.5 dice`` or ``bce + jaccard(per_image=true)``. Leaves at anything else."""
    terms: list[tuple[float, Loss]] = []
    for piece in text.split("+"):
        term = TERM.fullmatch(piece.strip())
        if not term:
            raise SystemExit(f"loss {text!r}: {piece.strip()!r} is none that the peers know: {TERM.pattern}")
        price = PRICES.get(term["name"])
        loss = cross_entropy if price is None else region(price, per_image=bool(term["per_image"]))
        terms.append((float(term["weight"] or 1), loss))
    return lambda logits, ids: sum(weight * loss(logits, ids) for weight, loss in terms)


def cross_entropy(logits: Tensor, ids: Tensor) -> Tensor:
    """Mean over all pixels of the batch."""
    if logits.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(logits[:, 0], ids.float())
    return functional.cross_entropy(logits, ids)


def region(price: float, *, per_image: bool) -> Loss:
    """1 - I / (I + price (P - I) + price (T - I)), mean over the classes of the truth.

    I, P and T are summed from probabilities over the batch, or per image, whose losses are then averaged. Of one class,
    background counts only where nothing else is in the truth.
    """

    def loss(logits: Tensor, ids: Tensor) -> Tensor:
        binary = logits.shape[1] == 1
        probability = torch.cat([-logits, logits], dim=1).sigmoid() if binary else logits.softmax(dim=1)
        truth = functional.one_hot(ids, probability.shape[1]).movedim(-1, 1).float()
        hit, predicted, true = (x.sum((2, 3)) for x in (truth * probability, probability, truth))  # (B, K)
        if not per_image:
            hit, predicted, true = (x.sum(0, keepdim=True) for x in (hit, predicted, true))
        losses = 1 - hit / (hit + price * (predicted - hit) + price * (true - hit))
        counts = (true > 0).float()
        if binary:
            counts[:, 0] *= counts[:, 1] == 0
        return ((losses * counts).sum(1) / counts.sum(1)).mean()

    return loss
