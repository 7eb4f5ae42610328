"""Define the settings of the running service, of what watches it, and of signatures; no part of a training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pneumonia.config.section import OptionalPath, PathText, Section, UriText


class ServingConfig(Section):
    """How a registered model is served: `pneumonia serve`, and the same model in `predict`, `score` and `explain`."""

    model: str = Field(
        "auto",
        min_length=1,
        description="Registered name whose champion is served; auto: pneumonia-resnet18, otherwise "
        "pneumonia-resnet18-fast, otherwise pneumonia-resnet18-phantom, the first that has a champion",
    )
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; others than loopback need API keys")
    port: int = Field(8000, ge=0, le=65535, description="Port; 0: any free one")
    precision: Literal["auto", "fp32", "int8"] = Field(
        "auto",
        description="Graph that is run; auto: the one that the export chose by its agreement on validation images",
    )
    threads: int = Field(0, ge=0, le=1024, description="Images computed at a time; 0: one per core")
    queue: int = Field(16, ge=0, le=100_000, description="Images that may wait for a thread; beyond them: 503")
    timeout: float = Field(30.0, gt=0, le=3600, description="Longest time for a request, seconds; beyond it: 503")
    max_body: int = Field(64, ge=1, le=4096, description="Largest body of a request, MiB")
    max_pixels: int = Field(
        50_000_000, ge=1024, le=50_000_000, description="Most pixels of an image, as its header says"
    )
    max_files: int = Field(32, ge=1, le=10_000, description="Most files in a request")
    rate: int = Field(0, ge=0, le=1_000_000, description="Requests a minute that each API key may make; 0: any number")
    keys_file: str = Field(
        "",
        description="File of API keys, one sha256 in hex a line; PNEUMONIA_API_KEY holds some in clear text, "
        "with commas; each is a reader of its own",
    )
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of its own for /metrics, on loopback without a key; 0: on the service's port",
    )
    follow_seconds: float = Field(10.0, gt=0, le=86_400, description="Interval at which the champion is looked up")
    drain_seconds: float = Field(20.0, ge=0, le=600, description="Time for requests in flight after SIGTERM")
    check_input: bool = Field(True, description="Refuse pictures that are no frontal chest radiographs")


class MonitoringConfig(Section):
    """What is recorded of the service's answers, how changes are noticed, and what follows from them."""

    record: bool = Field(True, description="Record one event for every image that the service answers or refuses")
    database: UriText = Field(
        "auto",
        description="Database of events, feedback and loops, without a password; env:NAME: the URI is read from that "
        "variable; auto: MONITORING_DATABASE_URI, otherwise SQLite in monitoring.folder",
    )
    folder: PathText = Field(
        "auto",
        description="Folder of the SQLite database, the spool and kept images; auto: monitoring in the work folder",
    )
    sample: float = Field(1.0, gt=0, le=1, description="Share of the images whose events are recorded")
    retention_days: int = Field(
        365, ge=0, le=36_500, description="Age at which events and kept images are deleted; 0: never"
    )
    spool: int = Field(
        10_000,
        ge=1,
        le=10_000_000,
        description="Events that wait on disk while the database is away; later ones are lost",
    )
    keep_images: bool = Field(
        False, description="Keep accepted images, DICOM headers reduced to a short list, for feedback and training"
    )
    window: int = Field(1000, ge=100, le=100_000, description="Last images that are compared with the reference")
    max_days: float = Field(30.0, gt=0, le=3650, description="Age of the oldest image of the window, days")
    false_alarms: float = Field(
        1.0, gt=0, le=100, description="Budget: false alarms for 10,000 images, which the alarm level keeps"
    )
    min_labels: int = Field(
        50, ge=10, le=1_000_000, description="Settled labels of each class that a recalibration or retraining needs"
    )
    cooldown_hours: float = Field(
        24.0, ge=0, le=8760, description="Time after a loop in which an alarm notifies, and starts no other loop"
    )
    lease_seconds: float = Field(
        120.0,
        ge=1,
        le=86_400,
        description="Time without a sign of life after which a loop is taken over by the next one",
    )
    approval: bool = Field(False, description="A person decides on the promotion of what a loop has trained")
    data_root: PathText = Field(
        "auto", description="Folder of the data version that feedback is ingested into; auto: data.root itself"
    )


class SigningConfig(Section):
    """With which key a version's files are signed, and whose signature is demanded before a version is used."""

    private_key: OptionalPath = Field(
        "",
        description="PEM file of the private key that the pipeline signs a version's files with (ECDSA: pneumonia "
        "keys); its password, if any, in PNEUMONIA_SIGNING_PASSWORD; empty: versions are not signed",
    )
    public_key: OptionalPath = Field(
        "",
        description="PEM file of the public key; predict, score and serve then refuse a version whose signature does "
        "not verify with it; empty: signatures are not demanded",
    )
    sigstore: bool = Field(
        False, description="Sign and verify with sigstore instead of a key; needs a network and an OpenID token"
    )
    identity: str = Field("", description="sigstore: who must have signed, such as an e-mail address or a workflow")
    issuer: str = Field("", description="sigstore: OpenID issuer that vouches for the identity")
