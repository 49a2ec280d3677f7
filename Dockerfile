# The service as one image for AWS Lambda: both functions of template.yaml run it. It builds with any Docker, BuildKit or not:
#   docker build --tag lung-segmentation .
# checkov:skip=CKV_DOCKER_2:Lambda watches its functions itself and knows no HEALTHCHECK
# checkov:skip=CKV_DOCKER_3:Lambda runs it as a user of its own whatever USER says, and `sam local` could not add its emulator
# checkov:skip=CKV_DOCKER_7:BASE_IMAGE carries the tag
ARG BASE_IMAGE=public.ecr.aws/lambda/python:3.12

# Everything is made ready in a stage of its own: a chmod or a compilation in the final one would store each file twice.
# hadolint ignore=DL3006 -- the tag is in BASE_IMAGE; a digest may stand there too
FROM ${BASE_IMAGE} AS packages
COPY requirements.lock /tmp/requirements.lock
# Beside the code, as in a Lambda ZIP: the task root is the one folder that comes before the runtime's own, older boto3.
# Wheels only: the base image has no compiler. The packages' own tests stay behind, and the films they test with.
# `make lock` has written down every package and the digests of its wheels: a file that was exchanged since is not installed.
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
# A checkout made under umask 077 is unreadable to Lambda's user; bytecode that is not checked against its source saves a
# stat per module, and holds however the layers' times are rewritten.
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /ready && chmod -R a+rX,go-w /ready

# hadolint ignore=DL3006
FROM ${BASE_IMAGE}
# What changes seldom comes first: a new version of the code is pushed, and pulled, without the packages.
COPY --from=packages /ready ${LAMBDA_TASK_ROOT}
COPY --from=code /ready ${LAMBDA_TASK_ROOT}
# onnxruntime reports to its makers unless it is told not to before it is imported.
ENV ORT_DISABLE_TELEMETRY=1
CMD ["serverless.handler"]
