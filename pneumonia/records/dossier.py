"""The dossier of a model: what it is for, where it is weak, and what shows how it earned its place, as one document."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from pneumonia.records.assessment import Assessment, Robustness
from pneumonia.records.base import Document
from pneumonia.records.cross_validation import CrossValidation
from pneumonia.records.evaluation import OutsideMetrics, ShortcutDependence, Verdict
from pneumonia.records.model import ModelRecord

DOSSIER_FOLDER = "dossier"
"""Path of the run's artifact folder that holds the dossier."""
DOSSIER_PAGE, DOSSIER_JSON, SBOM = "dossier.html", "dossier.json", "sbom.cdx.json"
Weight = Literal["serious", "caution", "not known"]
Status = Literal["met", "partly", "not done", "not applicable"]
STATUSES: tuple[Status, ...] = ("met", "partly", "not done", "not applicable")


class BundleFile(Document):
    """A file of the model's run.

    Attributes:
        path: in the run's artifacts.
        sha256: in hex.
        size: bytes.
    """

    path: str
    sha256: str
    size: int


class ModelCard(Document):
    """What the model is for and how it is used.

    Attributes:
        intended: what it may be used for, in sentences.
        not_for: whom and what it is not for, in sentences.
        inputs, output: what goes in and what comes out, in words.
        served: the graph that is served and why, in words; empty where there is no export.
    """

    intended: tuple[str, ...]
    not_for: tuple[str, ...]
    inputs: str
    output: str
    served: str = ""


class Weakness(Document):
    """A weakness that follows from the model's own numbers, or what about it is not known.

    Attributes:
        weight: serious: not to be used where it matters; caution: to be read first; not known: nobody has looked.
        topic: in a few words.
        text: with the numbers, in a sentence or two.
        section: identifier of the page's section that holds the numbers.
    """

    weight: Weight
    topic: str
    text: str
    section: str


class SplitCounts(Document):
    """The images of a split.

    Attributes:
        split: its name.
        use: what it was used for, in words.
        classes: images by class.
        patients: known ones; None where none is known.
    """

    split: str
    use: str
    classes: dict[str, int]
    patients: int | None


class DataSheet(Document):
    """The images that the model was made from and measured on.

    Attributes:
        title: of the set.
        source, licence, population, labels: where it comes from, who is on the images, and where the labels come from,
            in words; empty where nobody has recorded it.
        data_digest, split_digest, pixels_digest: sha256 in hex; None where the run holds no manifest.
        dvc_md5: of the version in `data.dvc`; None where the images are not the recorded ones.
        release_rows: digest of the release set's files (`pneumonia.registry.openings.rows_digest`).
        splits: one a split.
        known_by: images by how their patient is known.
        encodings: images by how they are encoded.
        duplicates: groups of images with equal pixels.
        unknown: what is not known about the images, in sentences.
    """

    title: str
    source: str = ""
    licence: str = ""
    population: str = ""
    labels: str = ""
    data_digest: str
    split_digest: str
    pixels_digest: str | None = None
    dvc_md5: str | None = None
    release_rows: str | None = None
    splits: tuple[SplitCounts, ...] = ()
    known_by: dict[str, int] = Field(default_factory=dict)
    encodings: dict[str, int] = Field(default_factory=dict)
    duplicates: int = 0
    unknown: tuple[str, ...] = ()


class AuditCheck(Document):
    """A check of the data set's audit; `count` is the number of cases."""

    name: str
    outcome: Literal["ok", "warning", "stops"]
    count: int
    summary: str


class ShortcutFeature(Document):
    """How well one feature that is no disease predicts the class in the training folders.

    Attributes:
        name: of the feature.
        auroc, low, high: in cross-validation, with its interval.
        flagged: the audit warns of it.
        meaning, remedy: in words.
    """

    name: str
    auroc: float
    low: float
    high: float
    flagged: bool
    meaning: str
    remedy: str


class ReleaseOpening(Document):
    """An opening of the release set; see `pneumonia.registry.openings.Opening`.

    Attributes:
        this_model: it was opened for the model of this dossier.
    """

    when: str
    who: str
    purpose: str
    model: str
    weights: str
    demo: bool
    this_model: bool


class LedgerEntry(Document):
    """A change of champion, of the ledger of the registered name.

    Attributes:
        despite: the failed criteria, or the withdrawal, that a promotion overrules.
        previous: sha256 of the entry before; empty where the entries are not chained.
    """

    when: str
    who: str
    why: str
    action: Literal["promote", "rollback"]
    from_version: str | None
    to_version: str
    despite: tuple[str, ...] = ()
    previous: str = ""


