"""The files for Docker, Kubernetes and CI: they fit the schemas of what reads them, and each other."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict

from mtenant_devstack.service import PROGRAMS, Program

ROOT = Path(__file__).resolve().parent.parent
MANIFESTS = sorted(ROOT.glob("docs/deploy/kubernetes/*.yaml"))
NEWEST = "1.37"  # of Kubernetes, and the oldest that is still maintained
OLDEST = "1.34"
SERVERS = {"postgres", "nats", "valkey"}
SETTING = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b|\bPORT\b|\bHOST\b|\bENVIRONMENT\b")


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def services() -> dict[str, Any]:
    found: dict[str, Any] = load("docker-compose.yml")["services"]
    return found


def manifests() -> list[dict[str, Any]]:
    return [one for path in MANIFESTS for one in yaml.safe_load_all(path.read_text())]


def manifest(kind: str, name: str) -> dict[str, Any]:
    (found,) = (m for m in manifests() if (m["kind"], m["metadata"]["name"]) == (kind, name))
    return found


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [("compose-spec", "docker-compose.yml"), ("github-workflows", ".github/workflows/*.yml")],
)
def test_it_fits_the_schema_of_what_reads_it(schema: str, pattern: str) -> None:
    files = [*ROOT.glob(pattern)]
    assert files
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run(
        [*command, *files], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_fits_the_schema_of_its_kind(path: Path, version: str) -> None:
    documents = [*yaml.safe_load_all(path.read_text())]
    assert documents
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)
        assert document["kind"] == "Namespace" or document["metadata"]["namespace"] == "crm"


def test_the_servers_alone_are_what_compose_starts_unless_asked_for_more() -> None:
    assert {name for name, said in services().items() if "profiles" not in said} == SERVERS


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_compose_builds_migrates_and_starts_a_service(program: Program) -> None:
    said, name = services(), program.name
    service, migration = said[name], said[f"migrate-{name.removesuffix('-service')}"]
    dockerfile = f"services/{name}/Dockerfile"
    assert service["build"] == migration["build"] == {"context": ".", "dockerfile": dockerfile}
    assert (migration["command"], migration["restart"]) == (["migrate"], "no")
    assert "crm_deploy@" in migration["environment"]["DATABASE_URL"]
    assert "crm_app@" in service["environment"]["DATABASE_URL"]
    waited = {
        after: how["condition"] for after, how in service["depends_on"].items() if after in SERVERS
    }
    assert waited == dict.fromkeys(SERVERS, "service_healthy")
    assert said["gateway"]["depends_on"][name] == {"condition": "service_healthy"}
    for other in PROGRAMS:
        assert service["environment"][other.variable] == f"http://{other.name}:{other.port}"


def test_nobody_starts_before_every_migration_is_over() -> None:
    said, name, seen = services(), "migrate-communication", []
    while name != "database":
        seen.append(name)
        ((name, how),) = said[name]["depends_on"].items()
        assert how == {"condition": "service_completed_successfully"}
    assert len(seen) == len(PROGRAMS)
    for program in PROGRAMS:
        assert seen[0] in said[program.name]["depends_on"]


def test_what_compose_waits_for_is_there_and_says_when_it_is_well() -> None:
    said = services()
    for name, service in said.items():
        for after, how in service.get("depends_on", {}).items():
            assert after in said, name
            if how["condition"] == "service_healthy":
                assert "healthcheck" in said[after] or "build" in said[after]
            assert "profiles" not in said[after] or "profiles" in service


def test_what_compose_opens_is_open_on_this_machine_only() -> None:
    for name, said in services().items():
        for port in said.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name


def test_every_file_that_compose_mounts_is_there() -> None:
    for said in services().values():
        for volume in said.get("volumes", ()):
            if volume.startswith("./"):
                assert (ROOT / volume.partition(":")[0]).is_file()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_deployment_survives_losing_a_node_and_ends_politely(program: Program) -> None:
    deployment = manifest("Deployment", program.name)["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]

    assert deployment["replicas"] == 3
    assert manifest("PodDisruptionBudget", program.name)["spec"]["minAvailable"] == 2
    assert pod["terminationGracePeriodSeconds"] == 60
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/live"
    assert container["ports"] == [{"name": "http", "containerPort": program.port}]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    labels = deployment["template"]["metadata"]["labels"].items()
    for selecting in ("Service", "PodDisruptionBudget"):
        selector = manifest(selecting, program.name)["spec"]["selector"]
        assert selector.get("matchLabels", selector).items() <= labels


def pods() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield every container of the manifests, after its pod."""
    for one in manifests():
        if one["kind"] in {"Deployment", "Job"}:
            pod = one["spec"]["template"]["spec"]
            for container in [*pod["containers"], *pod.get("initContainers", ())]:
                yield pod, container


