"""A small TensorFlow Serving on loopback: the official messages over gRPC, its JSON rules over REST, and faults.

Its models segment by a rule that tests can work out: ``people`` takes a pixel for a person where red (version 1) or
green (version 2) is above 127; ``street`` takes the strongest of the three channels for the class, ``pair`` of the
first two.
"""

import base64
import contextlib
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

HTTP_STATUS = {  # as tensorflow_serving/model_servers/http_server.cc has them
    "INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500, "UNIMPLEMENTED": 501, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504,
}  # fmt: skip
PREDICT_PATH = re.compile(r"(?i)/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?:predict")
STATUS_PATH = re.compile(r"(?i)/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?")

VERSIONS = {"people": {1: "AVAILABLE", 2: "AVAILABLE", 3: "END"}, "street": {1: "AVAILABLE"}, "pair": {1: "AVAILABLE"}}
CLASSES = {"people": 1, "street": 3, "pair": 2}
LABELS = {"people": {"stable": 1, "canary": 2}}
STATES = {"AVAILABLE": 30, "END": 50}


class RefusalError(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code, self.message = code, message


@dataclass
class Fake:
    """What the servers answer. One of ``faults`` is used up by each request; ``tamper`` changes every answer."""

    faults: list = field(default_factory=list)
    tamper: object = staticmethod(lambda outputs: outputs)
    seen: list = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)

    def fault(self):
        """The next fault: the name of a status, raised here, or of something for the caller to do."""
        fault = self.faults.pop(0) if self.faults else None
        if fault == "slow":
            self.release.wait(20)
        if fault in HTTP_STATUS:
            raise RefusalError(fault, 'it\'s said to be "out"')
        return fault

    def find(self, name, version, label):
        if name not in VERSIONS:
            raise RefusalError("NOT_FOUND", f"Servable not found for request: Latest({name})")
        if label:
            if label not in LABELS.get(name, {}):
                raise RefusalError("INVALID_ARGUMENT", f"Unrecognized servable version label: {label}")
            version = LABELS[name][label]
        available = [number for number, state in VERSIONS[name].items() if state == "AVAILABLE"]
        if version is not None and version not in available:
            raise RefusalError("NOT_FOUND", f"Servable not found for request: Specific({name}, {version})")
        return version or max(available)

    def states(self, name, version):
        if name not in VERSIONS:
            raise RefusalError("NOT_FOUND", f"Could not find any versions of model {name}")
        if version and version not in VERSIONS[name]:
            raise RefusalError("NOT_FOUND", f"Could not find version {version} of model {name}")
        return {n: state for n, state in VERSIONS[name].items() if version in (None, n)}

    def predict(self, name, version, signature, inputs):
        """Arrays to arrays; strings are object arrays of bytes."""
        self.seen.append((name, version, signature, len(next(iter(inputs.values())))))
        if signature.startswith("probabilities"):
            pixels = inputs["pixels"]
            if pixels.dtype != pixels_type(signature):
                raise RefusalError("INVALID_ARGUMENT", f"Expects arg[0] to be another type than {pixels.dtype}")
            return self.tamper({"probabilities": (pixels[..., version - 1 : version] / 255).astype(np.float32)})
        photos = [self.segment(name, version, content) for content in inputs["image_bytes"]]
        outputs = {"status": np.array([p["status"] for p in photos], np.int32)}
        outputs["message_bytes"] = strings(p["message"].encode() for p in photos)
        if signature == "cutout":
            outputs["cutout_bytes"] = strings(p["cutout"] for p in photos)
        else:
            outputs["mask_bytes"] = strings(p["mask"] for p in photos)
            outputs["score"] = np.array([p["score"] for p in photos], np.float32)
            outputs["coverage"] = np.array([p["coverage"] for p in photos], np.float32)
        return self.tamper(outputs)

    def segment(self, name, version, content):
        classes = CLASSES[name]
        photo = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
        if photo is None:
            return {"status": 3, "message": "not a picture — é", "mask": b"", "cutout": b"", "score": np.nan,
                    "coverage": [0.0] * max(2, classes)}  # fmt: skip
        photo = photo[..., ::-1]
        mask = expected_mask(photo, name, version)
        share = [np.mean(mask == number) for number in ((0, 255) if classes == 1 else range(classes))]
        return {"status": 0, "message": "", "mask": png(mask), "score": photo.mean() / 255, "coverage": share,
                "cutout": png(np.dstack([photo[..., ::-1], mask]))}  # fmt: skip


