import itertools
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from kseg.errors import DataError, KsegError, ServingError
from kseg.inference.folder import Job, segment_all
from kseg.inference.segmentation import Segmentation

WORKERS = 3
BATCH = 4


class Numbers:
    """Answers the photo called 7 with a picture of sevens; ``judging`` and ``finishing`` may raise, by the number."""

    batch_size = BATCH

    def __init__(self, judging=None, finishing=None):
        self.judging, self.finishing = judging or {}, finishing or {}
        self.count = itertools.count(1)  # in one step, whatever the threads
        self.read_so_far = 0
        self.batches = []

    def read(self, photo):
        self.read_so_far = next(self.count)
        if not photo.stem.isdigit():
            raise DataError(f"{photo}: no number")
        return int(photo.stem)

    def judge(self, photos):
        self.batches.append(list(photos))
        for photo in photos:
            if photo in self.judging:
                raise self.judging[photo]
        return [np.full((2, 3, 3), photo, np.uint8) for photo in photos]

    def finish(self, photo, judged):
        if photo in self.finishing:
            raise self.finishing[photo]
        assert (judged == photo).all()
        return Segmentation(judged, judged[..., 0], None, ("background", "person"))


def jobs_of(names):
    return [Job(Path(f"{name}.jpg"), {"mask": Path(f"{name}_mask.png")}) for name in names]


class Ended:
    """What was written, and what ``done`` was told."""

    def __init__(self, writing=None, slowly=0.0):
        self.writing, self.slowly = writing or {}, slowly
        self.written, self.told = {}, []

    def write(self, segmentation, files):
        time.sleep(self.slowly)
        number = int(segmentation.mask[0, 0])
        if number in self.writing:
            raise self.writing[number]
        self.written[files["mask"].name] = number

    def done(self, job, reason):
        self.told.append((job.photo.stem, reason))


def segment(answerer, names, ended, workers=WORKERS):
    segment_all(answerer, jobs_of(names), ended.write, ended.done, workers)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 50])
@pytest.mark.parametrize("workers", [1, WORKERS])
def test_every_photo_gets_its_own_answer_and_they_end_in_order(count, workers):
    answerer, ended = Numbers(), Ended()
    segment(answerer, range(count), ended, workers)
    assert ended.told == [(str(number), None) for number in range(count)]
    assert ended.written == {f"{number}_mask.png": number for number in range(count)}
    assert [len(batch) for batch in answerer.batches] == [BATCH] * (count // BATCH) + [count % BATCH] * (
        count % BATCH > 0
    )


def test_bad_photos_stop_no_others():
    names = [0, "x", 2, 3, "y", 5, "z", "z", "z", "z", 10]
    answerer = Numbers(finishing={3: DataError("3.jpg: too dark"), 5: MemoryError()})
    ended = Ended(writing={2: DataError("2 x 3 pixels are too many")})
    segment(answerer, names, ended)
    reasons = {
        "x": "x.jpg: no number",
        "y": "y.jpg: no number",
        "z": "z.jpg: no number",
        "2": "2 x 3 pixels are too many",
        "3": "3.jpg: too dark",
        "5": "not enough memory for a photo of this size",
    }
    assert ended.told == [(str(name), reasons.get(str(name))) for name in names]
    assert sorted(ended.written.values()) == [0, 10]


def test_memory_holds_so_many_photos_and_no_more():
    """Read and not yet written; or else a folder of thousands fills it where disk or network are slow."""
    answerer, most = Numbers(), 0

    class Watching(Ended):
        def write(self, segmentation, files):
            super().write(segmentation, files)
            nonlocal most
            most = max(most, answerer.read_so_far - len(self.written))

    segment(answerer, range(250), Watching(slowly=0.002))
    # read ahead; the batch that is judged; what is being written, or waits for it
    assert WORKERS < most <= (WORKERS + BATCH + 1) + BATCH + (2 * WORKERS + BATCH)


def test_reading_judging_and_writing_go_on_at_once():
    """The second batch is judged before the first is written: it could not be otherwise here."""
    second = threading.Event()

    class Answerer(Numbers):
        def judge(self, photos):
            if photos[0] == BATCH:
                second.set()
            return super().judge(photos)

    class Waiting(Ended):
        def write(self, segmentation, files):
            assert second.wait(20)
            super().write(segmentation, files)

    ended = Waiting()
    segment(Answerer(), range(2 * BATCH), ended)
    assert len(ended.written) == 2 * BATCH


def test_a_file_that_cannot_be_written_ends_all():
    answerer, ended = Numbers(), Ended(writing={5: KsegError("5_mask.png: cannot be written: No space left on device")})
    with pytest.raises(KsegError, match="No space left on device"):
        segment(answerer, range(1000), ended)
    assert len(answerer.batches) <= 5
    assert ended.told == [(str(number), None) for number in range(5)]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ServingError("the server is gone"), MemoryError()])
def test_what_was_judged_before_an_end_is_kept_and_told(error):
    answerer, ended = Numbers(judging={2 * BATCH + 1: error}), Ended(slowly=0.01)
    with pytest.raises(type(error)):
        segment(answerer, range(100), ended)
    assert ended.told == [(str(number), None) for number in range(2 * BATCH)]
    assert len(ended.written) == 2 * BATCH
    assert len(answerer.batches) == 3


def test_done_is_said_of_a_job_with_all_its_files(tmp_path):
    job = Job(Path("a.jpg"), {"mask": tmp_path / "a_mask.png", "overlay": tmp_path / "a_overlay.png"})
    assert not job.done
    job.files["mask"].touch()
    assert not job.done
    job.files["overlay"].touch()
    assert job.done
