"""``GET /route`` on control: as on a node, and for whoever shows a token within the account's pin.

The rule: a pinned account is shown its own region and no other (law 12); a token that is not good
is refused and never passed over, because the answer without it could be a wrong one.
"""

from aiohttp import web

from control.accounts.signin import signed_in
from control.web.problem import problem
from control.web.request import bearer
from control.web.routes import Services
from geo.region import Region
from geo.web import PATH, Router
from zentransfer.errors import Error


def routes(services: Services, router: Router) -> list[web.RouteDef]:
    """Return the route, to be added to an application."""

    async def route(request: web.Request) -> web.StreamResponse:
        try:
            pin = await _pin(services, request)
        except Error as refused:
            return problem(refused, request)
        return await router.ask(request, pin)

    return [web.get(PATH, route)]


async def _pin(services: Services, request: web.Request) -> Region | None:
    if "Authorization" not in request.headers:
        return None
    token = bearer(request)
    async with services.database.read() as uow:
        caller = await signed_in(token, uow, services.clock.now_ms(), services.tools.keys)
        account = await uow.accounts.maybe_account(caller.account_id)
    return None if account is None else account.pin
