"""The tf.data service, with real machines: processes of their own, on loopback."""

import contextlib
import socket
import time

import numpy as np
import pytest
import tensorflow as tf
from input_machines import machine, two_machines

from kseg.cli.samples import open_samples
from kseg.config import load_settings
from kseg.data import served, service
from kseg.data.pipeline import training_pipeline
from kseg.data.served import in_order, served_pipeline
from kseg.data.service import InputServer, describe_samples
from kseg.errors import ConfigError, DataError, KsegError

CONFIG = """
data.source = "synthetic"
data.image_size = [32, 32]
synthetic = { level = "easy", scenes = 40 }
[augmentation]
rotation = 20.0
brightness = 0.2
hue = 0.1
blur = 0.3
"""
BATCH = 4


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("served")
    (home / "scenes.toml").write_text(CONFIG)
    return home


@pytest.fixture(scope="module")
def address(home):
    with two_machines(home, "scenes.toml") as address:
        yield address


def settings_with(home, *changes):
    return load_settings(home / "scenes.toml", changes)


def batches(settings, address=None, *, first_step=0, steps=18):
    """Batches of the training, from the service if there is one."""
    loader, _, order, _ = open_samples(settings)
    options = {"ignore_class": 255, "batch_size": BATCH, "first_step": first_step, "steps": steps}
    if address:
        description = describe_samples(settings, loader.source.names, order)
        return served_pipeline(address, description, loader, order, settings.augmentation, **options)
    return training_pipeline(loader, order, settings.augmentation, **options)


def require_equal(some, others):
    for (pictures, masks), (other_pictures, other_masks) in zip(some, others, strict=True):
        np.testing.assert_array_equal(pictures, other_pictures)
        np.testing.assert_array_equal(masks, other_masks)


def no_batch_here(step):
    raise AssertionError(f"step {step} did not come from the service")


@pytest.fixture
def arrived(monkeypatch):
    """The steps that the service gives, in the order of their coming; none may be loaded here."""
    steps = []
    receive = served.Arrivals.next_within

    def noting(self, seconds):
        arrival = receive(self, seconds)
        steps.append(arrival[0])
        return arrival

    monkeypatch.setattr(served.Arrivals, "next_within", noting)
    monkeypatch.setattr(served, "Here", lambda plain_from: no_batch_here)
    return steps


def test_two_machines_give_every_batch_exactly_once_and_bit_for_bit(home, address, arrived):
    """Two passes over 36 samples are 18 steps of 4: the batches are those of one process, augmentation included."""
    settings = settings_with(home)
    require_equal(batches(settings), batches(settings, address))
    assert sorted(arrived) == list(range(18))


def test_every_sample_comes_exactly_once_in_every_pass(home, address, arrived):
    """Seen in the masks themselves: without augmentation, a pass holds the mask of each training sample once."""
    settings = settings_with(home, "augmentation={ horizontal_flip = 0.0 }")
    loader, split, _, _ = open_samples(settings)
    expected = sorted(loader.load(index).picture.tobytes() for index in split.training)
    assert len(set(expected)) == 36
    pictures = np.concatenate([pictures for pictures, _ in batches(settings, address)])
    for one_pass in (pictures[:36], pictures[36:]):
        assert sorted(picture.tobytes() for picture in one_pass) == expected
    assert sorted(arrived) == list(range(18))


def test_a_training_may_begin_anywhere_and_end_at_once(home, address):
    settings = settings_with(home)
    require_equal(batches(settings, first_step=7), batches(settings, address, first_step=7))
    assert list(batches(settings, address, first_step=18)) == []


def test_a_machine_killed_on_the_way_costs_no_batch(home, address, monkeypatch):
    """A third machine joins and is killed with batches in its hands: those are loaded here."""
    here = []

    class Noting(served.Here):
        def __call__(self, step):
            here.append(step)
            return super().__call__(step)

    monkeypatch.setattr(served, "Here", Noting)
    monkeypatch.setattr(served, "PATIENCE", 2.0)
    settings = settings_with(home)
    with machine(home, "scenes.toml", dispatcher=address) as (_, third):
        assert "samples at" in third.stdout.readline()
        some = []
        for batch in batches(settings, address, steps=200):
            some.append(batch)
            if len(some) == 10:
                third.kill()
    require_equal(batches(settings, steps=200), some)
    assert any(step >= 10 for step in here)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("data.image_size=[64, 32]", "data.image_size: [32, 32] there, [64, 32] here"),
        ("seed=3", "seed: 0 there, 3 here"),
        ("synthetic.seed=3", "synthetic.seed: 0 there, 3 here"),
        ("data.validation_every=4", "the training samples, by name: 36 ("),
    ],
)
def test_machines_with_other_samples_are_refused(home, address, change, said):
    with pytest.raises(DataError, match=r"^input service, machine localhost:\d+: serves other samples") as refused:
        batches(settings_with(home, change), address)
    assert said in str(refused.value)
    assert "start kseg-data serve with this CONFIG" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_where_data_is_and_what_is_done_with_it_here_may_differ(home):
    def described(*changes):
        settings = settings_with(home, *changes)
        loader, _, order, _ = open_samples(settings)
        return describe_samples(settings, loader.source.names, order)

    assert described("data.cache=false", "data.input_service=grpc://a:1", "data.verify=false") == described()
    assert described("augmentation.blur=0.0", "training.batch_size=8") == described()
    assert described("data.oversample=0.9") != described()


