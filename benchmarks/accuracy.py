"""Which trains to the better network: kseg, or its peers? Same pictures, same number of them seen, random weights.

    python benchmarks/accuracy.py --data DIR --out DIR [--torch-python PATH] [--keras-python PATH]

Every contender is trained with every seed, in a process of its own, and validated after every epoch on every tenth
picture. Contenders: kseg (--config), and with the brief's recipe kseg-brief (configs/people.toml); with --torch-python
smp-unet and smp-linknet (segmentation_models_pytorch); with --keras-python sm-unet and sm-linknet (segmentation_models
1.0). Of one class, the peers learn by the brief's binary cross-entropy. Where --config names several, such as
configs/fashion.toml, they learn by its loss, and kseg-brief and segmentation_models are left out.
A run that has ended is not repeated: give the same command again to go on after an interruption.
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from peers import scoring, table

from kseg.config import difference, load_settings
from kseg.data.loading import Loader
from kseg.data.sources import open_source
from kseg.data.splits import choose_split
from kseg.errors import KsegError
from kseg.settings import DataSettings, Settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HERE = Path(__file__).resolve().parent
BRIEF = HERE.parent / "configs" / "people.toml"
BATCH = 4
COLUMNS = {"iou": "val_jaccard", "iou_per_image": "val_jaccard_per_image", "seconds": "seconds"}
KSEG_TRAIN = "from kseg.cli.train import main; main(prog_name='kseg-train')"


class Contender(NamedTuple):
    """Where it runs, and which network of its library."""

    environment: str
    network: str = ""


CONTENDERS = {
    "kseg": Contender("kseg"),
    "kseg-brief": Contender("kseg"),
    "smp-unet": Contender("torch", "unet"),
    "smp-linknet": Contender("torch", "linknet"),
    "sm-unet": Contender("keras", "unet"),
    "sm-linknet": Contender("keras", "linknet"),
}
SCRIPTS = {"torch": HERE / "peers" / "smp_train.py", "keras": HERE / "peers" / "keras_sm_train.py"}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", help="folder with images/ and masks/; may be repeated")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures, the runs and their scores")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--torch-python", help="Python with segmentation_models_pytorch")
    parser.add_argument("--keras-python", help="Python with TensorFlow and segmentation_models 1.0")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, metavar="NAME", help="some contenders, not all")
    parser.add_argument("--config", type=Path, default=BRIEF.with_name("people_best.toml"))
    parser.add_argument("--steps-per-epoch", type=int, help="default: one pass over the pictures; few, for a trial")
    parser.add_argument("--table", action="store_true", help="train nothing, print the table of the runs in --out")
    options = parser.parse_args()
    options.pythons = {"kseg": sys.executable, "torch": options.torch_python, "keras": options.keras_python}
    options.classes = load_settings(options.config).data.classes
    able = [name for name, contender in CONTENDERS.items() if options.table or options.pythons[contender.environment]]
    if len(options.classes) > 1:
        able = [name for name in able if name in ("kseg", "smp-unet", "smp-linknet")]
    options.names = [name for name in able if name in (options.only or able)]
    if not options.table and not options.data:
        parser.error("--data is needed, to train")
    if missing := set(options.only or ()) - set(able):
        why = "takes one class only" if len(options.classes) > 1 else "--torch-python or --keras-python is needed"
        parser.error(f"{', '.join(sorted(missing))}: {why}")
    return options


def write_samples(options: argparse.Namespace) -> Path:
    """samples-SIZE.npz: what kseg reads from the folders, decoded and stretched, and how it splits it."""
    data = settings_of("kseg", options, options.seeds[0])[1].data
    source = open_source(data, Settings().synthetic)
    split = choose_split(source.names, (), data)
    parts = {"training": split.training, "validation": split.validation}
    names = {f"{part}_names": np.array([source.names[index] for index in split]) for part, split in parts.items()}
    names["classes"] = np.array(data.classes)
    path = options.out / f"samples-{options.size}.npz"
    if path.exists():
        with np.load(path) as stored:
            if not all(np.array_equal(stored.get(key), value) for key, value in names.items()):
                sys.exit(f"{path}: holds other pictures or classes than those asked for; choose another --out")
        return path
    loader = Loader(source, data.image_size, cache=False)
    arrays = dict(names)
    for part, indices in parts.items():
        samples = [loader.load(index) for index in indices]
        arrays[f"{part}_pictures"] = np.stack([sample.picture for sample in samples])
        arrays[f"{part}_masks"] = np.stack([sample.mask for sample in samples])
        if arrays[f"{part}_masks"].max() >= len(data.class_ids):
            sys.exit(f"{path}: a mask has ignored pixels, which the peers do not know")
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    np.savez_compressed(temporary, **arrays)
    temporary.replace(path)
    return path


def overrides_of(options: argparse.Namespace, seed: int) -> list[str]:
    """What the benchmark sets in every settings file of kseg."""
    size = [options.size, options.size]
    overrides = ["model.encoder_weights=none", f"data.image_size={size}", f"training.epochs={options.epochs}"]
    overrides += [f"training.batch_size={BATCH}", f"seed={seed}"]
    return overrides + ([f"training.steps_per_epoch={options.steps_per_epoch}"] if options.steps_per_epoch else [])


def settings_of(name: str, options: argparse.Namespace, seed: int) -> tuple[Path, Settings]:
    """The file and settings of a contender's recipe. Leaves if they read pictures otherwise than the peers do."""
    config = BRIEF if name == "kseg-brief" else options.config
    settings = load_settings(config, overrides_of(options, seed), options.data or ())
    ours = DataSettings(roots=settings.data.roots, image_size=settings.data.image_size)
    alike = {key: getattr(ours, key) for key in ("classes", "colours", "mask_values", "cache")}
    if settings.data.model_copy(update=alike) != ours:
        sys.exit(f"{config}: [data] reads or splits the pictures otherwise than by default, which the peers do not")
    training = settings.training
    if training.early_stopping or training.steps_per_execution > 1:
        sys.exit(f"{config}: early_stopping or steps_per_execution make it another length")
    if len(options.classes) > 1 and (training.class_weights or training.label_smoothing):
        sys.exit(f"{config}: class_weights or label_smoothing make it another loss than the peers'")
    return config, settings


