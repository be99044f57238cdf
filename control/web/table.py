"""The table of the API: every verb, what it takes and what it gives."""

import json
from http import HTTPStatus
from typing import Final

from aiohttp import web

from control.web import bodies, events, openapi, tracing, verbs
from control.web.problem import HEADERS
from control.web.routes import OpenRoute, Route

_MADE: Final = HTTPStatus.CREATED
_ASKED: Final = HTTPStatus.ACCEPTED
_GONE: Final = HTTPStatus.NO_CONTENT

ROUTES: Final[tuple[Route, ...]] = (
    Route(
        "GET",
        "/destinations",
        "listDestinations",
        "List the places that files go to",
        verbs.list_destinations,
        gives=bodies.DestinationBody,
        is_page=True,
    ),
    Route(
        "POST",
        "/destinations",
        "makeDestination",
        "Add a place for files",
        verbs.make_destination,
        takes=bodies.NewDestination,
        gives=bodies.DestinationBody,
        status=_MADE,
    ),
    Route(
        "PUT",
        "/destinations/{id}/secret",
        "changeSecret",
        "Put another key in the place of a destination's",
        verbs.change_secret,
        takes=bodies.NewSecret,
        gives=bodies.DestinationBody,
    ),
    Route(
        "DELETE",
        "/destinations/{id}",
        "removeDestination",
        "Remove a place that no workflow sends to",
        verbs.remove_destination,
        status=_GONE,
    ),
    Route(
        "POST",
        "/destinations/{id}/test",
        "testDestination",
        "Try whether files can be put there",
        verbs.test_destination,
        gives=bodies.ProbedBody,
    ),
    Route(
        "GET",
        "/workflows",
        "listWorkflows",
        "List what happens to files",
        verbs.list_workflows,
        gives=bodies.WorkflowBody,
        is_page=True,
    ),
    Route(
        "POST",
        "/workflows",
        "makeWorkflow",
        "Say what shall happen to files",
        verbs.make_workflow,
        takes=bodies.NewWorkflow,
        gives=bodies.WorkflowBody,
        status=_MADE,
    ),
    Route(
        "PUT",
        "/workflows/{id}",
        "changeWorkflow",
        "Make the next version of a workflow",
        verbs.change_workflow,
        takes=bodies.ChangedWorkflow,
        gives=bodies.WorkflowBody,
    ),
    Route(
        "DELETE",
        "/workflows/{id}",
        "removeWorkflow",
        "Remove a workflow that no credential sends through",
        verbs.remove_workflow,
        status=_GONE,
    ),
    Route(
        "GET",
        "/credentials",
        "listCredentials",
        "List what programs and cameras sign in with",
        verbs.list_credentials,
        gives=bodies.CredentialBody,
        is_page=True,
    ),
    Route(
        "POST",
        "/credentials",
        "issueCredential",
        "Make a credential; its secret is shown this once",
        verbs.issue_credential,
        takes=bodies.NewCredential,
        gives=bodies.IssuedBody,
        status=_MADE,
    ),
    Route(
        "DELETE",
        "/credentials/{id}",
        "revokeCredential",
        "Revoke a credential, for good",
        verbs.revoke_credential,
        status=_GONE,
    ),
    Route(
        "POST",
        "/credentials/{id}/trace",
        "openTrace",
        "Record what a camera and its node say to each other, in memory and for 15 minutes",
        tracing.open_trace,
        gives=bodies.TraceBody,
    ),
    Route(
        "GET",
        "/credentials/{id}/trace",
        "streamTrace",
        "Watch an open trace, as server-sent events; passwords are never in it",
        tracing.stream_trace,
        media="text/event-stream",
    ),
    Route(
        "DELETE",
        "/credentials/{id}/trace",
        "closeTrace",
        "End a trace and forget its lines",
        tracing.close_trace,
        status=_GONE,
    ),
    Route(
        "GET",
        "/uploads",
        "listUploads",
        "List uploads, the newest first",
        verbs.list_uploads,
        gives=bodies.UploadBody,
        is_page=True,
    ),
    Route(
        "GET",
        "/uploads/{id}",
        "showUpload",
        "Show one upload with its timeline",
        verbs.show_upload,
        gives=bodies.WholeUploadBody,
    ),
    Route(
        "POST",
        "/uploads/{id}/cancel",
        "cancelUpload",
        "Ask to give up an upload and its deliveries",
        verbs.cancel_upload,
        gives=bodies.AskedBody,
        status=_ASKED,
    ),
    Route(
        "POST",
        "/deliveries/{id}/retry",
        "retryDelivery",
        "Ask to try a delivery again, now",
        verbs.retry_delivery,
        gives=bodies.AskedBody,
        status=_ASKED,
    ),
    Route(
        "GET",
        "/events",
        "streamEvents",
        "Watch what happens to uploads, as server-sent events",
        events.stream_events,
        media="text/event-stream",
    ),
)


def show_document() -> web.Response:
    """Answer the OpenAPI document."""
    text = json.dumps(openapi.document(ROUTES, OPEN_ROUTES))
    return web.Response(text=text, content_type="application/json", headers=HEADERS)


OPEN_ROUTES: Final[tuple[OpenRoute, ...]] = (
    OpenRoute("/openapi.json", "showDocument", "Show this document", show_document),
)
