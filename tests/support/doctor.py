"""Visits of the doctor, as tests make them."""

from pathlib import Path
from random import Random

from ops.doctor.diagnosis import diagnosis
from ops.doctor.secured import contexts
from ops.doctor.seen import Seen, Wanted
from ops.doctor.steps import Step, Verdict
from ops.doctor.visit import SignIn, Trust, Visit
from zentransfer.clock import SystemClock

SECRET = "abcdefghijkmnpqrstuv"


async def visited(
    wanted: Wanted, *, user: str = "", secret: str = SECRET, ca: Path | None = None,
    patience_s: float = 10.0,
) -> tuple[Seen, dict[str, Step]]:  # fmt: skip
    """Make a visit; return what was seen, and the worst step of each name."""
    sign_in = SignIn(user, secret) if user else None
    trust = Trust(*contexts(ca))
    visit = Visit(wanted, sign_in, trust, SystemClock(), Random(1), patience_s)
    seen = await visit.made()
    order = [Verdict.RIGHT, Verdict.UNTRIED, Verdict.LOOK, Verdict.WRONG]
    steps: dict[str, Step] = {}
    for one in diagnosis(seen):
        assert SECRET not in one.said + one.cure
        known = steps.get(one.name)
        if known is None or order.index(one.verdict) > order.index(known.verdict):
            steps[one.name] = one
    return seen, steps
