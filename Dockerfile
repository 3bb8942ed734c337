# syntax=docker/dockerfile:1
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE manifest.yml ./
COPY graph_runtime graph_runtime
COPY bot bot
COPY examples examples
RUN pip install --no-cache-dir --prefix=/install '.[procrastinate]'

FROM python:3.12-slim
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/signoff signoff
COPY --from=build /install /usr/local
USER signoff
WORKDIR /var/lib/signoff
# signoff.toml and the database live in this volume; tokens come from the environment.
VOLUME /var/lib/signoff
ENV PYTHONUNBUFFERED=1 SIGNOFF_LOG=json SIGNOFF_HTTP__HOST=0.0.0.0 SIGNOFF_HTTP__PORT=3000
EXPOSE 3000
HEALTHCHECK --interval=15s --timeout=3s --start-period=10s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:3000/readyz', timeout=2)"]
# SIGTERM asks for an ordered stop: no more clicks, runs reach their next commit, the outbox is told.
STOPSIGNAL SIGTERM
ENTRYPOINT ["signoff"]
CMD ["serve"]
