"""Move the champion of a registered model: promotion, rollback and the withdrawal that comes with it.

A move takes effect when it is appended to the ledger (`pneumonia.registry.ledger_run`), which admits one move at a
time. The aliases ``champion`` and ``previous`` and the versions' tag ``withdrawn`` repeat for MLflow's users what the
ledger says; the registered model's tag ``ledger-applied`` is the number of the move that they were last set for. A
process that is killed before that leaves a smaller number, and the next move first sets them anew. One that was
overtaken while it set them finds further moves afterwards, and sets them for the last.

What remains: a process that is overtaken by a whole other move exactly between reading the ledger and setting an alias,
and is killed before it reads again, leaves the alias at its own move. The ledger stays right, and the next promotion
reports the difference as one made by hand.

An alias that differs from the ledger although nothing is left to apply was moved by hand on MLflow's page. Nothing is
promoted over it until a person has entered it in the ledger or undone it, since the reason for it is not known.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pneumonia.errors import PneumoniaError
from pneumonia.registry import ledger, ledger_run, models, verdicts, withdrawals
from pneumonia.registry.ledger import Action, Move, Standing
from pneumonia.registry.models import APPLIED, CHAMPION, PHANTOM_SUFFIX, PREVIOUS, WITHDRAWN, Version
from pneumonia.tracking.client import mlflow_client, store_is_new, with_retries

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

SETTLING_SECONDS = 5.0
"""How long aliases may differ from the ledger: a process that was overtaken sets them right within a request's time."""
COLLISIONS = 10
"""How often setting the aliases is tried before its error is an error."""

logger = logging.getLogger(__name__)


class ChampionMoved(PneumoniaError):
    """A move that names another champion than there is, so that it was decided on something that is no longer so.

    Attributes:
        champion: the version that is champion, None where there is none.
    """

    def __init__(self, message: str, champion: str | None) -> None:
        super().__init__(message)
        self.champion = champion


class VersionWithdrawn(PneumoniaError):
    """A promotion of a version that a rollback has withdrawn."""


class NotApproved(PneumoniaError):
    """A promotion of a version whose verdict does not approve it."""


class Outcome(NamedTuple):
    """What a promotion or a rollback came to.

    Attributes:
        move: the move that it made, or the last one where it changed nothing.
        made: False where the version was champion already.
    """

    move: Move
    made: bool


class _State(NamedTuple):
    moves: list[Move]
    texts: list[str]
    standing: Standing
    alias: str | None


def promote(
    uri: str, name: str, version: str, who: str, why: str, *, against: str | None, despite: bool = False
) -> Outcome:
    """Make `version` (a number or an alias) the champion, and the old champion the previous one.

    A second call changes nothing and returns the same move. Whoever asks, a version that has failed a criterion of its
    last verdict, or was withdrawn, is promoted as an override that names these, never as an approval.

    Args:
        uri: of the registry.
        name: of the registered model.
        version: to be promoted.
        who: for the ledger.
        why: for the ledger.
        against: number of the champion that the version was compared with; None where there was none.
        despite: promote a version whose verdict does not approve it, or that a rollback has withdrawn: an override,
            entered in the ledger as `Move.despite`.

    Raises:
        ChampionMoved: the champion is another than `against`; validate again.
        NotApproved: the version's last verdict has failed criteria, or there is none.
        VersionWithdrawn: a rollback has withdrawn this version, or one of the same model.
        PneumoniaError: there is no such version, it was not registered by this project, it was trained on phantoms and
            the name is not one for phantoms, or the alias was moved by hand.
        TrackingError: the registry cannot be reached.
    """
    wanted = models.get(uri, name, version)
    _check_origin(wanted)
    client = mlflow_client(uri)
    failed = verdicts.failed_criteria(uri, wanted.run_id)  # before the ledger is read, which others move meanwhile
    while True:
        state = _settled(client, uri, name, wanted.version)
        if state.standing.champion == wanted.version:
            return Outcome(state.moves[-1], made=False)
        if against != state.standing.champion and against != state.alias:
            raise ChampionMoved(_moved(name, against, state, "validate again"), state.standing.champion)
        move = _compose(
            name, state, who, why, "promote", wanted.version, _overruled(uri, wanted, state, failed, despite)
        )
        if _made(client, uri, name, state, move):
            return Outcome(move, made=True)


