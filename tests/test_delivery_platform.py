"""What is delivered, run: the services as docker-compose.yml starts them, the gateway, docs/operations.md."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats
import pytest
import yaml
from promql_parser import Expr, VectorSelector, parse

from mtenant_devstack import Stack, binaries
from mtenant_devstack.ports import free_port
from mtenant_devstack.service import PROGRAMS, Program, installed, plain_environment

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = binaries.postgres().path.parent  # psql, createdb and pg_dump of the server's version
DEFAULT = re.compile(r"\$\{\w+:-([^}]*)\}")  # ${NAME:-default}
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
PASSWORD = "correct horse battery staple"


def compose() -> dict[str, Any]:
    text = (ROOT / "docker-compose.yml").read_text()
    said: dict[str, Any] = yaml.safe_load(DEFAULT.sub(r"\1", text))
    return said


@dataclass
class Platform:
    """The services that are installed here, as compose would run them.

    Attributes:
        stack: The servers.
        environments: The environment of each service.
        ports: Where each listens.
        hosts: What stands here for the addresses of compose's network.
    """

    stack: Stack
    environments: dict[str, dict[str, str]]
    ports: dict[str, int]
    hosts: dict[str, str]

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def call(self, name: str, path: str, body: object = None) -> tuple[int, bytes]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data else {}
        return call(urllib.request.Request(self.url(name) + path, data, headers))

    def register(self, name: str) -> str:
        owner = {"email": f"{name}@example.com", "name": name, "password": PASSWORD}
        said = {"name": name, "subdomain": name, "owner": owner}
        status, body = self.call("tenant-service", "/api/tenants/register", said)
        assert status == 201, body
        return str(json.loads(body)["tenant"])

    def log_in(self, tenant: str, name: str) -> int:
        said = {"tenant": tenant, "email": f"{name}@example.com", "password": PASSWORD}
        return self.call("auth-service", "/api/auth/login", said)[0]


def call(request: urllib.request.Request) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read()


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with ExitStack() as closing:
        stack = closing.enter_context(Stack())
        said = compose()["services"]
        ports = {program.name: free_port() for program in PROGRAMS}
        hosts = {
            "postgres:5432": stack.postgres.url.rpartition("@")[2].partition("/")[0],
            "nats:4222": stack.nats.url.removeprefix("nats://"),
            "valkey:6379": stack.valkey.url.removeprefix("redis://").partition("/")[0],
            **{f"{p.name}:{p.port}": f"127.0.0.1:{ports[p.name]}" for p in PROGRAMS},
        }

        def here(environment: Mapping[str, str]) -> dict[str, str]:
            changed = {}
            for name, value in environment.items():
                for there, address in hosts.items():
                    value = value.replace(there, address)  # noqa: PLW2901 -- one after the other
                changed[name] = value
            return {**plain_environment(), **changed}

        command = said["database"]["command"]
        assert command[0] == "psql"
        roles = [
            part.replace("postgres:5432", hosts["postgres:5432"]).replace(
                "/roles.sql", str(ROOT / "docs/deploy/roles.sql")
            )
            for part in command[1:]
        ]
        run([CLIENTS / "psql", *roles], plain_environment())
        for program in installed():
            migration = said[f"migrate-{program.name.removesuffix('-service')}"]
            run(program.command(*migration["command"]), here(migration["environment"]))
        environments = {
            program.name: here(said[program.name]["environment"]) for program in installed()
        }
        for program in installed():
            stack.service(program, environments[program.name], ports[program.name]).start()
        yield Platform(stack, environments, ports, hosts)


def run(command: list[Any], environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_the_services_run_with_what_compose_tells_them(platform: Platform) -> None:
    for program in installed():
        assert platform.call(program.name, "/ready")[0] == 200
    assert platform.log_in(platform.register("compose"), "compose") == 200


def manifests() -> dict[tuple[str, str], dict[str, Any]]:
    folder = ROOT / "docs/deploy/kubernetes"
    found = [one for path in folder.glob("*.yaml") for one in yaml.safe_load_all(path.read_text())]
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


@dataclass
class Outside:
    """The servers as a cluster finds them: elsewhere, by name, and by TLS alone.

    Attributes:
        addresses: Where each is, by the address that the manifests have.
        authority: The certificate of who signed theirs.
        etc: What is mounted into pods lies below.
    """

    addresses: dict[str, str]
    authority: str
    etc: Path

    def mount(self, pod: Mapping[str, Any], container: Mapping[str, Any]) -> dict[str, str]:
        """Write the files that a container finds, and return where they are by where it looks."""
        there = manifests()
        places: dict[str, str] = {}
        volumes = {volume["name"]: volume for volume in pod.get("volumes", ())}
        for mount in container.get("volumeMounts", ()):
            if named := volumes[mount["name"]].get("configMap"):
                folder = self.etc / named["name"]
                folder.mkdir(exist_ok=True)
                for name, text in there["ConfigMap", named["name"]]["data"].items():
                    assert "REPLACE-ME" in text
                    (folder / name).write_text(self.authority)
                places[mount["mountPath"]] = str(folder)
        return places


@pytest.fixture(scope="module")
def outside(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    folder = tmp_path_factory.mktemp("authority")
    servers = {"postgres": "postgres:5432", "nats": "nats:4222", "redis": "valkey:6379"}
    targets = [
        f"{kind}={platform.hosts[server].rpartition(':')[2]}" for kind, server in servers.items()
    ]
    process = subprocess.Popen(
        [sys.executable, ROOT / "tests/tls.py", folder, *targets],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:  # at whose end its standard input is closed, and so it ends
        assert process.stdout is not None
        ports = json.loads(process.stdout.readline())
        addresses = {
            f"{kind}.example.com:{servers[kind].rpartition(':')[2]}": f"localhost:{port}"
            for kind, port in ports.items()
        }
        authority = (folder / "ca.crt").read_text()
        yield Outside(addresses, authority, tmp_path_factory.mktemp("etc"))


def pod_environment(pod: Mapping[str, Any], platform: Platform, outside: Outside) -> dict[str, str]:
    """Return what the first container reads: its ConfigMap and Secrets, with this machine's addresses and paths.

    All else of a URL stays as it is delivered: scheme, user, password and parameters.
    """
    there = manifests()
    environment: dict[str, str] = {}
    (container, *_) = pod["containers"]
    for source in container["envFrom"]:
        if named := source.get("configMapRef"):
            environment |= there["ConfigMap", named["name"]]["data"]
        else:
            environment |= there["Secret", source["secretRef"]["name"]]["stringData"]
    for variable in container.get("env", ()):
        environment[variable["name"]] = variable["value"]
    here = {
        "REPLACE-ME": "replaced-by-what-is-long-enough-for-a-secret",
        **outside.addresses,
        **outside.mount(pod, container),
    }
    for name, value in environment.items():
        for said, found in here.items():
            value = value.replace(said, found)  # noqa: PLW2901 -- one after the other
        environment[name] = value
    changes = {
        **{p.variable: platform.url(p.name) for p in PROGRAMS},
        # Under which the keys of this database are encrypted.
        "AUTH_SECRET": platform.environments["auth-service"]["AUTH_SECRET"],
    }
    changed = {name: changes[name] for name in changes if name in environment}
    return plain_environment() | environment | changed


def test_the_migrations_run_with_what_the_manifest_tells_them(
    platform: Platform, outside: Outside
) -> None:
    pod = manifests()["Job", "migrate"]["spec"]["template"]["spec"]
    for program in installed():
        run(program.command("migrate"), pod_environment(pod, platform, outside))


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(program, id=program.name, marks=[pytest.mark.slow] if number > 1 else [])
        for number, program in enumerate(installed())
    ],
)
def test_a_service_runs_with_what_its_manifest_tells_it(
    platform: Platform, outside: Outside, program: Program
) -> None:
    pod = manifests()["Deployment", program.name]["spec"]["template"]["spec"]
    environment = pod_environment(pod, platform, outside)
    service = platform.stack.service(program, environment, free_port())
    service.start()  # until it is ready
    try:
        metrics = urllib.request.Request(f"{service.url}/metrics")
        assert call(metrics)[0] in {401, 403, 404}
        metrics.add_header("Authorization", f"Bearer {environment['OPS_TOKEN']}")
        assert call(metrics)[0] == 200
        # It is ready without NATS and Redis, too; these it reaches a little later.
        deadline = time.monotonic() + 20
        while (health := call(urllib.request.Request(f"{service.url}/health")))[0] != 200:
            assert time.monotonic() < deadline, health[1]
            time.sleep(0.05)
    finally:
        service.stop()


@contextmanager
def nginx(home: Path, hosts: Mapping[str, str]) -> Iterator[str]:
    """A real nginx with the delivered file; only addresses are others. What it writes is in its home."""
    program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        pytest.skip("there is no nginx on this machine")
    port = free_port()
    text = (ROOT / "docs/deploy/gateway.conf").read_text()
    text = text.replace("listen 8000", f"listen 127.0.0.1:{port}")
    for there, address in hosts.items():
        text = text.replace(there, address)
    temporary = "\n".join(
        f"{kind}_temp_path {home}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (home / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {home}/pid; error_log stderr;\n"
        f"events {{}}\nhttp {{\n{temporary}\n{text}\n}}\n"
    )
    with (home / "stdout").open("wb") as stdout, (home / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [program, "-p", home, "-e", "stderr", "-c", home / "nginx.conf"],
            stdout=stdout,
            stderr=stderr,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 20
        while not answers(url):
            assert process.poll() is None, (home / "stderr").read_text()
            assert time.monotonic() < deadline, "the gateway does not answer"
            time.sleep(0.02)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture(scope="module")
def gateway(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with nginx(tmp_path_factory.mktemp("gateway"), platform.hosts) as url:
        yield url


def answers(url: str) -> bool:
    try:
        return call(urllib.request.Request(url))[0] == 404
    except OSError:
        return False


def test_the_gateway_leads_every_path_to_the_service_that_has_it(
    platform: Platform, gateway: str
) -> None:
    """Told by the parameters' names: whatever a route makes of the request, its service counts it."""
    for program in installed():
        paths = json.loads(platform.call(program.name, "/openapi.json")[1])["paths"]
        led = [path for path in paths if path.startswith(("/api/", "/t/", "/.well-known/"))]
        assert led
        assert {ingress(path) for path in led} == {program.name}
        before = requests(platform)
        for path in led:
            call(urllib.request.Request(gateway + re.sub(r"\{\w+\}", "x", path), method="OPTIONS"))
        after = requests(platform)
        answered = {name for name in after if after[name] > before[name]}
        assert answered == {program.name}
        assert after[program.name] - before[program.name] == len(led)


