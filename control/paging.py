"""One page of a list: a place in it that stays right while rows come and go.

The rule: a page goes on behind the last item that was seen, by creation time and id, never by a
count of rows.
"""

from typing import Any

from sqlalchemy import ColumnElement, Select, and_, or_

Position = tuple[int, str]
"""The creation time (UTC milliseconds) and the id of the last item that was seen."""


def page(
    statement: Select[*tuple[Any, ...]],
    order: tuple[ColumnElement[int], ColumnElement[str]],
    count: int,
    after: Position | None,
    *,
    newest_first: bool = False,
) -> Select[*tuple[Any, ...]]:
    """Return *statement* for up to *count* rows from behind *after*, by the columns of *order*."""
    at, name = order
    if after is not None:
        at_ms, last = after
        ahead = (at < at_ms, name < last) if newest_first else (at > at_ms, name > last)
        statement = statement.where(or_(ahead[0], and_(at == at_ms, ahead[1])))
    columns = (at.desc(), name.desc()) if newest_first else (at, name)
    return statement.order_by(*columns).limit(count)
