"""A served model over gRPC: TensorFlow Serving's PredictionService and ModelService."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped, unused-ignore]
import numpy as np
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped, unused-ignore]

from kseg.serving.client import wire
from kseg.serving.client.address import Address
from kseg.serving.client.port import Column, VersionState
from kseg.serving.client.tensors import from_tensor, to_tensor
from kseg.serving.client.trouble import OTHER_SERVER, SEND_LESS, Deadline, TroubleError, advice_on, nonsense

PREDICT = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"

OPTIONS = (
    # gRPC's own limit is 4 MiB for what is received, less than a few masks or one array of probabilities.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Its waits before it connects again, by itself from one second up to two minutes, would outlast kseg's retries.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A serving cluster is reached directly, over REST as over gRPC.
    ("grpc.enable_http_proxy", 0),
)

PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


class GrpcPort:
    """One channel to one server, for one model; may be used by several threads."""

    def __init__(self, address: Address, certificates: Path | None) -> None:
        self._address = address
        if address.encrypted:
            roots = None if certificates is None else certificates.read_bytes()
            credentials = grpc.ssl_channel_credentials(root_certificates=roots)
            self._channel = grpc.secure_channel(address.netloc, credentials, OPTIONS)
        else:
            self._channel = grpc.insecure_channel(address.netloc, OPTIONS)
        # Without serializers, bytes come and go: gRPC would log a traceback where an answer cannot be read.
        self._calls = {path: self._channel.unary_unary(path) for path in (PREDICT, GET_MODEL_STATUS)}

    def predict(
        self, signature: str, inputs: Mapping[str, Column], outputs: Sequence[str], deadline: Deadline
    ) -> dict[str, np.ndarray]:
        """Run a signature; ``outputs`` are not asked for by name: all of the signature's are sent anyway."""
        request = wire.PredictRequest()
        self._address_model(request.model_spec)
        request.model_spec.signature_name = signature
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(to_tensor(values))
        response = self._call(PREDICT, request, wire.PredictResponse, deadline)
        try:
            return {name: from_tensor(tensor) for name, tensor in response.outputs.items()}
        except ValueError as error:
            raise nonsense(str(error)) from None

    def states(self, deadline: Deadline) -> list[VersionState]:
        """The model's versions; the server pays no attention to labels here."""
        request = wire.GetModelStatusRequest()
        self._address_model(request.model_spec)
        response = self._call(GET_MODEL_STATUS, request, wire.GetModelStatusResponse, deadline)
        return [
            VersionState(
                int(entry.version), wire.STATES.get(entry.state, str(entry.state)), str(entry.status.error_message)
            )
            for entry in response.model_version_status
        ]

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _address_model(self, spec: Any) -> None:
        spec.name = self._address.model
        if self._address.version is not None:
            spec.version.value = self._address.version
        if self._address.label is not None:
            spec.version_label = self._address.label

    def _call(self, path: str, request: Any, answer: Any, deadline: Deadline) -> Any:
        try:
            content = request.SerializeToString()
        except EncodeError as error:
            raise TroubleError(f"the request cannot be sent: {error}", SEND_LESS) from None
        try:
            content = self._calls[path](content, timeout=deadline.left)
        except grpc.RpcError as error:
            raise _trouble(error, deadline) from None
        try:
            return answer.FromString(content)
        except DecodeError as error:
            raise nonsense(f"{len(content)} bytes that are no {answer.DESCRIPTOR.name} ({error})") from None


def _trouble(error: Any, deadline: Deadline) -> TroubleError:
    code, details = error.code(), " ".join((error.details() or "").split())
    seen = f"the server answered {code.name}: {details}"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and deadline.over:
        return deadline.missed()
    if "larger than max" in details:  # RESOURCE_EXHAUSTED, but it will be as large next time
        return TroubleError(seen, SEND_LESS)
    if code is grpc.StatusCode.UNAVAILABLE:
        return TroubleError(
            f"no connection: {details}",
            "is the server running, is this its gRPC port (8500 by default; 8501 is REST), and is grpcs:// or "
            "grpc:// right?",
            passing=True,
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return TroubleError(seen, OTHER_SERVER)
    return TroubleError(seen, advice_on(details), passing=code in PASSING)