def ingress(path: str) -> str | None:
    """Return the service to which the Ingress leads a path: by its elements (Prefix), or whole (Exact)."""
    (rule,) = manifests()["Ingress", "crm"]["spec"]["rules"]
    for one in rule["http"]["paths"]:
        prefix = one["pathType"] == "Prefix" and path.startswith(one["path"] + "/")
        if path == one["path"] or prefix:
            return str(one["backend"]["service"]["name"])
    return None


def requests(platform: Platform) -> dict[str, float]:
    """Return how many requests each service has answered, but for those that ask."""
    found = {}
    for program in installed():
        text = platform.call(program.name, "/metrics")[1].decode()
        found[program.name] = sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith("http_requests_total{") and '"/metrics"' not in line
        )
    return found


@pytest.mark.parametrize("path", ["/metrics", "/health", "/ready", "/docs", "/", "/api", "/dev/x"])
def test_the_gateway_leads_nobody_to_what_is_for_operators(gateway: str, path: str) -> None:
    status, body = call(urllib.request.Request(gateway + path))
    assert status == 404
    assert json.loads(body)["code"] == "ROUTE_NOT_FOUND"


def test_the_gateway_writes_down_no_token(tmp_path: Path) -> None:
    """Links in mails, and /validate, have theirs in the query; nginx itself quotes it where a service is away."""
    nobody = {f"{program.name}:{program.port}": f"127.0.0.1:{free_port()}" for program in PROGRAMS}
    with nginx(tmp_path, nobody) as url:
        for path in ("/t/c?t=secret", "/validate?token=secret", "/nowhere?t=secret"):
            request = urllib.request.Request(url + path, headers={"Referer": f"{url}/x?t=secret"})
            assert call(request)[0] == (404 if path.startswith("/nowhere") else 502)
    lines = [json.loads(line) for line in (tmp_path / "stdout").read_text().splitlines()]
    seen = [(line["method"], line["path"], line["status"]) for line in lines]
    assert seen[-3:] == [
        ("GET", "/t/c", "502"),
        ("GET", "/validate", "502"),
        ("GET", "/nowhere", "404"),
    ]
    assert "secret" not in (tmp_path / "stdout").read_text() + (tmp_path / "stderr").read_text()


