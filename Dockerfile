# Container image of the service for AWS Lambda; both functions of template.yaml run it. It builds with and without BuildKit:
#   docker build --tag lung-segmentation .
# checkov:skip=CKV_DOCKER_2:Lambda monitors its functions itself and ignores HEALTHCHECK
# checkov:skip=CKV_DOCKER_3:Lambda ignores USER and runs as its own user, and `sam local` could not add its emulator
# checkov:skip=CKV_DOCKER_7:BASE_IMAGE carries the tag
ARG BASE_IMAGE=public.ecr.aws/lambda/python:3.12

# Packages are prepared in a separate stage: chmod or compilation in the final stage would store each file twice.
# hadolint ignore=DL3006 -- the tag is in BASE_IMAGE; it may be a digest
FROM ${BASE_IMAGE} AS packages
COPY requirements.lock /tmp/requirements.lock
# Packages go next to the code, as in a Lambda ZIP: only the task root precedes the runtime's own, older boto3 in sys.path.
# Wheels only: the base image has no compiler. The packages' own tests, with their images, are removed.
# `make lock` pins every package and the digests of its wheels, so that a replaced file is not installed.
RUN python3 -m pip install --no-cache-dir --no-compile --only-binary=:all: --require-hashes --target /ready \
        -r /tmp/requirements.lock \
 && find /ready -type d \( -name tests -o -name test_files -o -name testdata \) -prune -exec rm -rf {} + \
 && rm -rf /ready/bin \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /ready \
 && chmod -R a+rX,go-w /ready

# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS code
COPY serverless.py /ready/
COPY app /ready/app
COPY lungseg /ready/lungseg
# Lambda's user cannot read a checkout made with umask 077. Unchecked bytecode saves a stat per module, and stays valid when
# file times of layers change.
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /ready && chmod -R a+rX,go-w /ready

# hadolint ignore=DL3006
FROM ${BASE_IMAGE}
# Layers that rarely change come first: a new version of the code is pushed and pulled without the packages.
COPY --from=packages /ready ${LAMBDA_TASK_ROOT}
COPY --from=code /ready ${LAMBDA_TASK_ROOT}
# onnxruntime sends telemetry unless this is set before the import.
ENV ORT_DISABLE_TELEMETRY=1
CMD ["serverless.handler"]
