"""Run the service: address, keys, model, and an end that answers what was accepted."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import sys
from collections.abc import Mapping
from types import FrameType

import uvicorn
from prometheus_client import start_http_server

from pneumonia.config.schema import Config
from pneumonia.config.service import ServingConfig
from pneumonia.errors import ConfigError
from pneumonia.inference.engine import cores
from pneumonia.registry.reader import open_reader
from pneumonia.serving.app import create_app
from pneumonia.serving.follower import Follower, Reader, describe
from pneumonia.serving.keys import Keys, load_keys
from pneumonia.serving.listening import CalmServer, address_of, bound
from pneumonia.serving.logs import write_json_logs
from pneumonia.serving.metrics import Metrics
from pneumonia.serving.monitoring import Monitoring
from pneumonia.serving.pool import Pool
from pneumonia.serving.service import HOW_TO_MAKE_ONE, Service

BACKLOG = 1024
LOOPBACK = "127.0.0.1"


def run(config: Config) -> None:
    """Serve the champion until SIGTERM or SIGINT.

    Raises:
        ConfigError: keys that cannot be read, or are missing where others reach the address; an address that cannot
            be taken.
    """
    write_json_logs(logging.WARNING)  # until the first line, which says what answers, is written
    metrics = Metrics()
    run_server(config.serving, open_reader(config), os.environ, metrics, Monitoring(config, metrics.monitoring))


def run_server(
    config: ServingConfig,
    reader: Reader,
    environment: Mapping[str, str],
    metrics: Metrics,
    monitoring: Monitoring | None = None,
) -> None:
    """Serve what a reader of the registry names; see `run`."""
    keys = load_keys(config, environment)
    with contextlib.closing(bound(config.host, config.port, "serving.port")) as listener:
        follower = Follower(reader, config, metrics)
        pool = Pool(config.threads or cores(), config.queue)
        service = Service(config, follower, pool, metrics, keys, monitoring)
        server = _Server(service)
        follower.start()
        if monitoring is not None:
            monitoring.start()
        try:
            if config.metrics_port:
                _serve_metrics(config.metrics_port, metrics)
            listener.listen(BACKLOG)  # before the address is written: whoever reads it may connect at once
            _say(listener, follower, keys)
            logging.getLogger().setLevel(logging.INFO)
            server.run(sockets=[listener])
        finally:
            pool.close()
            follower.stop()
            if monitoring is not None:
                monitoring.stop()


class _Server(CalmServer):
    """A server that is not ready any more from the signal on, answers what it has accepted, and then ends normally."""

    def __init__(self, service: Service) -> None:
        config = uvicorn.Config(
            create_app(service),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            backlog=BACKLOG,
            timeout_graceful_shutdown=math.ceil(service.config.drain_seconds),
        )
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.draining = True
        super().handle_exit(sig, frame)


def _serve_metrics(port: int, metrics: Metrics) -> None:
    try:
        start_http_server(port, LOOPBACK, metrics.registry)
    except OSError as error:
        raise ConfigError(
            f"serving.metrics_port: {LOOPBACK}:{port} cannot be taken ({error.strerror or error}); choose another"
        ) from None


def _say(listener: socket.socket, follower: Follower, keys: Keys) -> None:
    current = follower.current
    what = f"no champion yet; {HOW_TO_MAKE_ONE}" if current is None else describe(current.champion)
    print(f"{address_of(listener)}: {what}")
    if keys:
        print(f"{len(keys.digests)} API key(s); every request needs one")
    else:
        print("without API keys: only this machine can ask (PNEUMONIA_API_KEY or serving.keys_file sets some)")
    print("Not a medical device: for research and teaching, never for a decision about a patient.")
    sys.stdout.flush()
