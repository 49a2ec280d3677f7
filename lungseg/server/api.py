"""The HTTP API: routes and app factory."""

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
"""Response headers that pages of other origins may read."""

DOCS_FILES_PATH = "/docs/files"


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Load every codec before the first request. On Lambda there is no lifespan, and codecs load at first use."""
    from lungseg.server import readiness

    await run_in_threadpool(readiness.load_codecs)
    yield


router = APIRouter()


@router.post("/v1/segment", response_class=Response, **openapi.SEGMENT_ROUTE)
async def post_segment(request: Request, query: Annotated[SegmentParameters, Query()]) -> Response:
    """Segment an image: the raw body, or the part `file` of multipart/form-data; the body may be gzip-compressed."""
    upload = await read_upload(request)
    wanted = _merge_fields(query, upload.fields)
    chosen = negotiation.choose_format(wanted.format, request.headers.get("accept", ""))
    return await run_in_threadpool(
        _segment_response, upload.image, chosen, wanted.options(), request.headers.get("if-none-match", "")
    )


def _merge_fields(query: SegmentParameters, fields: dict[str, str]) -> SegmentParameters:
    """Merge the parameters of a query and of a form.

    Raises:
        BadParameter: a field is unknown, has an invalid value, or is also in the query.
    """
    if twice := query.model_fields_set & set(fields):
        raise errors.BadParameter(f"{', '.join(sorted(twice))}: set in both the query and the form.")
    try:
        return SegmentParameters.model_validate(query.model_dump(exclude_unset=True) | fields)
    except ValidationError as error:
        raise errors.BadParameter(problems.describe_errors(error.errors())) from None


def _segment_response(image: bytes, chosen: Format, options: Options, if_none_match: str) -> Response:
    tag = negotiation.make_etag(image, chosen, Recipe(options, load_models().digests))
    # Patient data: no shared cache may store it, and a private cache must revalidate.
    headers = {"ETag": tag, "Vary": "Accept", "Cache-Control": "private, no-cache"}
    if negotiation.matches_etag(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    result = segment(image, options)
    started = time.perf_counter()
    content = chosen.encode(result)
    encoded = 1000 * (time.perf_counter() - started)
    headers |= _result_headers(result) | {"Server-Timing": _server_timing(result.milliseconds | {"encode": encoded})}
    return Response(content, media_type=chosen.media_type, headers=headers)


def _result_headers(result: Result) -> dict[str, str]:
    """Return the headers that accompany a result in every format."""
    expected = result.verdict.expected_dice
    return {
        "X-Lung-Decision": str(result.verdict.decision),
        "X-Lung-Reasons": ", ".join(reason.code for reason in result.verdict.reasons),
        "X-Lung-Model": result.model.sha256[:16],
    } | ({} if expected is None else {"X-Lung-Expected-Dice": f"{expected:.4f}"})


def _server_timing(stages: dict[str, float]) -> str:
    return ", ".join(f"{stage};dur={value:.1f}" for stage, value in stages.items())


@router.get("/v1/model", summary="Describe the models", responses=openapi.MODEL_ERRORS)
def get_model() -> ModelCardsOut:
    """Return the models' cards: training data, scores and input size."""
    model, view = load_models().lung, load_models().view
    served = {"sha256": model.sha256, "precision_reason": model.precision_reason}
    return ModelCardsOut(segmentation=asdict(model.card) | served, view=view.card | {"sha256": view.sha256})


@router.get("/health", summary="Check that the process is running")
def get_health() -> HealthOut:
    """Respond at once, even if the models are not loaded."""
    return HealthOut(status="ok", version=__version__)


@router.get("/ready", summary="Check that the service accepts images", responses=openapi.READY_ERRORS)
def get_ready() -> ReadyOut:
    """Respond once models and codecs are loaded; 503 while a format cannot be decoded."""
    from lungseg.server import readiness

    readiness.check_readiness()
    model = load_models().lung
    identity = ModelIdentity.of(model)
    return ReadyOut(status="ready", model=ModelOut(**asdict(identity)))


@router.get("/", response_class=HTMLResponse, summary="Show the demo page", include_in_schema=False)
def get_page() -> HTMLResponse:
    """Return the page: one file that loads nothing from other hosts."""
    from lungseg.server import browser

    html, policy = browser.build_page()
    return HTMLResponse(html, headers={"Content-Security-Policy": policy})


@router.get("/docs", response_class=HTMLResponse, include_in_schema=False)
def get_docs(request: Request) -> HTMLResponse:
    """Return Swagger UI, served from this server only."""
    from lungseg.server import browser

    root = request.scope.get("root_path", "")
    page = get_swagger_ui_html(
        openapi_url=f"{root}{request.app.openapi_url}",
        title=request.app.title,
        swagger_js_url=f"{root}{DOCS_FILES_PATH}/swagger-ui-bundle.js",
        swagger_css_url=f"{root}{DOCS_FILES_PATH}/swagger-ui.css",
        swagger_favicon_url=f"{root}{DOCS_FILES_PATH}/favicon.png",
        swagger_ui_parameters={"validatorUrl": None},  # else Swagger UI sends the description to validator.swagger.io
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
    """Return the HTTP API, configured by environment variables."""
    app = FastAPIOffline(
        title="Lung segmentation of frontal chest radiographs",
        description=openapi.API_DESCRIPTION,
        version=__version__,
        redoc_url=None,  # it loads a logo from its maker's site
        static_url=DOCS_FILES_PATH,
        docs_url=None,  # get_docs serves it with a Content-Security-Policy
        lifespan=lifespan,
        redirect_slashes=False,  # behind a TLS proxy, the redirect would send the image over plain HTTP
    )
    problems.install_handlers(app)
    _add_middleware(app)
    app.include_router(router)
    openapi.drop_validation_responses(app)
    return app


def _add_middleware(app: FastAPI) -> None:
    """Add middleware; the last added is the first to see a request."""
    app.add_middleware(HeadRequests)
    app.add_middleware(Intake)

    origins = settings.CORS_ORIGINS.read([])

    if "AWS_LAMBDA_FUNCTION_NAME" not in os.environ:  # Lambda sends a function one request at a time
        from lungseg.server import admission
        from lungseg.server.guard import CrossSiteGuard

        concurrent, waiting = admission.read_capacity()
        app.add_middleware(admission.Admission, concurrent=concurrent, waiting=waiting)

        app.add_middleware(CrossSiteGuard, hosts=settings.HOSTS.read([]), origins=origins)

    # Outside our own middleware, so that its exceptions are also answered, and logged without their text.
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
