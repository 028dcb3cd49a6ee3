from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kseg.config import difference, dump_settings, flatten, load_settings
from kseg.errors import ConfigError
from kseg.settings import Settings, require_multiple_of_stride


def refusal(*arguments):
    with pytest.raises(ConfigError) as raised:
        load_settings(*arguments)
    return str(raised.value)


def test_an_empty_file_gives_the_defaults(config):
    assert load_settings(config()) == Settings()


def test_values_come_from_the_file_then_from_the_command_line(config):
    path = config("seed = 3\n[training]\nepochs = 7\nloss = 'bce + dice'")
    settings = load_settings(path, ["training.epochs=5", "data.source=synthetic", "data.image_size=[64, 96]"])
    assert (settings.seed, settings.training.epochs, settings.training.loss) == (3, 5, "bce + dice")
    assert (settings.data.source, settings.data.image_size) == ("synthetic", (64, 96))


def test_data_folders_become_absolute_roots(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_settings(config(), (), [Path("a"), Path("b")]).data.roots == (tmp_path / "a", tmp_path / "b")


@given(
    epochs=st.integers(1, 10**6),
    rate=st.floats(1e-8, 10),
    names=st.lists(st.text(min_size=1).filter(lambda name: name != "ignore"), min_size=1, max_size=9, unique=True),
)
def test_what_is_dumped_loads_to_the_same_settings(tmp_path_factory, epochs, rate, names):
    settings = Settings.model_validate(
        {"data": {"classes": tuple(names)}, "training": {"epochs": epochs, "learning_rate": rate}}
    )
    path = tmp_path_factory.mktemp("dump") / "settings.toml"
    path.write_text(dump_settings(settings), encoding="utf-8")
    assert load_settings(path) == settings


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        ("[training]\nepochs = 'five'", [], ['settings.toml: training.epochs = "five": ', "integer"]),
        ("[training]\nlerning_rate = 1", [], ["training.lerning_rate", "did you mean learning_rate?"]),
        ("", ["training.epochs=five"], ['--set training.epochs=five: training.epochs = "five": ', "integer"]),
        ("", ["training.epochs=true"], ["training.epochs = true", "integer"]),
        ("", ["training.epochs=0"], ["training.epochs = 0", "greater than or equal to 1"]),
        ("", ["training.learning_rate=0"], ["greater than 0"]),
        ("", ["training.learning_rate=inf"], ["training.learning_rate", "finite"]),
        ("", ["training=3"], ["training = 3"]),
        ("seed = 1", ["seed.x=3"], ["seed is a value, not a section"]),
        ("", ["foo.bar=3"], ["--set foo.bar=3: unknown setting foo", "training"]),
        ("", ["epochs"], ["write it as section.key=value"]),
        ("", ["data.image_size=[250, 333]"], ["250 x 333", "256 x 352"]),
        ("", ["data.image_size=[0, 32]"], ["data.image_size", "greater than or equal to 1"]),
        ("", ['data.classes=["a", "a"]'], ["each name may stand only once"]),
        ("", ["data.classes=[]"], ["0 names"]),
        ("", ['data.classes=["ignore"]'], ["choose another name"]),
        ("", ['data.classes=["a", "b", "c"]', "data.ignore_class=2"], ["ignore_class: 2 is a class id here"]),
        ("", ["data.train_list=a.txt"], ["set both or neither"]),
        ("", ["data.on_bad_sample=skip", "data.verify=false"], ["must be known beforehand"]),
        ("", ["training.warmup_epochs=1"], ['schedule = "cosine"']),
        ("", ["training.schedule=cosine", "training.epochs=2", "training.warmup_epochs=2"], ["leaves nothing"]),
        ("", ["training.class_weights=[1.0]"], ["1 numbers; 2 are needed"]),
        ("", ["augmentation.transpose=0.5", "data.image_size=[32, 64]"], ["needs a square"]),
        ("", ["model.widths=[1, 2]"], ["model.widths", "5 items"]),
        ("x", [], ["settings.toml: not valid TOML"]),
    ],
)
def test_what_cannot_be_is_refused_with_origin_key_and_value(config, text, overrides, expected):
    message = refusal(config(text), overrides)
    assert all(part in message for part in expected), message


def test_a_missing_file_proposes_one_that_is_there(tmp_path):
    (tmp_path / "people.toml").touch()
    assert "people.toml?" in refusal(tmp_path / "poeple.toml")


def test_a_folder_or_binary_file_is_no_settings_file(tmp_path):
    assert "cannot be read" in refusal(tmp_path)
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in refusal(tmp_path / "x.toml")


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Settings().training.epochs = 3


def test_difference_lists_only_what_was_changed(config):
    settings = load_settings(config(), ["training.epochs=5", "seed=2"])
    assert difference(settings) == {"training.epochs": 5, "seed": 2}
    assert difference(settings, settings) == {}
    assert flatten(settings)["training.batch_size"] == 4


@pytest.mark.parametrize(
    ("size", "proposed"),
    [((250, 333), "256 x 352"), ((0, 32), "32 x 32"), ((1, 1), "32 x 32"), ((-5, 64), "32 x 64")],
)
def test_a_size_that_does_not_fit_is_refused_with_one_that_does(size, proposed):
    with pytest.raises(ValueError, match=f"the nearest that fit are {proposed}$"):
        require_multiple_of_stride(*size)


@pytest.mark.parametrize("size", [(32, 32), (256, 352), (1024, 64)])
def test_a_size_that_fits_is_accepted(size):
    require_multiple_of_stride(*size)
