"""The service as a process: one worker, stopped without breaking off what runs."""

from pathlib import Path

import uvicorn
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from reelgraph.service.app import create_app
from reelgraph.service.settings import Keys, Settings


def run(model: Path, settings: Settings, keys: Keys) -> None:
    """Serve until the process is told to stop.

    Raises:
        ArtifactError: if the model cannot be used.
    """
    # Requests run beside each other already; threads within one would only wait for one another.
    threadpool_limits(1)
    app = create_app(model, settings, keys)
    uvicorn.run(
        app, host=settings.host, port=settings.port, access_log=False, server_header=False,
        timeout_graceful_shutdown=int(settings.grace), forwarded_allow_ips=settings.proxies,
    )  # fmt: skip
