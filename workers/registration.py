"""Make this worker known to the server, and keep the token that it gets for that."""

from __future__ import annotations

import logging
import os
import uuid
from pathlib import Path

from layerprune.api.catalogue import Catalogue
from layerprune.api.client import Client
from layerprune.api.errors import NotAllowed, NotAuthenticated
from layerprune.api.workers import DeviceSpec, WorkerRegistration

from .catalogue import describe_machine
from .config import WorkerSettings
from .stopping import Stop

log = logging.getLogger(__name__)


class OwnToken:
    """The worker's own token, in a file that only its user can read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self) -> str | None:
        """Return the token, or None before the first registration."""
        try:
            return self._path.read_text(encoding="ascii").strip() or None
        except FileNotFoundError:
            return None

    def keep(self, token: str) -> None:
        """Store the token; it is shown once, so it is on the disk when this returns."""
        part = self._path.with_suffix(".part")
        part.unlink(missing_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(token)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._path)


def describe(settings: WorkerSettings, library: Catalogue) -> WorkerRegistration:
    """Compose what the server is told at this start; `library` is what can be built here."""
    device = None
    if settings.device is not None:
        machine = describe_machine(allow_null=settings.allow_null, python=settings.python)
        library = library.model_copy(update={"backends": machine.backends})
        device = DeviceSpec(
            name=settings.device, kind=machine.facts["kind"], description=settings.description, facts=machine.facts
        )
    return WorkerRegistration(
        name=settings.name,
        roles=list(settings.roles),
        device=device,
        catalogue=library,
        incarnation=uuid.uuid4().hex,
        allow_null=settings.allow_null,
    )


def register(settings: WorkerSettings, registration: WorkerRegistration, own: OwnToken, stop: Stop) -> Client:
    """Register and return the client for everything after that; waits for a server that does not answer yet.

    Tries the worker's own token first. A server with a new database does not know that one, and it does not allow
    another device; then the worker registers like a new one, with the token of the settings. Raises the server's
    refusal.
    """
    held = own.find()
    if held is not None:
        try:
            return _register(settings, registration, held, own, stop)
        except (NotAuthenticated, NotAllowed) as error:
            log.warning("the worker's own token does not do any more (%s); registering anew", error.message)
    return _register(settings, registration, settings.token, own, stop)


def _register(
    settings: WorkerSettings, registration: WorkerRegistration, token: str | None, own: OwnToken, stop: Stop
) -> Client:
    client = Client(settings.url, token, data=settings.data)
    try:
        with stop.breakable():
            registered = stop.persist(lambda: client.register_worker(registration))
    except BaseException:
        client.close()
        raise
    log.info("worker %s is registered at %s", settings.name, client.url)
    if registered.token is None:
        return client
    own.keep(registered.token)
    client.close()
    return Client(settings.url, registered.token, data=settings.data)
