"""Keep a list in MLflow to which one entry at a time is appended, whoever else appends.

The list is a run of its own, in an experiment of its own: one parameter an entry, with its number. MLflow never changes
a parameter: the database's primary key (run, parameter) accepts the first writer of a number and refuses every other,
    so that each number holds one entry, and no entry is lost or overwritten. A writer states the entries that it has
    seen by the
number that it writes to: where another came first, it has to decide anew. That needs no lease: no clock is compared,
    and a process that was killed or paused holds nothing that others would wait for.

The run itself must be one for all. It is made in an experiment under a name that nobody else uses, which is then
renamed: experiment names are unique in the database, so that one process succeeds, and the others use its run.

The entries are chained by digest (`pneumonia.registry.chain`). The head of the list is a tag of the run that is set
after an entry: a writer that was killed in between leaves the head of an earlier entry, which still holds.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pneumonia.errors import PneumoniaError
from pneumonia.records.signature import ListHead
from pneumonia.registry import chain

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

HEAD = "chain-head"
"""Tag of the run: the head of the list."""
COLLISIONS = 10
"""How often setting the head is tried: of two processes that set a tag first, the database refuses the second."""


class Held(NamedTuple):
    """What a list holds: its entries by their keys, in order, and its head; None in lists of earlier releases."""

    entries: dict[str, str]
    head: ListHead | None


@dataclass(frozen=True)
class AppendOnly:
    """A list of texts in MLflow.

    Attributes:
        client: of the store.
        title: name of the experiment.
        what: name of the run, and of the list in messages.
        key: start of the parameters' names.
        tags: of the run, when it is made.
    """

    client: MlflowClient
    title: str
    what: str
    key: str
    tags: Mapping[str, str] = field(default_factory=dict)

    def parameters(self) -> dict[str, str] | None:
        """Return all parameters of the run; None where nothing was appended yet.

        Raises:
            PneumoniaError: the list was deleted.
        """
        run_id = self._find()
        return None if run_id is None else dict(self.client.get_run(run_id).data.params)

    def read(self) -> Held | None:
        """Return what the list holds; None where nothing was appended yet.

        Raises:
            PneumoniaError: the list was deleted, or its head is none.
        """
        run_id = self._find()
        if run_id is None:
            return None
        held = self._held(self.client.get_run(run_id).data)
        if held.head is not None and held.head.entries > len(held.entries):
            # a database may answer with the tags of a later moment: the entries that they count are read after them
            held = held._replace(entries=self._held(self.client.get_run(run_id).data).entries)
        elif held.head is None and chain.is_chained(held.entries):
            held = self._held(self.client.get_run(run_id).data)  # or of an earlier one, before the first head was set
        return held

    def problems(self, held: Held) -> list[str]:
        """Return, in sentences, where the chain of what was read is broken; nothing for an intact one."""
        found = chain.gaps(self.key, held.entries) or chain.links(self.title, held.entries)
        if held.head is not None:
            found += [each for each in self.against(held, held.head) if each not in found]
        elif chain.is_chained(held.entries):
            found.append(f"the tag {HEAD}, which every list with chained entries has, is missing")
        return found

    def against(self, held: Held, head: ListHead) -> list[str]:
        """Return, in sentences, what is not as it was when this head was written."""
        return chain.against_head(self.key, self.title, held.entries, head)

    def follow(self, past: Sequence[str]) -> str:
        """Return what an entry after these past ones holds as ``previous``."""
        return chain.follow(self.title, past)

    def append(self, past: Sequence[str], text: str) -> bool:
        """Append an entry to exactly these past ones; make the list where there is none, with the past ones.

        May be repeated after a lost response: the same entry at the same place is accepted again.

        Returns:
            Whether it was appended; False where another entry has followed the past ones.

        Raises:
            PneumoniaError: the list was deleted.
        """
        run_id = self._find() or self._create(past)
        if HEAD not in self.client.get_run(run_id).data.tags:
            # of an earlier release: the head comes before the first chained entry, which is damaged without one
            self._set_head(run_id, chain.head_of(self.title, past))
        done = self._write(run_id, f"{self.key}{len(past) + 1:06d}", text)
        if done:
            self._set_head(run_id, chain.head_of(self.title, [*past, text]))
        return done

    def write(self, name: str, text: str) -> bool:
        """Write a parameter of any name, once; return whether it holds this text."""
        return self._write(self._find() or self._create(()), name, text)

    def _write(self, run_id: str, name: str, text: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            self.client.log_param(run_id, name, text)
        except MlflowException:
            # Refused because the name is taken, or failed in another way: what the list holds decides.
            held = self.client.get_run(run_id).data.params.get(name)
            if held is None:
                raise
            return bool(held == text)
        return True

    def _held(self, data: Any) -> Held:
        params, head = dict(data.params), dict(data.tags).get(HEAD)
        entries = {key: params[key] for key in sorted(params) if key.startswith(self.key)}
        try:
            return Held(entries, None if head is None else ListHead.parse(head))
        except ValueError:
            raise PneumoniaError(
                f"the tag {HEAD} of the run {self.what!r} in the experiment {self.title!r} was damaged: {head!r}; "
                "restore the database from a backup"
            ) from None

    def _set_head(self, run_id: str, head: ListHead) -> None:
        """Set the head to the entry that was appended, and to further ones that have come meanwhile."""
        from mlflow.exceptions import MlflowException

        collisions = 0
        while True:
            try:
                self.client.set_tag(run_id, HEAD, str(head))
            except MlflowException:
                collisions += 1
                if collisions == COLLISIONS:
                    raise
                time.sleep(0.05 * collisions)
                continue
            held = self._held(self.client.get_run(run_id).data)
            head = chain.head_of(self.title, list(held.entries.values()))
            if held.head == head:
                return

    def _find(self) -> str | None:
        found = self.client.get_experiment_by_name(self.title)
        if found is None:
            return None
        if found.lifecycle_stage != "active":
            raise PneumoniaError(
                f"the experiment {found.name!r}, which holds the {self.what}, was deleted; restore it: "
                f"mlflow experiments restore -x {found.experiment_id}"
            )
        runs = self.client.search_runs([found.experiment_id], max_results=2)
        if len(runs) != 1:
            raise PneumoniaError(
                f"the experiment {found.name!r} holds {len(runs)} runs instead of the {self.what} alone; on its page "
                f"in MLflow, restore the run {self.what!r} or delete the others"
            )
        return str(runs[0].info.run_id)

    def _create(self, past: Sequence[str]) -> str:
        from mlflow.exceptions import MlflowException

        # The location is never written to; MLflow's default would make a folder in the working directory.
        made = self.client.create_experiment(
            f"{self.title} ({uuid.uuid4().hex})", artifact_location="mlflow-artifacts:/ledger"
        )
        tags = {**self.tags, HEAD: str(chain.head_of(self.title, ()))}
        run = self.client.create_run(made, run_name=self.what, tags=tags).info.run_id
        for number, text in enumerate(past, 1):
            self.client.log_param(run, f"{self.key}{number:06d}", text)
        self.client.set_terminated(run)
        try:
            self.client.rename_experiment(made, self.title)
        except MlflowException:
            other = self._find()  # another process was first, or this one's response was lost
            if other is None:
                raise
            if other != run:
                self.client.delete_experiment(made)
            return other
        return str(run)