def test_a_service_that_is_not_there_is_said_at_once(home, monkeypatch):
    monkeypatch.setattr(service, "REACHED_WITHIN", 0.0)
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
    for address in (f"grpc://localhost:{port}", "grpc://no-such-host.invalid:5050", "grpc://localhost:99999"):
        with pytest.raises(ConfigError, match=f"^{address}: no input service answers there"):
            batches(settings_with(home), address)


def test_a_service_that_says_nothing_is_given_up(home, monkeypatch):
    """Something listens, as a dispatcher without machines would, and never answers."""
    monkeypatch.setattr(served, "ASKED_WITHIN", 2.0)
    with socket.create_server(("localhost", 0)) as silent:
        address = f"grpc://localhost:{silent.getsockname()[1]}"
        with pytest.raises(ConfigError, match="no machine of this input service gave a sample within 2 s"):
            batches(settings_with(home), address)


def test_a_tensorflow_that_names_functions_otherwise_is_refused():
    """In a process that has made other functions before, the name is another, as it could be in a newer TensorFlow."""
    with tf.Graph().as_default():
        made = tf.numpy_function(lambda: np.int64(0), [], tf.int64)
    with pytest.raises(KsegError, match=f"^TensorFlow {tf.__version__} made a PyFuncStateless called pyfunc_[1-9]"):
        InputServer()
    del made


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(KsegError, match=f"^port {port} cannot be listened at: .*choose another with --port"):
            service.require_free([port])


class Played:
    """Arrivals that were written down: numbers of steps; a pause is None."""

    def __init__(self, arrivals):
        self.arrivals = list(arrivals)

    def next_within(self, seconds):
        arrival = self.arrivals.pop(0) if self.arrivals else None
        if arrival is None:
            time.sleep(seconds)
            return None
        return arrival, f"there {arrival}"


@pytest.mark.parametrize(
    ("arrivals", "here"),
    [
        ([0, 1, 2, 3, 4], []),
        ([3, 1, 0, 4, 2], []),
        ([1, 2, None, 3, 4], [0]),  # 0 is lost
        ([2, None, 4, 3], [0, 1]),  # and 1 with it: 2 has waited long enough
        ([1, None, 0, 0, 2, 3, 4, 1], [0]),  # what comes late, or twice, is dropped
        ([0, 1, None], [2, 3, 4]),  # nothing comes any more
        ([None], [0, 1, 2, 3, 4]),
        ([1, 2, 3, 0, 4], [0]),  # three wait already: there is no room for a fourth
    ],
)
def test_arrivals_in_any_order_become_the_stream(arrivals, here, monkeypatch):
    monkeypatch.setattr(served, "PATIENCE", 0.05)
    made = []

    def batch_here(step):
        made.append(step)
        return f"here {step}"

    stream = list(in_order(Played(arrivals).next_within, range(5), batch_here, 3))
    assert stream == [f"{'here' if step in here else 'there'} {step}" for step in range(5)]
    assert made == here


def test_a_service_that_forgets_the_training_only_gives_nothing_more(capsys):
    """As one does whose first machine was started again: the rest is loaded here, and it is said why."""

    def gone():
        yield tf.constant(0), "pictures", "masks"
        raise tf.errors.NotFoundError(
            None, None, "{{node x}} Unknown iteration client id 1 [Op:IteratorGetNext] name: "
        )

    with contextlib.closing(served.Arrivals(gone(), loader=None)) as arrivals:
        assert arrivals.next_within(5.0) == (0, ("pictures", "masks"))
        assert arrivals.next_within(0.5) is None
    assert capsys.readouterr().out == "input service: Unknown iteration client id 1; loading here from now on\n"


def test_time_that_the_network_takes_makes_no_batch_overdue(monkeypatch):
    monkeypatch.setattr(served, "PATIENCE", 0.2)
    for batch in in_order(Played([0, 3, 2, 4, 1]).next_within, range(5), no_batch_here, 9):
        assert batch.startswith("there")
        time.sleep(0.1)