def rollback(uri: str, name: str, who: str, why: str, *, leaving: str) -> Outcome:
    """Make the champion before this one the champion again, and withdraw the version that is left.

    Args:
        uri: of the registry.
        name: of the registered model.
        who: for the ledger, and the withdrawn version's tag.
        why: for the ledger, and the withdrawn version's tag.
        leaving: number of the version that is champion and shall no longer be.

    Raises:
        ChampionMoved: another version is champion; the message says what happened.
        PneumoniaError: there is no previous champion.
        TrackingError: the registry cannot be reached.
    """
    if not models.versions(uri, name):
        raise PneumoniaError(
            f"{name}: no version is registered, so there is no previous champion{models.other_champions(uri)}"
        )
    client = mlflow_client(uri)
    while True:
        known = models.versions(uri, name)
        state = _settled(client, uri, name, None)
        if state.standing.champion != leaving:
            raise ChampionMoved(_moved(name, leaving, state, "nothing was changed"), state.standing.champion)
        before = _previous(state.standing, {version.version for version in known})
        if before is None:
            raise PneumoniaError(
                f"{name}: there is no previous champion to roll back to; versions: {models.listed(known)}; "
                f"to choose one: pneumonia promote --name {name} --version VERSION --why TEXT"
            )
        move = _compose(name, state, who, why, "rollback", before)
        if _made(client, uri, name, state, move):
            return Outcome(move, made=True)


def standing(uri: str, name: str) -> Standing:
    """Return what the ledger of `name` amounts to.

    Raises:
        PneumoniaError: an entry was damaged.
        TrackingError: the registry cannot be reached.
    """
    return ledger.standing(models.history(uri, name))


def last_promotion(uri: str, name: str) -> str:
    """Return when a model was last promoted, ISO 8601 in UTC; empty where none was.

    Raises:
        PneumoniaError: an entry of the ledger was damaged.
        TrackingError: the registry cannot be reached.
    """
    if store_is_new(uri):
        return ""
    return max((move.when for move in models.history(uri, name) if move.action == "promote"), default="")


def _compose(
    name: str, state: _State, who: str, why: str, action: Action, to_version: str, despite: Sequence[str] = ()
) -> Move:
    previous = ledger_run.follow(name, state.texts)
    champion = state.standing.champion
    return ledger.compose(state.moves, who, why, action, champion, to_version, previous=previous, despite=despite)


def _overruled(uri: str, wanted: Version, state: _State, failed: Sequence[str], despite: bool) -> list[str]:
    """Return what a promotion overrules: failed criteria of the version's last verdict, and its withdrawal."""
    same = [each for each in models.versions(uri, wanted.name) if withdrawals.same_model(each, wanted)]
    withdrawn = withdrawals.withdrawn_as(state.standing, same)
    if failed and not despite:
        raise NotApproved(not_approved(wanted.run_id, failed))
    if withdrawn is not None and not despite:
        raise VersionWithdrawn(
            f"{wanted.name}: {withdrawn}; to promote it nevertheless: pneumonia promote --despite-verdict, which is "
            "noted in the ledger"
        )
    return [*failed, *([] if withdrawn is None else [f"the withdrawal: {withdrawn}"])]


def not_approved(run_id: str, failed: Sequence[str]) -> str:
    """Return the message about a run whose verdict does not approve its model."""
    return (
        f"run {run_id} has not passed the gate ({', '.join(failed)}); its report, an artifact of the run, gives the "
        "reasons. To promote it nevertheless: --despite-verdict, which is noted in the ledger as an override"
    )


def _word(uri: str, name: str, state: _State) -> str:
    """Return the option that a promotion of the version with the alias needs, where it is not approved or withdrawn."""
    known = models.versions(uri, name)
    held = next((version for version in known if version.version == state.alias), None)
    if held is None:
        return ""
    withdrawn = withdrawals.withdrawn_as(state.standing, [each for each in known if withdrawals.same_model(each, held)])
    return " --despite-verdict" if withdrawn or verdicts.failed_criteria(uri, held.run_id) else ""


def _check_origin(version: Version) -> None:
    if not version.weights_digest:
        raise PneumoniaError(
            f"{version.uri} has no record of what it was trained on, so it cannot become champion; "
            "choose a version that the pipeline has registered"
        )
    if version.phantom and not version.name.endswith(PHANTOM_SUFFIX):
        raise PneumoniaError(
            f"{version.uri} was trained on phantoms, so it cannot become champion of {version.name}; "
            f"register it under a name that ends in {PHANTOM_SUFFIX}"
        )


