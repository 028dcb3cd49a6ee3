"""``kseg-data serve``: a machine that loads training samples for others."""

import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kseg.cli.common import data_option, errors_as_messages, import_tensorflow, set_option

if TYPE_CHECKING:
    from kseg.settings import Settings

EXAMPLES = """\b
Examples:
  kseg-data serve configs/people.toml --data photos --host cpu1
  kseg-data serve configs/people.toml --data photos --host cpu2 --dispatcher grpc://cpu1:5050
  kseg-train configs/people.toml --data photos --set data.input_service=grpc://cpu1:5050

Every machine holds the training's data and has its CONFIG and --set. The first one listens at two ports: at --port for
trainings and further machines, and at the next for its own samples. A further one listens at --port alone. Whoever
reaches a port can have the machine compute for him: keep them inside the cluster."""

PORT = 5050


@click.command(epilog=EXAMPLES)
@click.argument("config", type=click.Path(path_type=Path))
@data_option("Where the pictures are; may be given several times.")
@set_option("Change a setting, as the training does; may be given several times.")
@click.option("--dispatcher", metavar="ADDRESS", help="Join the service of this first machine, grpc://host:port.")
@click.option("--host", metavar="NAME", help="What others call this machine.  [default: its host name]")
@click.option(
    "--port", type=click.IntRange(1, 65534), default=PORT, show_default=True, metavar="N", help="Where it listens."
)
def serve(
    config: Path,
    roots: tuple[Path, ...],
    overrides: tuple[str, ...],
    dispatcher: str | None,
    host: str | None,
    port: int,
) -> None:
    """Load and augment samples for trainings with the settings of CONFIG, on this machine, until interrupted."""
    with errors_as_messages():
        # Here and not at the top: TensorFlow takes seconds to load, and --help should answer at once.
        from kseg.config import load_settings

        settings = load_settings(config, overrides, roots)
        import_tensorflow()
        from kseg.cli.samples import open_samples
        from kseg.data.service import InputServer, describe_samples

        host = host or socket.gethostname()
        try:
            server = InputServer()  # before all else that TensorFlow does here: see there
            loader, _, order, _ = open_samples(_needed(settings))
            description = describe_samples(settings, loader.source.names, order)
            address = server.start(loader, order, description, host=host, port=port, dispatcher=dispatcher)
            click.echo(f"{len(order.indices)} samples at {dispatcher or address}, machine {host}; ends with Ctrl-C")
            threading.Event().wait()
        except KeyboardInterrupt:  # the way to end it, and no failure
            click.echo("interrupted: serves no more")


def _needed(settings: "Settings") -> "Settings":
    """The settings without what the training does itself: to look at every sample, and to weigh classes."""
    data, training = settings.data, settings.training
    if data.on_bad_sample == "error":  # else what can be loaded decides about the split
        data = data.model_copy(update={"verify": False})
    return settings.model_copy(update={"data": data, "training": training.model_copy(update={"class_weights": None})})