Plan = tuple[list[str], Any]
"""A run's command, and all it depends on apart from places, to see whether an earlier run was the same."""


def plan_run(name: str, options: argparse.Namespace, seed: int, samples: Path) -> Plan:
    folder = folder_of(name, options, seed)
    if CONTENDERS[name].environment == "kseg":
        return plan_kseg(name, options, seed, folder)
    return plan_peer(name, options, seed, folder, samples)


def plan_kseg(name: str, options: argparse.Namespace, seed: int, folder: Path) -> Plan:
    config, settings = settings_of(name, options, seed)
    command = [sys.executable, "-c", KSEG_TRAIN, str(config), "--run", str(folder / "run")]
    for root in options.data:
        command += ["--data", str(root)]
    for override in overrides_of(options, seed):
        command += ["--set", override]
    command += ["--resume"] if (folder / "run" / "settings.toml").exists() else []
    return command, {key: value for key, value in difference(settings).items() if key != "data.roots"}


def plan_peer(name: str, options: argparse.Namespace, seed: int, folder: Path, samples: Path) -> Plan:
    contender = CONTENDERS[name]
    arguments = [f"--name={name}", f"--network={contender.network}", f"--seed={seed}", f"--epochs={options.epochs}"]
    arguments += [f"--batch={BATCH}"]
    if len(options.classes) > 1:
        arguments += [f"--loss={settings_of('kseg', options, seed)[1].training.loss}"]
    arguments += [f"--steps-per-epoch={options.steps_per_epoch}"] if options.steps_per_epoch else []
    program = [options.pythons[contender.environment], str(SCRIPTS[contender.environment])]
    return [*program, *arguments, f"--samples={samples}", f"--out={folder / 'scores.json'}"], arguments


