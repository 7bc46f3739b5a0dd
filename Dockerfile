# An image with one static binary, built before by hack/build.sh; its folder is the build
# context. Docker fetches nothing, so this works without a registry.
#   GOOS=linux hack/build.sh bin/linux
#   docker build -f Dockerfile -t ghcr.io/prefect-keda/prefect-keda:dev bin/linux
#   docker build -f Dockerfile -t ghcr.io/prefect-keda/prefect1-api:dev --build-arg BINARY=prefect1-api bin/linux
FROM scratch
ARG BINARY=prefect-keda
ARG VERSION=dev
LABEL org.opencontainers.image.title=${BINARY} \
      org.opencontainers.image.description="Run Prefect on Kubernetes and pay nothing while nothing is due" \
      org.opencontainers.image.source="https://github.com/prefect-keda/prefect-keda" \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.version=${VERSION}
COPY ${BINARY} /usr/local/bin/app
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/app"]
