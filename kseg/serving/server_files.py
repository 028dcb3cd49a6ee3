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


def write_server_files(model_dir: Path) -> list[Path]:
    """Write what a server of ``model_dir`` and the models beside it needs into the folder that holds them.

    Call it after every change of versions or labels. The probes of the files written once ask for this model.

    Returns:
        The files written; those that were there already, but for ``models.config``, are left as they are.

    Raises:
        ExportError: the name of ``model_dir`` cannot be a model's, the labels of a model are broken, or the files
            cannot be written.
    """
    values = {"image": IMAGE, "model": model_name(model_dir), "max_batch": MAX_BATCH}
    folder = model_dir.resolve().parent
    written = []
    with reporting(folder), locked(folder):  # what another export has just changed must not be overwritten with less
        config = folder / CONFIG
        write_text(config, models_config(folder))
        written.append(config)
        for name in TEMPLATES:
            path = folder / name
            if not path.exists():
                write_text(path, _template(name).substitute(values))
                written.append(path)
    return written


def models_config(folder: Path) -> str:
    """The ``model_config_list`` of every model in ``folder`` that has a version, as a text proto.

    Raises ExportError if the labels of a model are broken, or its name cannot be a model's.
    """
    models = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and versions(path)]
    if not models:
        raise ExportError(f"{folder}: holds no model with a version to serve; publish one with kseg-export")
    entries = "".join(map(_model_config, models))
    header = _HEADER.format(container=MODELS_IN_CONTAINER, config=CONFIG)
    return f"{header}model_config_list {{\n{entries}}}\n"


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
