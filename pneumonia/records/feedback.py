"""The documents of readers' feedback: what a reader says of an event, how labels settle, how far readers agree."""

from __future__ import annotations

from typing import Literal

from pneumonia.records.base import Document
from pneumonia.records.evaluation import Metric

Said = Literal["agree", "disagree", "unsure"]
Label = Literal["NORMAL", "PNEUMONIA"]
Role = Literal["reader", "adjudicator"]
State = Literal["open", "disputed", "settled"]
SAID: tuple[Said, ...] = ("agree", "disagree", "unsure")
STATES: tuple[State, ...] = ("settled", "open", "disputed")
NOTE_LETTERS, READER_LETTERS = 1000, 64
"""The longest note, and the longest name of a reader, characters."""


class Feedback(Document):
    """What one reader says of one event.

    Attributes:
        event_id: of the event.
        reader: who says it, up to 64 characters: a name or a key's digest.
        role: an adjudicator decides where readers differ.
        verdict: of the model's decision.
        label: of the image; None where the reader is unsure.
        note: up to 1,000 characters.
        at: seconds since 1970, UTC.
    """

    event_id: str
    reader: str
    role: Role
    verdict: Said
    label: Label | None
    note: str
    at: float


class ReviewedEvent(Document):
    """An event that readers have spoken about. It names nobody: patient and study are keyed hashes.

    Attributes:
        event_id, at, name, version, model_digest: of the event; see `pneumonia.monitoring.events.Event`.
        probability, margin, decision, threshold, code: of the answer.
        study, patient: keyed hashes; None where the file had no identifiers.
        image: name of the kept image; None where none was kept.
        state: settled: two readers gave this label and nobody another, or an adjudicator gave it; disputed: readers
            gave different labels; open: everything else.
        label: that the event has settled on; None where it has not.
        how: who settled it; None where nobody has.
        readers: readers who gave a label.
        words: readers and adjudicators who said anything.
    """

    event_id: str
    at: float
    name: str
    version: str
    model_digest: str
    probability: float | None
    margin: float | None
    decision: str | None
    threshold: float
    code: str
    study: str | None
    patient: str | None
    image: str | None
    state: State
    label: Label | None
    how: Literal["readers", "adjudicator"] | None
    readers: int
    words: int


class ReaderAgreement(Document):
    """How far readers agree, with each other and with the model. Readers have seen the model's decision before.

    Attributes:
        readers: who gave any label; adjudicators do not count.
        events: that two or more readers labelled.
        share: of pairs of labels of one event that are equal; None without such an event.
        kappa: the same beyond chance, −1 to 1; None where all labels are of one class, so that chance alone agrees.
        model_events: that have a decision and a reader's label.
        model_share, model_kappa: of the readers' labels with the model's decisions.
    """

    readers: int
    events: int
    share: Metric | None = None
    kappa: Metric | None = None
    model_events: int = 0
    model_share: Metric | None = None
    model_kappa: Metric | None = None


LEFT_OUT = (
    "no kept image",
    "unreadable",
    "labels differ",
    "patient of the test folder",
    "duplicate",
    "near-duplicate",
    "phantom among radiographs, or radiograph among phantoms",
)
"""Why an image with a settled label enters no data version."""


class Ingested(Document):
    """The result of `ingest_feedback`: the next data version.

    Attributes:
        root: folder of the data version.
        digest: of its manifest.
        added: new images by class.
        total: images of readers that the data version holds now, by class.
        relabelled: images whose label has settled on the other class since, and which were moved.
        withdrawn: images whose label is settled no more, and which were removed.
        left_out: images with a settled label that were not added, by reason, one of `LEFT_OUT`.
        unsettled: events whose label is open, and events whose label is disputed.
        leaks: findings of the audit that would stop a pipeline on this data version.
        dvc_md5: hash that the ``.dvc`` file records; None where none records this folder.
        commit: the commit that holds the record; None where none was made.
        notes: what was not done, and why.
    """

    root: str
    digest: str
    added: dict[str, int]
    total: dict[str, int]
    relabelled: int
    withdrawn: int
    left_out: dict[str, int]
    unsettled: dict[str, int]
    leaks: tuple[str, ...] = ()
    dvc_md5: str | None = None
    commit: str | None = None
    notes: tuple[str, ...] = ()

    def sentence(self) -> str:
        """Return the counts in one sentence."""
        new = ", ".join(f"{count} {label}" for label, count in self.added.items())
        there = ", ".join(f"{count} {label}" for label, count in self.total.items())
        return f"{new} added; {there} from readers now; {self.relabelled} moved, {self.withdrawn} removed"
