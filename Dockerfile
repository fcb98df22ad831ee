# Headway as a service. docs/container.md says how to run it.
#
#   docker build -t headway .

# Any image with Python 3.11 or newer as python3, with venv and pip. Both stages stand on it.
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS build

RUN python3 -m venv /opt/headway
ENV PATH=/opt/headway/bin:$PATH

# The dependencies first, as `make lock` wrote them: a change of our code leaves this layer alone.
# Wheels only: an architecture without them is told so here, instead of asking for a compiler.
WORKDIR /build
COPY requirements.lock ./
RUN python3 -m pip install --no-cache-dir --no-compile --only-binary :all: --require-hashes -r requirements.lock \
 && python3 -m pip check \
 && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/headway/lib

# Installed where it lies: that is what makes `flask migrate` known without our app.
# Our own bytecode is checked against its source, because a script may be mounted over ours.
WORKDIR /srv/headway
COPY . ./
RUN python3 -m pip install --no-cache-dir --no-compile --no-deps --editable . \
 && python3 -m pip uninstall --yes --root-user-action ignore pip \
 && python3 -m compileall -q --invalidation-mode checked-hash . \
 && chmod -R u=rwX,go=rX .


FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="Headway" \
      org.opencontainers.image.description="Keeps every database at head: its own on boot, and every other it is given" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# Nothing is installed in here ever again. The user's number is the contract: volumes and
# Kubernetes' runAsUser name it.
RUN rm -rf "$(python3 -c 'import ensurepip; print(ensurepip.__path__[0])')" \
 && python3 -m pip uninstall --yes --root-user-action ignore pip \
 && groupadd --gid 10001 headway \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin headway \
 && install -d -o 10001 -g 10001 -m 0700 /catalog /data \
 && install -d -m 0755 /projects

COPY --from=build /opt/headway /opt/headway
COPY --from=build /srv/headway /srv/headway

# DATABASE_URL, and not HEADWAY_DATABASE_URL, so that setting either one is enough to replace it.
ENV PATH=/opt/headway/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FLASK_APP=wsgi:app \
    DATABASE_URL=sqlite:////catalog/catalog.sqlite \
    HEADWAY_DATA_ROOTS=/data \
    HEADWAY_PROJECT_ROOTS=/projects \
    HOST=0.0.0.0 \
    PORT=8000

WORKDIR /srv/headway
USER 10001:10001
# The catalog and its keys apart from what the fleet may write.
VOLUME /catalog /data
EXPOSE 8000

# Liveness and not readiness: a long migration is alive, and must not be restarted for its length.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python3", "-I", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]

STOPSIGNAL SIGTERM
CMD ["gunicorn", "wsgi:app"]
