import json
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import PackageNotFoundError, version

import pytest

from kseg.errors import ExportError
from kseg.serving.labels import label_export
from kseg.serving.server_files import IMAGE, MAX_BATCH, write_server_files
from kseg.serving.versions import publish

ONCE = ["batching.config", "monitoring.config", "compose.yaml", "kubernetes.yaml"]


@pytest.fixture
def models(tmp_path):
    """Two models, one with labels, and folders that are none."""
    folder = tmp_path / "models"
    for name, count in (("people", 2), ("fashion", 1)):
        for _ in range(count):
            publish(folder / name, lambda made: (made / "saved_model.pb").touch())
    label_export(folder / "people", 1)
    label_export(folder / "people", 2)
    (folder / "empty").mkdir()
    (folder / "notes.txt").touch()
    (folder / ".hidden" / "1").mkdir(parents=True)
    (folder / ".hidden" / "1" / "saved_model.pb").touch()
    return folder


def read_yaml(path):
    yaml = pytest.importorskip("yaml", reason="PyYAML, of kseg's extra 'test', is not installed")
    return list(yaml.safe_load_all(path.read_text()))


def settings_message(**fields):
    """A message of Serving's settings that its Python package leaves out: fields by their number and published type."""
    descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")
    from google.protobuf import descriptor_pool, message_factory, wrappers_pb2

    file = descriptor_pb2.FileDescriptorProto(
        name="settings.proto", syntax="proto3", dependency=[wrappers_pb2.DESCRIPTOR.name]
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, type=kinds.TYPE_BOOL, label=kinds.LABEL_OPTIONAL)
    prometheus.field.add(name="path", number=2, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    message = file.message_type.add(name="Settings")
    for name, (number, kind) in fields.items():
        message.field.add(name=name, number=number, type=kinds.TYPE_MESSAGE, type_name=kind, label=kinds.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Settings"))()


def test_models_config_is_what_serving_reads(models):
    config_pb2 = pytest.importorskip(
        "tensorflow_serving.config.model_server_config_pb2", reason="tensorflow-serving-api is not installed"
    )
    from google.protobuf import text_format

    write_server_files(models / "people")
    config = text_format.Parse((models / "models.config").read_text(), config_pb2.ModelServerConfig())
    fashion, people = config.model_config_list.config
    assert (people.name, people.base_path, people.model_platform) == ("people", "/models/people", "tensorflow")
    assert dict(people.version_labels) == {"canary": 2, "stable": 1}
    assert people.model_version_policy.WhichOneof("policy_choice") == "all"
    assert (fashion.name, dict(fashion.version_labels)) == ("fashion", {})


def test_batching_and_monitoring_are_what_serving_reads(models):
    text_format = pytest.importorskip("google.protobuf.text_format", reason="protobuf is not installed")
    write_server_files(models / "people")
    wrapped = ".google.protobuf.Int64Value"
    batching = settings_message(
        max_batch_size=(1, wrapped), batch_timeout_micros=(2, wrapped), max_enqueued_batches=(3, wrapped)
    )
    text_format.Parse((models / "batching.config").read_text(), batching)
    assert batching.max_batch_size.value == MAX_BATCH
    assert batching.batch_timeout_micros.value > 0
    monitoring = settings_message(prometheus_config=(1, ".PrometheusConfig"))
    text_format.Parse((models / "monitoring.config").read_text(), monitoring)
    assert monitoring.prometheus_config.enable
    assert monitoring.prometheus_config.path == "/monitoring/prometheus/metrics"


def test_the_image_is_of_the_release_the_clients_stubs_are_of(models):
    try:
        stubs = version("tensorflow-serving-api")
    except PackageNotFoundError:
        pytest.skip("tensorflow-serving-api is not installed")
    assert IMAGE.split(":")[1].split(".")[:2] == stubs.split(".")[:2]


def test_compose_serves_the_folder(models):
    write_server_files(models / "people")
    (compose,) = read_yaml(models / "compose.yaml")
    service = compose["services"]["serving"]
    assert service["image"] == IMAGE
    assert "--model_config_file=/models/models.config" in service["command"]
    assert "--monitoring_config_file=/models/monitoring.config" in service["command"]
    assert "--allow_version_labels_for_unavailable_models=true" in service["command"]
    assert any(flag.startswith("--model_config_file_poll_wait_seconds=") for flag in service["command"])
    assert not any("batching" in flag for flag in service["command"])
    assert service["ports"] == ["8500:8500", "8501:8501"]
    assert service["volumes"] == [{"type": "bind", "source": ".", "target": "/models", "read_only": True}]
    assert service["mem_limit"] == "4g"


@pytest.mark.parametrize("name", ["compose.yaml", "kubernetes.yaml"])
def test_batching_is_turned_on_as_the_comment_says(models, name):
    write_server_files(models / "people")
    path = models / name
    path.write_text(path.read_text().replace("# - --", "- --"))
    text = json.dumps(read_yaml(path))
    assert '"--enable_batching=true", "--batching_parameters_file=/models/batching.config"' in text


def test_kubernetes_asks_the_status_of_the_model(models):
    write_server_files(models / "people")
    deployment, service = read_yaml(models / "kubernetes.yaml")
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert container["image"] == IMAGE
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/v1/models/people", "port": "rest"}
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"grpc": 8500, "rest": 8501}
    assert container["volumeMounts"] == [{"name": "models", "mountPath": "/models", "readOnly": True}]
    assert pod["spec"]["volumes"][0]["name"] == "models"
    assert container["resources"]["limits"]["memory"] == "4Gi"
    assert service["spec"]["selector"] == pod["metadata"]["labels"] == deployment["spec"]["selector"]["matchLabels"]
    assert {port["port"] for port in service["spec"]["ports"]} == {8500, 8501}
    (compose,) = read_yaml(models / "compose.yaml")
    assert container["args"] == compose["services"]["serving"]["command"]


@pytest.mark.parametrize(("state", "healthy"), [("AVAILABLE", True), ("LOADING", False), (None, False)])
def test_the_health_check_runs_and_tells_the_states_apart(models, state, healthy):
    """The very command of compose.yaml, against a server on loopback that answers as Serving does."""
    write_server_files(models / "people")
    command = read_yaml(models / "compose.yaml")[0]["services"]["serving"]["healthcheck"]["test"]
    assert command[0] == "CMD"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.path == "/v1/models/people"
            self.send_response(200 if known else 404)
            self.end_headers()
            status = {"version": "1", "state": state, "status": {"error_code": "OK", "error_message": ""}}
            self.wfile.write(json.dumps({"model_version_status": [status]} if known else {"error": "x"}).encode())

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        port = server.server_port
        if state is None:
            server.server_close()
        else:
            threading.Thread(target=server.handle_request).start()
        script = command[-1].replace("/8501", f"/{port}")
        done = subprocess.run([*command[1:-1], script], capture_output=True, timeout=10, check=False)
    assert (done.returncode == 0) == healthy


def test_models_config_follows_the_labels_and_the_others_are_the_users(models):
    written, _ = write_server_files(models / "people")
    assert [path.name for path in written] == ["models.config", *ONCE]
    before = {name: (models / name).read_bytes() for name in ("models.config", *ONCE)}
    for name in ONCE:
        with (models / name).open("a") as file:
            file.write("# mine\n")
    assert [path.name for path in write_server_files(models / "people").written] == ["models.config"]
    assert (models / "models.config").read_bytes() == before["models.config"]
    label_export(models / "people", 2, also=["stable"])
    write_server_files(models / "people")
    assert 'key: "stable" value: 2' in (models / "models.config").read_text()
    for name in ONCE:
        assert (models / name).read_bytes() == before[name] + b"# mine\n"
    (models / "compose.yaml").unlink()
    assert [path.name for path in write_server_files(models / "people").written] == ["models.config", "compose.yaml"]
    assert (models / "compose.yaml").read_bytes() == before["compose.yaml"]


def test_every_file_says_first_what_it_is(models):
    for path in write_server_files(models / "people").written:
        text = path.read_text()
        assert re.match(r"# [A-Z].{40}", text), path
        assert "$" not in text
        assert max(map(len, text.splitlines())) <= 120
    assert "what is changed by hand is lost" in (models / "models.config").read_text()


def test_a_model_named_from_within_its_folder(models, monkeypatch):
    from pathlib import Path

    monkeypatch.chdir(models / "people")
    write_server_files(Path())
    assert "/v1/models/people" in (models / "compose.yaml").read_text()


def test_what_cannot_be_served_is_said(models):
    with pytest.raises(ExportError, match="'no spaces' cannot be a model's name"):
        write_server_files(models / "no spaces")
    (models / "people" / "labels.json").write_text('{"stable": {"version": 9}}')
    with pytest.raises(ExportError, match=r"people/labels\.json: stable names version 9, which is not there"):
        write_server_files(models / "people")
    assert not (models / "models.config").exists()
    for name in ("empty", "empty/sub"):
        with pytest.raises(ExportError, match=rf"{name}: holds no version to serve; publish one with kseg-export"):
            write_server_files(models / name)


def test_a_wrong_folder_beside_the_model_is_left_out(models):
    for name in ("old people", "unreadable"):
        publish(models / "other", lambda made: (made / "saved_model.pb").touch())
        (models / "other").rename(models / name)
    (models / "unreadable" / "labels.json").mkdir()  # the system refuses to read it, whoever asks
    (models / "fashion" / "labels.json").write_text('{"stable": {"version": 9}}')
    labels, name, folder = write_server_files(models / "people").left_out
    assert labels.startswith(f"{models}/fashion/labels.json: stable names version 9, which is not there")
    assert name.startswith(f"{models}/old people: 'old people' cannot be a model's name")
    assert f"{models}/unreadable/labels.json" in folder
    text = (models / "models.config").read_text()
    assert re.findall("name: (.*)", text) == ['"people"']
    assert write_server_files(models / "people").left_out == [labels, name, folder]
