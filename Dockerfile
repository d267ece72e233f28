# The image of the operator and of the captions proxy; the laboratory and its Go toolchain are not in it.
# Where the cluster's registry mirrors the base image: --build-arg PYTHON_IMAGE=REGISTRY/library/python:3.13-slim
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
COPY requirements.lock /tmp/requirements.lock
# Wheels only: nothing that was downloaded is run while the image is built.
RUN python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps --only-binary :all: \
      --target /app --requirement /tmp/requirements.lock
COPY operator/visio_operator /app/visio_operator
COPY operator/visio_captions /app/visio_captions
COPY operator/visio_checks /app/visio_checks
COPY operator/visio_webhooks /app/visio_webhooks
# Compiled here, since the root file system is read-only when it runs. Not by time stamp: the copy may change it.
RUN python -m compileall -q --invalidation-mode unchecked-hash /app \
 && printf '#!/bin/sh\nexec python -m visio_operator "$@"\n' > /usr/local/bin/visio-operator \
 && chmod 0755 /usr/local/bin/visio-operator

FROM ${PYTHON_IMAGE}
COPY --from=build /app /app
COPY --from=build /usr/local/bin/visio-operator /usr/local/bin/visio-operator
ENV PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["visio-operator"]
CMD ["run"]