def exposed(platform: Platform) -> set[str]:
    names = {"up"}  # Prometheus' own
    for program in installed():
        text = platform.call(program.name, "/metrics")[1].decode()
        names |= set(re.findall(r"^([a-z_]+)[{ ]", text, re.MULTILINE))
    return names


def selectors(expression: Expr) -> Iterator[str]:
    """Yield the name of each metric in an expression."""
    if isinstance(expression, VectorSelector):
        assert expression.name is not None
        yield expression.name
    for name in ("expr", "lhs", "rhs", "vector_selector"):
        if (inner := getattr(expression, name, None)) is not None:
            yield from selectors(inner)
    for inner in getattr(expression, "args", None) or ():
        yield from selectors(inner)


def expressions() -> dict[str, str]:
    """Return every expression of the rules and of the dashboard."""
    rules = yaml.safe_load((ROOT / "docs/deploy/prometheus/rules.yaml").read_text())
    found = {
        rule.get("alert") or rule["record"]: rule["expr"]
        for group in rules["groups"]
        for rule in group["rules"]
    }
    board = json.loads((ROOT / "docs/deploy/grafana/dashboard.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            found[f"{panel['title']} {target['refId']}"] = target["expr"]
    return found


@pytest.mark.parametrize("name", expressions())
def test_a_rule_asks_for_what_a_service_exposes(platform: Platform, name: str) -> None:
    text = expressions()[name].replace("$__rate_interval", "5m").replace("$service", "x")
    wanted = set(selectors(parse(text)))
    assert wanted
    assert wanted <= exposed(platform)


def blocks() -> list[str]:
    return BLOCK.findall((ROOT / "docs/operations.md").read_text())


def test_every_command_of_the_operations_page_runs(platform: Platform, tmp_path: Path) -> None:
    tenant, other = platform.register("acme"), platform.register("globex")
    asyncio.run(spoil_an_event(platform, tenant))
    at = platform.hosts["postgres:5432"]
    auth = platform.environments["auth-service"]
    environment = {
        **plain_environment(),
        "PATH": f"{Path(sys.executable).parent}:{CLIENTS}:{os.environ['PATH']}",
        "SUPERUSER_URL": platform.stack.postgres.url,
        "DEPLOY_URL": f"postgresql://crm_deploy@{at}/crm",
        "PROGRAM_URL": f"postgresql://crm_app@{at}/crm",
        "OPERATOR_URL": f"postgresql://crm_operator@{at}/crm",
        "COPY_DEPLOY_URL": f"postgresql://crm_deploy@{at}/crm_copy",
        "COPY_OPERATOR_URL": f"postgresql://crm_operator@{at}/crm_copy",
        "SERVICES": " ".join(program.module for program in installed()),
        "TENANT": tenant,
        "BACKUPS": str(tmp_path),
        **{
            name: auth[name]
            for name in (
                "ENVIRONMENT",
                "NATS_URL",
                "REDIS_URL",
                "AUTH_SECRET",
                "SERVICE_CLIENT_SECRET",
                *(program.variable for program in PROGRAMS),
            )
        },
    }
    script = "\n".join(f"echo '== {n}'\n{block}" for n, block in enumerate(blocks()))

    done = subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert platform.log_in(tenant, "acme") == 200
    assert platform.log_in(other, "globex") == 200
    assert sorted(path.name for path in tmp_path.iterdir()) == ["before-the-restore", "monday"]
    copied = (f"postgresql://crm_operator@{at}/crm_copy", f"tenant_{tenant}", f"tenant_{other}")
    assert schemas(*copied) == [f"tenant_{tenant}"]


def schemas(url: str, *names: str) -> list[str]:
    import psycopg  # noqa: PLC0415 -- for this alone

    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select nspname from pg_namespace where nspname = any (%s)", [[*names]]
        )
        return [name for (name,) in rows]


async def spoil_an_event(platform: Platform, tenant: str) -> None:
    """Publish what no handler can read, and wait until it was given up."""
    client = await nats.connect(platform.stack.nats.url)
    try:
        stream = client.jetstream()
        await stream.publish(f"crm.evt.{tenant}.user.created.0", b"no event")
        deadline = time.monotonic() + 60
        while (await stream.stream_info("CRM_DLQ")).state.messages == 0:
            assert time.monotonic() < deadline, "it was not given up in time"
            await asyncio.sleep(0.05)
    finally:
        await client.close()


def test_every_page_of_operations_has_commands() -> None:
    assert len(blocks()) >= 10


def test_a_caller_cannot_give_itself_an_address(platform: Platform, gateway: str) -> None:
    """The limit of logins by address holds, whatever X-Forwarded-For says."""
    wrong = {"tenant": "nobody", "email": "x@example.com", "password": "wrong wrong wrong"}
    seen = set()
    for number in range(120):
        request = urllib.request.Request(
            f"{gateway}/api/auth/login",
            json.dumps(wrong | {"email": f"x{number}@example.com"}).encode(),
            {"Content-Type": "application/json", "X-Forwarded-For": f"192.0.2.{number}"},
        )
        seen.add(call(request)[0])
        if 429 in seen:
            break
    assert 429 in seen
