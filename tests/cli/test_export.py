"""kseg-export as its users meet it: what is published, messages, exit statuses."""

import json
import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from served import Loaded, upright
from support import EXPORT

from kseg.cli.card import card_of
from kseg.cli.export import main
from kseg.cli.trained import measured_photos, sample_photos
from kseg.config import load_settings, parse_settings
from kseg.data.loading import Loader
from kseg.data.sources import open_source
from kseg.files import write_text
from kseg.models.trained import settings_of
from kseg.serving.card import Card
from kseg.serving.graph import Contract
from kseg.serving.labels import read_labels, set_labels
from kseg.serving.verify import Verification
from kseg.serving.versions import origin_of, versions
from kseg.settings import DataSettings, ExportSettings, ModelSettings, Settings, SourceSettings, TfdsSettings
from kseg.training.run import Run


@pytest.fixture(scope="module")
def first(exported, tmp_path_factory):
    """What kseg-export said of its first version, and a copy of the model's folder, to which tests add versions."""
    done, model_dir = exported
    copied = shutil.copytree(model_dir.parent, tmp_path_factory.mktemp("first") / "models")
    return done, copied / "people"


def export(*arguments):
    """Run the command in this process, which has loaded TensorFlow already."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="kseg-export")


def refusal(*arguments):
    """What the user reads on standard error when something is wrong: status 1, no traceback."""
    result = export(*arguments)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stderr.startswith("kseg-export: ")
    assert "Traceback" not in result.output
    return result.stderr


def published(model_dir):
    """Whatever a server would see, and what an export would have left behind."""
    return sorted(path.name for path in model_dir.iterdir() if path.name != ".lock") if model_dir.is_dir() else []


def test_the_first_version_is_all_there_and_nothing_but_kseg_speaks(first, trained_run):
    done, model_dir = first
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "published models/people/1, labelled canary and stable" in done.stdout
    assert "comparing it on 3 photos" in done.stdout
    assert "the same as the trained network but for 0.000% of the masks' pixels" in done.stdout
    assert published(model_dir) == ["1", "labels.json"]
    names = {str(path.relative_to(model_dir / "1")) for path in (model_dir / "1").rglob("*") if path.is_file()}
    assert names >= {
        "saved_model.pb", "variables/variables.index", "assets.extra/tf_serving_warmup_requests",
        "assets.extra/model_card.json", "assets.extra/model_card.md",
    }  # fmt: skip
    assert {"compose.yaml", "models.config", "batching.config", "monitoring.config"} <= set(
        os.listdir(model_dir.parent)
    )


def test_the_card_says_what_the_run_and_the_comparison_found(first, trained_run):
    card = Card.read(first[1] / "1")
    assert card.scores == json.loads((trained_run / "result.json").read_text())["scores"]
    assert "val_jaccard" in card.scores
    assert card.verification["photos"] == 3
    assert card.verification["precision"] == card.precision == "float32"
    assert 0 <= card.verification["largest_difference"] <= 1e-4
    assert 0 <= card.verification["changed_share"] <= 1e-3
    assert (card.name, card.classes, card.image_size) == ("people", ("person",), (32, 32))
    assert (card.data["training"], card.data["validation"]) == (9, 3)
    assert card.encoder_weights is None
    assert set(card.signatures) == {"serving_default", "cutout", "probabilities", "probabilities_uint8"}


def test_the_card_gives_no_path_away(first, trained_run):
    assert str(trained_run.parent) in (trained_run / "settings.toml").read_text()
    for name in ("model_card.json", "model_card.md"):
        assert str(trained_run.parent) not in (first[1] / "1" / "assets.extra" / name).read_text()
    assert tomllib.loads(Card.read(first[1] / "1").settings)["data"]["roots"] == ["photos"]


def test_the_published_version_answers_with_a_mask_of_the_photos_size(first, trained_run):
    content = (trained_run.parent / "photos" / "images" / "p003.jpg").read_bytes()
    loaded = Loaded(first[1] / "1")
    assert set(loaded.signatures) == set(Card.read(first[1] / "1").signatures)
    answer = loaded("serving_default", [content])
    assert cv2.imdecode(np.frombuffer(answer["mask_bytes"][0], np.uint8), cv2.IMREAD_UNCHANGED).shape == (48, 40)


def test_int8_is_measured_on_training_photos(trained_run, tmp_path):
    eight = "--set", "export.precision=int8"
    result = export(trained_run, "--to", tmp_path / "people", *eight)
    assert result.exit_code == 0, result.output
    assert "in int8" in result.stdout
    card = Card.read(tmp_path / "people" / "1")
    assert card.verification["precision"] == card.precision == "int8"
    settings = settings_of(trained_run, ("export.precision=int8",))
    run = Run(trained_run)
    contract = Contract(settings.data.class_ids, settings.data.image_size, settings.data.resize)
    measured = measured_photos(run, settings, contract)
    source = open_source(settings.data, settings.synthetic)
    loader = Loader(source, settings.data.image_size, resize=settings.data.resize)
    training = [source.names.index(name) for name in run.read_data()["training"]]
    assert len(measured) == len(training)
    for photo, index in zip(measured, training, strict=True):
        np.testing.assert_array_equal(photo, loader.load(index)[0])


def test_int8_without_the_training_photos_is_refused(trained_run, tmp_path):
    photos = trained_run.parent / "photos"
    photos.rename(photos.with_name("elsewhere"))
    try:
        message = refusal(trained_run, "--to", tmp_path / "people", "--set", "export.precision=int8")
    finally:
        photos.with_name("elsewhere").rename(photos)
    assert "int8 is measured on the run's training photos, which cannot be read: " in message
    assert "say with --data where they are now, or export with --set export.precision=bfloat16" in message
    assert published(tmp_path / "people") == []


def test_a_models_life(first, trained_run):
    """A second version in bfloat16, for small photos, its own gone; back to the first, forth again, some removed."""
    model_dir = first[1]
    rounded, small = ("--set", "export.precision=bfloat16"), ("--set", "export.max_pixels=1000")
    photos = trained_run.parent / "photos"
    photos.rename(photos.with_name("elsewhere"))
    try:
        result = export(trained_run, "--to", model_dir, "--label", "trial", *rounded, *small)
    finally:
        photos.with_name("elsewhere").rename(photos)
    assert result.exit_code == 0, result.output
    assert "compared on drawn scenes, since the run's pictures cannot be read: " in result.stderr
    assert "no such folder" in result.stderr
    assert "comparing it on 8 photos" in result.stdout
    assert f"published {model_dir}/2, labelled canary and trial" in result.stdout
    assert Card.read(model_dir / "2").precision == "bfloat16"
    assert read_labels(model_dir) == {"stable": 1, "canary": 2, "trial": 2}

    command = [*EXPORT, "--rollback", "--to", "people"]
    done = subprocess.run(command, cwd=model_dir.parent, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "published people/3, labelled canary and stable" in done.stdout
    assert origin_of(model_dir, 3) == 1
    assert (model_dir / "3" / "saved_model.pb").samefile(model_dir / "1" / "saved_model.pb")
    assert read_labels(model_dir) == {"stable": 3, "canary": 3, "trial": 2}

    assert "there is no version before 1" in refusal("--rollback", "--to", model_dir)
    assert "has no version 9; there are 1, 2, 3" in refusal("--rollback-to", 9, "--to", model_dir)
    result = export("--rollback-to", 2, "--to", model_dir, "--keep", 1)
    assert result.exit_code == 0, result.output
    assert origin_of(model_dir, 4) == 2
    assert versions(model_dir) == [2, 3, 4]  # trial needs 2, and a server may still answer with 3
    assert "removed 1" in result.stdout
    set_labels(model_dir, ["stable", "canary", "trial"], 4)
    result = export("--rollback-to", 4, "--to", model_dir, "--keep", 2)
    assert versions(model_dir) == [2, 4, 5]  # where trial was before
    assert "removed 3" in result.stdout


def test_photos_larger_than_the_network_will_take_are_compared_at_a_size_it_takes(trained_run):
    def sizes(*overrides):
        found = sample_photos(Run(trained_run), settings_of(trained_run, overrides))
        assert all((upright(sample.content) == sample.picture).all() for sample in found)
        return [sample.picture.shape for sample in found]

    whole = sizes()
    assert min(height * width for height, width, _ in whole) == 48 * 40
    assert sizes("export.max_pixels=480") == [(24, 20, 3)] * 3  # half of each side
    assert sizes("export.max_pixels=1920") == whole


def test_a_wrong_folder_beside_the_model_keeps_nothing_from_being_published(tmp_path):
    for name in ("people", "old people", "fashion"):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "1" / "saved_model.pb").touch()
    (tmp_path / "fashion" / "labels.json").write_text('{"stable": 1}')
    result = export("--rollback-to", 1, "--to", tmp_path / "people")
    assert result.exit_code == 0, result.output
    assert f"published {tmp_path}/people/2, labelled canary and stable" in result.stdout
    fashion, old_people = result.stderr.splitlines()
    assert f"warning: left out of models.config: {tmp_path}/fashion/labels.json: cannot be read as labels" in fashion
    assert f"warning: left out of models.config: {tmp_path}/old people: 'old people' cannot be" in old_people
    config = (tmp_path / "models.config").read_text()
    assert config.count("name:") == 1
    assert 'version_labels { key: "stable" value: 2 }' in config


def test_what_is_published_is_said_even_if_the_server_files_cannot_be_written(tmp_path):
    (tmp_path / "people" / "1").mkdir(parents=True)
    (tmp_path / "people" / "1" / "saved_model.pb").touch()
    (tmp_path / "models.config").mkdir()
    result = export("--rollback-to", 1, "--to", tmp_path / "people")
    assert result.exit_code == 1
    assert f"published {tmp_path}/people/2, labelled canary and stable\n" in result.stdout
    assert f"{tmp_path}/models.config: cannot be written" in result.stderr


def test_what_is_no_finished_run_is_refused(trained_run, tmp_path):
    target = tmp_path / "people"
    assert "nowhere: holds no run; name a folder that kseg-train has written" in refusal(
        tmp_path / "nowhere", "--to", target
    )
    (tmp_path / "begun").mkdir()
    shutil.copy(trained_run / "settings.toml", tmp_path / "begun")
    message = refusal(tmp_path / "begun", "--to", target)
    assert "begun: has no best.keras yet; let kseg-train finish an epoch first" in message
    assert published(target) == []


@pytest.mark.parametrize("damage", ["empty", "truncated", "no archive", "flipped bytes", "other network"])
def test_a_damaged_network_is_refused(damage, trained_run, tmp_path):
    shutil.copytree(trained_run, tmp_path / "run")
    best = tmp_path / "run" / "best.keras"
    content = bytearray(best.read_bytes())
    if damage == "empty":
        content.clear()
    elif damage == "truncated":
        del content[len(content) // 2 :]
    elif damage == "no archive":
        content[:] = b"no network" * 100
    elif damage == "flipped bytes":
        for at in range(20_000, len(content) - 20_000, 5000):
            content[at] ^= 0xFF
    best.write_bytes(content)
    if damage == "other network":
        settings = tmp_path / "run" / "settings.toml"
        settings.write_text(settings.read_text().replace('encoder = "resnet18"', 'encoder = "resnet34"'))
    message = refusal(tmp_path / "run", "--to", tmp_path / "people")
    assert f"{best}: cannot be read as the network of {tmp_path}/run/settings.toml" in message
    assert "train it again" in message
    assert len(message.splitlines()) == 1
    assert published(tmp_path / "people") == []


def test_a_target_that_cannot_be_one_is_refused(trained_run, tmp_path):
    (tmp_path / "file").touch()
    assert f"{tmp_path}/file: is a file; name a folder" in refusal(trained_run, "--to", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b""
    assert "is the name of a version" in refusal(trained_run, "--to", tmp_path / "people" / "7")
    (tmp_path / "people" / "3").mkdir(parents=True)
    assert "holds no saved_model.pb" in refusal(trained_run, "--to", tmp_path / "people")
    assert published(tmp_path / "people") == ["3"]


def test_options_that_make_no_sense_are_refused(trained_run, tmp_path):
    target = tmp_path / "people"
    assert "--set training.epochs=3: the network is trained already; only export.*" in refusal(
        trained_run, "--to", target, "--set", "training.epochs=3"
    )
    message = refusal(trained_run, "--to", target, "--set", "export.precision=int4")
    assert "--set export.precision=int4" in message
    assert "float32" in message
    assert "unknown setting export.precison (did you mean precision?)" in refusal(
        trained_run, "--to", target, "--set", "export.precison=bfloat16"
    )
    assert "'one two'" in refusal(trained_run, "--to", target, "--label", "one two")
    assert "holds no version to go back to" in refusal("--rollback", "--to", target)
    assert published(target) == []
    for arguments, said in {
        (): "either a RUN",
        (trained_run, "--rollback"): "either a RUN",
        (trained_run, "--rollback-to", 1): "either a RUN",
        (trained_run, "--keep", 0): "--keep",
        ("--rollback", "--label", "trial"): "--label goes with a RUN",
        ("--rollback", "--set", "export.precision=bfloat16"): "--set and --data go with a RUN",
        ("--rollback-to", 1, "--data", trained_run): "--set and --data go with a RUN",
        ("--rollback", "--format", "onnx"): "--format onnx writes one file",
        (trained_run, "--format", "onnx", "--set", "export.precision=bfloat16"): "--set goes with a SavedModel",
        (trained_run, "--format", "litert", "--label", "trial"): "--format litert writes one file",
        (trained_run, "--format", "litert", "--keep", 3): "--format litert writes one file",
    }.items():
        result = export(*arguments, "--to", target)
        assert result.exit_code == 2
        assert "Usage: kseg-export" in result.stderr
        assert said in result.stderr
    assert not target.exists()


@pytest.mark.parametrize("size", ["20m", "48m"])
def test_a_full_disk_is_said_and_leaves_nothing(size, trained_run, tmp_path):
    """A real, small file system fills up under the graph, or, where that fits, under large warm-up requests."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        message = refusal(trained_run, "--to", disk / "people", "--set", "export.batch_sizes=[5000]")
        assert "No space left on device; free some space there" in message
        assert "what was published before is untouched" in message
        assert len(message.splitlines()) == 1
        assert published(disk / "people") == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_run_that_goes_on_has_no_scores_yet(trained_run, tmp_path):
    """Its best network so far can be exported: only the comparison is left out here, since that is tested above."""
    shutil.copytree(trained_run, tmp_path / "run")
    Path(tmp_path / "run" / "result.json").unlink()
    run = Run(tmp_path / "run")
    card = card_of(run, load_settings(run.settings_file), Verification("float32", 1, 0.0, 0.0), "people")
    assert card.scores == {}