class Environment(Document):
    """The machine and the software.

    Attributes:
        of: whether this is where the dossier of the training was built, or, where none is attached, where this page was
            made.
        processor: machine type, and features that change how numbers are rounded.
        cores: that the process may use.
        libraries: versions of what computes, name to version.
        locks: files that pin the software, by digest.
        commit: of the code; None where it is not known.
        clean: no file differed from the commit; None where it is not known.
        computed_with: device, precision and threads of the training.
    """

    of: Literal["the model's making", "this page's making"]
    python: str
    platform: str
    processor: str
    features: tuple[str, ...]
    cores: int
    libraries: dict[str, str]
    locks: tuple[BundleFile, ...]
    commit: str | None
    clean: bool | None
    computed_with: tuple[str, ...] = ()


class SbomSummary(Document):
    """What the software bill of materials lists.

    Attributes:
        sha256: of the file.
        specification: such as CycloneDX 1.6.
        packages: installed ones.
        hashed: packages with a hash.
        licences: packages by declared licence, the most frequent first.
        without_licence: packages that declare none.
    """

    sha256: str
    specification: str
    packages: int
    hashed: int
    licences: dict[str, int]
    without_licence: tuple[str, ...] = ()


class ChecklistItem(Document):
    """An item of a reporting checklist, and where this bundle answers it.

    Attributes:
        number: of the checklist.
        topic: in this project's words.
        status: met and partly: what `where` names is in this bundle.
        where: files of the run, and sections of the dossier with their identifiers.
        digest: sha256 of the first file in `where`; None for a section.
        note: what it says, or why it is not done.
    """

    number: str
    topic: str
    status: Status
    where: str = ""
    digest: str | None = None
    note: str = ""


class Checklist(Document):
    """A reporting checklist, answered from the bundle.

    Attributes:
        name: of the checklist.
        reference: its publication.
        items: in the checklist's order.
    """

    name: str
    reference: str
    items: tuple[ChecklistItem, ...]

    def counts(self) -> dict[Status, int]:
        """Return the number of items by status."""
        return {status: sum(item.status == status for item in self.items) for status in STATUSES}


class Picture(Document):
    """A picture of the report that the page embeds.

    Attributes:
        path: of the file in the run's artifacts.
        title: for the caption.
        alt: what it shows, for who cannot see it.
        section: identifier of the page's section that it stands in.
        wide: it takes the page's whole width.
    """

    path: str
    title: str
    alt: str
    section: str
    wide: bool = False


class Dossier(Document):
    """Everything that is known about a model. Not a medical device.

    Attributes:
        name: registered name.
        version: None where the model is not registered yet.
        aliases: of the version.
        withdrawn: who withdrew it, when and why; empty where nobody did.
        run_id, run_url: of the MLflow run; no address where no server serves one.
        made_at: ISO 8601 in UTC.
        training_commit: of the code that trained; None where it is not known.
        phantom, demo: trained on synthetic images; judged by a demo's minimums.
        record: of the model.
        card, weaknesses, data: see there.
        outside: metrics on images of other places.
        verdict: of the gate; None where the run holds none.
        policy: the change control plan, as far as it is the one of the verdict; None for demos.
        assessment: what the model is good for; None where the run holds none.
        dependence: by shortcut feature; None where it was not recorded.
        openings: of the release set, by anybody.
        moves: of the registered name.
        cross_validation: of the recipe on this data version; None where there is none.
        robustness: None where it was not measured.
        audit, shortcut_features: of the data set.
        environment: None where it is not known.
        sbom: None where there is none.
        files: of the run.
        checklists: CLAIM 2024 and TRIPOD+AI.
        pictures: that the page shows.
        commands: by what is missing, the command that adds it.
    """

    format: Literal[1] = 1
    name: str
    version: str | None = None
    aliases: tuple[str, ...] = ()
    withdrawn: str = ""
    run_id: str
    run_url: str | None = None
    made_at: str
    training_commit: str | None = None
    phantom: bool
    demo: bool
    record: ModelRecord
    card: ModelCard
    weaknesses: tuple[Weakness, ...] = ()
    data: DataSheet
    outside: tuple[OutsideMetrics, ...] = ()
    verdict: Verdict | None = None
    policy: dict[str, Any] | None = None
    assessment: Assessment | None = None
    dependence: dict[str, ShortcutDependence] | None = None
    openings: tuple[ReleaseOpening, ...] = ()
    moves: tuple[LedgerEntry, ...] = ()
    cross_validation: CrossValidation | None = None
    robustness: Robustness | None = None
    audit: tuple[AuditCheck, ...] = ()
    shortcut_features: tuple[ShortcutFeature, ...] = ()
    environment: Environment | None = None
    sbom: SbomSummary | None = None
    files: tuple[BundleFile, ...] = ()
    checklists: tuple[Checklist, ...] = ()
    pictures: tuple[Picture, ...] = ()
    commands: dict[str, str] = Field(default_factory=dict)
