"""How tests start our programs: as they run in service, without asyncio's debug mode."""

from zentransfer.service import inherited


def as_in_service() -> dict[str, str]:
    """Return the variables for a program of ours; debug mode would make it several times slower."""
    return {**inherited(), "PYTHONASYNCIODEBUG": ""}
