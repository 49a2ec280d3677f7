"""The HTTP API: its routes, and the app that serves them."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi_offline import FastAPIOffline
from pydantic import ValidationError

from lungseg import __version__, errors, settings
from lungseg.encode.formats import Format
from lungseg.model.lung import ModelIdentity
from lungseg.model.models import load_models
from lungseg.pipeline.options import Options
from lungseg.pipeline.recipe import Recipe
from lungseg.pipeline.result import Result
from lungseg.pipeline.segment import segment
from lungseg.server import negotiation, openapi, problems
from lungseg.server.intake import Intake
from lungseg.server.middleware import HeadRequests, NoSniff
from lungseg.server.schemas import HealthOut, ModelCardsOut, ModelOut, ReadyOut, SegmentParameters
from lungseg.server.upload import read_upload

EXPOSED_HEADERS = (
    "ETag",
    "Retry-After",
    "Server-Timing",
    "X-Lung-Decision",
    "X-Lung-Reasons",
    "X-Lung-Expected-Dice",
    "X-Lung-Model",
)
"""Headers that a page of another origin may read."""

DOCS_FILES_PATH = "/docs/files"


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Load every codec before the first request; Lambda, which has no lifespan, imports what it needs when it does."""
    from lungseg.server import readiness

    await run_in_threadpool(readiness.load_codecs)
    yield


router = APIRouter()


@router.post("/v1/segment", response_class=Response, **openapi.SEGMENT_ROUTE)
async def post_segment(request: Request, query: Annotated[SegmentParameters, Query()]) -> Response:
    """Send the image as the raw body, or as the part `file` of multipart/form-data; gzip is undone.

    PNG, JPEG, TIFF, BMP, WebP and DICOM are read, told by content: neither Content-Type nor a file name matters.
    """
    upload = await read_upload(request)
    wanted = _merge_fields(query, upload.fields)
    chosen = negotiation.choose_format(wanted.format, request.headers.get("accept", ""))
    return await run_in_threadpool(
        _segment_response, upload.image, chosen, wanted.options(), request.headers.get("if-none-match", "")
    )


def _merge_fields(query: SegmentParameters, fields: dict[str, str]) -> SegmentParameters:
    """Return the parameters of a query and of a form together.

    Raises:
        BadParameter: a field is none, has no such value, or is in the query too.
    """
    if twice := query.model_fields_set & set(fields):
        raise errors.BadParameter(f"{', '.join(sorted(twice))}: in the query and in the form.")
    try:
        return SegmentParameters.model_validate(query.model_dump(exclude_unset=True) | fields)
    except ValidationError as error:
        raise errors.BadParameter(problems.describe_errors(error.errors())) from None


