# The project on a machine with CUDA, without installing anything but Docker and NVIDIA's container toolkit:
#
#   docker build -t trackablate .
#   mkdir -p store report                    # Docker would make them root's, and nothing could be written
#   docker run --rm --gpus all --ipc=host --user "$(id -u):$(id -g)" \
#     -v "$PWD/store:/work/store" -v "$PWD/report:/work/report" trackablate run table3
#
# Data sets are mounted likewise and named with --data. With --user what is written belongs to you.
# torch comes with the base image; a driver for CUDA 12.8 is what the machine needs.
FROM pytorch/pytorch:2.10.0-cuda12.8-cudnn9-runtime

# git says from which commit a run comes; without it every run is marked as a trial.
RUN apt-get update \
    && apt-get install -y --no-install-recommends git python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home tracker \
    && git config --system --add safe.directory /work
RUN python3 -m venv --system-site-packages /opt/environment
# A number given by --user has neither a home nor a name, which torch's compiler and caches ask for.
ENV PATH=/opt/environment/bin:$PATH \
    HOME=/tmp \
    USER=tracker \
    MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONUNBUFFERED=1

WORKDIR /work
COPY --chown=tracker:tracker . .
RUN pip install --no-cache-dir -e ".[fast,lmdb,log,trax]" \
    && install -d -o tracker -g tracker -m 777 store report \
    && chown tracker:tracker .

USER tracker
ENTRYPOINT ["python", "-m", "harness"]
CMD ["--help"]