@pytest.mark.parametrize(
    "weights", ["/home/mallory/runs/imagenet", "runs/imagenet", "hf://timm/resnet18", "imagenet", "none"]
)
def test_a_card_names_no_folder_and_no_machine(weights, tmp_path):
    """All settings that may hold a path or an address; what opens an export finds its own in what is left."""
    run, file = Run(tmp_path / "run"), "/home/mallory/runs/imagenet/best.keras"
    origin = {"source": weights, "file": file, "sha256": "0" * 64, "revision": None}
    write_text(run.weights_file, json.dumps(origin))
    further = SourceSettings(
        source="coco", roots=(Path("/home/mallory/more"),), annotations="/home/mallory/all.json", images="photos/large"
    )
    data = DataSettings(
        roots=(Path("/home/mallory/photos"), Path("sets/street")), masks="/home/mallory/masks", also=(further,),
        tfds=TfdsSettings(data_dir="/home/mallory/tfds"), train_list=Path("/home/mallory/a.txt"),
        validation_list=Path("/home/mallory/b.txt"), input_service="grpc://secret:5000", classes=("sky", "road", "car"),
        colours={"car": "#010203"}, resize="pad", image_size=(64, 96),
    )  # fmt: skip
    settings = Settings(data=data, model=ModelSettings(encoder_weights=weights), export=ExportSettings(threshold=0.3))
    card = card_of(run, settings, Verification("float32", 1, 0.0, 0.0), "people")
    card.write(tmp_path)
    for name in ("model_card.json", "model_card.md"):
        text = (tmp_path / "assets.extra" / name).read_text()
        for private in ("home", "mallory", "secret", "runs/", "sets/"):
            assert private not in text
    left = parse_settings(Card.read(tmp_path).settings, tmp_path)
    assert left.export == settings.export
    for name in ("classes", "class_ids", "colours", "resize", "image_size"):
        assert getattr(left.data, name) == getattr(data, name)
    assert [source.title for source in left.data.sources] == card.data["sources"] == ["photos, street", "more"]
    assert (left.data.also[0].images, left.data.also[0].annotations, left.data.masks) == (
        "photos/large", "all.json", "masks"
    )  # fmt: skip
    public = "./imagenet" if "runs" in weights else weights
    assert left.model.encoder_weights == card.encoder_weights["source"] == public
    assert card.encoder_weights["file"] == "./best.keras"
    assert ("BSD-3-Clause" in card.encoder_weights["licence"]) == (weights == "imagenet")