def _segment_response(film: bytes, chosen: Format, options: Options, if_none_match: str) -> Response:
    tag = negotiation.make_etag(film, chosen, Recipe(options, load_models().digests))
    # An image never lies in a shared cache, and a private one asks each time.
    headers = {"ETag": tag, "Vary": "Accept", "Cache-Control": "private, no-cache"}
    if negotiation.matches_etag(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    result = segment(film, options)
    started = time.perf_counter()
    content = chosen.encode(result)
    encoded = 1000 * (time.perf_counter() - started)
    headers |= _result_headers(result) | {"Server-Timing": _server_timing(result.milliseconds | {"encode": encoded})}
    return Response(content, media_type=chosen.media_type, headers=headers)


def _result_headers(result: Result) -> dict[str, str]:
    """What travels with every answer, whatever its form."""
    expected = result.verdict.expected_dice
    return {
        "X-Lung-Decision": str(result.verdict.decision),
        "X-Lung-Reasons": ", ".join(reason.code for reason in result.verdict.reasons),
        "X-Lung-Model": result.model.sha256[:16],
    } | ({} if expected is None else {"X-Lung-Expected-Dice": f"{expected:.4f}"})


def _server_timing(stages: dict[str, float]) -> str:
    return ", ".join(f"{stage};dur={value:.1f}" for stage, value in stages.items())


@router.get("/v1/model", summary="What the served models are", responses=openapi.MODEL_ERRORS)
def get_model() -> ModelCardsOut:
    """The cards that travel in the models' files: what they were trained on, their scores, their input."""
    model, view = load_models().lung, load_models().view
    served = {"sha256": model.sha256, "precision_reason": model.precision_reason}
    return ModelCardsOut(segmentation=asdict(model.card) | served, view=view.card | {"sha256": view.sha256})


@router.get("/health", summary="Is the process up?")
def get_health() -> HealthOut:
    """Answers at once, whatever state the model is in."""
    return HealthOut(status="ok", version=__version__)


@router.get("/ready", summary="Can images be sent?", responses=openapi.READY_ERRORS)
def get_ready() -> ReadyOut:
    """Answers once the models and the codecs are loaded; 503 while a format is missing."""
    from lungseg.server import readiness

    readiness.check_readiness()
    model = load_models().lung
    identity = ModelIdentity.of(model)
    return ReadyOut(status="ready", model=ModelOut(**asdict(identity)))


@router.get("/", response_class=HTMLResponse, summary="A page to try it on", include_in_schema=False)
def get_page() -> HTMLResponse:
    """One file that asks nothing of any other host."""
    from lungseg.server import browser

    html = browser.build_page()
    allowed = browser.security_policy(html, img_src="blob: data:", connect_src="'self'")
    return HTMLResponse(html, headers={"Content-Security-Policy": allowed})


@router.get("/docs", response_class=HTMLResponse, include_in_schema=False)
def get_docs(request: Request) -> HTMLResponse:
    """Swagger UI, from this server alone."""
    from lungseg.server import browser

    root = request.scope.get("root_path", "")
    page = get_swagger_ui_html(
        openapi_url=f"{root}{request.app.openapi_url}",
        title=request.app.title,
        swagger_js_url=f"{root}{DOCS_FILES_PATH}/swagger-ui-bundle.js",
        swagger_css_url=f"{root}{DOCS_FILES_PATH}/swagger-ui.css",
        swagger_favicon_url=f"{root}{DOCS_FILES_PATH}/favicon.png",
        swagger_ui_parameters={"validatorUrl": None},  # no description is sent to Swagger's makers
    )
    page.headers["Content-Security-Policy"] = browser.security_policy(
        bytes(page.body).decode(),
        script_src="'self'",
        style_src="'self' 'unsafe-inline'",
        img_src="'self' data:",
        connect_src="'self'",
    )
    return page


def create_app() -> FastAPI:
    """Return the HTTP API, as the environment sets it up."""
    app = FastAPIOffline(
        title="Lung segmentation of frontal chest radiographs",
        description=openapi.API_DESCRIPTION,
        version=__version__,
        redoc_url=None,  # it fetches its maker's logo
        static_url=DOCS_FILES_PATH,
        docs_url=None,  # get_docs answers it, with a policy
        lifespan=lifespan,
        redirect_slashes=False,  # behind a proxy the redirect would lead an image to plain HTTP
    )
    problems.install_handlers(app)
    _add_middleware(app)
    app.include_router(router)
    openapi.drop_validation_responses(app)
    return app


def _add_middleware(app: FastAPI) -> None:
    """Wrap ``app``: what is added last sees a request first."""
    app.add_middleware(HeadRequests)
    app.add_middleware(Intake)

    origins = settings.CORS_ORIGINS.read([])

    if "AWS_LAMBDA_FUNCTION_NAME" not in os.environ:  # which gives a function one request at a time
        from lungseg.server import admission
        from lungseg.server.guard import CrossSiteGuard

        concurrent, waiting = admission.read_capacity()
        app.add_middleware(admission.Admission, concurrent=concurrent, waiting=waiting)

        app.add_middleware(CrossSiteGuard, hosts=settings.HOSTS.read([]), origins=origins)

    # Outside all that is ours: what one of them does not expect is answered, and logged without its text.
    app.add_middleware(problems.LastResort)
    app.add_middleware(NoSniff)

    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=EXPOSED_HEADERS,
        )