def environment(container: dict[str, Any]) -> dict[str, str]:
    """Return what a container reads."""
    found: dict[str, str] = {}
    for source in container["envFrom"]:
        ((reference, named),) = source.items()
        kind = {"configMapRef": "ConfigMap", "secretRef": "Secret"}[reference]
        one = manifest(kind, named["name"])
        found |= one.get("data", {}) | one.get("stringData", {})
    return found | {variable["name"]: variable["value"] for variable in container.get("env", ())}


def mounted(pod: dict[str, Any], container: dict[str, Any]) -> set[str]:
    """Return the files that a container finds, and cannot change."""
    volumes = {volume["name"]: volume for volume in pod.get("volumes", ())}
    return {
        f"{mount['mountPath']}/{name}"
        for mount in container.get("volumeMounts", ())
        if (named := volumes[mount["name"]].get("configMap")) and mount["readOnly"]
        for name in manifest("ConfigMap", named["name"])["data"]
    }


def test_what_a_pod_reads_is_there() -> None:
    for _, container in pods():
        assert environment(container)


def test_every_pod_has_the_file_by_which_it_knows_its_servers() -> None:
    """Without sslrootcert libpq looks into a home that the image's user does not have, and connects nowhere."""
    asked = 0
    for pod, container in pods():
        said, files = environment(container), mounted(pod, container)
        assert said["SSL_CERT_FILE"] in files
        for name, value in said.items():
            if value.startswith("postgresql:"):
                parameters = conninfo_to_dict(value)
                assert parameters["sslmode"] == "verify-full", name
                assert parameters["sslrootcert"] in files, name
                asked += 1
            # nats-py and redis-py look into SSL_CERT_FILE, and compare the name.
            assert not re.match("(nats|redis|postgres)://", value), name
    assert asked == 2 * len(PROGRAMS) + 1  # pods, migrations, and the tenants' maker


def test_the_migrations_run_in_turn_and_as_the_role_that_deploys() -> None:
    pod = manifest("Job", "migrate")["spec"]["template"]["spec"]
    containers = [*pod["initContainers"], *pod["containers"]]
    assert [c["image"].partition(":")[0] for c in containers] == [
        f"mtenant/{program.name}" for program in PROGRAMS
    ]
    assert {(*c["args"], str(c["envFrom"])) for c in containers} == {
        ("migrate", str(containers[0]["envFrom"]))
    }
    assert "crm_deploy:" in manifest("Secret", "migrate")["stringData"]["DATABASE_URL"]


def test_no_secret_is_written_down() -> None:
    for one in manifests():
        if one["kind"] == "Secret":
            for name, value in one["stringData"].items():
                assert "REPLACE-ME" in value, name
        if one["kind"] == "ConfigMap":
            assert not [name for name in one["data"] if re.search("SECRET|TOKEN|PASSWORD", name)]


def clients(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def test_every_service_has_its_scopes_alike_in_compose_and_in_the_manifests() -> None:
    here = clients(services()["auth-service"]["environment"]["AUTH_CLIENTS"])
    there = clients(manifest("Secret", "auth-service")["stringData"]["AUTH_CLIENTS"])
    assert {name: said["scopes"] for name, said in here.items()} == {
        name: said["scopes"] for name, said in there.items()
    }
    assert here.keys() == {program.name for program in PROGRAMS} - {"auth-service"}


def absent(name: str) -> bool:
    """Tell whether this is a service that is not in this tree, and so has no page here."""
    return name.endswith("-service") and not (ROOT / "services" / name).is_dir()


def test_every_setting_is_one_that_a_readme_names() -> None:
    known = {program.variable for program in PROGRAMS}
    for page in [*ROOT.glob("packages/*/README.md"), *ROOT.glob("services/*/README.md")]:
        known |= set(SETTING.findall(page.read_text()))
    known.add("SSL_CERT_FILE")  # OpenSSL's own
    given: set[str] = set()
    for name, said in services().items():
        if name in SERVERS or not absent(name):
            given |= {*said.get("environment", ())}
    for _, container in pods():
        if not absent(container["name"]):
            given |= environment(container).keys()
    assert {name for name in given if not name.startswith("POSTGRES_")} <= known


def test_each_rule_tells_what_to_do() -> None:
    for group in load("docs/deploy/prometheus/rules.yaml")["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"].keys() == {"summary", "action"}
            assert rule["labels"]["severity"] in {"critical", "warning"}


def test_the_operations_page_tells_how_to_change_every_secret() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    told = page.partition("\n## Rotate keys\n")[2].partition("\n## ")[0]
    secrets = {
        name
        for one in manifests()
        if one["kind"] == "Secret"
        for name in one["stringData"]
        if re.search("SECRET|TOKEN", name)
    }
    assert secrets >= {"AUTH_SECRET", "OPS_TOKEN", "TRACKING_SECRET"}
    assert {name for name in secrets if f"`{name}`" not in told} == set()