def expected_mask(photo, name="people", version=2):
    """The right answer to a photo (H, W, 3), RGB."""
    if name == "people":
        return np.where(photo[..., version - 1] > 127, 255, 0).astype(np.uint8)
    return photo[..., : CLASSES[name]].argmax(axis=-1).astype(np.uint8)


def png(picture):
    return cv2.imencode(".png", picture)[1].tobytes()


def strings(values):
    values = list(values)
    array = np.empty(len(values), object)
    array[:] = values
    return array


def signature_of(name, signature):
    """A model's signature: the names of its inputs."""
    known = {"serving_default": ["image_bytes"], "probabilities": ["pixels"], "probabilities_uint8": ["pixels"]}
    if name == "people":
        known["cutout"] = ["image_bytes"]
    return known.get(signature)


def pixels_type(signature):
    return np.uint8 if signature.endswith("uint8") else np.float32


# gRPC ----------------------------------------------------------------------------------------------------------------


class Grpc:
    """Serves ``fake`` over gRPC, at ``port``. Needs the official messages."""

    def __init__(self, fake, credentials=None, port=0):
        import grpc
        from tensorflow_serving.apis import get_model_status_pb2, predict_pb2

        self.fake, self.answers = fake, (predict_pb2.PredictResponse, get_model_status_pb2.GetModelStatusResponse)
        services = {
            "PredictionService": {"Predict": (self.predict, predict_pb2.PredictRequest)},
            "ModelService": {"GetModelStatus": (self.status, get_model_status_pb2.GetModelStatusRequest)},
        }
        self.server = grpc.server(
            ThreadPoolExecutor(8),
            handlers=[
                grpc.method_handlers_generic_handler(
                    f"tensorflow.serving.{service}",
                    {
                        name: grpc.unary_unary_rpc_method_handler(
                            self.refusing(function), request_deserializer=request.FromString
                        )
                        for name, (function, request) in methods.items()
                    },
                )
                for service, methods in services.items()
            ],
            options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)],
        )
        if credentials:
            self.port = self.server.add_secure_port(f"127.0.0.1:{port}", credentials)
        else:
            self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.server.start()

    def refusing(self, function):
        import grpc

        def handle(request, context):
            try:
                if self.fake.fault() == "junk":
                    return b"\xff\xffjunk"
                return function(request).SerializeToString()
            except RefusalError as refusal:
                return context.abort(grpc.StatusCode[refusal.code], refusal.message)

        return handle

    def predict(self, request):
        import tensorflow as tf

        name, version, label = fields(request.model_spec)
        version = self.fake.find(name, version, label)
        signature = request.model_spec.signature_name
        if signature_of(name, signature) is None:
            raise RefusalError("FAILED_PRECONDITION", f'Serving signature key "{signature}" not found.')
        if sorted(request.inputs) != signature_of(name, signature):
            raise RefusalError("INVALID_ARGUMENT", "input size does not match signature: ...")
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        response = self.answers[0]()
        for key, value in self.fake.predict(name, version, signature, inputs).items():
            text = value.dtype == object
            tensor = tf.make_tensor_proto(list(value), tf.string, value.shape) if text else tf.make_tensor_proto(value)
            response.outputs[key].CopyFrom(tensor)
        return response

    def status(self, request):
        name, version, _ = fields(request.model_spec)
        response = self.answers[1]()
        for number, state in self.fake.states(name, version).items():
            entry = response.model_version_status.add(version=number, state=STATES[state])
            if state == "END":
                entry.status.error_code, entry.status.error_message = 3, "no variables"
        return response


def fields(spec):
    choice = spec.WhichOneof("version_choice")
    version = spec.version.value if choice == "version" else None
    return spec.name, version, spec.version_label if choice == "version_label" else None