def _moved(name: str, expected: str | None, state: _State, remedy: str) -> str:
    champion = f"version {state.standing.champion}" if state.standing.champion else "no version"
    named = f"version {expected}" if expected else "none"
    last = f" (the last move: {state.moves[-1]})" if state.moves else ""
    return f"{name}: {champion} is champion, not {named}{last}; {remedy}"


def _made(client: MlflowClient, uri: str, name: str, state: _State, move: Move) -> bool:
    """Append a move and set the aliases for it; return False where another move came first."""
    done = with_retries(
        uri, f"enter the {move.action} of {name}", lambda: ledger_run.append(client, name, state.texts, move)
    )
    if done:
        with_retries(uri, f"set the aliases of {name}", lambda: _apply(client, name))
    return done


def _settled(client: MlflowClient, uri: str, name: str, wanted: str | None) -> _State:
    """Read the ledger, after the aliases are set for its last move.

    Args:
        client: of the registry.
        uri: of the registry.
        name: of the registered model.
        wanted: the version to be promoted, which may be one that the alias was moved to by hand; None for a rollback.
    """
    end = time.monotonic() + SETTLING_SECONDS
    while True:
        state = with_retries(uri, f"read the ledger of {name}", lambda: _read(client, name))
        champion = state.standing.champion
        if wanted is None or state.alias == champion or (wanted != champion and state.alias in (wanted, None)):
            return state
        if wanted == champion:  # as a person may ask, to undo what was done by hand, such as a removed alias
            with_retries(uri, f"set the aliases of {name}", lambda: _apply(client, name))
            return state
        if time.monotonic() > end:
            raise PneumoniaError(
                f"{name}: version {state.alias} has the alias champion, which was moved without an entry in the "
                f"ledger; by the ledger it is version {champion or 'none'}. Enter it: pneumonia promote --name {name} "
                f"--version {state.alias}{_word(uri, name, state)} --why TEXT"
                + (f"; or undo it with --version {champion}" if champion else "")
            )
        time.sleep(0.2)


def _read(client: MlflowClient, name: str) -> _State:
    model = client.get_registered_model(name)
    # After the model: moves that are made in between are then seen as not applied, never as an alias moved by hand.
    moves, texts = ledger_run.read(client, name, model.tags)
    if int(model.tags.get(APPLIED, ledger_run.earlier_moves(model.tags))) < len(moves):
        logger.warning("%s: completing %s", name, moves[-1])
        return _apply(client, name)
    return _State(moves, texts, ledger.standing(moves), models.aliases(model).get(CHAMPION))


def _apply(client: MlflowClient, name: str) -> _State:
    """Set aliases and tags for the last move of the ledger, until no further move has come meanwhile."""
    from mlflow.exceptions import MlflowException

    done: list[Move] | None = None
    collisions = 0
    while True:
        model = client.get_registered_model(name)
        moves, texts = ledger_run.read(client, name, model.tags)
        now = ledger.standing(moves)
        if moves == done:
            return _State(moves, texts, now, now.champion)
        try:
            _set_aliases(client, name, now)
            client.set_registered_model_tag(name, APPLIED, str(len(moves)))
        except MlflowException:
            # Of two processes that set the same alias or tag for the first time, the database refuses the second.
            collisions += 1
            if collisions == COLLISIONS:
                raise
            time.sleep(0.05 * collisions)
        else:
            done = moves


def _set_aliases(client: MlflowClient, name: str, now: Standing) -> None:
    known = models.versions_of(client, name)
    there = {version.version for version in known}  # a version may have been deleted
    if now.champion in there:
        client.set_registered_model_alias(name, CHAMPION, str(now.champion))
    if (before := _previous(now, there)) is not None:
        client.set_registered_model_alias(name, PREVIOUS, before)
    elif any(PREVIOUS in version.aliases for version in known):
        client.delete_registered_model_alias(name, PREVIOUS)
    for version in known:
        move = now.withdrawn.get(version.version)
        text = f"by {move.who} at {move.when[:19]} UTC: {move.why}" if move is not None else ""
        if text != version.withdrawn and text:
            client.set_model_version_tag(name, version.version, WITHDRAWN, text)
        elif text != version.withdrawn:
            client.delete_model_version_tag(name, version.version, WITHDRAWN)


def _previous(now: Standing, known: set[str]) -> str | None:
    """Return the last champion before this one that still exists and is not withdrawn."""
    return next((version for version in reversed(now.line[:-1]) if version in known and version != now.champion), None)
