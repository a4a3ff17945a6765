# syntax=docker/dockerfile:1

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# Registry and target folder outlive the layer, so that a changed line does not compile every dependency again.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package weir \
    && install -D /src/target/release/weir /out/weir \
    && install -d /out/data

FROM debian:bookworm-slim
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Weir" \
      org.opencontainers.image.description="A multi-tenant gateway between programs and LLM vendors" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The roots by which vendors' certificates are checked; nothing else is added.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/weir /usr/local/bin/weir
# A number, so that Kubernetes' runAsNonRoot can check it. Only /data is written to: the spool has to outlive the
# container, so mount a volume there, one per instance.
COPY --from=build --chown=10001:10001 /out/data /data
USER 10001:10001
VOLUME /data
ENV WEIR_LISTEN=0.0.0.0:8080 \
    WEIR_DATA_DIR=/data \
    WEIR_LOG_FORMAT=json
EXPOSE 8080
# SIGTERM (the default) drains: not ready, streams finish, spool flushed. Give it time: `docker stop --time 60`.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["weir", "health"]
ENTRYPOINT ["weir"]
CMD ["serve"]
