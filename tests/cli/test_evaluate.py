"""kseg-evaluate as its users meet it: numbers, files, the page, messages, exit statuses."""

import csv
import html
import json
import os
import re
import shlex
import shutil
import signal

import cv2
import keras
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import f1_score, jaccard_score
from support import make_photos

import kseg
from kseg.cli.evaluate import main
from kseg.cli.evaluating import Judged
from kseg.config import dump_settings, load_settings
from kseg.training.run import Run


def run(*arguments):
    """Run the command in this process, which has loaded TensorFlow already."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="kseg-evaluate")


def scores(folder):
    return json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))


def changed(run_path, copy, *overrides):
    """A copy of a run with other settings."""
    run = Run(shutil.copytree(run_path, copy))
    run.settings_file.write_text(dump_settings(load_settings(run.settings_file, overrides)))
    return run


def names(folder):
    return [row["name"] for row in scores(folder)["per_photo"]]


@pytest.fixture(scope="module")
def evaluated(trained_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluated")
    result = run(trained_run, "--split", "all", "--out", out)
    assert result.exit_code == 0, result.output
    return result, out


def test_scores_are_scikit_learns_of_the_masks_that_are_predicted(evaluated, trained_run, predictor):
    _, out = evaluated
    photos = trained_run.parent / "photos"
    truths, found = [], []
    for file in sorted((photos / "images").iterdir()):
        truths.append(cv2.imread(str(photos / "masks" / f"{file.stem}.png"), cv2.IMREAD_GRAYSCALE).ravel() > 0)
        found.append(predictor.predict(file).mask.ravel() > 0)
    content = scores(out)
    assert content["photos"] == len(truths) == 12
    assert content["pixels"] == sum(truth.size for truth in truths)
    together = np.concatenate(truths), np.concatenate(found)
    dataset, per_image = content["scores"]["dataset"], content["scores"]["per_image"]
    assert dataset["jaccard"]["value"] == pytest.approx(jaccard_score(*together), abs=1e-12)
    assert dataset["dice"]["value"] == pytest.approx(f1_score(*together), abs=1e-12)
    alone = [jaccard_score(*pair, zero_division=1.0) for pair in zip(truths, found, strict=True)]
    assert per_image["jaccard"]["value"] == pytest.approx(np.mean(alone), abs=1e-12)
    assert [row["jaccard"] for row in content["per_photo"]] == pytest.approx(alone, abs=1e-12)
    assert dataset["jaccard"]["low"] <= dataset["jaccard"]["value"] <= dataset["jaccard"]["high"]


def test_large_photos_are_judged_as_they_are_predicted(trained_run, predictor, tmp_path):
    photos = make_photos(tmp_path / "large", 4, 320, 264)
    assert run(trained_run, "--data", photos, "--split", "all", "--out", tmp_path / "out").exit_code == 0
    rows = {row["name"]: row["jaccard"] for row in scores(tmp_path / "out")["per_photo"]}
    for file in (photos / "images").iterdir():
        truth = cv2.imread(str(photos / "masks" / f"{file.stem}.png"), cv2.IMREAD_GRAYSCALE).ravel() > 0
        found = predictor.predict(file).mask.ravel() > 0
        assert rows[f"large/{file.stem}"] == pytest.approx(jaccard_score(truth, found), abs=1e-12)


def numbers(content):
    """All numbers in an evaluation, under their path."""
    if isinstance(content, dict):
        return {f"{key}/{path}": n for key, value in content.items() for path, n in numbers(value).items()}
    if isinstance(content, list):
        return {f"{key}/{path}": n for key, value in enumerate(content) for path, n in numbers(value).items()}
    return {"": content} if isinstance(content, int | float) and not isinstance(content, bool) else {}


def test_the_batch_size_changes_nothing(trained_run, tmp_path):
    for size in (1, 7):
        result = run(trained_run, "--split", "all", "--batch-size", size, "--out", tmp_path / str(size))
        assert result.exit_code == 0, result.output
    one, seven = numbers(scores(tmp_path / "1")), numbers(scores(tmp_path / "7"))
    assert one.keys() == seven.keys()
    assert len(one) > 500
    for path, value in one.items():
        if not path.startswith(("confusion", "reliability/bins", "objects")):  # sums of pixels, not scores
            assert seven[path] == pytest.approx(value, abs=1e-6), path


def test_what_is_said_and_written(evaluated):
    result, out = evaluated
    content = scores(out)
    assert "12 photos (all), at their own size" in result.stdout
    assert f"{content['scores']['dataset']['jaccard']['value']:.4f}" in result.stdout
    assert f"report: {out / 'report.html'}" in result.stdout
    assert {path.name for path in out.iterdir()} == {
        "evaluation.json", "per_class.csv", "per_photo.csv", "report.html"
    }  # fmt: skip
    with (out / "per_photo.csv").open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert [row["name"] for row in rows] == [row["name"] for row in content["per_photo"]]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "from random weights, no ImageNet weights" in page
    for gallery in ("Worst", "Median", "Best"):
        assert gallery in page


def test_training_ends_with_the_same_report(trained_run, tmp_path):
    assert run(trained_run, "--out", tmp_path).exit_code == 0
    mine, ours = scores(tmp_path), scores(trained_run / "evaluation")
    assert mine["split"] == ours["split"] == "validation"
    assert mine["photos"] == ours["photos"] == 3
    assert numbers(mine["scores"]) == pytest.approx(numbers(ours["scores"]), abs=1e-9)
    assert (trained_run / "evaluation" / "report.html").exists()


def test_a_baseline_on_the_same_photos(trained_run, tmp_path):
    shutil.copytree(trained_run, tmp_path / "other")
    model = keras.models.load_model(tmp_path / "other" / "best.keras")
    for variable in model.trainable_variables[-2:]:
        variable.assign(variable + 0.5)
    model.save(tmp_path / "other" / "best.keras")
    result = run(trained_run, "--split", "all", "--baseline", tmp_path / "other", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    compared = scores(tmp_path / "out")["baseline"]
    assert compared["model"] == str(tmp_path / "other")
    assert compared["difference"]["better"] + compared["difference"]["worse"] + compared["difference"]["equal"] == 12
    ours = scores(tmp_path / "out")["scores"]["dataset"]["jaccard"]["value"]
    theirs = compared["scores"]["dataset"]["jaccard"]["value"]
    assert compared["difference"]["jaccard"]["value"] == pytest.approx(ours - theirs)
    assert "Most different" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_the_best_threshold_is_kept_and_used(trained_run, tmp_path):
    shutil.copytree(trained_run, tmp_path / "run")
    result = run(tmp_path / "run", "--split", "all", "--store-threshold", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    best = scores(tmp_path / "out")["thresholds"]["best"]["threshold"]
    assert f"export.threshold is {best:g} now" in result.stdout
    assert load_settings(tmp_path / "run" / "settings.toml").export.threshold == best
    assert kseg.load(tmp_path / "run").threshold == best
    again = run(tmp_path / "run", "--split", "all", "--out", tmp_path / "again")
    assert again.exit_code == 0
    content = scores(tmp_path / "again")
    assert content["threshold"] == best
    swept = scores(tmp_path / "out")["thresholds"]["best"]["jaccard"]
    assert content["scores"]["dataset"]["jaccard"]["value"] == pytest.approx(swept, abs=1e-6)


def test_other_photos_are_evaluated_whole_and_lists_as_they_say(trained_run, tmp_path):
    other = make_photos(tmp_path / "other", 4)
    result = run(trained_run, "--data", other, "--out", tmp_path / "all")
    assert result.exit_code == 0, result.output
    assert (scores(tmp_path / "all")["split"], scores(tmp_path / "all")["photos"]) == ("all", 4)
    (tmp_path / "some.txt").write_text("p001\np003\n")
    assert run(trained_run, "--split", tmp_path / "some.txt", "--out", tmp_path / "some").exit_code == 0
    assert [row["name"] for row in scores(tmp_path / "some")["per_photo"]] == ["photos/p001", "photos/p003"]


def test_a_list_may_name_what_the_source_skips(trained_run, tmp_path):
    photos = make_photos(tmp_path / "other", 4)
    (photos / "masks" / "p002.png").unlink()
    copy = changed(trained_run, tmp_path / "run", f'data.roots=["{photos}"]', 'data.on_bad_sample="skip"')
    (tmp_path / "some.txt").write_text("p001\np002\n")
    assert run(copy.path, "--split", tmp_path / "some.txt", "--out", tmp_path / "some").exit_code == 0
    assert names(tmp_path / "some") == ["other/p001"]
    (tmp_path / "some.txt").write_text("p002\n")
    refused = run(copy.path, "--split", tmp_path / "some.txt", "--out", tmp_path / "none")
    assert refused.exit_code == 1
    assert f"{tmp_path / 'some.txt'}: none of the samples that it names can be used" in refused.stderr


@pytest.fixture
def mixed(trained_run, tmp_path):
    """A run that knows four drawn scenes beside its photos, the last of them for validation."""
    run = changed(trained_run, tmp_path / "mixed", "data.also=[{source='synthetic'}]", "synthetic.scenes=4")
    kept = run.read_data()
    run.write_data([*kept["training"], "scene-0", "scene-1", "scene-2"], [*kept["validation"], "scene-3"], {})
    return run


def test_other_photos_are_judged_alone_whatever_else_was_trained_on(mixed, tmp_path):
    holidays = make_photos(tmp_path / "holidays", 4)
    for options in ((), ("--split", "all")):
        assert run(mixed.path, "--data", holidays, *options, "--out", tmp_path / "out").exit_code == 0
        assert scores(tmp_path / "out")["split"] == "all"
        assert names(tmp_path / "out") == [f"holidays/p00{index}" for index in range(4)]


def test_where_the_photos_are_now_the_further_sources_stay(mixed, trained_run, tmp_path):
    photos = shutil.copytree(trained_run.parent / "photos", tmp_path / "elsewhere" / "photos")
    kept = mixed.read_data()
    assert run(mixed.path, "--data", photos, "--out", tmp_path / "out").exit_code == 0
    assert scores(tmp_path / "out")["split"] == "validation"
    assert names(tmp_path / "out") == kept["validation"]
    mixed.write_data([*kept["training"], *kept["validation"][:-1]], ["scene-3"], {})  # of the photos, all train
    assert run(mixed.path, "--data", photos, "--out", tmp_path / "out").exit_code == 0
    assert names(tmp_path / "out") == ["scene-3"]


def test_the_page_tells_the_training_from_what_is_evaluated_and_how_to_repeat_it(mixed, tmp_path):
    holidays, out = make_photos(tmp_path / "the holidays", 4), tmp_path / "out"
    words = [mixed.path, "--data", holidays, "--precision", "bfloat16", "--flip", "--store-threshold", "--out", out]
    assert run(*words).exit_code == 0
    page = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    command = shlex.join(["kseg-evaluate", *map(str, words)])
    assert command in page
    assert str(holidays) not in page.replace(command, "")
    text = " ".join(re.sub("<[^>]*>", " ", page).split())
    assert "sources photos, synthetic training samples 12" in text
    assert "evaluated here 4 of the holidays (all)" in text


def test_the_mirrored_photo_counts_if_asked_for(evaluated, trained_run, predictor, tmp_path):
    result = run(trained_run, "--split", "all", "--flip", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    photos = trained_run.parent / "photos"
    shares = {}
    for flip, out in ((False, evaluated[1]), (True, tmp_path)):
        content = scores(out)
        assert content["flip"] == flip
        assert len(content["per_photo"]) == 12
        for index, row in enumerate(content["per_photo"]):
            truth = cv2.imread(str(photos / "masks" / f"p{index:03}.png"), cv2.IMREAD_GRAYSCALE) > 0
            mask = predictor.predict(photos / "images" / f"p{index:03}.jpg", flip=flip).mask > 0
            shares[flip, index] = mask.mean()
            assert row["jaccard"] == pytest.approx(jaccard_score(truth.ravel(), mask.ravel(), zero_division=1.0))
    assert any(shares[True, index] != shares[False, index] for index in range(12))


def test_what_cannot_be_evaluated_is_said(trained_run, tmp_path):
    def refusal(*arguments):
        result = run(*arguments, "--out", tmp_path / "out")
        assert result.exit_code == 1, result.output
        assert "Traceback" not in result.output
        return result.stderr

    assert "nowhere: holds no run; name a folder" in refusal(tmp_path / "nowhere")
    assert "no sample is called gone" in refusal(trained_run, "--split", _listing(tmp_path, "gone"))
    assert "cannot be read as a list" in refusal(trained_run, "--split", "testing")
    shutil.copytree(trained_run, tmp_path / "street")
    settings = (tmp_path / "street" / "settings.toml").read_text()
    (tmp_path / "street" / "settings.toml").write_text(settings.replace('    "person",', '    "tree",'))
    assert "only networks of the same classes can be compared" in refusal(
        trained_run, "--baseline", tmp_path / "street"
    )
    broken = make_photos(tmp_path / "broken", 3)
    (broken / "images" / "p001.jpg").write_bytes(b"no picture")
    assert "p001.jpg: not a picture" in refusal(trained_run, "--data", broken)
    assert not (tmp_path / "out").exists()


def test_options_that_cannot_be_are_refused_before_a_photo_is_judged(trained_run, tmp_path):
    broken = make_photos(tmp_path / "broken", 1)
    (broken / "images" / "p000.jpg").write_bytes(b"no picture")
    street = changed(trained_run, tmp_path / "street", "data.classes=['tree']").path
    several = changed(trained_run, tmp_path / "several", "data.classes=['background', 'person']").path
    for words, message in (
        ([trained_run], "p000.jpg: not a picture"),
        ([trained_run, "--baseline", tmp_path / "typo"], "typo: holds no run"),
        ([trained_run, "--baseline", street], "only networks of the same classes"),
        ([several, "--store-threshold"], "--store-threshold: belongs to models of one class"),
    ):
        result = run(*words, "--data", broken, "--out", tmp_path / "out")
        assert result.exit_code == 1, result.output
        assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_baseline_is_judged_by_the_same_masks_whatever_it_calls_ignored(trained_run, tmp_path):
    meaning = "data.mask_values={'0' = 'background', '128' = 'ignore', '255' = 'person'}"
    ours = changed(trained_run, tmp_path / "ours", meaning).path
    theirs = changed(trained_run, tmp_path / "theirs", "data.ignore_class=254").path
    photos = make_photos(tmp_path / "other", 2)
    stripes = np.repeat(np.uint8([0, 128, 255]), 16)
    cv2.imwrite(str(photos / "masks" / "p000.png"), np.tile(stripes[:, None], (1, 40)))
    result = run(ours, "--data", photos, "--baseline", theirs, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert scores(tmp_path / "out")["baseline"]["difference"]["equal"] == 2


def test_ctrl_c_leaves_the_results_as_they_were(trained_run, tmp_path, monkeypatch):
    """Pressed as late as can be: all is counted, and the first photo is judged again to be shown."""
    out = tmp_path / "out"
    assert run(trained_run, "--split", "all", "--out", out).exit_code == 0
    before = {file: file.read_bytes() for file in out.iterdir()}
    judge_again = Judged.prediction

    def pressed(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return judge_again(*arguments)

    monkeypatch.setattr(Judged, "prediction", pressed)
    result = run(trained_run, "--flip", "--out", out)
    assert result.exit_code == 130, result.output
    assert "interrupted; nothing was written" in result.stderr
    assert {file: file.read_bytes() for file in out.iterdir()} == before


def _listing(folder, text):
    (folder / "list.txt").write_text(text)
    return folder / "list.txt"
