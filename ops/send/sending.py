"""The way of one upload from its creation to its end, through every failure.  Pure.

The rules: one upload at a time.  Once its last byte was on the wire it may be whole, and then no
other is begun before the node or control has said that it is not.  An upload that is left behind is
ended where its node can be reached; and whoever gives up says what is not known.
Times are seconds of one steady clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from ops.send.nearby import Door, next_door
from ops.send.tus import Created, Refused, Standing
from zentransfer.ids import Region
from zentransfer.limits import (
    SEND_BEGINS_MAX,
    SEND_PART_BYTES,
    SEND_PATIENCE_S,
    SEND_REGION_FAILURES_MAX,
)

_GONE: Final = (404, 410)
_BUSY: Final = (409, 423)  # another request has it, or the offset is another: ask where it stands
_HEALS: Final = (408, 425, 429, 460)
_ELSEWHERE: Final = 421
_WHOLE_ALREADY: Final = 403  # what a DELETE of an upload that is whole is answered with


class Step(StrEnum):
    """What is to be done next, or how it ended."""

    CREATE = "create"
    APPEND = "append"
    LOOK = "look"
    ROUTE = "route"
    TERMINATE = "terminate"
    CONFIRM = "confirm"
    WHOLE = "whole"
    FAILED = "failed"


class Known(StrEnum):
    """What control says of an upload: that it is whole, that it ended otherwise, or nothing."""

    WHOLE = "whole"
    ENDED = "ended"
    UNKNOWN = "unknown"


ENDS: Final = frozenset({Step.WHOLE, Step.FAILED})


@dataclass(frozen=True, slots=True)
class Patience:
    """When a region is left, and when the file is given up."""

    may_move: bool = True
    failures_max: int = SEND_REGION_FAILURES_MAX
    give_up_s: float = SEND_PATIENCE_S


@dataclass(frozen=True, slots=True)
class Sending:
    """Where the upload of a file of ``size`` bytes stands.

    ``url`` is a secret; empty means that there is no upload now.  ``is_all_out``: its last byte was
    on the wire.  ``failures`` counts those in a row at this door, ``tries`` those since the last
    progress, which was at ``since_s``.  ``is_hurt``: pause before the next step, for at least
    ``retry_after_s``.  ``left`` are URLs of uploads that could not be ended.
    """

    size: int
    door: Door
    since_s: float
    patience: Patience = Patience()
    step: Step = Step.CREATE
    url: str = ""
    upload: str = ""
    offset: int = 0
    is_all_out: bool = False
    begun: int = 0
    failures: int = 0
    tries: int = 0
    interruptions: int = 0
    is_hurt: bool = False
    retry_after_s: float = 0.0
    tried: tuple[Region, ...] = ()
    bound_for: Door | None = None
    left: tuple[str, ...] = ()
    why: str = ""

    @property
    def end(self) -> int:
        """Where the next PATCH ends."""
        return min(self.offset + SEND_PART_BYTES, self.size)

    # -- what went well --------------------------------------------------------------------------

    def created(self, new: Created) -> "Sending":
        """Return it with an upload of its own at this door."""
        begun = self.begun + 1
        return replace(
            _calm(self),
            step=Step.APPEND,
            url=new.url,
            upload=new.upload,
            offset=0,
            is_all_out=False,
            begun=begun,
        )

    def all_out(self) -> "Sending":
        """Return it with its last byte on the wire."""
        return replace(self, is_all_out=True)

    def appended(self, offset: int, now_s: float) -> "Sending":
        """Return it after a PATCH that left *offset* durable bytes."""
        if offset > self.size:
            return _failed(self, "the node says that it has more than the file")
        if offset <= self.offset and self.size:
            return _hurt(self, "the node took nothing", now_s)
        moved = _progressed(self, offset, now_s)
        is_whole = offset == self.size
        return replace(moved, step=Step.WHOLE if is_whole else Step.APPEND, is_all_out=is_whole)

    def found(self, standing: Standing, now_s: float) -> "Sending":
        """Return it at the offset that the node holds."""
        if standing.offset > self.size or standing.length not in (self.size, None):
            return _gone(self, "the node has another upload there", now_s)
        if standing.offset == self.size and standing.length == self.size:
            return replace(_progressed(self, standing.offset, now_s), step=Step.WHOLE)
        # Asking took the upload over from the request before: what is missing now, stays missing.
        open_still = replace(self, is_all_out=False, bound_for=None)
        if standing.offset > self.offset:
            return replace(_progressed(open_still, standing.offset, now_s), step=Step.APPEND)
        return replace(_calm(open_still), step=Step.APPEND, offset=standing.offset)

    def routed(self, doors: Sequence[Door]) -> "Sending":
        """Return it bound for another door, if there is one."""
        door = next_door(doors, self.door.region, self.tried)
        if door is None:
            fresh = next((one for one in doors if one.region is self.door.region), self.door)
            stays = replace(_calm(self), step=_again(self), failures=0)
            return stays if self.url else replace(stays, door=fresh)
        bound = replace(_calm(self), bound_for=door)
        return replace(bound, step=Step.TERMINATE) if self.url else _moved(bound)

    def terminated(self) -> "Sending":
        """Return it free to begin elsewhere: the old upload is no more."""
        return _moved(self)

    def confirmed(self, known: Known, now_s: float) -> "Sending":
        """Return it after control said what it knows of an upload that may be whole."""
        match known:
            case Known.WHOLE:
                return replace(_progressed(self, self.size, now_s), step=Step.WHOLE)
            case Known.ENDED if self.bound_for is not None:
                return _moved(self)
            case Known.ENDED:
                return _anew(self, "the node could not keep the upload", now_s)
            case Known.UNKNOWN:
                return _hurt(self, self.why, now_s)

    # -- what did not ----------------------------------------------------------------------------

    def lost(self, why: str, now_s: float) -> "Sending":
        """Return it after a request without an answer."""
        if self.step is Step.TERMINATE:
            return _left_behind(self)
        return _hurt(self, why, now_s)

    def refused(self, refused: Refused, now_s: float) -> "Sending":
        """Return it after a request that was answered with a refusal."""
        status = refused.status
        if self.step is Step.TERMINATE:
            return _kept(self, status, now_s)
        if status in _GONE and self.url:
            return _gone(self, refused.words, now_s)
        if status in _HEALS or status >= 500:  # noqa: PLR2004 - RFC 9110 section 15.6
            return _hurt(self, refused.words, now_s, refused.retry_after_s)
        if status in _BUSY and self.url:
            return _hurt(self, refused.words, now_s, refused.retry_after_s)
        if status == _ELSEWHERE and self.patience.may_move and not self.is_all_out:
            return _hurt(self, refused.words, now_s, then=Step.ROUTE)
        return _failed(self, refused.words)

    def gave_up(self, why: str) -> "Sending":
        """Return it ended for a reason of ours, such as a file that changed."""
        return _failed(self, why)


def _again(state: Sending) -> Step:
    return Step.LOOK if state.url else Step.CREATE


def _calm(state: Sending) -> Sending:
    return replace(state, is_hurt=False, retry_after_s=0.0)


def _progressed(state: Sending, offset: int, now_s: float) -> Sending:
    is_new = offset > state.offset
    since_s = now_s if is_new else state.since_s
    tries = 0 if is_new else state.tries
    moved = replace(_calm(state), offset=offset, since_s=since_s, tries=tries)
    return replace(moved, failures=0, tried=()) if is_new else moved


def _hurt(
    state: Sending, why: str, now_s: float, retry_after_s: float = 0.0, then: Step | None = None
) -> Sending:
    hurt = replace(
        state,
        step=then or _again(state),
        why=why,
        is_hurt=True,
        retry_after_s=retry_after_s,
        tries=state.tries + 1,
        failures=state.failures + 1,
        interruptions=state.interruptions + 1,
    )
    if now_s - state.since_s >= state.patience.give_up_s:
        return _failed(hurt, why)
    if then is None and hurt.failures >= state.patience.failures_max and state.patience.may_move:
        return replace(hurt, step=Step.ROUTE)
    return hurt


def _gone(state: Sending, why: str, now_s: float) -> Sending:
    """Return it after its node said that there is no such upload."""
    if not state.is_all_out:
        return _anew(state, why, now_s)
    if not state.upload:
        return _failed(state, why)
    return replace(_calm(state), step=Step.CONFIRM, why=why)


def _anew(state: Sending, why: str, now_s: float) -> Sending:
    if state.begun >= SEND_BEGINS_MAX:
        return _failed(replace(state, is_all_out=False), why)
    nothing = replace(state, url="", upload="", offset=0, is_all_out=False, bound_for=None)
    return _hurt(nothing, why, now_s)


def _moved(state: Sending) -> Sending:
    assert state.bound_for is not None
    tried = (*state.tried, state.door.region)
    return replace(
        _calm(state),
        step=Step.CREATE,
        door=state.bound_for,
        bound_for=None,
        url="",
        upload="",
        offset=0,
        is_all_out=False,
        failures=0,
        tried=tried,
    )


def _left_behind(state: Sending) -> Sending:
    """Return it gone from a node that does not answer, if the upload there cannot be whole."""
    if state.is_all_out:
        return replace(state, step=Step.CONFIRM) if state.upload else _stays(state)
    return _moved(replace(state, left=(*state.left, state.url)))


def _stays(state: Sending) -> Sending:
    return replace(state, step=Step.LOOK, bound_for=None, is_hurt=True, failures=0)


def _kept(state: Sending, status: int, now_s: float) -> Sending:
    """Return it after a DELETE that was refused."""
    if status in _GONE and not state.is_all_out:
        return _moved(state)
    if status in _GONE and state.upload:
        return replace(state, step=Step.CONFIRM)
    if status == _WHOLE_ALREADY or status in _GONE:
        return _hurt(state, "the node keeps the upload", now_s, then=Step.LOOK)
    return _left_behind(state)


def _failed(state: Sending, why: str) -> Sending:
    if state.is_all_out and state.url:
        which = f" (upload {state.upload})" if state.upload else ""
        why = f"{why}; it may have arrived all the same{which}: look before you send it again"
    return replace(state, step=Step.FAILED, why=why)