# REST ----------------------------------------------------------------------------------------------------------------


class Rest(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, fake, context=None, port=0):
        super().__init__(("127.0.0.1", port), Answer)
        self.fake = fake
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # clients that leave are part of the tests


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with self.refusing():
            if self.disturbed():
                return
            match = STATUS_PATH.fullmatch(self.path.removeprefix("/gateway"))
            if not match:
                raise RefusalError("INVALID_ARGUMENT", f"Malformed request: GET {self.path}")
            entries = [
                {
                    "version": str(number),  # int64 in protobuf's JSON
                    "state": state,
                    "status": {"error_code": "OK", "error_message": ""}
                    if state != "END"
                    else {"error_code": "INVALID_ARGUMENT", "error_message": "no variables"},
                }
                for number, state in self.server.fake.states(match[1], match[2] and int(match[2])).items()
            ]
            self.send(200, json.dumps({"model_version_status": entries}, indent=1))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.refusing():
            if self.disturbed():
                return
            fake = self.server.fake
            match = PREDICT_PATH.fullmatch(self.path.removeprefix("/gateway"))
            if not match:
                raise RefusalError("INVALID_ARGUMENT", f"Malformed request: POST {self.path}")
            name, version, label = match.groups()
            version = fake.find(name, version and int(version), label)
            request = json.loads(body)
            signature = request["signature_name"]
            expected = signature_of(name, signature)
            if expected is None:
                message = f'Serving signature name: "{signature}" not found in signature def'
                raise RefusalError("INVALID_ARGUMENT", message)
            assert sorted(request["inputs"]) == expected
            inputs = {key: self.tensor(value, signature) for key, value in request["inputs"].items()}
            outputs = fake.predict(name, version, signature, inputs)
            written = {key: self.written(key, value) for key, value in outputs.items()}
            if len(written) == 1:  # its name is left out
                (written,) = written.values()
            self.send(200, json.dumps({"outputs": written}, indent=4))

    def tensor(self, value, signature):
        if isinstance(value[0], dict):
            assert all(list(entry) == ["b64"] for entry in value)
            return strings(base64.b64decode(entry["b64"], validate=True) for entry in value)
        array, expected = np.array(value), pixels_type(signature)
        if expected == np.uint8 and array.dtype.kind == "f":
            raise RefusalError("INVALID_ARGUMENT", "JSON Value: 1.0 Type: Number is not of expected type: uint8")
        return array.astype(expected)  # whole numbers may stand for float32

    def written(self, key, value):
        if value.dtype == object:
            assert key.endswith("_bytes"), "raw bytes inside JSON"
            return [{"b64": base64.b64encode(entry).decode()} for entry in value]
        return json.loads(json.dumps(value.astype(float).tolist())) if value.dtype == np.float32 else value.tolist()

    @contextlib.contextmanager
    def refusing(self):
        try:
            yield
        except RefusalError as refusal:
            # TensorFlow Serving escapes its messages as C does, which JSON does not always allow.
            message = refusal.message.replace("\\", "\\\\").replace('"', '\\"').replace("'", "\\'")
            self.send(HTTP_STATUS[refusal.code], '{ "error": "' + message + '" }')

    def disturbed(self):
        """Do the next fault; whether the request is answered by it."""
        fault = self.server.fake.fault()
        if fault == "reset":
            self.close_connection = True
        elif fault == "html":
            self.send(200, "<html><body>Welcome to the proxy</body></html>", "text/html")
        elif fault == "bad gateway":
            self.send(502, "<html>502</html>", "text/html")
        elif fault == "junk":
            self.send(200, b"\xff\xffjunk")
        elif fault == "half":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"outputs": ')
            self.close_connection = True
        elif fault == "drip":
            self.send_response(200)
            self.end_headers()  # no length: it ends where the connection does
            self.close_connection = True
            with contextlib.suppress(OSError):
                for _ in range(200):
                    self.wfile.write(b" ")
                    time.sleep(0.05)
        else:
            return False
        return True

    def send(self, status, text, kind="application/json"):
        content = text if isinstance(text, bytes) else text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass
