# SIP with the tested versions, as a user without rights, in the folder /data:
#
#   docker build -t sip .
#   docker build -t sip:gpu --build-arg BASE=nvidia/cuda:13.0.1-base-ubuntu24.04 .
#
# Any base of the Debian family with Python 3.11 or newer does. torch brings its own CUDA libraries.
ARG BASE=debian:12-slim
FROM ${BASE}

# g++ and Python's headers: for runtime.compile. Versions are the distribution's, for its security updates.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

# Extras with commas, such as datasets,lora; a further index, such as that of torch's CPU builds.
ARG EXTRAS=""
ARG PIP_EXTRA_INDEX_URL=""
ENV PATH=/opt/sip/bin:$PATH
RUN --mount=type=bind,target=/src,rw --mount=type=cache,target=/var/.cache/pip \
    export PIP_CACHE_DIR=/var/.cache/pip \
    && python3 -m venv /opt/sip \
    && pip install -c /src/constraints.txt "/src${EXTRAS:+[${EXTRAS}]}"

# Models are cached in /data/.cache, so that a mounted folder keeps them. USER: for any --user.
ENV HOME=/data USER=sip PYTHONUNBUFFERED=1
RUN useradd --uid 10001 --home-dir /data --no-create-home sip \
    && install --directory --owner=sip /data
USER 10001
WORKDIR /data

ENTRYPOINT ["sip-train"]
CMD ["--help"]
