"""Speak TLS for servers that do not: the wheels' PostgreSQL was built without it.

    python tests/tls.py FOLDER postgres=5432 nats=4222 redis=6379

Prints where it listens for each, as JSON. A test starts it, and closes its standard input to end it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import struct
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOOPBACK = "127.0.0.1"
NAME, AUTHORITY = "localhost", "an authority for tests"
PIECE = 65536  # bytes that are passed on at a time
# PostgreSQL manual, 54.7: each is the second half of eight bytes that begin a connection.
SSL_REQUEST, GSS_REQUEST = 80877103, 80877104

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Greeting = Callable[[Reader, Writer, Reader], Awaitable[None]]


def make_authority(folder: Path) -> ssl.SSLContext:
    """Write an authority's certificate, `ca.crt`, and return what shows one of `localhost` that it signed."""
    ours, its = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    (folder / "ca.crt").write_bytes(_sign(AUTHORITY, ours, ours, is_ca=True))
    key = its.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "server.pem"  # Python reads a key from a file only
    path.write_bytes(key + _sign(NAME, its, ours, is_ca=False))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def _sign(
    name: str, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey, *, is_ca: bool
) -> bytes:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, AUTHORITY)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if not is_ca:
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        builder = builder.add_extension(names, critical=False)
    certificate = builder.sign(by, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM)


async def postgres(here: Reader, back: Writer, there: Reader) -> None:
    """Say yes to what asks for TLS, and hang up on what does not."""
    while True:
        _, asked = struct.unpack(">II", await here.readexactly(8))
        if asked not in {SSL_REQUEST, GSS_REQUEST}:
            raise ConnectionError("the client speaks without TLS")
        back.write(b"S" if asked == SSL_REQUEST else b"N")
        await back.drain()
        if asked == SSL_REQUEST:
            return


async def nats(here: Reader, back: Writer, there: Reader) -> None:
    """Let the server greet, and say that it wants TLS."""
    word, _, said = (await there.readline()).partition(b" ")
    back.write(word + b" " + json.dumps(json.loads(said) | {"tls_required": True}).encode())
    back.write(b"\r\n")
    await back.drain()


# With Redis TLS comes first.
GREETINGS: dict[str, Greeting | None] = {"postgres": postgres, "nats": nats, "redis": None}


async def serve(folder: Path, targets: Mapping[str, int]) -> None:
    """Take connections for each server, until whoever started this hangs up."""
    context = make_authority(folder)
    ports = {}
    for kind, target in targets.items():
        greet = GREETINGS[kind]
        take = partial(_pass_on, context, greet, target)
        # What a client says before `start_tls` is lost to it; one that is greeted waits for that.
        first = context if greet is None else None
        server = await asyncio.start_server(take, LOOPBACK, 0, ssl=first)
        ports[kind] = server.sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def _pass_on(
    context: ssl.SSLContext, greet: Greeting | None, target: int, here: Reader, back: Writer
) -> None:
    with contextlib.closing(back), contextlib.suppress(OSError, asyncio.IncompleteReadError):
        there, on = await asyncio.open_connection(LOOPBACK, target)
        with contextlib.closing(on):
            if greet is not None:
                await greet(here, back, there)
                await back.start_tls(context)
            pumps = [asyncio.create_task(_pump(here, on)), asyncio.create_task(_pump(there, back))]
            # TLS has no end of one direction: who hangs up hangs up both.
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)


async def _pump(reader: Reader, writer: Writer) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()


if __name__ == "__main__":
    asyncio.run(
        serve(
            Path(sys.argv[1]), {k: int(v) for k, _, v in (a.partition("=") for a in sys.argv[2:])}
        )
    )
