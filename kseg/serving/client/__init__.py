"""The client of an exported model behind TensorFlow Serving, over gRPC or REST. It needs no TensorFlow.

``address`` reads what the user types, ``connection`` makes masks of answers and is what others use; ``grpc_port`` and
``rest_port`` carry arrays there and back, ``wire`` and ``tensors`` for gRPC in TensorFlow's own messages, ``trouble``
says how long and how often to try; ``answers`` checks what came.

    with Client.open("grpc://localhost:8500/people@stable") as people:
        for photo in people.segment([path.read_bytes()]):
            photo.mask  # uint8 (H, W), or None with photo.message saying why
"""

from kseg.serving.client.answers import CutOut, Segmented
from kseg.serving.client.connection import Client
from kseg.serving.client.port import VersionState

__all__ = ["Client", "CutOut", "Segmented", "VersionState"]