def score_kseg(name: str, options: argparse.Namespace, seed: int, folder: Path, samples: Path, cpu: float | None):
    """scores.json from the files of kseg's run. Leaves if it had other pictures than the peers."""
    from kseg.models.segmenter import build_segmenter

    settings = load_settings(folder / "run" / "settings.toml")
    with np.load(samples) as stored:
        split = {part: stored[f"{part}_names"].tolist() for part in ("training", "validation")}
    used = json.loads((folder / "run" / "data.json").read_text())
    if any(used[part] != names for part, names in split.items()):
        sys.exit(f"{folder}: kseg has trained on other pictures than those in {samples}")
    classes = settings.data.classes
    each = [f"val_jaccard/{name}" for name in classes] if len(classes) > 1 else ["val_jaccard"]
    with (folder / "run" / "history.csv").open() as file:
        epochs = [
            {
                "epoch": number,
                **{key: float(row[column]) for key, column in COLUMNS.items()},
                "per_class": [float(row[column]) for column in each],
            }
            for number, row in enumerate(csv.DictReader(file), 1)
        ]
    environment = json.loads((folder / "run" / "environment.json").read_text())
    model = build_segmenter(**settings.model.network)
    scores = {
        "name": name,
        "seed": seed,
        "size": options.size,
        "classes": classes,
        "epochs": epochs,
        "parameters": sum(int(np.prod(variable.shape)) for variable in model.trainable_variables),
        "versions": {package: environment[package] for package in ("kseg", "tensorflow", "keras", "numpy")},
    }
    steps = settings.training.steps_per_epoch or -(-len(split["training"]) // BATCH)
    scoring.write_scores(folder / "scores.json", scores, len(epochs) * steps * BATCH, cpu)


def cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def folder_of(name: str, options: argparse.Namespace, seed: int) -> Path:
    return options.out / f"{name}-{options.size}-{options.epochs}-seed{seed}"


def train(name: str, options: argparse.Namespace, seed: int, samples: Path) -> bool:
    """Train one contender with one seed, unless that was done before; return whether its scores are there."""
    folder = folder_of(name, options, seed)
    folder.mkdir(parents=True, exist_ok=True)
    command, depends = plan_run(name, options, seed, samples)
    kept, done = folder / "plan.json", folder / "scores.json"
    if kept.exists() and json.loads(kept.read_text()) != json.loads(json.dumps(depends)):
        sys.exit(f"{folder}: was made with other settings, see {kept}; remove the folder, or choose another --out")
    if done.exists():
        print(f"{name}, seed {seed}: done before", flush=True)
        return True
    scoring.write_json(kept, depends)
    print(f"{name}, seed {seed}: started at {time.strftime('%H:%M:%S')}", flush=True)
    started, cpu = time.monotonic(), cpu_of_children()
    with (folder / "log.txt").open("a") as log:
        status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode
    if status == 0 and CONTENDERS[name].environment == "kseg":
        # What an interrupted run had used before it was resumed, nobody knows.
        used = None if "--resume" in command else cpu_of_children() - cpu
        score_kseg(name, options, seed, folder, samples, used)
    best = table.best_of(json.loads(done.read_text())) if status == 0 else {}
    result = f"IoU {best['iou']:.4f}, per image {best['iou_per_image']:.4f}" if best else ""
    ended = f"ended after {(time.monotonic() - started) / 60:.1f} min"
    print(f"{name}, seed {seed}: {ended}, {result or f'FAILED with status {status}, see {log.name}'}", flush=True)
    return status == 0


def scores_of(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """What scores.json holds, of each seed's run that has ended."""
    files = [folder_of(name, options, seed) / "scores.json" for seed in options.seeds]
    return [json.loads(file.read_text()) for file in files if file.exists()]


def ingredients(options: argparse.Namespace) -> str:
    """What kseg's recipe has and the brief's has not; of several classes, the brief has none."""
    if len(options.classes) > 1:
        return ""
    recipe, brief = (settings_of(name, options, options.seeds[0])[1] for name in ("kseg", "kseg-brief"))
    return ", ".join(f"{key} = {value}" for key, value in difference(recipe, brief).items())


def main() -> None:
    options = parse_arguments()
    ended = [True]
    if not options.table:
        options.out.mkdir(parents=True, exist_ok=True)
        try:
            samples = write_samples(options)
            for name in options.names:
                plan_run(name, options, options.seeds[0], samples)  # what cannot run is said before hours of others
            # Seed by seed, so that a comparison of all contenders is there early.
            ended = [train(name, options, seed, samples) for seed in options.seeds for name in options.names]
        except KsegError as error:
            sys.exit(str(error))
    runs = {name: scores_of(name, options) for name in options.names}
    table.print_table(runs)
    table.print_classes(runs)
    table.print_lead(runs, ["smp-unet", "smp-linknet"], ingredients(options))
    sys.exit(0 if all(ended) else 1)


if __name__ == "__main__":
    main()
