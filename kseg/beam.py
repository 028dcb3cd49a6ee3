"""Work spread over many processes or machines by Apache Beam: here (DirectRunner), on Dataflow, Flink or Spark.

What there is to do, and what came of it, are lines of JSON in a folder, so that the pipeline itself stays small
however much there is. The workers see that folder, and every file of the work, under the paths they have here.

Importing this module takes a second, and fails where Beam is not installed: ``pip install 'kseg[beam]'``.
"""

import contextlib
import io
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import apache_beam as beam
from apache_beam.io import ReadFromText, WriteToText
from apache_beam.options.pipeline_options import PipelineOptions, TypeOptions
from apache_beam.runners import DirectRunner
from apache_beam.runners.portability.portable_runner import PortableRunner

from kseg.errors import ConfigError, KsegError, did_you_mean

FAILED = "failed"
"""The key of a result that is a worker's error, which ends the whole; none of Ctrl-C."""


class Work(Protocol):
    """What workers do: pickled here, opened in each of them."""

    def open(self) -> AbstractContextManager[Callable[[Any], Iterable[Any]]]:
        """What makes any number of results of an element; elements and results are what JSON can say.

        It may be called twice with the same element, in two processes at once, and has to do the same each time.
        Opening and calling raise KsegError where nothing more can be done.
        """


class Beam:
    """A runner of Apache Beam, with its options."""

    def __init__(self, runner: str, options: Sequence[str] = ()) -> None:
        """As Beam's documentation names them.

        Args:
            runner: Such as ``DirectRunner``, ``DataflowRunner``, ``FlinkRunner``, ``SparkRunner``.
            options: ``KEY=VALUE`` each, or ``KEY`` of one without a value.

        Raises:
            ConfigError: there is no such runner or option, or it is not installed, or options are missing.
        """
        self.runner = runner
        self._flags = [f"--{option.removeprefix('--')}" for option in options] + [f"--runner={runner}"]
        with self._complaints():
            engine, unknown = self._pipeline().runner, self._unknown_option()
        if unknown and not isinstance(engine, PortableRunner):  # whose server may know options that Beam here does not
            raise ConfigError(
                f"--beam-option {unknown}: {runner} has no such option{did_you_mean(unknown, _known_options())}; "
                "they are in Apache Beam's documentation of it"
            )
        if isinstance(engine, DirectRunner):
            self._flags.append("--default_sdk_harness_log_level=ERROR")
            logging.getLogger("apache_beam").setLevel(logging.ERROR)
        else:
            for place in ("dataflow", "portability"):  # where a job can be watched, and how it goes
                logging.getLogger(f"apache_beam.runners.{place}").setLevel(logging.INFO)

    def run(self, work: Work, elements: Iterable[Any], folder: Path) -> list[Any]:
        """The results of ``work`` on every element, in any order.

        Args:
            work: What to do.
            elements: What to do it to; some seconds of work each, so that the runner can spread them.
            folder: There, for as long as it takes, is a folder of what is to be done and what was.

        Raises:
            KsegError: a worker raised it, or the pipeline failed, which is said as Beam says it.
        """
        with _folder_in(folder) as home:
            todo, done = home / "todo", home / "done"
            with todo.open("w", encoding="utf-8") as file:
                file.writelines(f"{json.dumps(element)}\n" for element in elements)
            if not todo.stat().st_size:
                return []
            pipeline = self._pipeline()
            (
                pipeline
                | ReadFromText(str(todo))
                | beam.Reshuffle()  # else one worker might have all lines, since they lie in one piece of the file
                | beam.ParDo(_Worker(work))
                | WriteToText(str(done))
            )
            self._finish(pipeline)
            lines = (line for part in sorted(home.glob("done-*")) for line in part.read_text().splitlines())
            results = [json.loads(line) for line in lines]
        for result in results:
            if isinstance(result, dict) and FAILED in result:
                raise KsegError(result[FAILED]) if result[FAILED] else KeyboardInterrupt
        return results

    def _pipeline(self) -> beam.Pipeline:
        options = PipelineOptions(self._flags)
        # DirectRunner would fetch a server of Beam's, Prism, from the internet, and run that in its place, without
        # several workers. It does not where triggers of windows are said to be unsafe; there are none here.
        options.view_as(TypeOptions).allow_unsafe_triggers = True
        return beam.Pipeline(options=options)

    def _unknown_option(self) -> str | None:
        """The name of one that Beam here does not know; all are parsed, and their values checked."""
        given = PipelineOptions(self._flags).get_all_options(retain_unknown_options=True).keys()
        return min(given - _known_options(), default=None)

    @contextlib.contextmanager
    def _complaints(self) -> Iterator[None]:
        """Raise what Beam and its parser raise of runners and options as a ConfigError."""
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                yield
        except SystemExit:  # the parser has printed all options there are, and then what is wrong
            raise ConfigError(f"--beam-option: {said.getvalue().rpartition('error: ')[2].strip()}") from None
        except (AttributeError, ImportError, ValueError) as error:
            raise ConfigError(f"--beam-runner {self.runner}: {' '.join(str(error).split())}") from None

    def _finish(self, pipeline: beam.Pipeline) -> None:
        result = None
        try:
            result = pipeline.run()
            state = result.wait_until_finish()
        except KeyboardInterrupt:
            if result is not None:  # a job elsewhere would go on
                result.cancel()
            raise
        except Exception as error:  # whatever a runner, or a worker, raises
            raise KsegError(f"--beam-runner {self.runner}: the pipeline failed: {error}") from error
        if state != "DONE":
            raise KsegError(f"--beam-runner {self.runner}: the pipeline ended as {state}; call again to go on")


class _Worker(beam.DoFn):
    """Makes lines of results of lines with elements.

    An error of kseg is a result: what is raised, runners repeat, and print with their own call stack.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._here = os.getcwd()  # noqa: PTH109 - pickled as text
        self._opened: contextlib.ExitStack | None = None
        self._failed = False

    def process(self, line: str) -> Iterator[str]:
        """See the base class; after an error, no more is done by this worker."""
        if self._failed:
            return
        try:
            if self._opened is None:
                with contextlib.suppress(OSError):
                    os.chdir(self._here)  # so that relative names mean the same as where the command was called
                self._opened = contextlib.ExitStack()
                self._do = self._opened.enter_context(self._work.open())
            results = list(self._do(json.loads(line)))
        except KsegError as error:
            self._failed = True
            results = [{FAILED: str(error)}]
        except KeyboardInterrupt:  # DirectRunner works in the thread that Ctrl-C interrupts, and takes it for a failure
            self._failed = True
            results = [{FAILED: None}]
        yield from map(json.dumps, results)

    def teardown(self) -> None:
        """See the base class."""
        if self._opened is not None:
            self._opened.close()


def _known_options() -> set[str]:
    return set(PipelineOptions([]).get_all_options())


@contextlib.contextmanager
def _folder_in(folder: Path) -> Iterator[Path]:
    """A hidden folder there, removed afterwards; not a temporary one, which only its owner could read."""
    home = folder / f".beam-{uuid.uuid4().hex}"
    try:
        home.mkdir(parents=True)
    except OSError as error:
        raise KsegError(f"{folder}: cannot be written: {error.strerror}; choose another folder") from None
    try:
        yield home.absolute()
    finally:
        shutil.rmtree(home, ignore_errors=True)
