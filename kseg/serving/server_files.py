"""The files that TensorFlow Serving is started with, written beside the folders of the models.

models.config      which models, and which version each label names: always written anew
batching.config    these four only if they are missing: they are the user's to change
monitoring.config
compose.yaml
kubernetes.yaml
"""

from importlib import resources
from pathlib import Path
from string import Template
from typing import NamedTuple

from kseg.errors import ExportError
from kseg.files import write_text
from kseg.serving.folder import locked, model_name, reporting, versions
from kseg.serving.labels import read_labels

IMAGE = "tensorflow/serving:2.21.0"
"""The official image of the TensorFlow that graphs are made with, and of the tensorflow-serving-api clients use.

A server older than the graph may not know its operations. ``latest`` would change under a running deployment.
"""

MAX_BATCH = 8
"""The most pictures that the server puts into one batch, where batching is on."""

MODELS_IN_CONTAINER = "/models"

CONFIG = "models.config"
TEMPLATES = ("batching.config", "monitoring.config", "compose.yaml", "kubernetes.yaml")

_HEADER = """\
# The models of this folder, for tensorflow_model_server --model_config_file={container}/{config}
# Written anew by kseg-export whenever a version or a label changes: what is changed by hand is lost.
# Every version in a model's folder is loaded, and kseg-export --keep says how many stay there. A list of versions would
# not do: the server refuses a label for a version that is not loaded, and with it the list that would have loaded it.
"""


class ServerFiles(NamedTuple):
    """What was written beside the models.

    Attributes:
        written: The files; those that were there already, but for ``models.config``, are left as they are.
        left_out: Of every model beside this one that cannot be served, which it is, and why.
    """

    written: list[Path]
    left_out: list[str]


def write_server_files(model_dir: Path) -> ServerFiles:
    """Write what a server of ``model_dir`` and the models beside it needs into the folder that holds them.

    Call it after every change of versions or labels. The probes of the files written once ask for this model.

    Raises:
        ExportError: ``model_dir`` has no version, its name cannot be a model's, its labels are broken, or the files
            cannot be written.
    """
    values = {"image": IMAGE, "model": model_name(model_dir), "max_batch": MAX_BATCH}
    folder = model_dir.resolve().parent
    written = []
    with reporting(folder), locked(folder):  # what another export has just changed must not be overwritten with less
        config = folder / CONFIG
        text, left_out = models_config(model_dir.resolve())
        write_text(config, text)
        written.append(config)
        for name in TEMPLATES:
            path = folder / name
            if not path.exists():
                write_text(path, _template(name).substitute(values))
                written.append(path)
    return ServerFiles(written, left_out)


def models_config(model_dir: Path) -> tuple[str, list[str]]:
    """The ``model_config_list`` of a model and of those beside it that have a version, as a text proto.

    A model beside it whose name or labels are wrong is left out; the texts returned as well say which, and why.

    Raises ExportError if ``model_dir`` itself has no version, or what is wrong is its own name or labels.
    """
    if not versions(model_dir):
        raise ExportError(f"{model_dir}: holds no version to serve; publish one with kseg-export")
    entries, left_out = [], []
    for path in sorted(model_dir.parent.iterdir()):
        if path.name.startswith("."):
            continue
        try:
            entries.append(_model_config(path) if versions(path) else "")
        except (ExportError, OSError) as error:  # such as a folder that only its owner may read
            if path == model_dir:
                raise
            left_out.append(str(error))
    header = _HEADER.format(container=MODELS_IN_CONTAINER, config=CONFIG)
    return f"{header}model_config_list {{\n{''.join(entries)}}}\n", left_out


def _model_config(model_dir: Path) -> str:
    name = model_name(model_dir)
    labels = "".join(
        f'    version_labels {{ key: "{label}" value: {version} }}\n'
        for label, version in sorted(read_labels(model_dir).items())
    )
    return (
        "  config {\n"
        f'    name: "{name}"\n'
        f'    base_path: "{MODELS_IN_CONTAINER}/{name}"\n'
        '    model_platform: "tensorflow"\n'
        "    model_version_policy { all {} }\n"
        f"{labels}"
        "  }\n"
    )


def _template(name: str) -> Template:
    return Template((resources.files("kseg.serving") / "templates" / name).read_text(encoding="utf-8"))
