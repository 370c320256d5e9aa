"""The HTTP application: routes, refusals and who may ask."""

from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry, Gauge
from starlette.applications import Starlette
from starlette.middleware import Middleware

from infrafabric_server.gateway.agents import Agents
from infrafabric_server.gateway.events import Events
from infrafabric_server.gateway.guard import Guard
from infrafabric_server.gateway.measure import Measure
from infrafabric_server.gateway.operations import Operations
from infrafabric_server.gateway.refusals import HANDLERS
from infrafabric_server.gateway.tasks import HandDispatch, Tasks
from infrafabric_server.notify.notify import IFNotify
from infrafabric_server.store.second_look import CatchUp


def create_app(
    notify: IFNotify,
    events: Events,
    dispatch: HandDispatch,
    *,
    health: Callable[[], Awaitable[None]],
    registry: CollectorRegistry,
    is_draining: Callable[[], bool],
    catch_up: CatchUp,
    loopback: bool,
) -> Starlette:
    """Return the application.

    Args:
        notify: the use cases of statuses.
        events: the live events; whoever stops the server closes them.
        dispatch: gives tasks to swarms by hand.
        health: returns when the store can take a write, else raises StoreError.
        registry: what `/metrics` shows; the application adds its own to it.
        is_draining: whether nothing new is taken any more.
        catch_up: has the views hold all that any replica acknowledged before.
        loopback: whether the server listens on the loopback interface only.
    """
    watchers = Gauge("infrafabric_http_watchers", "Open streams of live events.", registry=registry)
    watchers.set_function(lambda: events.watchers)
    app = Starlette(
        routes=[
            *Agents(notify, is_draining, catch_up).routes(),
            *Tasks(dispatch, is_draining, catch_up).routes(),
            *events.routes(),
            *Operations(health, is_draining, registry).routes(),
        ],
        middleware=[Middleware(Measure, registry=registry), Middleware(Guard, loopback=loopback)],
        exception_handlers=dict(HANDLERS),
    )
    # Old clients do not follow a redirect of a POST: a path that is wrong is better refused.
    app.router.redirect_slashes = False
    return app
