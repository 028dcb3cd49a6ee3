"""Where a model is served, as one types it: ``grpc://host:8500/people@stable``."""

from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from kseg.errors import ServingError, did_you_mean

PORTS = {"grpc": 8500, "grpcs": 443, "http": 8501, "https": 443}
"""Schemes with the ports taken where none is named: TensorFlow Serving's own, and TLS's, which gateways end."""

LARGEST_VERSION = 2**63 - 1
FORM = "grpc://HOST:8500/MODEL, http://HOST:8501/MODEL, or with MODEL@LABEL or MODEL@VERSION; grpcs and https for TLS"


@dataclass(frozen=True)
class Address:
    """A model of a server: at most one of ``version`` and ``label`` is set; with neither, the newest version answers.

    ``prefix`` is a path before ``/v1/models``, as gateways have it: ``""`` or ``/like/this``; REST only.
    """

    text: str
    scheme: str
    host: str
    port: int
    model: str
    version: int | None = None
    label: str | None = None
    prefix: str = ""

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read ``scheme://host[:port]/model[@label or @version]``. Raises ServingError naming what is wrong in it."""
        try:
            parts = urlsplit(text)
            port = parts.port
            (parts.hostname or "").encode("idna")
        except ValueError as error:  # UnicodeError is one
            raise _refused(text, str(error)) from None
        if parts.scheme not in PORTS:
            raise _refused(text, f"unknown scheme {parts.scheme!r}{did_you_mean(parts.scheme, PORTS)}")
        if not parts.hostname:
            raise _refused(text, "no host")
        if parts.username is not None or parts.query or parts.fragment:
            raise _refused(text, "a user, '?' and '#' have no meaning in it")
        prefix, _, last = parts.path.rpartition("/")
        if prefix and parts.scheme.startswith("grpc"):
            raise _refused(text, f"gRPC knows no path before the model, {prefix!r}")
        model, at, which = last.partition("@")
        if not model:
            raise _refused(text, "no model")
        if at and not which:
            raise _refused(text, "nothing after '@'")
        number = int(which) if which.isascii() and which.isdigit() else None
        if number is not None and number > LARGEST_VERSION:
            raise _refused(text, f"{which} is larger than any version number")
        return cls(
            text=text,
            scheme=parts.scheme,
            host=parts.hostname,
            port=PORTS[parts.scheme] if port is None else port,
            model=unquote(model),
            version=number,
            label=unquote(which) if which and number is None else None,
            prefix=prefix,
        )

    @property
    def netloc(self) -> str:
        """``host:port``, with the brackets of IPv6."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def encrypted(self) -> bool:
        """Whether TLS is spoken."""
        return self.scheme in ("grpcs", "https")

    @property
    def path(self) -> str:
        """The model's path over REST, without method: ``/v1/models/people/labels/stable``."""
        path = f"{quote(self.prefix, safe='/%')}/v1/models/{quote(self.model, safe='')}"
        if self.version is not None:
            return f"{path}/versions/{self.version}"
        return path if self.label is None else f"{path}/labels/{quote(self.label, safe='')}"


def _refused(text: str, reason: str) -> ServingError:
    return ServingError(f"{text}: {reason}; a served model's address is {FORM}")
