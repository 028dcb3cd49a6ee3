"""What can be wrong with a data set, planted into a folder of good photos with 0/255 masks."""

import io
import shutil
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

ORIENTATION = 0x0112


class Planter:
    """Plants one fault after the other, each into the next pair of a folder, and keeps what must be found.

    ``expected`` holds pairs of a finding's kind and the name of the file it must be about.
    """

    def __init__(self, root):
        self.images, self.masks = root / "images", root / "masks"
        self._stems = iter(sorted(path.stem for path in self.images.iterdir()))
        self.expected = set()
        self.faults = 0

    def next_pair(self):
        """A picture with an outline to it: an empty or a full mask has none."""
        for stem in self._stems:
            picture, mask = next(self.images.glob(f"{stem}.*")), self.masks / f"{stem}.png"
            if 0.05 < (read(mask) > 0).mean() < 0.95:
                return picture, mask
        raise AssertionError("too few photos for all faults")

    def expect(self, *findings):
        self.faults += 1
        self.expected |= {(kind, path.name) for kind, path in findings}

    def plant_all(self):
        """Plant faults of all kinds."""
        self.broken_files()
        self.names()
        self.shapes()
        self.values()
        self.contents()
        self.copies()
        return self

    def broken_files(self):
        for content in (b"", b"this is no picture at all", bytes(5000)):
            picture, _ = self.next_pair()
            picture.write_bytes(content)
            self.expect(("unreadable", picture))
        _, mask = self.next_pair()
        mask.write_bytes(b"")
        self.expect(("unreadable", mask))
        for cut in (3, 700):
            picture, _ = self.next_pair()
            picture.write_bytes(picture.read_bytes()[:-cut])
            self.expect(("truncated", picture))
        picture, _ = self.next_pair()
        content = picture.read_bytes()
        picture.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
        self.expect(("truncated", picture))
        picture, _ = self.next_pair()
        content = picture.read_bytes()
        picture.write_bytes(content[: len(content) // 2] + bytes(300_000))  # enough for a decoder to be content
        self.expect(("truncated", picture))
        _, mask = self.next_pair()
        mask.write_bytes(mask.read_bytes()[:-30])
        self.expect(("truncated", mask))
        for content in (b"\n<!DOCTYPE html><html>Not found</html>", b"\0\0\0\x18ftypheic" + bytes(100), b"%PDF-1.7"):
            picture, _ = self.next_pair()
            picture.write_bytes(content)
            self.expect(("wrong type", picture))
        picture, _ = self.next_pair()
        Image.fromarray(read(picture)).save(picture, format="PNG")
        self.expect(("wrong type", picture))

    def names(self):
        picture, mask = self.next_pair()
        mask.unlink()
        self.expect(("missing mask", picture))
        picture, mask = self.next_pair()
        picture.unlink()
        self.expect(("orphan mask", mask))
        picture, _ = self.next_pair()
        other = picture.with_suffix(".bmp")
        Image.fromarray(read(picture)[::2, ::2]).save(other)
        self.expect(("same stem", picture))
        for name in (".hidden.jpg", "photo.HEIC", "Thumbs.db"):
            (self.images / name).write_bytes(b"x")
            self.expect(("other file", self.images / name))
        (self.images / "more").mkdir()
        self.expect(("other file", self.images / "more"))

    def shapes(self):
        _, mask = self.next_pair()
        values = read(mask)
        save(mask, values[: values.shape[0] * 2 // 3])
        self.expect(("another aspect", mask))
        _, mask = self.next_pair()
        save(mask, np.rot90(read(mask)))
        self.expect(("another aspect", mask))
        for orientation, store in ((6, np.rot90), (3, lambda upright: np.rot90(upright, 2)), (2, np.fliplr)):
            picture, mask = self.next_pair()
            save(mask, store(read(mask)))
            turn(picture, store(read(picture)), orientation)
            self.expect(("EXIF orientation", mask))

    def values(self):
        _, mask = self.next_pair()
        values = read(mask)
        values[:3, :3] = 77
        save(mask, values)
        self.expect(("unknown values", mask))
        _, mask = self.next_pair()
        save(mask, read(mask) // 255 + 1)
        self.expect(("unknown values", mask))
        _, mask = self.next_pair()
        save(mask, np.stack([read(mask), 0 * read(mask), 0 * read(mask)], axis=2))
        self.expect(("unknown values", mask))
        picture, mask = self.next_pair()
        Image.fromarray(read(mask)).save(mask.with_suffix(".jpg"))
        mask.unlink()
        self.expect(("lossy mask", mask.with_suffix(".jpg")), ("missing mask", picture))
        _, mask = self.next_pair()
        Image.fromarray(read(mask)).save(mask, format="JPEG", quality=60)
        self.expect(("lossy mask", mask))
        _, mask = self.next_pair()
        save(mask, cv2.GaussianBlur(read(mask), (0, 0), 2))
        self.expect(("lossy mask", mask))

    def contents(self):
        for kind, value in (("empty mask", 0), ("full mask", 255)):
            _, mask = self.next_pair()
            save(mask, np.full_like(read(mask), value))
            self.expect((kind, mask))
        for kept in (0, 1):
            _, mask = self.next_pair()
            values = read(mask) * kept
            values[:6, :6] = 0
            values[3, 3] = 255
            save(mask, values)
            self.expect(("tiny object", mask))

    def copies(self):
        """Copies come after all others, and so do their faults; ``p`` and the digits of others sort before ``z``."""
        picture, mask = self.next_pair()
        self.copy(mask, "z1", lambda path: shutil.copy(picture, path), "duplicate")
        picture, mask = self.next_pair()
        upright = read(picture)
        size = upright.shape[1] * 3 // 4, upright.shape[0] * 3 // 4
        smaller = cv2.resize(upright, size, interpolation=cv2.INTER_AREA)
        self.copy(mask, "z2", lambda path: Image.fromarray(smaller).save(path, quality=40), "near duplicate")
        picture, mask = self.next_pair()
        mirrored = Image.fromarray(np.fliplr(read(picture)))
        self.copy(mask, "z3", lambda path: mirrored.save(path, quality=85), "near duplicate")
        picture, mask = self.next_pair()
        brighter = np.clip(read(picture) * 0.8 + 40, 0, 255).astype(np.uint8)
        self.copy(mask, "z4", lambda path: Image.fromarray(brighter).save(path), "near duplicate")

    def copy(self, mask, stem, write, kind):
        path = self.images / f"{stem}.jpg"
        write(path)
        shutil.copy(mask, self.masks / f"{stem}.png")
        self.expect((kind, path))


def read(path):
    """As it is stored, whatever EXIF says."""
    with Image.open(path) as image:
        return np.array(image if image.mode == "L" else image.convert("RGB"))


def save(path, values):
    Image.fromarray(np.ascontiguousarray(values)).save(path)


def turn(path, stored, orientation):
    """Store rows and columns with an EXIF orientation."""
    image = Image.fromarray(np.ascontiguousarray(stored))
    exif = image.getexif()
    exif[ORIENTATION] = orientation
    content = io.BytesIO()
    image.save(content, "JPEG", exif=exif, quality=92)
    Path(path).write_bytes(content.getvalue())


def found(check):
    """Kind and file of every finding; on which side of the split a copy lies is another matter."""
    pairs = set()
    for finding in check.findings:
        kind = str(finding.kind).removesuffix(" across the split")
        # of a finding about a picture and its mask, the message begins with the one it is about
        name = Path(finding.message.split(": ")[0]).name if finding.files else ""
        pairs.add((kind, name))
    return pairs
