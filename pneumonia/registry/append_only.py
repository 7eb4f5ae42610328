"""Keep a list in MLflow to which one entry at a time is appended, whoever else appends.

The list is a run of its own, in an experiment of its own: one parameter an entry, with its number. MLflow never changes
a parameter: the database's primary key (run, parameter) accepts the first writer of a number and refuses every other,
    so that each number holds one entry, and no entry is lost or overwritten. A writer states the entries that it has
    seen by the
number that it writes to: where another came first, it has to decide anew. That needs no lease: no clock is compared,
    and a process that was killed or paused holds nothing that others would wait for.

The run itself must be one for all. It is made in an experiment under a name that nobody else uses, which is then
renamed: experiment names are unique in the database, so that one process succeeds, and the others use its run.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pneumonia.errors import PneumoniaError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


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

    def read(self) -> dict[str, str] | None:
        """Return the entries by their keys, in order; None where nothing was appended yet."""
        found = self.parameters()
        return None if found is None else {key: found[key] for key in sorted(found) if key.startswith(self.key)}

    def append(self, past: Sequence[str], text: str) -> bool:
        """Append an entry to exactly these past ones; make the list where there is none, with the past ones.

        May be repeated after a lost response: the same entry at the same place is accepted again.

        Returns:
            Whether it was appended; False where another entry has followed the past ones.

        Raises:
            PneumoniaError: the list was deleted.
        """
        return self.write(f"{self.key}{len(past) + 1:06d}", text, past)

    def write(self, name: str, text: str, past: Sequence[str] = ()) -> bool:
        """Write a parameter of any name, once; return whether it holds this text."""
        from mlflow.exceptions import MlflowException

        run_id = self._find() or self._create(past)
        try:
            self.client.log_param(run_id, name, text)
        except MlflowException:
            # Refused because the name is taken, or failed in another way: what the list holds decides.
            held = self.client.get_run(run_id).data.params.get(name)
            if held is None:
                raise
            return bool(held == text)
        return True

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
        run = self.client.create_run(made, run_name=self.what, tags=dict(self.tags)).info.run_id
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
