"""PyTorch's DataLoader with OpenCV, doing what kseg's training pipeline does, in the form that was found fastest."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

FLIP = 0.5
PREFETCHED = 4
"""Batches of each worker; with PyTorch's own 2, they wait for one another."""


class Files(Dataset):
    """Pictures and masks, 0 or 255, of any size or of the training's."""

    def __init__(self, folder: Path, size: tuple[int, int]) -> None:
        self.pictures, self.masks = (
            sorted(str(file) for file in (folder / name).iterdir()) for name in ("images", "masks")
        )
        self.size = size

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        picture = cv2.imread(self.pictures[index], cv2.IMREAD_COLOR_RGB)
        mask = cv2.imread(self.masks[index], cv2.IMREAD_GRAYSCALE)
        if picture.shape[:2] != self.size:
            picture = cv2.resize(picture, self.size[::-1], interpolation=cv2.INTER_AREA)
            mask = cv2.resize(mask, self.size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        return flipped_or_not(picture, (mask == 255).astype(np.uint8))


class Mapped(Dataset):
    """All pixels in two files, uint8 (N, H, W, 3) and (N, H, W), mapped into memory."""

    def __init__(self, folder: Path) -> None:
        self.pictures, self.masks = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("images", "masks"))

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return flipped_or_not(np.array(self.pictures[index]), np.array(self.masks[index]))


def flipped_or_not(picture: np.ndarray, mask: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    if torch.rand(()) < FLIP:
        picture, mask = cv2.flip(picture, 1), cv2.flip(mask, 1)
    return torch.from_numpy(picture), torch.from_numpy(mask)


class Order(Sampler):
    """As many samples as are asked for, one shuffled pass after the other."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.wanted = 0

    def __iter__(self) -> Iterator[int]:
        passes = (torch.randperm(self.length).tolist() for _ in itertools.count())
        return itertools.islice(itertools.chain.from_iterable(passes), self.wanted)


class Feeder:
    """Batches of a data set, by workers that stay."""

    def __init__(self, samples: Dataset, workers: int, batch: int) -> None:
        cv2.setNumThreads(0)  # the workers, which inherit it, are as many as the processors
        self.order = Order(len(samples))
        self.batch = batch
        self.loader = DataLoader(
            samples, batch, sampler=self.order, num_workers=workers, prefetch_factor=PREFETCHED, persistent_workers=True
        )

    def batches(self, count: int) -> Iterator[list[torch.Tensor]]:
        """So many: pictures uint8 (B, H, W, 3) RGB, masks uint8 (B, H, W)."""
        self.order.wanted = count * self.batch
        return iter(self.loader)
